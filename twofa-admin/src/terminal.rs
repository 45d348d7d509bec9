//! The terminal, or the pipes that stand for it. Reports and secrets go to stdout, questions to stderr,
//! answers come from stdin: a script answers as a person does, line by line.

use crate::error::Error;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Write};
use zeroize::Zeroizing;

/// No answer is longer; a secret has 205 characters at most.
const MAX_LINE: u64 = 4096;

/// What a terminal has that does not say.
const USUAL_WIDTH: usize = 80;

/// The columns of the screen that reports go to; nothing where they go to a file or a pipe.
pub(crate) fn width() -> Option<usize> {
    let columns = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    io::stdout().is_terminal().then(|| columns().filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH))
}

pub(crate) struct Terminal;

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

impl Terminal {
    /// Whether stdout is a screen that may show colours (no-color.org).
    pub(crate) fn has_colour(&self) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        io::stdout().is_terminal() && !refused
    }

    /// Prints a text and ends its line.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    /// A remark beside the report, which is not part of it.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Asks, and reads a line.
    pub(crate) fn ask(&mut self, question: &str) -> Result<Zeroizing<String>, Error> {
        let mut err = io::stderr();
        let _ = write!(err, "{question}").and_then(|()| err.flush());
        self.line()
    }

    /// Asks for a secret, which a terminal does not show.
    pub(crate) fn ask_secretly(&mut self, question: &str) -> Result<Zeroizing<String>, Error> {
        let hidden = Hidden::new();
        let answer = self.ask(question);
        if hidden.is_some() {
            self.note("");
        }
        answer
    }

    /// Asks a question whose answer is no unless it is yes.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<bool, Error> {
        let answer = self.ask(&format!("{question} [y/N]: "))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Goes on only after a yes.
    pub(crate) fn insist(&mut self, question: &str, yes: bool) -> Result<(), Error> {
        if yes || self.confirm(question)? { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Reads a line; the end of the input stops the command.
    pub(crate) fn line(&mut self) -> Result<Zeroizing<String>, Error> {
        let mut line = Zeroizing::new(String::with_capacity(256));
        let mut input = io::Read::take(io::stdin().lock(), MAX_LINE);
        if input.read_line(&mut line)? == 0 {
            return Err(Error::Stopped);
        }
        Ok(line)
    }
}
