//! strace before a program: a kill or an error at a chosen system call.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether a call may change what is on the disk, who may use it, or who waits for it.
#[must_use]
pub fn changes_something(call: &str) -> bool {
    const WORDS: [&str; 17] = [
        "write",
        "sync",
        "truncate",
        "fallocate",
        "rename",
        "link",
        "mkdir",
        "rmdir",
        "chmod",
        "chown",
        "open",
        "creat",
        "fcntl",
        "flock",
        "send",
        "utime",
        "mknod",
    ];
    WORDS.iter().any(|word| call.contains(word))
}

/// One system call of a program: its name, and that it is the first, second, … of this name. strace
/// counts each name apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub nth: usize,
}

/// The words to put before a program so that strace writes its calls into `report`.
#[must_use]
pub fn watch(report: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-qq", "-f", "-o"].map(Into::into).into();
    words.push(report.as_os_str().to_owned());
    words
}

/// The same for the calls of the program alone, without those of programs that it starts.
#[must_use]
pub fn watch_one(report: &Path) -> Vec<OsString> {
    alone(watch(report))
}

/// [`kill`] of the program alone: those that it started live on.
#[must_use]
pub fn kill_one(call: &Call) -> Vec<OsString> {
    alone(kill(call))
}

fn alone(words: Vec<OsString>) -> Vec<OsString> {
    words.into_iter().filter(|word| word != "-f").collect()
}

/// The calls in such a report, in their order.
#[must_use]
pub fn calls(report: &Path) -> Vec<Call> {
    calls_since(report, "")
}

/// Those from the first on that has this word in it: a path, say.
#[must_use]
pub fn calls_since(report: &Path, word: &str) -> Vec<Call> {
    let text = fs::read_to_string(report).expect("strace's report (package strace)");
    let first = text.lines().position(|line| line.contains(word)).expect("a call with this word");
    let calls = text.lines().enumerate().filter_map(|(number, line)| {
        // With -f, a process number comes first.
        let name = line.split_once('(')?.0.rsplit(' ').next()?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some((number, name))
    });
    let mut seen = BTreeMap::<&str, usize>::new();
    let counted = calls.map(|(number, name)| {
        let nth = seen.entry(name).or_default();
        *nth += 1;
        (number, Call { name: name.to_owned(), nth: *nth })
    });
    counted.filter(|(number, _)| *number >= first).map(|(_, call)| call).collect()
}

/// The words to put before a program that is killed when it makes this call, before the kernel does it.
#[must_use]
pub fn kill(call: &Call) -> Vec<OsString> {
    inject(&call.name, &format!("signal=KILL:when={}", call.nth), Path::new("/dev/null"), &[])
}

/// The words to put before a program at whose call this error comes back. Only calls that concern one of
/// the files count.
#[must_use]
pub fn fail(call: &Call, error: &str, files: &[PathBuf], report: &Path) -> Vec<OsString> {
    inject(&call.name, &format!("error={error}:when={}", call.nth), report, files)
}

fn inject(name: &str, what: &str, report: &Path, files: &[PathBuf]) -> Vec<OsString> {
    let mut words = watch(report);
    for option in [format!("trace={name}"), format!("inject={name}:{what}")] {
        words.extend(["-e".into(), option.into()]);
    }
    for file in files {
        words.extend(["-P".into(), file.as_os_str().to_owned()]);
    }
    words
}

/// Whether an error came back, as strace reports it.
#[must_use]
pub fn injected(report: &Path) -> bool {
    let text = fs::read_to_string(report).expect("strace's report (package strace)");
    text.contains("(INJECTED)")
}

/// The program, or the tool with the program as its last argument.
#[must_use]
pub fn command(tool: &[OsString], program: &Path) -> Command {
    let Some((first, rest)) = tool.split_first() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}
