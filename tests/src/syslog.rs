//! The machine's log of one world: the socket /dev/log, read by the test.

use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::PATIENCE;

/// Everything logged so far, in order, as the programs wrote it (`<83>Nov 21 …`).
pub struct Log {
    lines: Arc<Lines>,
    socket: UnixDatagram,
    marker: UnixDatagram,
}

#[derive(Default)]
struct Lines {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    marks: u64,
}

/// What a [`Log`] sends itself: when it arrives, so has all that was logged before.
const MARK: &str = "-- MARK --";

impl Log {
    /// Listens at `path`, which is `/dev/log` inside.
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket at /dev/log");
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("everybody may log");
        let marker = UnixDatagram::unbound().expect("a socket");
        marker.connect(path).expect("the log's own socket");
        let lines = Arc::new(Lines::default());
        let reader = socket.try_clone().expect("a second handle of the log socket");
        let sink = Arc::clone(&lines);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            // Dropping the log shuts the socket down, which reads as an empty message.
            while let Ok(length @ 1..) = reader.recv(&mut buffer) {
                let line =
                    String::from_utf8_lossy(&buffer[..length]).trim_end_matches(['\0', '\n']).to_owned();
                let mut seen = sink.seen.lock().expect("no panic holds it");
                if line == MARK {
                    seen.marks += 1
                } else {
                    seen.lines.push(line)
                }
                sink.more.notify_all();
            }
        });
        Self { lines, socket, marker }
    }

    /// Waits for a line with `text` in it and returns the first one.
    #[track_caller]
    pub fn expect(&self, text: &str) -> String {
        self.expect_times(text, 1)
    }

    /// Waits until `count` lines have `text` in them and returns the last of these.
    #[track_caller]
    pub fn expect_times(&self, text: &str, count: usize) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = self.seen();
        loop {
            if let Some(line) = seen.lines.iter().filter(|line| line.contains(text)).nth(count - 1) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                left > Duration::ZERO,
                "the log does not have {text:?} {count} times:\n{}",
                seen.lines.join("\n")
            );
            (seen, _) = self.lines.more.wait_timeout(seen, left).expect("no panic holds it");
        }
    }

    /// Fails when a line has `text` in it. Ask for this after a line that comes later than the unwanted one would.
    #[track_caller]
    pub fn expect_none(&self, text: &str) {
        let lines = self.lines();
        assert!(!lines.iter().any(|line| line.contains(text)), "the log has {text:?}:\n{}", lines.join("\n"));
    }

    /// All that was logged by now, including what the reader had not got to yet.
    #[track_caller]
    pub fn lines(&self) -> Vec<String> {
        let wanted = self.seen().marks + 1;
        self.marker.send(MARK.as_bytes()).expect("the log is read");
        let late = |seen: &mut Seen| seen.marks < wanted;
        let (seen, wait) =
            self.lines.more.wait_timeout_while(self.seen(), PATIENCE, late).expect("no panic holds it");
        assert!(!wait.timed_out(), "the reader of the log has not got to its mark");
        seen.lines.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.lines.seen.lock().expect("no panic holds it")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
