//! How far a long command is, on a terminal only.

use std::io::{self, IsTerminal, Write};

/// Nobody waits for what is done sooner.
const WORTH_SHOWING: usize = 500;
const WIDTH: usize = 30;

pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    /// In hundredths; nothing where nobody looks.
    shown: Option<usize>,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let is_seen = total >= WORTH_SHOWING && io::stderr().is_terminal();
        Self { what, total, done: 0, shown: is_seen.then_some(0) }
    }

    /// One more is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        let hundredths = self.done.min(self.total) * 100 / self.total.max(1);
        if self.shown.is_some_and(|shown| shown != hundredths) {
            self.shown = Some(hundredths);
            let _ = write!(io::stderr(), "\r{}", bar(self.what, hundredths));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            // Erases the line (ECMA-48, EL).
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(what: &str, hundredths: usize) -> String {
    let full = hundredths.min(100) * WIDTH / 100;
    format!("{what} [{}{}] {hundredths:3} %", "#".repeat(full), ".".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar("Reading", 0), "Reading [..............................]   0 %");
        assert_eq!(bar("Reading", 50), "Reading [###############...............]  50 %");
        assert_eq!(bar("Reading", 100), "Reading [##############################] 100 %");
    }
}
