//! The module, which has started us: its socket, and its user, who is none of ours.

use crate::ffi;
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, getegid, geteuid, setgroups, setresgid, setresuid};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;

/// The other end of our standard input, when that is a socket.
pub(crate) fn socket() -> Option<UnixStream> {
    let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
    let input = File::from(input);
    input.metadata().ok()?.file_type().is_socket().then(|| OwnedFd::from(input).into())
}

/// The limits of su's caller must not decide what that user's victim is told. Only root can, and only root has to.
pub(crate) fn lift_limits() {
    const FILES: u64 = 1024;
    const STACK: u64 = 8 * 1024 * 1024;
    use Resource::{RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NPROC};
    for resource in [RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NPROC] {
        let _ = setrlimit(resource, RLIM_INFINITY, RLIM_INFINITY);
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES);
    let _ = setrlimit(Resource::RLIMIT_STACK, STACK, STACK);
}

/// Nobody else may look into this process or signal it, su's caller least of all; orphans come to us.
pub(crate) fn shut_off() -> Result<(), String> {
    let all = || {
        // A write to a pipe or socket that nobody reads is an error, not the end of this process.
        ffi::ignore(Signal::SIGPIPE);
        prctl::set_dumpable(false)?;
        prctl::set_child_subreaper(true)?;
        // Also for what is started here, from its first moment: another hook of the same user may look into it.
        prctl::set_no_new_privs()?;
        let user = geteuid();
        // In su, the group is its caller's.
        let group = if user.is_root() { Gid::from_raw(0) } else { getegid() };
        if user.is_root() {
            setgroups(&[])?;
        }
        setresgid(group, group, group)?;
        setresuid(user, user, user)
    };
    all().map_err(|error| format!("twofa-helper cannot shut itself off: {error}"))
}
