//! The module's side of `twofa-helper`, which runs hooks and asks security keys: one job over, one report back.
//!
//! This runs inside sshd, login and su. Their signals, masks, descriptors and children are theirs: the result
//! comes over a socket, never from wait(2), and nobody is killed; when the socket closes, the helper stops.
//! Only notices go on without us.

mod key;
mod notice;

pub use key::{Ask, MAX_TIME, Registered, Registration, Touch, Touched, register, touch};
pub use notice::{Batch, News, Taken, notify};

use crate::code::Secret;
use crate::login::Delivery;
use crate::message;
use crate::policy::{Channel, Occasion, Request};
use crate::system::{self, Deadline};
use crate::trusted;
use nix::sys::socket::{self, MsgFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use std::{fmt, iter};
use zeroize::Zeroizing;

/// Longer than the helper ever takes: 5 s for the name service, 10 s for the hook, 2 s to end it, 1 s to clean up.
const PATIENCE: Duration = Duration::from_secs(20);
/// A helper that has reported ends at once, one that has lost us within a second.
const REAPING: Duration = Duration::from_secs(1);
/// Of a job and of a report.
const MAX_BYTES: usize = 16 * 1024;

/// What the log gets of the hook's output, in characters.
const MAX_ANSWER: usize = 128;
const MAX_COMPLAINT: usize = 512;
/// What the helper hands over of each stream: enough that no part of a code is left at the end of the above.
pub const MAX_OUTPUT: usize = 1024;
/// Characters of the longest thing that is taken out: an address.
const LONGEST: usize = 254;

/// One message for a hook.
#[derive(Serialize, Deserialize)]
pub struct Job {
    pub hook: PathBuf,
    pub hook_user: String,
    pub kind: Kind,
    pub to: String,
    pub user: String,
    pub host: String,
    /// Unique, so that a hook can tell a repetition.
    pub id: String,
    pub text: Secret,
}

impl Job {
    /// The message that takes a code to its user.
    pub fn new(channel: &Channel, kind: Kind, delivery: &Delivery, request: &Request) -> Self {
        let mut text = message::sent(&channel.text, delivery, request);
        if kind == Kind::Test {
            text.insert_str(0, "Test: ");
        }
        Self {
            hook: channel.hook.clone(),
            hook_user: channel.hook_user.clone(),
            kind,
            to: delivery.to.to_hook(),
            user: request.user.clone(),
            host: request.host.clone(),
            id: delivery.id.clone(),
            text: Secret::new(text.as_bytes()),
        }
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Login,
    Enroll,
    Test,
    Notice(Occasion),
}

impl Kind {
    /// The hook's `TWOFA_KIND`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Enroll => "enroll",
            Self::Test => "test",
            Self::Notice(_) => "notice",
        }
    }
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub outcome: Outcome,
    /// The first line of the hook's standard output, cut: the gateway's own name for the message.
    pub answer: String,
    /// The hook's standard error, cut.
    pub complaint: String,
}

/// How the hook ended; the numbers are those of sysexits.h.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Sent,
    /// 65: the number or address is not usable.
    BadRecipient,
    /// 75
    TryAgain,
    /// 78
    NotConfigured,
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "sent",
            Self::BadRecipient => "the gateway does not take this number or address",
            Self::TryAgain => "the gateway cannot be reached for now",
            Self::NotConfigured => "the hook is not configured",
            Self::Failed(why) => why,
        })
    }
}

/// Why there is no report.
#[derive(Debug)]
pub enum Error {
    /// The helper is not a program to be trusted.
    File(trusted::Error),
    Start(io::Error),
    /// It was started, and no report came, or none that makes sense: why.
    NoReport(String),
}

impl Error {
    /// What an administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::Start(_) => {
                "Check the limits of the calling service: processes, descriptors, memory.".into()
            }
            Self::NoReport(_) => "Install twofa-helper of the same version as the module.".into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Start(error) => write!(f, "cannot start twofa-helper: {error}"),
            Self::NoReport(why) => write!(f, "no report from twofa-helper: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// Has a message delivered. `code` is taken out of what the hook says before anybody sees it.
///
/// # Errors
///
/// When the helper cannot be trusted or started, or does not report within 20 s.
pub fn deliver(helper: &Path, job: &Job, code: &str) -> Result<Report, Error> {
    exchange(helper, "deliver", job, PATIENCE).map(|report: Report| report.without(code, &job.to))
}

/// One job to a helper of our own, one report from it.
fn exchange<R: DeserializeOwned>(
    helper: &Path,
    what: &str,
    job: &impl Serialize,
    patience: Duration,
) -> Result<R, Error> {
    talk(helper, what, patience, |socket| {
        let deadline = Deadline::after(patience);
        send(socket, job, deadline).and_then(|()| receive(socket, deadline))
    })
}

/// Starts a helper, and ends it when all is said.
fn talk<R>(
    helper: &Path,
    what: &str,
    patience: Duration,
    say: impl FnOnce(&UnixStream) -> io::Result<R>,
) -> Result<R, Error> {
    trusted::check_program(helper).map_err(Error::File)?;
    let (socket, child) = start(helper, what).map_err(Error::Start)?;
    let report = say(&socket);
    // Not only closed: a copy of it may live on in what another thread of the host has forked.
    let _ = socket.shutdown(Shutdown::Both);
    drop(socket);
    reap(child);
    report.map_err(|error| Error::NoReport(why(&error, patience)))
}

fn why(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => "it ended".into(),
        ErrorKind::TimedOut => format!("it took longer than {} s", patience.as_secs()),
        _ => error.to_string(),
    }
}

/// A host without standard streams hands out 0, 1 and 2: the standard library would then mix up the streams of
/// the child, so all three are moved away first.
fn start(helper: &Path, what: &str) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    let [ours, theirs, output] = above_stdio([ours.into(), theirs.into(), null.into()])?;
    let errors = output.try_clone()?;
    let child = system::start(helper, what, [theirs, output, errors])?;
    Ok((ours.into(), child))
}

fn above_stdio(fds: [OwnedFd; 3]) -> io::Result<[OwnedFd; 3]> {
    let [a, b, c] = fds.map(trusted::above_stdio);
    Ok([a?, b?, c?])
}

/// So that no zombie stays. A host that ignores SIGCHLD, or waits for everybody itself, has done it already; and
/// a helper that does not end is not ours to kill: its number may be another's by now.
fn reap(mut child: Child) {
    let deadline = Deadline::after(REAPING);
    while deadline.left().is_some() && matches!(child.try_wait(), Ok(None)) {
        system::pause(Duration::from_millis(2));
    }
}

impl Report {
    /// A hook may print what it sends, and whom to.
    #[must_use]
    pub fn without(self, code: &str, to: &str) -> Self {
        let [answer, complaint] = [self.answer, self.complaint].map(Zeroizing::new);
        let first_line = answer.lines().next().unwrap_or_default();
        Self {
            outcome: self.outcome,
            answer: clean(first_line, code, to, MAX_ANSWER),
            complaint: clean(&complaint, code, to, MAX_COMPLAINT),
        }
    }
}

/// The text without the code, and without the numbers and addresses it was sent to.
fn clean(text: &str, code: &str, to: &str, limit: usize) -> String {
    let number = to.trim_start_matches('+');
    let secrets = to.split(", ").map(|to| (to, "[to]")).chain([(number, "[to]"), (code, "[code]")]);
    // An empty one is everywhere.
    let mut clean = secrets
        .filter(|(secret, _)| !secret.is_empty())
        .fold(text.to_string(), |text, (secret, name)| text.replace(secret, name));
    if text.chars().count() >= MAX_OUTPUT {
        // It was cut there, perhaps in the middle of one of these.
        clean = clean.chars().take(clean.chars().count().saturating_sub(LONGEST)).collect();
    }
    // In groups, or with anything else between the digits.
    let digits: String = clean.chars().filter(char::is_ascii_digit).collect();
    let shows = |secret: &str| {
        secret.bytes().all(|b| b.is_ascii_digit()) && !secret.is_empty() && digits.contains(secret)
    };
    if shows(code) || shows(number) {
        return "[withheld]".into();
    }
    clean.trim().chars().take(limit).collect()
}

/// Sends a length and as many bytes, without SIGPIPE.
///
/// # Errors
///
/// When the other side is gone or does not read until the deadline, or the value is too long.
pub fn send<T: Serialize>(socket: &UnixStream, value: &T, deadline: Deadline) -> io::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; MAX_BYTES]);
    let bytes = postcard::to_slice(value, &mut buffer).map_err(|error| match error {
        postcard::Error::SerializeBufferFull => io::Error::other("the message is too long"),
        error => io::Error::other(error),
    })?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    send_all(socket, &length.to_be_bytes(), deadline)?;
    send_all(socket, bytes, deadline)
}

fn send_all(socket: &UnixStream, mut bytes: &[u8], deadline: Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.set_write_timeout(Some(left(deadline)?))?;
        let sent = socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL);
        bytes = bytes.get(again(sent.map_err(Into::into))?..).unwrap_or_default();
    }
    Ok(())
}

/// Receives what [`send`] sent.
///
/// # Errors
///
/// When the other side ends first or says nothing until the deadline, or what it says makes no sense.
pub fn receive<T: DeserializeOwned>(socket: &UnixStream, deadline: Deadline) -> io::Result<T> {
    let mut length = [0; 4];
    receive_all(socket, &mut length, deadline)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_BYTES {
        return Err(io::Error::other("what it says is too long"));
    }
    let mut bytes = Zeroizing::new(iter::repeat_n(0, length).collect::<Vec<u8>>());
    receive_all(socket, &mut bytes, deadline)?;
    match postcard::take_from_bytes(&bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(io::Error::other("what it says makes no sense")),
    }
}

fn receive_all(mut socket: &UnixStream, mut bytes: &mut [u8], deadline: Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let read = socket.read(bytes);
        if matches!(read, Ok(0)) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes = bytes.get_mut(again(read)?..).unwrap_or_default();
    }
    Ok(())
}

fn left(deadline: Deadline) -> io::Result<Duration> {
    deadline.left().ok_or_else(|| ErrorKind::TimedOut.into())
}

/// A signal, or a timer a little ahead of the clock, is no error: the deadline decides.
fn again(done: io::Result<usize>) -> io::Result<usize> {
    match done {
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(0),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn report(answer: &str, complaint: &str) -> Report {
        Report { outcome: Outcome::Sent, answer: answer.into(), complaint: complaint.into() }
    }

    fn job(text: &[u8]) -> Job {
        Job {
            hook: "/hook".into(),
            hook_user: "nobody".into(),
            kind: Kind::Login,
            to: "+491".into(),
            user: "alice".into(),
            host: "host".into(),
            id: "1".into(),
            text: Secret::new(text),
        }
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[test]
    fn the_code_is_taken_out_before_the_text_is_cut() {
        for at in 0..140 {
            let text = "x".repeat(at) + "12345678";
            let shown = report(&text, &text.repeat(4)).without("12345678", "");
            assert!(!shown.answer.contains("12") && !shown.complaint.contains("12"), "{shown:?}");
            assert!(shown.answer.chars().count() <= 128 && shown.complaint.chars().count() <= 512);
        }
        // The end of what the helper keeps may be half a code: it is never shown.
        for at in 0..8 {
            let text: String = ("x".repeat(at) + &"12345678".repeat(200)).chars().take(MAX_OUTPUT).collect();
            let shown = report(&text, &text).without("12345678", "");
            assert!(!shown.answer.contains("12") && !shown.complaint.contains("12"), "{shown:?}");
        }
        let shown = report("id 7\nmore", " two\nlines\n").without("", "");
        assert_eq!((shown.answer.as_str(), shown.complaint.as_str()), ("id 7", "two\nlines"));
    }

    #[test]
    fn whom_it_goes_to_is_taken_out_too() {
        let to = "+48600000150";
        let table = [
            ("recipient +48600000150 not accepted", "recipient [to] not accepted"),
            ("msisdn 48600000150", "msisdn [to]"),
            ("to +48 600 000 150", "[withheld]"),
            ("your code is 071-471", "[withheld]"),
            ("0-7-1-4-7-1", "[withheld]"),
            ("id 4711, code 071471", "id 4711, code [code]"),
            ("error 71471", "error 71471"),
        ];
        for (said, shown) in table {
            assert_eq!(report("", said).without("071471", to).complaint, shown, "{said}");
        }
        let shown = report("", "a@example.org and b@example.org: no")
            .without("071471", "a@example.org, b@example.org");
        assert_eq!(shown.complaint, "[to] and [to]: no");
        // Blanks before it, or what is taken out before it, bring no half of a code into the log.
        for before in [" ".repeat(1020), to.repeat(85), "x".repeat(1019)] {
            let said: String = (before + "980012").chars().take(MAX_OUTPUT).collect();
            let shown = report(&said, &said).without("980012", to);
            assert!(!(shown.answer + &shown.complaint).contains("980"), "{said:.20}");
        }
    }

    #[test]
    fn jobs_and_reports_survive_the_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, &job(b"text"), soon()).unwrap();
        let received: Job = receive(&theirs, soon()).unwrap();
        assert_eq!((received.to.as_str(), received.kind), ("+491", Kind::Login));
        assert_eq!(received.text.expose(), b"text");
        let outcomes = [Outcome::Sent, Outcome::TryAgain, Outcome::Failed("signal 11".into())];
        for outcome in outcomes {
            let sent = Report { outcome, ..report("answer", "complaint") };
            send(&theirs, &sent, soon()).unwrap();
            assert_eq!(receive::<Report>(&ours, soon()).unwrap(), sent);
        }
        assert!(send(&ours, &job(&[b'x'; 17000]), soon()).is_err(), "too long");
        send(&ours, &job(&[b'x'; 16000]), soon()).unwrap();
        assert_eq!(receive::<Job>(&theirs, soon()).unwrap().text.expose().len(), 16000);
    }

    #[test]
    fn a_report_that_makes_no_sense_is_none() {
        let good = postcard::to_allocvec(&report("a", "c")).unwrap();
        let frame = |length: u32, bytes: &[u8]| [&length.to_be_bytes(), bytes].concat();
        let length = u32::try_from(good.len()).unwrap();
        let table = [
            (frame(length, &good), true),
            (vec![], false),
            (vec![0, 0], false),
            (frame(length, &good[1..]), false),
            (frame(length - 1, &good), false),
            (frame(length + 1, &[&good[..], b"x"].concat()), false),
            (frame(0, b""), false),
            (frame(16 * 1024 + 1, &[0; 16 * 1024 + 1]), false),
            (frame(u32::MAX, &good), false),
            (frame(3, &[99, 0, 0]), false),
        ];
        for (bytes, right) in table {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&bytes).unwrap();
            drop(theirs);
            assert_eq!(receive::<Report>(&ours, soon()).is_ok(), right, "{bytes:.20?}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_deadline() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(30));
        assert_eq!(receive::<Report>(&ours, deadline).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(receive::<Report>(&ours, deadline).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(theirs);
        assert_eq!(send(&ours, &job(b""), soon()).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_program_that_says_nothing_or_is_none() {
        let run = |helper: &str| deliver(Path::new(helper), &job(b"text"), "1");
        let silent = std::fs::canonicalize("/bin/true").unwrap();
        assert!(matches!(run(silent.to_str().unwrap()), Err(Error::NoReport(_))));
        assert!(matches!(run("/no/such/helper"), Err(Error::File(_))));
        assert!(matches!(run("true"), Err(Error::File(_))));
        assert!(matches!(run("/etc/passwd"), Err(Error::File(_))));
    }
}
