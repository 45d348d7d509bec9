//! A person at a terminal: a program on a pty, what it shows and what is typed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{mem, str, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;
use crate::namespace::Namespace;

/// Wide and high enough for the QR code of a long address.
const SIZE: Winsize = Winsize { ws_row: 60, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
/// What every terminal has.
const SMALL: Winsize = Winsize { ws_row: 24, ws_col: 80, ..SIZE };

/// A program that runs on its own terminal inside a world, or a line to a terminal that something else runs on.
pub struct Terminal {
    name: String,
    /// What runs the program (`nsenter` or `setsid`); none at the end of a line.
    runner: Option<Child>,
    pty: File,
    patience: Duration,
    /// All that was shown, without carriage returns.
    screen: String,
    /// The first bytes of a character whose rest was not read yet.
    partial: Vec<u8>,
    /// How much of the screen earlier expectations consumed.
    read: usize,
    ended: bool,
}

impl Terminal {
    /// Starts `command` (program and arguments) as root on a new terminal inside.
    pub fn start(world: &Namespace, command: &[&str]) -> Self {
        Self::start_in(world, SIZE, command)
    }

    /// The same on a terminal of 24 lines with 80 columns.
    pub fn start_small(world: &Namespace, command: &[&str]) -> Self {
        Self::start_in(world, SMALL, command)
    }

    fn start_in(world: &Namespace, size: Winsize, command: &[&str]) -> Self {
        // From the devpts inside: login looks for the name of its terminal there.
        Self::run(&mut world.command("setsid"), &world.path("/dev/pts/ptmx"), size, command)
    }

    /// Starts `command` on a new terminal of the machine itself.
    pub fn outside(command: &[&str]) -> Self {
        Self::run(&mut Command::new("setsid"), Path::new("/dev/ptmx"), SIZE, command)
    }

    /// At the other end of this line there is a terminal already.
    pub fn attached(name: &str, line: OwnedFd) -> Self {
        Self::new(name.to_owned(), None, line.into())
    }

    fn run(setsid: &mut Command, ptmx: &Path, size: Winsize, command: &[&str]) -> Self {
        let pty = File::options().read(true).write(true).open(ptmx).expect("a pty");
        unlockpt(&pty).expect("a pty");
        let side = ioctl_tiocgptpeer(&pty, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pty");
        tcsetwinsize(&side, size).expect("the size of the terminal");
        // setsid makes it the controlling terminal: ssh, login and su insist on that.
        let runner = on_all_streams(setsid.args(["--ctty", "--wait"]).args(command), &side).spawn();
        Self::new(command.join(" "), Some(runner.expect("setsid or nsenter (package util-linux)")), pty)
    }

    fn new(name: String, runner: Option<Child>, pty: File) -> Self {
        Self {
            name,
            runner,
            pty,
            patience: PATIENCE,
            screen: String::new(),
            partial: Vec::new(),
            read: 0,
            ended: false,
        }
    }

    /// Waits so long for what is expected, instead of [`PATIENCE`].
    pub fn wait_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Waits until `text` is shown after what was expected before. Returns what came in front of it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let (_, before) = self.expect_any(&[text]);
        before
    }

    /// Waits for the first of several texts; returns which one it was and what came in front of it.
    #[track_caller]
    pub fn expect_any(&mut self, texts: &[&str]) -> (usize, String) {
        let end = Instant::now() + self.patience;
        loop {
            let unread = &self.screen[self.read..];
            let found =
                texts.iter().enumerate().filter_map(|(index, text)| Some((unread.find(text)?, index))).min();
            if let Some((at, index)) = found {
                let before = unread[..at].to_owned();
                self.read += at + texts[index].len();
                return (index, before);
            }
            assert!(!self.ended, "`{}` ended without showing {texts:?}. {}", self.name, self.shown());
            assert!(
                self.fill(end),
                "`{}` did not show {texts:?} within {:?}. {}",
                self.name,
                self.patience,
                self.shown()
            );
        }
    }

    /// Waits for `prompt`, types `line` and presses Enter. Returns what was shown before the prompt.
    #[track_caller]
    pub fn answer(&mut self, prompt: &str, line: &str) -> String {
        let before = self.expect(prompt);
        self.send_line(line);
        before
    }

    /// Types `line` and presses Enter.
    pub fn send_line(&mut self, line: &str) {
        self.send(&format!("{line}\r"));
    }

    /// Types `text` as it is.
    pub fn send(&mut self, text: &str) {
        // A program that has ended takes no input; the next expectation says so with the screen.
        let _ = self.pty.write_all(text.as_bytes());
    }

    /// Waits until the program has ended. Returns its exit code; 128 + number after a signal.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let end = Instant::now() + self.patience;
        while !self.ended {
            let patience = self.patience;
            assert!(self.fill(end), "`{}` did not end within {patience:?}. {}", self.name, self.shown());
        }
        let runner = self.runner.as_mut().expect("a program, and not a line to a terminal");
        let status = runner.wait().expect("the end of the program");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Waits until the program has ended with this exit code.
    #[track_caller]
    pub fn expect_end(&mut self, code: i32) {
        let got = self.end();
        assert_eq!(got, code, "`{}` ended with {got}, not {code}. {}", self.name, self.shown());
    }

    /// All that was shown so far.
    pub fn screen(&self) -> &str {
        &self.screen
    }

    /// What was shown after the last expectation.
    pub fn unread(&self) -> &str {
        &self.screen[self.read..]
    }

    /// Reads what was shown up to now.
    pub fn catch_up(&mut self) {
        while !self.ended && self.fill(Instant::now()) {}
    }

    /// Forgets all that was shown up to now.
    pub fn clear(&mut self) {
        self.catch_up();
        self.screen.clear();
        self.read = 0;
    }

    /// Presses Ctrl-C until the program has ended: ssh misses one between its prompt and its first read. Returns its exit
    /// code.
    #[track_caller]
    pub fn interrupt(&mut self) -> i32 {
        let end = Instant::now() + self.patience;
        while !self.ended && Instant::now() < end {
            self.send("\x03");
            thread::sleep(Duration::from_millis(50));
            self.catch_up();
        }
        self.end()
    }

    /// Kills the program at once, as a closed laptop would.
    pub fn kill(&mut self) {
        let Some(runner) = &mut self.runner else { return };
        // It waits outside; the program is its only child.
        let id = runner.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        // setsid has become the program itself, unless it had to fork.
        if children.is_empty() {
            let _ = runner.kill();
        }
        let _ = runner.wait();
    }

    /// Closes the terminal, as an unplugged console or a closed window does: the program gets SIGHUP.
    #[track_caller]
    pub fn hang_up(mut self) {
        self.pty = File::open("/dev/null").expect("/dev/null");
        let end = Instant::now() + PATIENCE;
        let runner = self.runner.as_mut().expect("a program, and not a line to a terminal");
        while runner.try_wait().expect("the state of a child").is_none() {
            assert!(Instant::now() < end, "`{}` goes on without its terminal. {}", self.name, self.shown());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads what the program shows next. False when nothing came until `end`.
    fn fill(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if !readable(&self.pty, left) {
            return false;
        }
        let mut buffer = [0; 4096];
        // EIO: nobody has the other side open any more.
        match self.pty.read(&mut buffer) {
            Ok(length @ 1..) => self.show(&buffer[..length]),
            _ => self.ended = true,
        }
        true
    }

    fn show(&mut self, bytes: &[u8]) {
        let mut bytes = [mem::take(&mut self.partial).as_slice(), bytes].concat();
        if let Err(error) = str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.partial = bytes.split_off(error.valid_up_to());
        }
        self.screen.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
    }

    /// The screen, for the message of a failure.
    pub fn shown(&self) -> String {
        format!("The screen:\n{}\n----", self.screen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.kill();
    }
}

fn on_all_streams<'a>(command: &'a mut Command, side: &OwnedFd) -> &'a mut Command {
    let stream = || Stdio::from(side.try_clone().expect("a handle of the terminal"));
    command.stdin(stream()).stdout(stream()).stderr(stream())
}

fn readable(pty: &File, left: Duration) -> bool {
    let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    poll(&mut [PollFd::new(pty, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}
