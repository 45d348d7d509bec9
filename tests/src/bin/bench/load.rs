//! Many logins at once: different users, all codes right.

use crate::Effort;
use crate::attempt::{Attempt, Sample, fresh};
use crate::figures::quantile;
use crate::stacks::{Kind, Stack};
use crate::tables;
use std::io::{Read, Write, pipe};
use std::time::Instant;

pub(crate) fn throughput(stacks: &[Stack], effort: &Effort) {
    tables::note(
        "many logins at once",
        &[
            "So many processes side by side, each starting a new process for each login. All users are different and",
            "all codes right: whatever is refused is refused wrongly. Successes a second; p99 of pam_start to pam_end.",
        ],
    );
    let mut rows = Vec::new();
    // One enrolled user cannot log in twice within a code's time.
    for stack in stacks.iter().filter(|stack| stack.kind == Kind::Permit || stack.users >= 1000) {
        let mut row = vec![stack.name()];
        for processes in [1, 8, 64] {
            let logins = budget(stack, effort.load, processes);
            let (samples, seconds) = run(stack, processes, logins);
            let refused = samples.iter().filter(|sample| sample.code != 0).count();
            let rate = (samples.len() - refused) as f64 / seconds;
            let slow = quantile(&samples.iter().map(|sample| sample.wall).collect::<Vec<_>>(), 0.99);
            row.push(format!("{rate:.0}/s, {:.1} ms, {refused} of {}", slow as f64 / 1e6, samples.len()));
        }
        rows.push(row);
    }
    tables::print(
        &["stack, enrolled users", "1 process: rate, p99, refused", "8 processes", "64 processes"],
        rows,
    );
}

/// As many logins for all; for a stack that takes tens of milliseconds for one, what it does in about four
/// seconds.
fn budget(stack: &Stack, most: usize, processes: usize) -> usize {
    let begin = Instant::now();
    for turn in 0..4 {
        fresh(stack, &Attempt::right(stack, turn));
    }
    Attempt::pass(stack, 4);
    let each = begin.elapsed().as_secs_f64() / 4.0;
    if each < 0.02 {
        return most;
    }
    ((4.0 / each) as usize).clamp(processes.max(16), most) / processes * processes
}

/// All logins of all processes, and how long they took together.
fn run(stack: &Stack, processes: usize, logins: usize) -> (Vec<Sample>, f64) {
    let (mut results, write) = pipe().expect("a pipe");
    let (mut go, start) = pipe().expect("a pipe");
    let mut children = Vec::new();
    for process in 0..processes {
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            drop(start);
            let _ = go.read(&mut [0]);
            for turn in (process..logins).step_by(processes) {
                let sample = fresh(stack, &Attempt::right(stack, turn));
                let line = format!("{} {}\n", sample.code, sample.wall);
                (&write).write_all(line.as_bytes()).expect("the parent reads");
            }
            // SAFETY: ends without running the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        children.push(pid);
    }
    drop((write, go));
    let begin = Instant::now();
    drop(start);
    let mut text = String::new();
    results.read_to_string(&mut text).expect("reports");
    let seconds = begin.elapsed().as_secs_f64();
    // SAFETY: our own children.
    children.into_iter().for_each(|pid| unsafe {
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    });
    Attempt::pass(stack, logins);
    let samples: Vec<Sample> = text.lines().filter_map(sample).collect();
    assert_eq!(samples.len(), logins, "{}: every login reports", stack.name());
    (samples, seconds)
}

fn sample(line: &str) -> Option<Sample> {
    let (code, wall) = line.split_once(' ')?;
    Some(Sample { code: code.parse().ok()?, cpu: 0, wall: wall.parse().ok()?, prompt: 0, verdict: 0 })
}
