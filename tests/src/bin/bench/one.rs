//! A program that logs in once, for the tools that look at programs: valgrind, strace, the kernel.

use crate::attempt::{self, Attempt};
use crate::stacks::Stack;
use std::fs;
use std::path::Path;
use std::process::Command;
use twofa_tests::driver::process;

/// A process group that there is not: asking for it marks the begin and the end in strace's report.
const MARK: libc::id_t = 2_024_024;

fn mark() {
    // SAFETY: getpriority has no preconditions.
    unsafe { libc::getpriority(libc::PRIO_PGRP, MARK) };
}

pub(crate) fn run(what: &str, confdir: &str, service: &str, user: &str, answer: &str, time: &str) {
    let attempt = Attempt { user: user.into(), answer: answer.into(), time: time.parse().expect("a second") };
    mark();
    let sample = attempt::here(confdir.as_bytes(), service.as_bytes(), &attempt);
    mark();
    if what == "report" {
        println!("{} {}", sample.code, process::peak());
    }
}

/// What one login costs, counted by tools in a process of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) code: i32,
    /// In user space, from pam_start to pam_end.
    pub(crate) instructions: u64,
    pub(crate) calls: usize,
    pub(crate) opens: usize,
    pub(crate) fsyncs: usize,
    /// Written to files.
    pub(crate) bytes: u64,
    /// The most memory of the process, KiB.
    pub(crate) peak: u64,
}

/// Counts three logins of the same kind: one for each tool.
pub(crate) fn count(stack: &Stack, folder: &Path, attempts: &[Attempt; 3]) -> Count {
    let program = std::env::current_exe().expect("this program");
    let arguments = |what: &str, attempt: &Attempt| {
        let Attempt { user, answer, time } = attempt.clone();
        [
            what.into(),
            stack.confdir.display().to_string(),
            stack.service.clone(),
            user,
            answer,
            time.to_string(),
        ]
    };
    let report = folder.join("strace.out");
    let output = Command::new("strace")
        .args(["-y", "-s", "0", "-o"])
        .arg(&report)
        .arg(&program)
        .arg("one")
        .args(arguments("quiet", &attempts[0]))
        .output()
        .expect("strace");
    assert!(output.status.success(), "{output:?}");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=measured_login"])
        .arg(&program)
        .arg("one")
        .args(arguments("quiet", &attempts[1]))
        .output()
        .expect("valgrind");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, number)| number.trim().parse());
    let instructions = collected.and_then(Result::ok).unwrap_or_else(|| panic!("callgrind: {text}"));
    let output =
        Command::new(&program).arg("one").args(arguments("report", &attempts[2])).output().expect("itself");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let (code, peak) = text.trim().split_once(' ').unwrap_or_else(|| panic!("no numbers: {text}"));
    let (code, peak) = (code.parse().expect("a code"), peak.parse().expect("KiB"));
    Count { code, instructions, peak, ..calls(&fs::read_to_string(&report).expect("strace's report")) }
}

/// The calls between the two marks.
fn calls(report: &str) -> Count {
    let mark = format!("getpriority(PRIO_PGRP, {MARK})");
    let lines = report.lines().skip_while(|line| !line.contains(&mark)).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.contains(&mark)).collect();
    let named = |names: &[&str]| {
        lines.iter().filter(|line| names.contains(&line.split('(').next().unwrap_or(""))).count()
    };
    // A descriptor of a file is shown as `4</path>`; pipes and sockets have no slash there.
    let to_file = lines.iter().filter(|line| {
        let (name, rest) = line.split_once('(').unwrap_or((line, ""));
        ["write", "pwrite64", "writev", "pwritev"].contains(&name)
            && rest.split_once('<').is_some_and(|(_, path)| path.starts_with('/'))
    });
    let bytes = to_file.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum();
    Count {
        code: 0,
        instructions: 0,
        calls: lines.len(),
        opens: named(&["open", "openat"]),
        fsyncs: named(&["fsync", "fdatasync", "sync_file_range", "syncfs"]),
        bytes,
        peak: 0,
    }
}
