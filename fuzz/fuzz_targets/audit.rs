//! The audit trail: what accidents leave behind is no fault of it, and who has no key can change no line unseen.
#![no_main]

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;
use std::sync::LazyLock;
use twofa::config::Paths;
use twofa::log::Entry;
use twofa::store::Audit;
use twofa::trusted;

/// 2026-11-21
const BEGIN: u64 = 1_795_298_625;
const DAY: u64 = 86_400;

/// With a key in it. Memory is best: `TMPDIR=/dev/shm`.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("twofa-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    trusted::create(&folder.join("store.key"), &[7; 32], 0o400).unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&keep, mut rest)) = bytes.split_first() else { return };
    let folder = FOLDER.join("audit");
    let _ = fs::remove_dir_all(&folder);
    let paths = Paths { database: FOLDER.join("twofa.db"), key: FOLDER.join("store.key") };
    let keep = if keep & 1 == 0 { 100_000 } else { 60 };
    let audit = Audit::open(&paths, keep).unwrap();
    let mut trail =
        Trail { audit, folder, now: BEGIN, written: vec![], head: 0, before: None, is_tampered: false };
    for _ in 0..24 {
        let Some(([what, value], after)) = rest.split_first_chunk() else { break };
        rest = trail.happen(*what, *value, after);
    }
    trail.check(keep > 60);
});

struct Trail {
    audit: Audit,
    folder: PathBuf,
    now: u64,
    written: Vec<String>,
    /// The newest line that the head knows of, and the head as it was before that.
    head: usize,
    before: Option<(usize, Vec<u8>)>,
    is_tampered: bool,
}

impl Trail {
    fn happen<'a>(&mut self, what: u8, value: u8, rest: &'a [u8]) -> &'a [u8] {
        let head = self.folder.join("head");
        match what % 9 {
            0..=2 => {
                let (text, rest) = rest.split_at(rest.len().min(usize::from(what / 9)));
                self.now += u64::from(value / 4) * DAY;
                self.append(String::from_utf8_lossy(text).into_owned());
                return rest;
            }
            // The writer died before the head knew of its line; of which a power cut leaves what it likes.
            3 | 4 => {
                let Some((number, bytes)) = self.before.take() else { return rest };
                fs::write(&head, bytes).unwrap();
                self.head = number;
                if what % 9 == 4 {
                    self.break_off(value);
                }
            }
            // Somebody without the key was at it.
            5 => {
                let bytes = fs::read(&head).unwrap_or_default();
                if let (Some(place), Some(byte)) = (bytes.len().checked_sub(1), rest.first()) {
                    let place = place.min(value.into());
                    File::options()
                        .write(true)
                        .open(&head)
                        .unwrap()
                        .write_all_at(&[*byte], place as u64)
                        .unwrap();
                    (self.head, self.before, self.is_tampered) = (0, None, true);
                }
            }
            _ => self.tamper(what, value, rest),
        }
        rest
    }

    fn append(&mut self, text: String) {
        let head = fs::read(self.folder.join("head")).ok().filter(|_| self.head > 0);
        let there = self.files();
        let entry = Entry { event: "accepted", fields: vec![("user", text)] };
        self.audit.append(&entry, self.now).unwrap();
        let line = self.lines().pop().unwrap();
        let number = number(&line);
        assert!(line.is_ascii() && line.len() < 4096);
        assert!(self.is_tampered || number == self.written.len() + 1, "{line}");
        // Months go once the head says so.
        let is_rid = there.iter().any(|path| !path.exists());
        self.before = head.filter(|_| !is_rid).map(|bytes| (self.head, bytes));
        self.head = number;
        self.written.push(line);
    }

    /// The end of the last line is lost, or comes back as zeros.
    fn break_off(&mut self, value: u8) {
        let (Some(path), Some(line)) = (self.files().pop(), self.lines().pop()) else { return };
        let mut bytes = fs::read(&path).unwrap();
        let lost = 1 + usize::from(value >> 1) * line.len() / 127;
        let left = bytes.len().saturating_sub(lost);
        let is_short = value & 1 == 0;
        if is_short {
            bytes.truncate(left);
        } else {
            bytes[left..].fill(0);
        }
        fs::write(&path, bytes).unwrap();
        // Without the line feed it still is one.
        if !self.is_tampered && !(is_short && lost == 1) {
            self.written.pop();
        }
    }

    fn tamper(&mut self, what: u8, value: u8, rest: &[u8]) {
        let files = self.files();
        let Some(path) = files.get(usize::from(what / 9) % files.len().max(1)) else { return };
        let bytes = fs::read(path).unwrap();
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let at = |place: u8, count: usize| usize::from(place) % count.max(1);
        let (place, other) =
            (at(value, lines.len()), rest.first().map_or(0, |place| at(*place, lines.len())));
        let changed = match (what % 9, rest) {
            (6, _) if !lines.is_empty() => {
                let line = lines.remove(place);
                if other != place {
                    lines.insert(other.min(lines.len()), line);
                }
                lines.concat()
            }
            (7, _) if !lines.is_empty() => {
                lines.insert(other, lines[place]);
                lines.concat()
            }
            (8, [high, low, byte, ..]) if !bytes.is_empty() => {
                let mut changed = bytes.clone();
                changed[usize::from(u16::from_be_bytes([*high, *low])) % bytes.len()] = *byte;
                changed
            }
            _ => vec![],
        };
        self.is_tampered |= changed != bytes;
        if changed.is_empty() { fs::remove_file(path) } else { fs::write(path, changed) }.unwrap();
    }

    fn check(&self, has_all: bool) {
        let found = self.audit.verify().unwrap();
        if !self.is_tampered {
            assert_eq!(found.faults, [""; 0]);
        }
        if !found.faults.is_empty() {
            return;
        }
        let written: HashSet<&String> = self.written.iter().collect();
        let lines = self.lines();
        let numbers: Vec<usize> =
            lines.iter().filter(|line| written.contains(line)).map(|line| number(line)).collect();
        // All that count are ours, one after the other, up to the last.
        assert_eq!(found.lines, numbers.len() as u64);
        assert!(numbers.is_sorted_by(|one, next| one + 1 == *next));
        assert!(
            numbers.last().is_none_or(|last| *last >= self.head) && (!numbers.is_empty() || self.head == 0)
        );
        assert!(!has_all || numbers.first().is_none_or(|first| *first == 1));
        assert!(self.is_tampered || numbers.last().copied().unwrap_or(0) == self.written.len());
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![];
        let keep = |line: &str| {
            lines.push(line.to_string());
            true
        };
        self.audit.read(keep).unwrap();
        lines
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some()).collect();
        files.sort();
        files
    }
}

fn number(line: &str) -> usize {
    line.strip_prefix("{\"n\":").and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap()
}
