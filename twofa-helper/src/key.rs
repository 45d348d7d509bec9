//! `twofa-helper key WAY DEVICE`: talks to one security key, as nobody, and may hang, print and crash.

use crate::answer::{Answer, Task, Way};
use crate::exec::{lower, no_core};
use crate::frame::{self, CANCEL};
use crate::{caller, ctap1, ctap2, ffi, fresh};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{process, thread};
use twofa::helper;
use twofa::system::Deadline;

/// The kernel's number for a user who is nobody (overflowuid). Not looked up: a name service may hang, and lie.
const NOBODY: u32 = 65534;

const MIB: u64 = 1024 * 1024;
/// More than asking takes.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::RLIMIT_CPU, 10),
    (Resource::RLIMIT_FSIZE, 0),
    (Resource::RLIMIT_NOFILE, 16),
    (Resource::RLIMIT_DATA, 256 * MIB),
];

/// For the task to come, and for the answer to be taken; `token` waits with both.
const HANDOVER: Duration = Duration::from_secs(2);

/// The channel on which a request is out, for who has to cancel it.
type Shared = Arc<OnceLock<[u8; 4]>>;

/// Nothing when it was not `token` that called.
pub(crate) fn run(way: &OsStr, device: &Path) -> Option<ExitCode> {
    let way = [Way::Ctap1, Way::Ctap2].into_iter().find(|known| known.name() == way)?;
    let socket = caller::socket()?;
    let answer = fresh::start().ok().and_then(|()| {
        let task: Task = helper::receive(&socket, Deadline::after(HANDOVER)).ok()?;
        Some(ask(way, device, &task, &socket).unwrap_or_else(|answer| answer))
    });
    let sent = answer.map(|answer| helper::send(&socket, &answer, Deadline::after(HANDOVER)));
    Some(if matches!(sent, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(way: Way, path: &Path, task: &Task, socket: &UnixStream) -> Result<Answer, Answer> {
    let failed = |what: &str, error: &dyn ToString| Answer::Failed(format!("{what}: {}", error.to_string()));
    let device = open(path).map_err(|error| failed("it cannot be opened", &error))?;
    let channel = Shared::default();
    match way {
        Way::Ctap1 => {
            confine(socket, None).map_err(|error| failed("its process cannot be confined", &error))?;
            ctap1::ask(device, task)
        }
        Way::Ctap2 => {
            let key = ctap2::open(path)?;
            let cancel = Some((device, channel.clone()));
            confine(socket, cancel).map_err(|error| failed("its process cannot be confined", &error))?;
            let id = key.get_cid().map_err(|_| Answer::failed("it gives no channel"))?;
            let _ = channel.set(id);
            ctap2::ask(key, task)
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let metadata = device.metadata()?;
    if !metadata.file_type().is_char_device() || metadata.uid() != 0 {
        return Err(io::Error::other("it is no device of root's"));
    }
    Ok(device)
}

/// The last step before the device is asked anything: from here on this process has no privileges and no network.
fn confine(socket: &UnixStream, cancel: Option<(File, Shared)>) -> io::Result<()> {
    ffi::new_keyring();
    if geteuid().is_root() {
        // Root of a container may not; the rest holds all the same.
        let _ = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC);
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    ffi::drop_capabilities()?;
    prctl::set_no_new_privs()?;
    // Others may run as nobody too.
    prctl::set_dumpable(false)?;
    // After the change of user, which takes it back. Who is gone already, `end_with` finds out.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    no_core()?;
    for (resource, limit) in LIMITS {
        lower(resource, limit)?;
    }
    end_with(socket.try_clone()?, cancel)?;
    // That was the last thread.
    Ok(lower(Resource::RLIMIT_NPROC, 0)?)
}

/// Ends this process when `token` closes its end; a key that still blinks is told that nobody waits any more.
fn end_with(mut socket: UnixStream, cancel: Option<(File, Shared)>) -> io::Result<()> {
    // What is waited for here may take longer than the task did.
    socket.set_read_timeout(None)?;
    let wait = move || {
        let _ = socket.read(&mut [0]);
        if let Some((mut device, channel)) = cancel
            && let Some(id) = channel.get()
        {
            for packet in frame::packets(*id, CANCEL, &[]) {
                let _ = device.write_all(&packet);
            }
        }
        process::exit(0);
    };
    thread::Builder::new().spawn(wait).map(|_| ())
}
