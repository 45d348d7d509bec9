//! `twofa-helper exec HOOK`: the last step before the hook, as the hook's user.

use crate::notify::OUTLIVED;
use crate::{ffi, fresh};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, execv};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;

const MIB: u64 = 1024 * 1024;

/// Far more than a script that calls a gateway needs.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_CPU, 5),
    (Resource::RLIMIT_FSIZE, 64 * MIB),
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_NPROC, 256),
    (Resource::RLIMIT_DATA, 1024 * MIB),
];

/// What a shell says of a command that it cannot start.
const CANNOT_START: u8 = 126;

/// Returns only when there is no hook; nothing when it was not `deliver` that called.
pub(crate) fn run(hook: &Path) -> Option<ExitCode> {
    if !is_pipe(&io::stdin()) || !is_pipe(&io::stdout()) {
        return None;
    }
    let Err(error) = start(hook);
    let _ = writeln!(io::stderr(), "twofa-helper: cannot start {}: {error}", hook.display());
    Some(ExitCode::from(CANNOT_START))
}

fn is_pipe(stream: &impl AsFd) -> bool {
    let copy = stream.as_fd().try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    copy.is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn start(hook: &Path) -> io::Result<Infallible> {
    if Uid::effective().is_root() || Uid::current().is_root() {
        return Err(io::Error::other("a hook never runs as root"));
    }
    // A notice's hook outlives what its sender outlives; for that of a code, `deliver` has made them usual again.
    fresh::start_with(&OUTLIVED)?;
    // Whatever becomes of the one that watches: the hook does not outlive it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nobody_reads(&io::stdout())? {
        return Err(io::Error::other("nobody waits for it"));
    }
    ffi::drop_capabilities()?;
    ffi::new_keyring();
    for (resource, limit) in LIMITS {
        lower(resource, limit)?;
    }
    no_core()?;
    let hook = CString::new(hook.as_os_str().as_bytes())?;
    // Not execvp(3), which gives a file that is no program to a shell.
    Ok(execv(&hook, &[&hook])?)
}

/// The reading end of our output is the watcher's, and only its.
fn nobody_reads(output: &impl AsFd) -> nix::Result<bool> {
    let mut pipe = [PollFd::new(output.as_fd(), PollFlags::empty())];
    poll(&mut pipe, PollTimeout::ZERO)?;
    Ok(pipe.iter().any(|pipe| pipe.revents().is_some_and(|events| events.contains(PollFlags::POLLERR))))
}

/// It would hold the code. Exactly 1 and not 0: at 0 the kernel still pipes it to a program (core(5)).
pub(crate) fn no_core() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, hard.min(1), hard.min(1))
}

/// Never more than the host has set.
pub(crate) fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    setrlimit(resource, soft.min(limit), hard.min(limit))
}
