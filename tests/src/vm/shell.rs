//! Root's shell in the guest, on a serial port of its own: what is on the console is only what a user sees there.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The other end of `/usr/local/sbin/test-shell` (see `tests/vm/recipe`).
pub(super) struct Shell {
    line: BufReader<UnixStream>,
}

impl Shell {
    pub(super) fn new(line: UnixStream) -> Self {
        Self { line: BufReader::new(line) }
    }

    /// Waits until it can be used.
    pub(super) fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        while self.read_line(end)?.trim() != "ready" {}
        Ok(())
    }

    /// The exit code and the output of a command.
    pub(super) fn run(&mut self, command: &str, patience: Duration) -> io::Result<(i32, String)> {
        let end = Instant::now() + patience;
        writeln!(self.line.get_mut(), "{}", base64(command.as_bytes()))?;
        let head = self.read_line(end)?;
        let numbers =
            head.trim().split_once(' ').and_then(|(code, length)| Some((code.parse(), length.parse().ok()?)));
        let Some((Ok(code), length)) = numbers else {
            return Err(io::Error::other(format!("root's shell answered {head:?}")));
        };
        let mut output = vec![0; length];
        self.line.read_exact(&mut output)?;
        Ok((code, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Drops what an earlier state of the guest has said.
    pub(super) fn forget(&mut self) {
        let _ = self.line.get_ref().set_nonblocking(true);
        let mut rest = Vec::new();
        let _ = self.line.read_to_end(&mut rest);
        let _ = self.line.get_ref().set_nonblocking(false);
    }

    fn read_line(&mut self, end: Instant) -> io::Result<String> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.line.get_ref().set_read_timeout(Some(left))?;
        let mut line = Vec::new();
        self.line.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(String::from_utf8_lossy(&line).into())
        }
    }
}

/// RFC 4648: a command may have several lines, and the shell reads one.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let number = (0..3).fold(0, |number, at| number << 8 | usize::from(*chunk.get(at).unwrap_or(&0)));
        let digit = |at: usize| ALPHABET[number >> (18 - 6 * at) & 63] as char;
        (0..4).map(move |at| if at <= chunk.len() { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_of_rfc_4648() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
