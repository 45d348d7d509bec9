//! Watches a hook from its start until nothing of it is left.

use crate::children;
use crate::ffi::{self, Child};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use twofa::helper::{MAX_OUTPUT, Outcome, Report};
use twofa::system::Deadline;

/// The hook's `TWOFA_TIMEOUT`; the module waits longer than all of these together.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// For what the hook has started to end by itself after it.
const LEFTOVERS: Duration = Duration::from_millis(100);
/// For the kernel to end what was killed: a process that waits for a dead disk cannot be.
const KILLING: Duration = Duration::from_secs(1);

/// Of both streams together; a hook says an identifier, or why not.
const MAX_WRITTEN: usize = 64 * 1024;
/// Of each stream.
const MAX_KEPT: usize = 4 * 1024;

/// A hook that runs, and our ends of its pipes.
pub(crate) struct Hook {
    pub(crate) pid: i32,
    pub(crate) signals: SignalFd,
    /// The other end of `input`, to see what the hook has not read.
    pub(crate) unread: File,
    /// These three do not block; none when closed.
    pub(crate) input: Option<File>,
    pub(crate) output: [Option<File>; 2],
}

/// What an administrator ends a process with.
pub(crate) const ENDS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// SIGCHLD, and these, as something to poll.
pub(crate) fn signals(ends: &[Signal]) -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [&[Signal::SIGCHLD], ends].concat() {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Whether any of those was not a child's.
pub(crate) fn told_to_end(signals: &SignalFd) -> bool {
    let mut told = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        told |= i32::try_from(signal.ssi_signo) != Ok(libc::SIGCHLD);
    }
    told
}

/// Where a hook is on its way to its end; each phase has a deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// It has had its time, and SIGTERM.
    Terminating,
    /// It has ended, and what it started has not.
    Lingering,
    Killing,
}

struct Watch<'a> {
    hook: Hook,
    text: &'a [u8],
    /// Nobody, where nobody waits.
    module: Option<&'a UnixStream>,
    /// The module has gone, or we were told to end.
    given_up: bool,
    phase: Phase,
    deadline: Deadline,
    /// Why we ended it, if we did.
    cause: Option<String>,
    status: Option<ExitStatus>,
    kept: [Vec<u8>; 2],
    written: usize,
}

/// Gives the hook its text and waits for its end; nothing of it is left when this returns. No report when the
/// module has gone away, if there is one, or when we were told to end.
pub(crate) fn run(hook: Hook, text: &[u8], module: Option<&UnixStream>) -> Option<Report> {
    let mut watch = Watch {
        hook,
        text,
        module,
        given_up: false,
        phase: Phase::Running,
        deadline: Deadline::after(TIMEOUT),
        cause: None,
        status: None,
        kept: [vec![], vec![]],
        written: 0,
    };
    while watch.reap() {
        watch.advance();
        if watch.phase == Phase::Killing {
            if watch.deadline.left().is_none() {
                break;
            }
            watch.kill();
        }
        watch.wait();
        watch.listen();
        watch.write();
        watch.read();
    }
    // What was written before the end and not read yet; never what a holder of the pipe may still write.
    while watch.written <= MAX_WRITTEN && watch.read() {}
    (!watch.given_up).then(|| watch.report())
}

impl Watch<'_> {
    /// Whether there is anybody left. Nobody is missed: all of the hook's are our children in the end.
    fn reap(&mut self) -> bool {
        loop {
            match ffi::reap() {
                Child::Ended(pid, status) if pid == self.hook.pid => {
                    self.status = Some(ExitStatus::from_raw(status))
                }
                Child::Ended(..) => {}
                Child::Running => return true,
                Child::None => return false,
            }
        }
    }

    fn advance(&mut self) {
        let ended = self.status.is_some();
        let late = self.deadline.left().is_none();
        match self.phase {
            Phase::Killing => {}
            _ if self.given_up => self.end("nobody waits for it"),
            Phase::Running | Phase::Lingering if self.written > MAX_WRITTEN => self.end(WROTE_TOO_MUCH),
            Phase::Running if ended => self.enter(Phase::Lingering, LEFTOVERS),
            Phase::Running if late => {
                self.cause = Some(format!("took longer than {} s", TIMEOUT.as_secs()));
                self.signal(Signal::SIGTERM);
                // One that is stopped hears it too.
                self.signal(Signal::SIGCONT);
                self.enter(Phase::Terminating, GRACE);
            }
            Phase::Lingering if late => self.end("left processes behind"),
            Phase::Terminating if ended || late => self.enter(Phase::Killing, KILLING),
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        self.deadline = Deadline::after(time);
    }

    fn end(&mut self, cause: &str) {
        self.cause = Some(cause.into());
        self.enter(Phase::Killing, KILLING);
    }

    /// To the hook and its group, as long as the number is surely its own.
    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // It may not have made its group yet.
            let _ = kill(Pid::from_raw(self.hook.pid), signal);
            let _ = kill(Pid::from_raw(-self.hook.pid), signal);
        }
    }

    fn kill(&self) {
        self.signal(Signal::SIGKILL);
        children::kill_all();
    }

    /// Until something happens; what, everybody asks for themselves: nothing here blocks.
    fn wait(&self) {
        let mut fds = vec![PollFd::new(self.hook.signals.as_fd(), PollFlags::POLLIN)];
        let module = self.module.filter(|_| !self.given_up);
        fds.extend(module.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.hook.input.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        fds.extend(
            self.hook.output.iter().flatten().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        let left = self.deadline.left().unwrap_or_default();
        // Who becomes our child does so without a signal.
        let left = if self.phase == Phase::Killing { left.min(Duration::from_millis(10)) } else { left };
        // Rounded up: no turn is made just before the time.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
    }

    /// The module says nothing more: whatever comes is its end.
    fn listen(&mut self) {
        let asked_to_end = told_to_end(&self.hook.signals);
        let gone = |socket: &UnixStream| {
            let looked = recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
            !matches!(looked, Err(Errno::EAGAIN | Errno::EINTR))
        };
        self.given_up |= asked_to_end || self.module.is_some_and(gone);
    }

    fn write(&mut self) {
        let Some(input) = &mut self.hook.input else { return };
        match input.write(self.text) {
            Ok(count) => self.text = self.text.get(count..).unwrap_or_default(),
            Err(error) if is_for_later(&error) => {}
            // We hold the other end ourselves: this does not happen, and if it does nothing more is written.
            Err(_) => self.hook.input = None,
        }
        if self.text.is_empty() {
            self.hook.input = None;
        }
    }

    /// Whether there was something.
    fn read(&mut self) -> bool {
        let mut something = false;
        for (pipe, kept) in self.hook.output.iter_mut().zip(&mut self.kept) {
            let mut buffer = [0; 8192];
            match pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
                None => {}
                Some(Ok(0)) => *pipe = None,
                Some(Ok(count)) => {
                    self.written += count;
                    let room = MAX_KEPT.saturating_sub(kept.len());
                    kept.extend(buffer.iter().take(count.min(room)));
                    something = true;
                }
                Some(Err(error)) if is_for_later(&error) => {}
                Some(Err(_)) => *pipe = None,
            }
        }
        something
    }

    fn report(self) -> Report {
        let [answer, complaint] = self.kept.each_ref().map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.chars().take(MAX_OUTPUT).collect()
        });
        Report { outcome: self.outcome(), answer, complaint }
    }

    fn outcome(&self) -> Outcome {
        let failed = |why: &str| Outcome::Failed(why.into());
        if let Some(cause) = &self.cause {
            return failed(cause);
        }
        if self.written > MAX_WRITTEN {
            return failed(WROTE_TOO_MUCH);
        }
        let Some(status) = self.status else { return failed("does not end") };
        match (status.code(), status.signal()) {
            (Some(0), _) if !self.has_read_all() => failed("did not read the message"),
            (Some(0), _) => Outcome::Sent,
            (Some(65), _) => Outcome::BadRecipient,
            (Some(75), _) => Outcome::TryAgain,
            (Some(78), _) => Outcome::NotConfigured,
            (Some(code), _) => Outcome::Failed(format!("exit status {code}")),
            (None, Some(signal)) => Outcome::Failed(format!("signal {signal}")),
            (None, None) => Outcome::Failed(status.to_string()),
        }
    }

    fn has_read_all(&self) -> bool {
        self.text.is_empty() && ffi::unread(self.hook.unread.as_fd()).is_ok_and(|count| count == 0)
    }
}

const WROTE_TOO_MUCH: &str = "wrote more than 64 KiB";

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
