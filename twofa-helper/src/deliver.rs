//! `twofa-helper deliver`: takes one job from the module, starts the hook, and reports what came of it.

use crate::watch::{self, Hook};
use crate::{caller, fresh};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::{User, alarm, geteuid};
use std::fs::File;
use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use twofa::helper::{self, Job, Outcome, Report};
use twofa::system::Deadline;
use twofa::trusted;

/// In seconds: for the job to come, and for the name service to know the hook's user.
pub(crate) const PREPARATION: u32 = 5;

/// Nothing when it was not the module that called.
pub(crate) fn run() -> Option<ExitCode> {
    let socket = caller::socket()?;
    let report = fresh::start().ok().and_then(|()| {
        // A name service that hangs would keep us here after the module has given up.
        alarm::set(PREPARATION);
        let fixed = caller::shut_off();
        let job: Job =
            helper::receive(&socket, Deadline::after(Duration::from_secs(PREPARATION.into()))).ok()?;
        let started = fixed.and_then(|()| start(&job, &watch::ENDS));
        alarm::cancel();
        match started {
            Ok(hook) => watch::run(hook, job.text.expose(), Some(&socket)),
            Err(why) => Some(Report {
                outcome: Outcome::Failed(why),
                answer: String::new(),
                complaint: String::new(),
            }),
        }
    });
    let sent = report.map(|report| helper::send(&socket, &report, Deadline::after(Duration::from_secs(1))));
    Some(if matches!(sent, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn user(name: &str) -> Result<User, String> {
    let found =
        User::from_name(name).map_err(|error| format!("cannot look up hook user `{name}`: {error}"))?;
    // NSS may match an alias, or without regard to case.
    found.filter(|user| user.name == name).ok_or_else(|| format!("hook user `{name}` does not exist"))
}

fn checked(job: &Job, user: User) -> Result<User, String> {
    let us = geteuid();
    if user.uid.is_root() {
        return Err(format!("hook user `{}` is root, and a hook never runs as root", user.name));
    }
    if user.gid.as_raw() == 0 {
        return Err(format!("hook user `{}` is in group 0, which is root's", user.name));
    }
    if !us.is_root() && user.uid != us {
        return Err(format!("only root can run a hook as `{}`", user.name));
    }
    trusted::check_program(&job.hook).map_err(|error| format!("the hook {error}"))?;
    Ok(user)
}

/// The name service may hang: the caller sets an alarm. `ends` are the signals that end the hook.
pub(crate) fn start(job: &Job, ends: &[Signal]) -> Result<Hook, String> {
    let user = user(&job.hook_user).and_then(|user| checked(job, user))?;
    spawn(job, &user, ends).map_err(|error| format!("the hook cannot be started: {error}"))
}

/// Everything the hook knows besides the text.
fn spawn(job: &Job, user: &User, ends: &[Signal]) -> io::Result<Hook> {
    let (unread, writer) = pipe()?;
    // By this name it is the program that runs now, whatever an upgrade has put in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("twofa-helper").arg("exec").arg(&job.hook).env_clear();
    command
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8");
    command.env("TWOFA_PROTOCOL", "1").env("TWOFA_TIMEOUT", watch::TIMEOUT.as_secs().to_string());
    command.env("TWOFA_TO", &job.to).env("TWOFA_USER", &job.user).env("TWOFA_HOST", &job.host);
    command.env("TWOFA_KIND", job.kind.name()).env("TWOFA_ID", &job.id);
    command.stdin(unread.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::piped());
    if geteuid().is_root() {
        command.gid(user.gid.as_raw()).uid(user.uid.as_raw());
    }
    let signals = watch::signals(ends)?;
    let child = command.spawn()?;
    let mut hook = Hook {
        pid: i32::try_from(child.id()).map_err(io::Error::other)?,
        signals,
        unread: File::from(OwnedFd::from(unread)),
        input: None,
        output: [None, None],
    };
    // From here on there is a process to watch, so nothing may fail: a pipe that is missing is one that is closed.
    let ours = |fd: OwnedFd| fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok().map(|_| File::from(fd));
    hook.input = ours(writer.into());
    hook.output =
        [child.stdout.and_then(|pipe| ours(pipe.into())), child.stderr.and_then(|pipe| ours(pipe.into()))];
    Ok(hook)
}
