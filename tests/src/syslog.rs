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
}

#[derive(Default)]
struct Lines {
    seen: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    /// Listens at `path`, which is `/dev/log` inside.
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket at /dev/log");
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("everybody may log");
        let lines = Arc::new(Lines::default());
        let reader = socket.try_clone().expect("a second handle of the log socket");
        let sink = Arc::clone(&lines);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            // Dropping the log shuts the socket down, which reads as an empty message.
            while let Ok(length @ 1..) = reader.recv(&mut buffer) {
                let line =
                    String::from_utf8_lossy(&buffer[..length]).trim_end_matches(['\0', '\n']).to_owned();
                sink.seen.lock().expect("no panic holds it").push(line);
                sink.more.notify_all();
            }
        });
        Self { lines, socket }
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
            if let Some(line) = seen.iter().filter(|line| line.contains(text)).nth(count - 1) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                left > Duration::ZERO,
                "the log does not have {text:?} {count} times:\n{}",
                seen.join("\n")
            );
            (seen, _) = self.lines.more.wait_timeout(seen, left).expect("no panic holds it");
        }
    }

    /// Fails when a line has `text` in it. Ask for this after a line that comes later than the unwanted one would.
    #[track_caller]
    pub fn expect_none(&self, text: &str) {
        let seen = self.seen();
        assert!(!seen.iter().any(|line| line.contains(text)), "the log has {text:?}:\n{}", seen.join("\n"));
    }

    /// All lines by now.
    pub fn lines(&self) -> Vec<String> {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.seen.lock().expect("no panic holds it")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
