//! `bench`: the module beside pam_permit and the two one-time-password modules of Debian, in one run.
//!
//! It only prints. Ratios within a run mean something; wall times of two runs do not. The way each figure
//! is got is printed with it. Needs root for a mount namespace with a private /dev/log that swallows:
//! without a logger the C library's syslog() writes to the console, which takes longer than a login.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program for the terminal that measures time and talks to libpam"
)]

mod attempt;
mod figures;
#[path = "../../interpose.rs"]
mod interpose;
mod load;
mod one;
mod stacks;
mod surroundings;
mod tables;

use stacks::{Kind, Stack};

/// How much of each is measured; `--quick` is for a look, not for figures.
pub(crate) struct Effort {
    /// Numbers of enrolled users.
    users: Vec<usize>,
    repetitions: usize,
    /// Logins of each stack in one repetition.
    logins: usize,
    /// Logins in a test of throughput.
    load: usize,
    /// Wrong codes and unknown users in a comparison.
    guesses: usize,
}

impl Effort {
    fn chosen(quick: bool) -> Self {
        if quick {
            return Self { users: vec![1, 1000], repetitions: 2, logins: 50, load: 256, guesses: 100 };
        }
        Self { users: vec![1, 1000, 100_000], repetitions: 5, logins: 200, load: 1280, guesses: 900 }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["--quick"] => surroundings::enter(&arguments),
        // Started by this program itself, inside the namespace.
        ["inside", ref rest @ ..] => inside(&Effort::chosen(rest.contains(&"--quick"))),
        ["one", what, confdir, service, user, answer, time] => {
            one::run(what, confdir, service, user, answer, time)
        }
        _ => {
            eprintln!("usage: bench [--quick]");
            std::process::exit(2);
        }
    }
}

fn inside(effort: &Effort) {
    let _log = surroundings::swallow_log();
    let folder = surroundings::Folder::new();
    tables::heading(&folder.0);
    let stacks = stacks::prepare(&folder.0, effort);
    tables::note(
        "a login in a new process",
        &[
            "Each login in a process of its own (fork), as in sshd; from pam_start to pam_end, without the fork.",
            "Who a user is, all modules ask this program (getpwnam_r), which knows without looking.",
            "Stacks in turn, medians of each repetition's medians; fsyncs cost what the disk and others on it make them.",
        ],
    );
    figures::successes(&stacks, effort);
    figures::counted(&stacks);
    load::throughput(&stacks, effort);
    let of_a_thousand: Vec<&Stack> =
        stacks.iter().filter(|stack| stack.users == 1000 && stack.kind != Kind::Permit).collect();
    figures::guesses(&of_a_thousand, effort);
}
