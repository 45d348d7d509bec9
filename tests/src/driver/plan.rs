//! What the driver shall do: who logs in where, what is answered, which functions are called.

use super::clock::{self, Clock};
use super::line;
use super::pam::Answer;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A plan under construction; it is kept as the lines that the driver reads.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    lines: Vec<(String, Vec<u8>)>,
}

impl Plan {
    #[must_use]
    pub fn new(confdir: &Path, service: &str) -> Self {
        Self::default().with("confdir", confdir.as_os_str().as_bytes()).with("service", service)
    }

    #[must_use]
    pub fn with(mut self, word: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.push((word.into(), value.as_ref().to_vec()));
        self
    }

    /// A call of libpam, or something that happens between two calls, see `bin/driver`.
    #[must_use]
    pub fn call(self, what: &str) -> Self {
        self.with("call", what)
    }

    #[must_use]
    pub fn authenticate(self) -> Self {
        self.call("authenticate")
    }

    #[must_use]
    pub fn answer(self, answer: &Answer) -> Self {
        self.with("answer", print_answer(answer))
    }

    #[must_use]
    pub fn say(self, text: impl AsRef<[u8]>) -> Self {
        self.answer(&Answer::Text(text.as_ref().to_vec()))
    }

    /// The answer is the code of the app with this secret, so many steps from the module's present.
    #[must_use]
    pub fn say_code(self, secret: &str, steps: i64) -> Self {
        self.answer(&Answer::Code(secret.into(), steps))
    }

    /// The answer is the code of the last message to this user.
    #[must_use]
    pub fn say_sent(self) -> Self {
        self.answer(&Answer::Sent(0))
    }

    /// What the first factor was shown, as a password.
    #[must_use]
    pub fn password(self, typed: impl AsRef<[u8]>) -> Self {
        self.with("env", [b"TWOFA_TEST_PASSWORD=", typed.as_ref()].concat())
    }

    /// No password was shown.
    #[must_use]
    pub fn no_password(self) -> Self {
        // pam_putenv(3): without `=` the variable is removed.
        self.with("env", "TWOFA_TEST_PASSWORD")
    }

    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        self.with("clock", clock::print(clock))
    }

    /// The module's clock stands at this second.
    #[must_use]
    pub fn at(self, second: i64) -> Self {
        self.clock(Clock::Frozen(second))
    }

    #[must_use]
    pub fn print(&self) -> String {
        let lines = self.lines.iter();
        lines.map(|(word, value)| line::print(word, value)).collect()
    }

    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { lines: line::parse(text) }
    }

    #[must_use]
    pub fn all(&self, word: &str) -> Vec<&[u8]> {
        let lines = self.lines.iter().filter(|(of, _)| of == word);
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    /// The last value of a word: what is said later wins.
    #[must_use]
    pub fn last(&self, word: &str) -> Option<&[u8]> {
        self.all(word).last().copied()
    }

    #[must_use]
    pub fn text(&self, word: &str) -> Option<&str> {
        Some(std::str::from_utf8(self.last(word)?).expect("UTF-8"))
    }

    #[must_use]
    pub fn number(&self, word: &str) -> Option<i64> {
        Some(self.text(word)?.parse().expect("a number"))
    }

    #[must_use]
    pub fn answers(&self, word: &str) -> Vec<Answer> {
        self.all(word).into_iter().map(parse_answer).collect()
    }
}

#[must_use]
pub fn print_answer(answer: &Answer) -> Vec<u8> {
    match answer {
        Answer::Text(text) => [b"text:", text.as_slice()].concat(),
        Answer::Null => b"null".to_vec(),
        Answer::Nothing => b"nothing".to_vec(),
        Answer::Fail(code) => format!("fail:{code}").into(),
        Answer::Code(secret, steps) => format!("code:{secret} {steps}").into(),
        Answer::Sent(back) => format!("sent:{back}").into(),
        Answer::WrongSent => b"wrong-sent".to_vec(),
        Answer::TextOf(path) => [b"text-of:", path.as_os_str().as_bytes()].concat(),
        Answer::Await(path) => [b"await:", path.as_os_str().as_bytes()].concat(),
        Answer::User(name) => [b"user:", name.as_slice()].concat(),
        Answer::Advance(seconds) => format!("advance:{seconds}").into(),
        Answer::Gate => b"gate".to_vec(),
    }
}

fn parse_answer(line: &[u8]) -> Answer {
    let colon = line.iter().position(|&byte| byte == b':');
    let (word, value) = colon.map_or((line, &b""[..]), |at| (&line[..at], &line[at + 1..]));
    let text = || std::str::from_utf8(value).expect("UTF-8");
    match word {
        b"text" => Answer::Text(value.into()),
        b"null" => Answer::Null,
        b"nothing" => Answer::Nothing,
        b"fail" => Answer::Fail(text().parse().expect("a code")),
        b"user" => Answer::User(value.into()),
        b"advance" => Answer::Advance(text().parse().expect("seconds")),
        b"gate" => Answer::Gate,
        b"sent" => Answer::Sent(text().parse().expect("how far back")),
        b"wrong-sent" => Answer::WrongSent,
        b"text-of" => Answer::TextOf(OsStr::from_bytes(value).into()),
        b"await" => Answer::Await(OsStr::from_bytes(value).into()),
        b"code" => {
            let (secret, steps) = text().split_once(' ').expect("a secret and steps");
            Answer::Code(secret.into(), steps.parse().expect("steps"))
        }
        _ => panic!("no answer {}", String::from_utf8_lossy(line)),
    }
}
