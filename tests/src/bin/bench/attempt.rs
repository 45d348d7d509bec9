//! One login, measured from pam_start to pam_end.

use crate::stacks::{self, Stack};
use std::io::{Read, Write, pipe};
use std::sync::atomic::{AtomicU64, Ordering};
use twofa_tests::driver::clock::{self, Clock};
use twofa_tests::driver::code;
use twofa_tests::driver::pam::{Answer, Start, Transaction};

/// What is typed at the first prompt; the next one gets no answer.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) user: String,
    pub(crate) answer: String,
    pub(crate) time: i64,
}

/// Nanoseconds, and the result of pam_authenticate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) code: i32,
    /// Of the process, user and system.
    pub(crate) cpu: u64,
    pub(crate) wall: u64,
    /// From pam_start to the first prompt; 0 when there was none.
    pub(crate) prompt: u64,
    /// From the answer (from pam_start when nothing was asked) to the end of pam_authenticate.
    pub(crate) verdict: u64,
}

/// The moment the tests' time begins: like a run of today, and the same in every run.
const BEGIN: i64 = 1_800_000_015;

impl Attempt {
    /// The `turn`th login of this stack: users in turn, everybody's clock 30 seconds on in each round.
    pub(crate) fn right(stack: &Stack, turn: usize) -> Self {
        let users = stack.users.max(1);
        // Far steps, so that a list of users is not read in its own order.
        let user = stacks::user(turn * 7919 % users);
        let time = BEGIN + stack.passes.get() * code::STEP + (turn / users) as i64 * code::STEP;
        let answer = code::at(&stacks::secret(), time, 0);
        Self { user, answer, time }
    }

    /// So many logins are over: the next ones come later.
    pub(crate) fn pass(stack: &Stack, turns: usize) {
        let rounds = turns.div_ceil(stack.users.max(1)) as i64;
        // Two steps more, out of the reach of the window.
        stack.passes.set(stack.passes.get() + rounds + 3);
    }
}

fn now(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for one timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

static PROMPTED: AtomicU64 = AtomicU64::new(0);

fn note_prompt() {
    PROMPTED.store(now(libc::CLOCK_MONOTONIC), Ordering::Relaxed);
}

/// Logs in, in this process. The name is for valgrind, which counts from here to the return.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn measured_login(stack: &(Vec<u8>, Vec<u8>), attempt: &Attempt, sample: &mut Sample) {
    let (cpu, begin) = (now(libc::CLOCK_PROCESS_CPUTIME_ID), now(libc::CLOCK_MONOTONIC));
    let answers = [Answer::Gate, Answer::Text(attempt.answer.clone().into()), Answer::Null];
    let open = Transaction::start(Start {
        confdir: &stack.0,
        service: &stack.1,
        user: Some(attempt.user.as_bytes()),
        talks: true,
        answers: answers.into(),
        gate: note_prompt,
    });
    let mut open = open.expect("pam_start");
    sample.code = open.call("authenticate", 0).expect("a call");
    let decided = now(libc::CLOCK_MONOTONIC);
    drop(open);
    sample.wall = now(libc::CLOCK_MONOTONIC) - begin;
    sample.cpu = now(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu;
    let prompted = PROMPTED.load(Ordering::Relaxed);
    sample.prompt = prompted.saturating_sub(begin);
    sample.verdict = decided - if prompted == 0 { begin } else { prompted };
}

pub(crate) fn here(confdir: &[u8], service: &[u8], attempt: &Attempt) -> Sample {
    clock::set(Clock::Frozen(attempt.time));
    let mut sample = Sample { code: -1, cpu: 0, wall: 0, prompt: 0, verdict: 0 };
    measured_login(&(confdir.into(), service.into()), attempt, &mut sample);
    sample
}

/// Logs in, in a new process.
pub(crate) fn fresh(stack: &Stack, attempt: &Attempt) -> Sample {
    let (mut read, mut write) = pipe().expect("a pipe");
    // SAFETY: this program has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let confdir = stack.confdir.as_os_str().as_encoded_bytes();
        let Sample { code, cpu, wall, prompt, verdict } = here(confdir, stack.service.as_bytes(), attempt);
        let numbers = [u64::from(code.cast_unsigned()), cpu, wall, prompt, verdict];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let written = write.write_all(&bytes).is_ok();
        // SAFETY: ends without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!written)) };
    }
    drop(write);
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes).expect("a report");
    // SAFETY: our own child; its status is in the report's length.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    let numbers: Vec<u64> =
        bytes.chunks_exact(8).map(|eight| u64::from_ne_bytes(eight.try_into().expect("eight"))).collect();
    let [code, cpu, wall, prompt, verdict] = numbers[..] else {
        panic!("a login with {} did not come to its end", stack.name());
    };
    Sample { code: (code as u32).cast_signed(), cpu, wall, prompt, verdict }
}
