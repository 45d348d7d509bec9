//! The processes that talk to security keys, one for each: started together, heard until time is up, ended together.

use crate::answer::{Answer, Inbox, Task, Way};
use crate::ffi::{self, Child};
use crate::{children, watch};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, recv};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use twofa::helper;
use twofa::system::Deadline;
use twofa::token::Device;

/// For a key to be told that nobody waits any more.
const CANCELLING: Duration = Duration::from_millis(250);
/// For the kernel to end what was killed: a process that waits for a dead device cannot be.
const KILLING: Duration = Duration::from_secs(1);
/// For other keys, once one has said that it needs its PIN: somebody may be about to touch them.
const OTHERS: Duration = Duration::from_secs(5);
/// A task fits into a socket: this is not waited for.
const HANDOVER: Duration = Duration::from_secs(1);

/// One device, and the process that talks to it now.
struct Seat {
    number: Device,
    device: PathBuf,
    way: Way,
    /// None when it has said its last.
    socket: Option<UnixStream>,
    inbox: Inbox,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more is expected of this device.
    Over,
    /// This device is talked to again.
    Again(Way),
    /// As `Over`; and the others are not waited for much longer.
    Soon,
    /// Nothing more is expected of any.
    Decided,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All have answered, or one answer was enough.
    Heard,
    TimedOut,
    /// The module is gone, or an administrator ends us.
    Unwanted,
}

pub(crate) struct Party<'a> {
    seats: Vec<Seat>,
    signals: SignalFd,
    module: &'a UnixStream,
    task: &'a Task,
    deadline: Deadline,
}

/// Asks all devices at once, first over CTAP1. Nothing of it is left when this returns.
pub(crate) fn run(
    devices: Vec<(Device, PathBuf)>,
    task: &Task,
    module: &UnixStream,
    judge: impl FnMut(Device, Answer) -> Turn,
) -> io::Result<End> {
    let seats = devices.into_iter().map(|(number, node)| Seat::new(number, node));
    let mut party = Party {
        seats: seats.collect(),
        signals: watch::signals(&watch::ENDS)?,
        module,
        task,
        deadline: Deadline::after(Duration::from_millis(task.milliseconds.into())),
    };
    let end = party.hear(judge);
    party.end();
    Ok(end)
}

impl Party<'_> {
    fn hear(&mut self, mut judge: impl FnMut(Device, Answer) -> Turn) -> End {
        for place in 0..self.seats.len() {
            if self.start(place, Way::Ctap1, &mut judge) == Turn::Decided {
                return End::Heard;
            }
        }
        while self.seats.iter().any(|seat| seat.socket.is_some()) {
            if self.deadline.left().is_none() {
                return End::TimedOut;
            }
            self.wait();
            while let Child::Ended(..) = ffi::reap() {}
            if self.is_unwanted() {
                return End::Unwanted;
            }
            for place in 0..self.seats.len() {
                let Some(seat) = self.seats.get_mut(place) else { continue };
                let Some(answer) = seat.read() else { continue };
                let turn = match judge(seat.number, answer) {
                    Turn::Again(way) => self.start(place, way, &mut judge),
                    turn => turn,
                };
                match turn {
                    Turn::Decided => return End::Heard,
                    Turn::Soon => self.hurry(),
                    Turn::Over | Turn::Again(_) => {}
                }
            }
        }
        End::Heard
    }

    fn hurry(&mut self) {
        if self.deadline.left().is_some_and(|left| left > OTHERS) {
            self.deadline = Deadline::after(OTHERS);
        }
    }

    /// Starts a process for a device. When that fails, it is judged as its answer.
    fn start(&mut self, place: usize, way: Way, judge: &mut impl FnMut(Device, Answer) -> Turn) -> Turn {
        let Some(seat) = self.seats.get_mut(place) else { return Turn::Over };
        seat.way = way;
        seat.inbox = Inbox::default();
        match start(&seat.device, way, self.task) {
            Ok(socket) => {
                seat.socket = Some(socket);
                Turn::Over
            }
            Err(error) => {
                judge(seat.number, Answer::Failed(format!("its process cannot be started: {error}")))
            }
        }
    }

    /// Until something happens; what, everybody asks for themselves: nothing here blocks.
    fn wait(&self) {
        let mut fds = vec![self.signals.as_fd(), self.module.as_fd()];
        fds.extend(self.seats.iter().filter_map(|seat| seat.socket.as_ref()).map(AsFd::as_fd));
        let mut fds: Vec<PollFd> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let left = self.deadline.left().unwrap_or_default();
        let _ = poll(&mut fds, rounded_up(left));
    }

    /// The module says nothing more: whatever comes is its end.
    fn is_unwanted(&mut self) -> bool {
        let told = watch::told_to_end(&self.signals);
        let looked = recv(self.module.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        told || !matches!(looked, Err(Errno::EAGAIN | Errno::EINTR))
    }

    /// Tells every process to end, then makes it.
    fn end(&mut self) {
        for socket in self.seats.iter().filter_map(|seat| seat.socket.as_ref()) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.leave(Deadline::after(CANCELLING), || {});
        self.leave(Deadline::after(KILLING), children::kill_all);
    }

    /// Waits until there is no child left.
    fn leave(&mut self, deadline: Deadline, hurry: impl Fn()) {
        loop {
            match ffi::reap() {
                Child::None => return,
                Child::Ended(..) => continue,
                Child::Running => {}
            }
            let Some(left) = deadline.left() else { return };
            hurry();
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, rounded_up(left.min(Duration::from_millis(10))));
            watch::told_to_end(&self.signals);
        }
    }
}

impl Seat {
    fn new(number: Device, device: PathBuf) -> Self {
        Self { number, device, way: Way::Ctap1, socket: None, inbox: Inbox::default() }
    }

    /// What has come since, once it is an answer. A process that ends without one has crashed.
    fn read(&mut self) -> Option<Answer> {
        let mut buffer = [0; 4096];
        let answer = match self.socket.as_mut()?.read(&mut buffer) {
            Ok(0) => Some(Answer::failed("the process that asked it has crashed")),
            Ok(count) => self.inbox.take(buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(_) => Some(Answer::failed("the process that asked it has crashed")),
        };
        if answer.is_some() {
            self.socket = None;
        }
        // Otherwise it could go on for ever.
        let again = answer == Some(Answer::Ctap2) && self.way == Way::Ctap2;
        if again { Some(Answer::failed("the process that asked it says nonsense")) } else { answer }
    }
}

fn start(device: &Path, way: Way, task: &Task) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    // By this name it is the program that runs now, whatever an upgrade has put in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("twofa-helper").arg("key").arg(way.name()).arg(device).env_clear();
    command.stdin(OwnedFd::from(theirs)).stdout(null.try_clone()?).stderr(null);
    command.spawn()?;
    helper::send(&ours, &task.handed(way), Deadline::after(HANDOVER))?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}

/// No turn is made just before the time.
fn rounded_up(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// What is made of what a process has written before it ended.
    fn said(way: Way, write: impl FnOnce(&mut UnixStream)) -> Vec<Answer> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut seat = Seat { way, socket: Some(ours), ..Seat::new(0, "/dev/hidraw0".into()) };
        assert_eq!(seat.read(), None, "nothing yet");
        write(&mut theirs);
        drop(theirs);
        let answers = (0..100).filter_map(|_| seat.read()).collect();
        assert!(seat.socket.is_none());
        answers
    }

    fn send(answer: Answer) -> impl Fn(&mut UnixStream) {
        move |socket| helper::send(socket, &answer, Deadline::after(Duration::from_secs(1))).unwrap()
    }

    #[test]
    fn a_process_is_heard_once_and_crashes_count() {
        let crashed = || vec![Answer::failed("the process that asked it has crashed")];
        let nonsense = || vec![Answer::failed("the process that asked it says nonsense")];
        assert_eq!(said(Way::Ctap2, send(Answer::Denied)), [Answer::Denied]);
        assert_eq!(said(Way::Ctap1, send(Answer::Ctap2)), [Answer::Ctap2]);
        assert_eq!(said(Way::Ctap2, send(Answer::Ctap2)), nonsense(), "it would go on for ever");
        assert_eq!(said(Way::Ctap1, |_| ()), crashed());
        assert_eq!(said(Way::Ctap1, |socket| socket.write_all(&[0, 0, 1]).unwrap()), crashed());
        assert_eq!(said(Way::Ctap1, |socket| socket.write_all(&[0xff; 100_000]).unwrap()), nonsense());
        let twice = |socket: &mut UnixStream| {
            send(Answer::Denied)(socket);
            send(Answer::Gone)(socket);
        };
        assert_eq!(said(Way::Ctap1, twice), [Answer::Denied]);
    }
}
