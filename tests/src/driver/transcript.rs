//! What the driver saw.

use super::line;
use std::collections::BTreeMap;
use std::fmt;

/// The events of one run, in order: a word and a value.
#[derive(Clone, Default)]
pub struct Transcript {
    pub events: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.events.iter().map(|(word, value)| format!("{word} {}", line::escape(value)));
        f.debug_list().entries(lines).finish()
    }
}

impl Transcript {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { events: line::parse(text) }
    }

    /// The values of all events with this word, as text.
    #[must_use]
    pub fn all(&self, word: &str) -> Vec<String> {
        let values = self.events.iter().filter(|(of, _)| of == word);
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The results of a call, each time it was called.
    #[must_use]
    pub fn codes(&self, call: &str) -> Vec<i32> {
        let number = |text: &String| text.parse().expect("a result is a number");
        self.all(call).iter().map(number).collect()
    }

    /// The result of a call that was made once.
    #[must_use]
    pub fn code(&self, call: &str) -> i32 {
        match self.codes(call)[..] {
            [code] => code,
            ref codes => panic!("{call} gave {codes:?} in {self:?}"),
        }
    }

    #[must_use]
    pub fn prompts(&self) -> Vec<String> {
        self.all("prompt")
    }

    /// Everything that was said and asks for no answer.
    #[must_use]
    pub fn texts(&self) -> String {
        [self.all("info"), self.all("error")].concat().join("\n")
    }

    /// A number that was reported once under this word.
    #[must_use]
    pub fn number(&self, word: &str) -> i64 {
        let text = self.all(word);
        let last = text.last().unwrap_or_else(|| panic!("no {word} in {self:?}"));
        last.parse().unwrap_or_else(|_| panic!("{word} is {last}"))
    }

    /// How often each result came out of a race or a loop.
    #[must_use]
    pub fn histogram(&self) -> BTreeMap<i32, usize> {
        let mut histogram = BTreeMap::new();
        for child in self.children() {
            *histogram.entry(child.code).or_default() += 1;
        }
        for tally in self.all("tally") {
            let (code, count) = tally.split_once(' ').expect("a result and a count");
            histogram.insert(code.parse().expect("a result"), count.parse().expect("a count"));
        }
        histogram
    }

    /// What each process of a race reported.
    #[must_use]
    pub fn children(&self) -> Vec<Child> {
        self.all("child").iter().map(|text| Child::parse(text)).collect()
    }
}

/// One process of a race.
#[derive(Clone, Debug)]
pub struct Child {
    pub round: usize,
    pub code: i32,
    /// From pam_start (or from the release at the prompt) to the verdict.
    pub microseconds: u64,
    pub text: String,
}

impl Child {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().expect("round, code, microseconds, text");
        Self {
            round: next().parse().expect("a round"),
            code: next().parse().expect("a code"),
            microseconds: next().parse().expect("a time"),
            text: next().to_owned(),
        }
    }
}
