//! What happened, for those who look into it later: files of lines beside the store, each line chained to the one before
//! by a MAC under the host's key, so that a line that is changed, taken out or put in is found.
//!
//! ```text
//! audit/2026-11.jsonl    {"n":17,"time":"2026-11-21T22:04:05Z","event":"accepted",...,"mac":"<32 hex digits>"}
//! audit/head             n, mac and month of the newest line, the newest month that was old enough to go, and a MAC
//! ```
//!
//! A line is one write in append mode, and nothing is synchronised: a power cut may take the last lines, a full disk
//! any line, and neither keeps anybody out. The first line of a file has the MAC and the month of the line before, as
//! `prev` and `after`; so files that are too old can go without breaking the chain, and no other can. Root has the key, and can write what it likes.

use super::seal::Sealer;
use super::{Error, read_key, record};
use crate::config::{Config, Paths};
use crate::log::{Entry, Trail};
use crate::message::rfc3339;
use crate::system;
use crate::trusted::{self, Readers};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HEAD_BYTES: usize = 256;
/// A login does not wait longer for another one's line.
const WAIT: Duration = Duration::from_millis(200);
/// No line of ours is longer; fields are cut by who makes them.
const MAX_LINE: usize = 4096;
/// As much of a file's end as is looked through for lines that their writer died of.
const TAIL: usize = 4 * MAX_LINE;
/// What the first line ever is chained to.
const NO_MAC: &str = "00000000000000000000000000000000";
const NO_MONTH: &str = "0000-00";
const SUFFIX: &str = ".jsonl";

/// Where the events of a host go.
pub struct Audit {
    folder: PathBuf,
    sealer: Sealer,
    /// Days that files are kept.
    keep: u64,
}

/// Where a log's events go under this policy. Nothing is opened before there is one.
pub fn trail(config: &Config) -> Trail {
    let (paths, keep) = (config.store.clone(), config.audit);
    Box::new(move |entry| {
        let appended = Audit::open(&paths, keep).and_then(|audit| audit.append(entry, system::now()));
        appended.map_err(|error| format!("{error}. {}", error.hint()))
    })
}

/// The newest line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    number: u64,
    mac: String,
    month: String,
    /// Of the newest file that went because of its age.
    gone: String,
}

/// What a look at the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub lines: u64,
    /// Each with its file and line.
    pub faults: Vec<String>,
    /// Lines that a full disk or a power cut broke off; nothing is missing for them.
    pub torn: u64,
}

impl Audit {
    /// # Errors
    ///
    /// When the key cannot be read.
    pub fn open(paths: &Paths, keep: u64) -> Result<Self, Error> {
        let folder = paths.database.with_file_name("audit");
        Ok(Self { folder, sealer: read_key(&paths.key)?, keep })
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// When it is not written; then the next one takes its place.
    pub fn append(&self, entry: &Entry, now: u64) -> Result<(), Error> {
        let head = self.folder.join("head");
        let held = self.open_head(&head)?;
        record::wait_for(&held, &head, WAIT)?;
        let last = self.read_head(&held);
        if last.is_none() {
            // Room for it first: on a full disk no line is written that the head does not know of.
            record::refuse_beyond_limit(HEAD_BYTES as u64).map_err(io(&head))?;
            held.write_all_at(&[b' '; HEAD_BYTES], 0).map_err(io(&head))?;
        }
        let month = rfc3339(now).get(..7).unwrap_or("1970-01").to_string();
        // A clock that was set back goes on in the newest file: the chain knows no other order than that of its files.
        let month = last.as_ref().map_or(month.clone(), |last| last.month.clone().max(month));
        let path = self.folder.join(format!("{month}{SUFFIX}"));
        let mut file = open_to_append(&path)?;
        let length = file.metadata().map_err(io(&path))?.len();
        let tail = tail(&file, length);
        let newest = last.as_ref().map(|last| match last.month == month {
            true => self.newest(last.clone(), &month, &tail),
            // Whoever began a month may have died of it too.
            false => self
                .months(&last.month, &month)
                .iter()
                .fold(last.clone(), |newest, path| self.newest(newest, month_of(path), &tail_of(path))),
        });
        let newest =
            newest.as_ref().map(|newest| (newest.number, newest.mac.as_str(), newest.month.as_str()));
        let (number, before, after) = newest.unwrap_or((0, NO_MAC, NO_MONTH));
        let number = number.saturating_add(1);
        // What was broken off before it is no line.
        let is_first = !String::from_utf8_lossy(&tail).lines().any(|line| Line::parse(line).is_some());
        let mut line = text(number, is_first.then_some((before, after)), entry, now);
        let mac = self.mac(before, &line);
        // The line before may have been broken off.
        let begin = if tail.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
        let _ = write!(line, ",\"mac\":\"{mac}\"}}");
        let whole = format!("{begin}{line}\n");
        let end = length.saturating_add(whole.len() as u64);
        record::refuse_beyond_limit(end).map_err(io(&path))?;
        file.write_all(whole.as_bytes()).map_err(io(&path))?;
        let is_new = last.as_ref().is_some_and(|last| last.month != month);
        let old = if is_new { self.old(now) } else { Vec::new() };
        let gone = last.map_or(NO_MONTH.into(), |last| last.gone);
        let gone = old.last().map(|path| month_of(path).to_string()).max(Some(gone)).unwrap_or_default();
        held.write_all_at(&self.encode(&Head { number, mac, month, gone }), 0).map_err(io(&head))?;
        // The head knows of it first. What cannot be removed stays.
        old.iter().for_each(|path| drop(fs::remove_file(path)));
        Ok(())
    }

    /// The lines of all files, oldest first, as they are: `visit` says whether to go on.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read(&self, mut visit: impl FnMut(&str) -> bool) -> Result<(), Error> {
        for path in self.files()? {
            for line in lines(&path)? {
                let line = line.map_err(io(&path))?;
                if !line.is_empty() && !visit(&String::from_utf8_lossy(&line)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether every line is as it was written, and none is missing.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn verify(&self) -> Result<Verified, Error> {
        let mut found = Verified::default();
        let head = trusted::open(&self.folder.join("head"), Readers::Owner, false).ok();
        let head = head.and_then(|file| self.read_head(&file));
        // Number and MAC of the line before.
        let mut last: Option<(u64, String)> = None;
        // Whether the line that the head has was met; what follows it was written since.
        let mut is_met = false;
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().display().to_string();
            for (at, line) in (1u64..).zip(lines(&path)?) {
                let line = line.map_err(io(&path))?;
                let line = String::from_utf8_lossy(&line);
                if line.is_empty() {
                    continue;
                }
                let Some(parsed) = Line::parse(&line) else {
                    found.torn += 1;
                    continue;
                };
                found.lines += 1;
                if let (None, Some(head), Some((_, after))) = (&last, &head, parsed.prev)
                    && after > head.gone.as_str()
                {
                    found.faults.push(format!("{after}{SUFFIX} is missing"));
                }
                let follows = match &last {
                    Some((number, mac)) => self.follows(*number, mac, &parsed),
                    None => parsed.prev.is_some_and(|(prev, _)| self.mac(prev, parsed.text) == parsed.mac),
                };
                let is_head = |head: &Head| head.number == parsed.number && head.mac == parsed.mac;
                is_met = is_met && follows || head.as_ref().is_some_and(is_head);
                if !follows {
                    let expected = last.as_ref().map_or(1, |(number, _)| number.saturating_add(1));
                    found.faults.push(match parsed.number {
                        number if number == expected => format!("{name}:{at}: line {number} was changed"),
                        number if number > expected && last.is_some() => {
                            format!("{name}:{at}: {} missing before it", range(expected, number - 1))
                        }
                        number => format!("{name}:{at}: line {number} does not belong here"),
                    });
                }
                last = Some((parsed.number, parsed.mac.to_string()));
            }
        }
        match (&head, &last) {
            (None, None) => {}
            _ if is_met => {}
            (Some(head), Some((number, _))) if head.number > *number => {
                found.faults.push(format!("{} missing at the end", range(number + 1, head.number)));
            }
            (Some(head), None) => {
                found.faults.push(format!("all lines are missing; the last was line {}", head.number));
            }
            _ => found.faults.push("audit/head does not belong to these files".into()),
        }
        Ok(found)
    }

    /// The newest line, after a look at the end of a month. The head does not know of those whose writer died before it
    /// could say so, or, after a power cut, of more; none is written a second time.
    fn newest(&self, mut newest: Head, month: &str, tail: &[u8]) -> Head {
        for line in String::from_utf8_lossy(tail).lines().filter_map(Line::parse) {
            if self.follows(newest.number, &newest.mac, &line) {
                newest = Head { number: line.number, mac: line.mac.into(), month: month.into(), ..newest };
            }
        }
        newest
    }

    fn follows(&self, number: u64, mac: &str, line: &Line<'_>) -> bool {
        number.checked_add(1) == Some(line.number) && self.mac(mac, line.text) == line.mac
    }

    fn open_head(&self, path: &Path) -> Result<File, Error> {
        match trusted::open(path, Readers::Owner, true) {
            Err(error) if error.is_missing() => {
                // Whoever is first makes it; nothing is known before it.
                let made = DirBuilder::new().mode(0o700).create(&self.folder);
                unless_there(made).map_err(io(&self.folder))?;
                make(path)?;
                Ok(trusted::open(path, Readers::Owner, true)?)
            }
            opened => Ok(opened?),
        }
    }

    fn read_head(&self, file: &File) -> Option<Head> {
        let mut bytes = [0; HEAD_BYTES];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (said, mac) = str::from_utf8(&bytes).ok()?.trim_end().rsplit_once(' ')?;
        if self.mac("head", said) != mac {
            return None;
        }
        let mut words = said.split(' ');
        let number = words.next()?.parse().ok()?;
        let (mac, month) = (words.next()?.into(), words.next()?.into());
        Some(Head { number, mac, month, gone: words.next()?.into() })
    }

    fn encode(&self, head: &Head) -> Vec<u8> {
        let said = format!("{} {} {} {}", head.number, head.mac, head.month, head.gone);
        let mut bytes = format!("{said} {}", self.mac("head", &said)).into_bytes();
        bytes.resize(HEAD_BYTES - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    fn mac(&self, before: &str, text: &str) -> String {
        let tag = self.sealer.tag("audit", &format!("{before}\n{text}"));
        tag.iter().take(NO_MAC.len() / 2).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The files, oldest first.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(&self.folder)(error)),
        };
        let is_ours = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_month);
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_ours).collect();
        files.sort();
        Ok(files)
    }

    /// Those from one month to another.
    fn months(&self, first: &str, last: &str) -> Vec<PathBuf> {
        let mut files = self.files().unwrap_or_default();
        files.retain(|path| (first..=last).contains(&month_of(path)));
        files
    }

    /// The files whose last line is too old.
    fn old(&self, now: u64) -> Vec<PathBuf> {
        let oldest = rfc3339(now.saturating_sub(self.keep.saturating_mul(86_400)));
        let oldest = oldest.get(..7).unwrap_or_default();
        let mut files = self.files().unwrap_or_default();
        files.retain(|path| month_of(path) < oldest);
        files
    }
}

fn month_of(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// `2026-11.jsonl`. An administrator may have put other files there, which are none of the trail.
fn is_month(name: &str) -> bool {
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape.strip_suffix(SUFFIX) == Some("9999-99")
}

/// A line, divided.
struct Line<'a> {
    number: u64,
    /// MAC and month of the line before, in the first line of a file.
    prev: Option<(&'a str, &'a str)>,
    /// All but the MAC.
    text: &'a str,
    mac: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (text, mac) = line.rsplit_once(",\"mac\":\"")?;
        let mac = mac.strip_suffix("\"}").filter(|mac| mac.len() == NO_MAC.len())?;
        let rest = text.strip_prefix("{\"n\":")?;
        let (number, rest) = rest.split_once(',')?;
        let prev = || {
            let (prev, rest) = rest.strip_prefix("\"prev\":\"")?.split_once("\",\"after\":\"")?;
            Some((prev, rest.split_once('"')?.0))
        };
        Some(Self { number: number.parse().ok()?, prev: prev(), text, mac })
    }
}

/// The line without its MAC and end.
fn text(number: u64, prev: Option<(&str, &str)>, entry: &Entry, now: u64) -> String {
    let mut line = format!("{{\"n\":{number}");
    if let Some((prev, after)) = prev {
        let _ = write!(line, ",\"prev\":\"{prev}\",\"after\":\"{after}\"");
    }
    let _ = write!(line, ",\"time\":\"{}\",\"event\":\"{}\"", rfc3339(now), entry.event);
    for (name, value) in &entry.fields {
        let field = format!(",\"{name}\":{}", json(value));
        if line.len() + field.len() + NO_MAC.len() + 16 < MAX_LINE {
            line.push_str(&field);
        }
    }
    line
}

/// A string as JSON has it (RFC 8259, section 7), in ASCII: nothing in it moves a terminal or ends a line.
fn json(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'"') => quoted.push_str("\\\""),
            Ok(b'\\') => quoted.push_str("\\\\"),
            Ok(byte @ b' '..=b'~') => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\u{unit:04x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

fn open_to_append(path: &Path) -> Result<File, Error> {
    match trusted::open(path, Readers::Owner, true) {
        Ok(_) => {}
        Err(error) if error.is_missing() => make(path)?,
        Err(error) => return Err(error.into()),
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path);
    file.and_then(trusted::above_stdio).map(File::from).map_err(io(path))
}

/// Lines by their numbers, in words that go on with `missing`.
fn range(first: u64, last: u64) -> String {
    if first == last { format!("line {first} is") } else { format!("lines {first} to {last} are") }
}

/// Makes an empty file, unless there is one. A login waits for no disk because of it.
fn make(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    unless_there(made.map(drop)).map_err(io(path))
}

/// Somebody else was faster.
fn unless_there(made: io::Result<()>) -> io::Result<()> {
    made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// The end of a file that this line does not go to.
fn tail_of(path: &Path) -> Vec<u8> {
    let file = trusted::open(path, Readers::Owner, false).ok();
    let length = file.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.len());
    file.zip(length).map_or_else(Vec::new, |(file, length)| tail(&file, length))
}

/// The end of a file; one that cannot be read counts as the middle of a line.
fn tail(file: &File, length: u64) -> Vec<u8> {
    let begin = length.saturating_sub(TAIL as u64);
    let mut tail = vec![0; usize::try_from(length - begin).unwrap_or(0)];
    match file.read_exact_at(&mut tail, begin) {
        Ok(()) => tail,
        Err(_) => vec![0],
    }
}

/// As many as there are by now: somebody may be about to write another one.
fn lines(path: &Path) -> Result<impl Iterator<Item = io::Result<Vec<u8>>>, Error> {
    let file = trusted::open(path, Readers::Owner, false)?;
    let length = file.metadata().map_err(io(path))?.len();
    Ok(BufReader::new(file.take(length)).split(b'\n'))
}

fn io(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |error| Error::File(trusted::Error::Io(path.into(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    const NOW: u64 = 1_795_298_625; // 2026-11-21
    const DAY: u64 = 86_400;

    /// A folder of its own, with a key.
    struct Site(PathBuf);

    impl Site {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("twofa-audit-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
            trusted::create(&folder.join("store.key"), &[7; 32], 0o400).unwrap();
            Self(folder)
        }

        fn audit(&self) -> Audit {
            let paths = Paths { database: self.0.join("twofa.db"), key: self.0.join("store.key") };
            Audit::open(&paths, 60).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.0.join("audit/2026-11.jsonl")
        }

        fn lines(&self) -> Vec<String> {
            fs::read_to_string(self.file()).unwrap().lines().map(Into::into).collect()
        }

        fn replace(&self, lines: &[String]) {
            fs::write(self.file(), lines.join("\n") + "\n").unwrap();
        }

        fn faults(&self) -> Vec<String> {
            self.audit().verify().unwrap().faults
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entry(user: &str) -> Entry {
        Entry { event: "accepted", fields: vec![("user", user.into()), ("method", "app".into())] }
    }

    fn five(name: &str) -> Site {
        let site = Site::new(name);
        for user in ["alice", "bob", "carol", "dave", "eve"] {
            site.audit().append(&entry(user), NOW).unwrap();
        }
        site
    }

    #[test]
    fn what_was_written_is_read_and_whole() {
        let site = five("whole");
        let lines = site.lines();
        let no_mac = "0".repeat(32);
        let begin = format!(
            "{{\"n\":1,\"prev\":\"{no_mac}\",\"after\":\"0000-00\",\"time\":\"2026-11-21T22:03:45Z\",\"event\":\"accepted\",\
             \"user\":\"alice\",\"method\":\"app\",\"mac\":\""
        );
        assert!(lines[0].starts_with(&begin), "{}", lines[0]);
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 5, faults: vec![], torn: 0 });
        let mut read = vec![];
        let mut keep = |line: &str| {
            read.push(line.to_string());
            true
        };
        site.audit().read(&mut keep).unwrap();
        assert_eq!(read, lines);
    }

    #[test]
    fn what_is_changed_taken_out_or_put_in_is_found() {
        type Tamper = fn(&mut Vec<String>);
        let table: [(&str, Tamper, &[&str]); 11] = [
            (
                "changed",
                |lines| lines[2] = lines[2].replace("carol", "carla"),
                &["2026-11.jsonl:3: line 3 was changed"],
            ),
            (
                "first changed",
                |lines| lines[0] = lines[0].replace("alice", "alina"),
                &["2026-11.jsonl:1: line 1 was changed"],
            ),
            ("taken out", |lines| drop(lines.remove(2)), &["2026-11.jsonl:3: line 3 is missing before it"]),
            (
                "two taken out",
                |lines| drop(lines.drain(1..3)),
                &["2026-11.jsonl:2: lines 2 to 3 are missing before it"],
            ),
            (
                "first taken out",
                |lines| drop(lines.remove(0)),
                &["2026-11.jsonl:1: line 2 does not belong here"],
            ),
            ("last taken out", |lines| drop(lines.pop()), &["line 5 is missing at the end"]),
            ("all taken out", Vec::clear, &["all lines are missing; the last was line 5"]),
            (
                "twice",
                |lines| lines.insert(2, lines[0].clone()),
                &[
                    "2026-11.jsonl:3: line 1 does not belong here",
                    "2026-11.jsonl:4: line 2 is missing before it",
                ],
            ),
            (
                "twice in a row",
                |lines| lines.insert(2, lines[1].clone()),
                &["2026-11.jsonl:3: line 2 does not belong here"],
            ),
            (
                "last twice",
                |lines| lines.push(lines[4].clone()),
                &["2026-11.jsonl:6: line 5 does not belong here"],
            ),
            (
                "swapped",
                |lines| lines.swap(1, 2),
                &[
                    "2026-11.jsonl:2: line 2 is missing before it",
                    "2026-11.jsonl:3: line 2 does not belong here",
                ],
            ),
        ];
        for (name, tamper, expected) in table {
            let site = five(&name.replace(' ', "-"));
            let mut lines = site.lines();
            tamper(&mut lines);
            site.replace(&lines);
            let faults = site.faults();
            assert_eq!(
                faults.get(..expected.len()),
                Some(expected.map_to_strings().as_slice()),
                "{name}: {faults:?}"
            );
        }
    }

    trait Strings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl Strings for &[&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(ToString::to_string).collect()
        }
    }

    /// Whoever has no key cannot make a line, nor a head.
    #[test]
    fn without_the_key_nothing_can_be_made_up() {
        let site = five("made-up");
        let mut lines = site.lines();
        let other = Audit { folder: site.0.join("audit"), sealer: Sealer::new(&[8; 32]).unwrap(), keep: 60 };
        let last = Line::parse(&lines[4]).unwrap().mac.to_string();
        let made = text(6, None, &entry("mallory"), NOW);
        let mac = other.mac(&last, &made);
        lines.push(format!("{made},\"mac\":\"{mac}\"}}"));
        site.replace(&lines);
        assert_eq!(
            site.faults(),
            ["2026-11.jsonl:6: line 6 was changed", "audit/head does not belong to these files"]
        );
        // Nor does the chain go on from it.
        site.audit().append(&entry("frank"), NOW).unwrap();
        assert!(site.lines()[6].starts_with("{\"n\":6,"), "{}", site.lines()[6]);
        lines.truncate(3);
        site.replace(&lines);
        let mac = Line::parse(&lines[2]).unwrap().mac.to_string();
        fs::write(
            site.0.join("audit/head"),
            other.encode(&Head { number: 3, mac, month: "2026-11".into(), gone: NO_MONTH.into() }),
        )
        .unwrap();
        assert_eq!(site.faults(), ["audit/head does not belong to these files"]);
    }

    /// A full disk, or a power cut, in the middle of a line.
    #[test]
    fn a_line_that_was_broken_off_hides_no_other() {
        let site = five("torn");
        let whole = fs::read(site.file()).unwrap();
        let torn = [&whole[..], b"{\"n\":6,\"time\":\"2026-"].concat();
        fs::write(site.file(), torn).unwrap();
        site.audit().append(&entry("frank"), NOW).unwrap();
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 6, faults: vec![], torn: 1 });
        assert!(site.lines()[6].starts_with("{\"n\":6,"));
    }

    /// Killed between the line and the head: the line stays, and the next one follows it.
    #[test]
    fn a_writer_that_died_leaves_no_fault() {
        let site = five("died");
        let head = fs::read(site.0.join("audit/head")).unwrap();
        site.audit().append(&entry("frank"), NOW).unwrap();
        fs::write(site.0.join("audit/head"), head).unwrap();
        site.audit().append(&entry("grace"), NOW).unwrap();
        site.audit().append(&entry("heidi"), NOW).unwrap();
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 8, faults: vec![], torn: 0 });
    }

    /// So it is at the turn of a month.
    #[test]
    fn a_writer_that_died_at_the_end_of_a_month_leaves_no_fault() {
        let site = five("turn");
        let head = fs::read(site.0.join("audit/head")).unwrap();
        site.audit().append(&entry("frank"), NOW).unwrap();
        fs::write(site.0.join("audit/head"), head).unwrap();
        site.audit().append(&entry("grace"), NOW + 31 * 86_400).unwrap();
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 7, faults: vec![], torn: 0 });
    }

    /// Or at its beginning, and perhaps nobody came for a month.
    #[test]
    fn a_writer_that_died_at_the_beginning_of_a_month_leaves_no_fault() {
        for (name, days) in [("begin", 31), ("begin-later", 62)] {
            let site = five(name);
            let head = fs::read(site.0.join("audit/head")).unwrap();
            site.audit().append(&entry("frank"), NOW + 31 * DAY).unwrap();
            fs::write(site.0.join("audit/head"), head).unwrap();
            site.audit().append(&entry("grace"), NOW + days * DAY).unwrap();
            assert_eq!(site.audit().verify().unwrap(), Verified { lines: 7, faults: vec![], torn: 0 });
            // What follows it says so.
            if days == 62 {
                let december = site.0.join("audit/2026-12.jsonl");
                [site.file(), december].iter().for_each(|path| fs::remove_file(path).unwrap());
                assert_eq!(site.faults(), ["2026-12.jsonl is missing"]);
            }
        }
    }

    /// The line that is its first one then says what it follows, for when the months before have gone.
    #[test]
    fn a_month_may_begin_with_a_line_that_was_broken_off() {
        let site = five("torn-first");
        let december = site.0.join("audit/2026-12.jsonl");
        make(&december).unwrap();
        fs::write(&december, [0; 200]).unwrap();
        site.audit().append(&entry("frank"), NOW + 31 * DAY).unwrap();
        site.audit().append(&entry("grace"), NOW + 75 * DAY).unwrap();
        assert!(!site.file().exists());
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 2, faults: vec![], torn: 1 });
    }

    /// So is a line that no head knows of yet, or not any more: killed a moment ago, or a power cut that left an older head.
    #[test]
    fn what_is_newer_than_the_head_belongs_to_the_chain() {
        let site = five("newer");
        let head = fs::read(site.0.join("audit/head")).unwrap();
        for user in ["frank", "grace", "heidi"] {
            site.audit().append(&entry(user), NOW).unwrap();
            fs::write(site.0.join("audit/head"), &head).unwrap();
        }
        let whole = |lines| Verified { lines, faults: vec![], torn: 0 };
        assert_eq!(site.audit().verify().unwrap(), whole(8));
        site.audit().append(&entry("ivan"), NOW).unwrap();
        assert_eq!(site.audit().verify().unwrap(), whole(9));
        // Each is missed.
        let lines = site.lines();
        for place in 5..9 {
            let mut lines = lines.clone();
            lines.remove(place);
            site.replace(&lines);
            assert_eq!(site.faults().len(), 1, "line {}", place + 1);
        }
    }

    /// Whoever writes while somebody looks is no fault.
    #[test]
    fn a_trail_that_grows_is_whole_at_any_time() {
        let site = five("grows");
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..300).for_each(|_| drop(site.audit().append(&entry("alice"), NOW))));
            while !writer.is_finished() {
                assert_eq!(site.faults(), [""; 0]);
            }
        });
        // Nor is half of a line that is just being written.
        let path = site.file();
        let seen = lines(&path).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"n\":306,\"time").unwrap();
        assert!(seen.map(Result::unwrap).all(|line| line.ends_with(b"\"}")));
    }

    #[test]
    fn a_number_that_no_line_can_have_is_a_fault_and_no_panic() {
        let site = five("number");
        let mut lines = site.lines();
        let mac = "0".repeat(32);
        lines.insert(2, format!("{{\"n\":{},\"time\":\"\",\"mac\":\"{mac}\"}}", u64::MAX));
        site.replace(&lines);
        assert_eq!(
            site.faults()[0],
            format!("2026-11.jsonl:3: lines 3 to {} are missing before it", u64::MAX - 1)
        );
    }

    /// What an administrator puts there: copies to look at, and a month from a backup.
    #[test]
    fn a_file_of_another_name_is_none_of_the_trail() {
        let site = five("others");
        let put = |name: &str| fs::write(site.0.join("audit").join(name), "old\n").unwrap();
        let long = format!("{}.jsonl", "0".repeat(200));
        for name in ["0 x.jsonl", "1.jsonl", "2026-11 copy.jsonl", "x.jsonl", &long] {
            put(name);
        }
        fs::create_dir(site.0.join("audit/y.jsonl")).unwrap();
        // The second one is rid of all before it, the third of what was put there.
        for days in [20, 160, 180] {
            site.audit().append(&entry("alice"), NOW + days * DAY).unwrap();
            put("2025-01.jsonl");
        }
        site.audit().append(&entry("alice"), NOW + 210 * DAY).unwrap();
        assert!(!site.0.join("audit/2025-01.jsonl").exists() && site.0.join("audit/1.jsonl").exists());
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 3, faults: vec![], torn: 0 });
        let mut read = 0;
        site.audit()
            .read(|_| {
                read += 1;
                true
            })
            .unwrap();
        assert_eq!(read, 3);
    }

    #[test]
    fn months_are_chained_and_old_ones_go() {
        let site = five("months");
        for days in [20, 50, 120] {
            site.audit().append(&entry("alice"), NOW + days * DAY).unwrap();
        }
        let mut files: Vec<_> =
            fs::read_dir(site.0.join("audit")).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        // Sixty days before the last one is January.
        assert_eq!(files, ["2027-01.jsonl", "2027-03.jsonl", "head"]);
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 2, faults: vec![], torn: 0 });
        // A month in the middle is missed.
        site.audit().append(&entry("alice"), NOW + 150 * DAY).unwrap();
        fs::remove_file(site.0.join("audit/2027-03.jsonl")).unwrap();
        assert_eq!(site.faults(), ["2027-03.jsonl is missing"]);
    }

    /// Whoever dies in between leaves no gap that the head cannot explain.
    #[test]
    fn the_head_knows_of_months_before_they_go() {
        let site = five("order");
        // So many that the clock of the file system goes on before the last one is removed.
        let old = |year: usize| site.0.join(format!("audit/{year:04}-01.jsonl"));
        (0..2_000).for_each(|year| fs::write(old(year), "").unwrap());
        let kept = site.0.join("kept");
        fs::hard_link(old(0), &kept).unwrap();
        site.audit().append(&entry("frank"), NOW + 31 * DAY).unwrap();
        assert!(!old(0).exists() && !old(1_999).exists());
        let (head, kept) = (fs::metadata(site.0.join("audit/head")).unwrap(), fs::metadata(kept).unwrap());
        assert!((head.mtime(), head.mtime_nsec()) <= (kept.ctime(), kept.ctime_nsec()));
    }

    /// A host without a clock of its own begins in 1970.
    #[test]
    fn a_clock_that_is_set_back_breaks_no_chain() {
        let site = five("back");
        for now in [NOW + 30 * DAY, 0, NOW, NOW + 60 * DAY] {
            site.audit().append(&entry("alice"), now).unwrap();
        }
        assert_eq!(site.audit().verify().unwrap(), Verified { lines: 9, faults: vec![], torn: 0 });
    }

    #[test]
    fn many_at_once_make_one_chain() {
        let site = Site::new("many");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| drop(site.audit().append(&entry("alice"), NOW))));
            }
        });
        let found = site.audit().verify().unwrap();
        assert_eq!((found.faults, found.torn), (vec![], 0));
        // Whoever waited too long lost a line; most did not.
        assert!(found.lines > 100, "{}", found.lines);
    }

    /// What a terminal would obey, and what would end a line, is escaped; each line is JSON.
    #[test]
    fn foreign_text_stays_in_its_line() {
        let site = Site::new("foreign");
        let odd = "a\"b\\c\nd\u{1b}[2J\u{202e}é\u{1f600}\0";
        site.audit().append(&entry(odd), NOW).unwrap();
        let [line] = <[String; 1]>::try_from(site.lines()).unwrap();
        assert!(line.is_ascii() && !line.chars().any(char::is_control), "{line}");
        assert!(line.contains(r#""user":"a\"b\\c\u000ad\u001b[2J\u202e\u00e9\ud83d\ude00\u0000""#), "{line}");
        let long = entry(&"x".repeat(100_000));
        site.audit().append(&long, NOW).unwrap();
        assert!(site.lines().iter().all(|line| line.len() < MAX_LINE));
        assert_eq!(site.faults(), [""; 0]);
    }
}
