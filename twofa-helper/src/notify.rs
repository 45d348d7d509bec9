//! `twofa-helper notify`: takes notices from the module and goes on alone, so that nobody waits for the hook. What the
//! module has started begins a second one of itself, `notice`, and ends at once: no child is left to the host.

use crate::deliver::{self, PREPARATION};
use crate::ledger::Ledger;
use crate::{caller, ffi, fresh, watch};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::{alarm, dup2_stdin};
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use twofa::helper::{self, Batch, Job, Kind, Outcome, Report, Taken};
use twofa::log::{Level, Log, escape, quote};
use twofa::system::{self, Deadline};

/// With these, systemd ends all that a login has left in the cgroup of its console (systemd.kill(5), SendSIGHUP=): who
/// logs out at once must not keep a notice back. Each takes its own time at most.
pub(crate) const OUTLIVED: [Signal; 2] = [Signal::SIGTERM, Signal::SIGHUP];

/// Far more users than a list of them has.
const MAX_JOBS: u32 = 200_000;

/// Begins the one that goes on. Nothing when it was not the module that called.
pub(crate) fn run() -> Option<ExitCode> {
    caller::socket()?;
    let begun = fresh::start().is_ok() && caller::shut_off().is_ok() && begin();
    Some(if begun { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Without descriptors of its own it needs no fork of this process, and is our child no longer when we end.
fn begin() -> bool {
    caller::lift_limits();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("twofa-helper").arg("notice").env_clear();
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    command.spawn().is_ok()
}

/// Takes the notices over, and sends them.
pub(crate) fn go_on() -> Option<ExitCode> {
    let socket = caller::socket()?;
    let begun = fresh::start().ok().and_then(|()| caller::shut_off().ok());
    let Some(outlived) = begun.and_then(|()| outlive().ok()) else {
        return Some(ExitCode::FAILURE);
    };
    let Some((batch, jobs)) = take(&socket) else {
        return Some(ExitCode::FAILURE);
    };
    // From here on the module is none of our concern; it may have gone already.
    drop(socket);
    let _ = File::open("/dev/null").map(dup2_stdin);
    send_all(&batch, &jobs, &outlived, &Log::new("twofa-helper", "notice"));
    Some(ExitCode::SUCCESS)
}

/// Ignored, which a hook inherits, and blocked: Linux keeps what is blocked for who wants to know.
fn outlive() -> nix::Result<SignalFd> {
    OUTLIVED.into_iter().for_each(ffi::ignore);
    watch::signals(&OUTLIVED)
}

fn take(socket: &UnixStream) -> Option<(Batch, Vec<Job>)> {
    let deadline = Deadline::after(Duration::from_secs(PREPARATION.into()));
    let batch: Batch = helper::receive(socket, deadline).ok()?;
    if batch.jobs > MAX_JOBS {
        return None;
    }
    let jobs =
        (0..batch.jobs).map(|_| helper::receive(socket, deadline)).collect::<Result<Vec<_>, _>>().ok()?;
    // Whether this arrives or not: who was told of it or not changes nothing of what happened.
    let _ = helper::send(socket, &Taken, deadline);
    Some((batch, jobs))
}

/// One after the other. A gateway that fails is not asked a thousand times, and a host that goes down waits for one.
fn send_all(batch: &Batch, jobs: &[Job], outlived: &SignalFd, log: &Log) {
    alarm::set(PREPARATION);
    let ledger = match Ledger::enter(&batch.account) {
        Ok(ledger) => ledger,
        Err(why) => {
            let users = jobs.iter().take(1).map(|job| escape(&job.user)).collect::<String>();
            let what = if jobs.len() == 1 { users } else { format!("{users} and {} more", jobs.len() - 1) };
            log.write(Level::Error, &format!("notice not sent to {what} reason={}", quote(&why)));
            return;
        }
    };
    for (place, job) in jobs.iter().enumerate() {
        let why = if is_over(send(job, &ledger, log)) {
            "the one before was not"
        } else if watch::told_to_end(outlived) {
            "told to end"
        } else {
            continue;
        };
        let left = jobs.len() - place - 1;
        if left > 0 {
            log.write(Level::Error, &format!("notices not sent to {left} more users reason={}", quote(why)));
        }
        return;
    }
}

/// Whether the next one is not worth trying.
fn is_over(outcome: Option<Outcome>) -> bool {
    !matches!(outcome, None | Some(Outcome::Sent | Outcome::BadRecipient))
}

/// What came of it; nothing when it was one too many.
fn send(job: &Job, ledger: &Ledger, log: &Log) -> Option<Outcome> {
    let Kind::Notice(occasion) = job.kind else {
        return None;
    };
    let what = format!("{} event={} id={}", escape(&job.user), occasion.name(), escape(&job.id));
    alarm::set(PREPARATION);
    if !ledger.allows(&job.user, occasion, system::now()) {
        log.write(
            Level::Info,
            &format!("notice not sent to {what} reason=\"one like it was, a moment ago\""),
        );
        return None;
    }
    let started = deliver::start(job, &[Signal::SIGINT]);
    alarm::cancel();
    let failed = |why: &str| Report {
        outcome: Outcome::Failed(why.into()),
        answer: String::new(),
        complaint: String::new(),
    };
    let report = match started {
        Ok(hook) => watch::run(hook, job.text.expose(), None).unwrap_or_else(|| failed("it was ended")),
        Err(why) => failed(&why),
    };
    let Report { outcome, complaint, .. } = report.without("", &job.to);
    match &outcome {
        Outcome::Sent => log.write(Level::Info, &format!("notice sent to {what}")),
        outcome => {
            let said =
                if complaint.is_empty() { String::new() } else { format!(" said={}", quote(&complaint)) };
            let why = quote(&outcome.to_string());
            log.write(Level::Error, &format!("notice not sent to {what} reason={why}{said}"));
        }
    }
    Some(outcome)
}
