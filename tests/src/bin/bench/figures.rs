//! The measurements of single logins.

use crate::Effort;
use crate::attempt::{Attempt, Sample, fresh};
use crate::one::{Count, count};
use crate::stacks::{self, Stack, thousands};
use crate::tables;
use twofa_tests::driver::code;

/// The value below which this share of all are.
pub(crate) fn quantile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
}

pub(crate) fn median(values: &[u64]) -> u64 {
    quantile(values, 0.5)
}

fn micro(nanoseconds: u64) -> String {
    thousands((nanoseconds / 1000) as usize)
}

/// CPU and wall time of right codes.
pub(crate) fn successes(stacks: &[Stack], effort: &Effort) {
    let mut samples: Vec<Vec<Vec<Sample>>> = stacks.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.repetitions {
        for (stack, samples) in stacks.iter().zip(&mut samples) {
            let turns = (0..effort.logins).map(|turn| fresh(stack, &Attempt::right(stack, turn)));
            samples.push(turns.collect());
            Attempt::pass(stack, effort.logins);
        }
    }
    let row = |stack: &Stack, samples: &Vec<Vec<Sample>>| {
        let all = |value: fn(&Sample) -> u64| -> Vec<u64> { samples.iter().flatten().map(value).collect() };
        let middle = |value: fn(&Sample) -> u64| {
            median(
                &samples
                    .iter()
                    .map(|repetition| median(&repetition.iter().map(value).collect::<Vec<_>>()))
                    .collect::<Vec<_>>(),
            )
        };
        let refused = samples.iter().flatten().filter(|sample| sample.code != 0).count();
        vec![
            stack.name(),
            micro(middle(|sample| sample.cpu)),
            micro(quantile(&all(|sample| sample.cpu), 0.99)),
            micro(middle(|sample| sample.wall)),
            micro(quantile(&all(|sample| sample.wall), 0.99)),
            micro(middle(|sample| sample.prompt)),
            refused.to_string(),
        ]
    };
    let rows = stacks.iter().zip(&samples).map(|(stack, samples)| row(stack, samples)).collect();
    let head = [
        "stack, enrolled users",
        "cpu p50 µs",
        "cpu p99",
        "wall p50",
        "wall p99",
        "to the prompt",
        "refused",
    ];
    tables::print(&head, rows);
}

/// What tools count of one right code.
pub(crate) fn counted(stacks: &[Stack]) {
    tables::note(
        "one login, counted",
        &[
            "Instructions: user space only, by valgrind's callgrind, which hides the CPU's SHA and AVX instructions.",
            "Calls: by strace. Bytes: written to files. Memory: the most of a process that does this one login.",
        ],
    );
    let row = |stack: &Stack| {
        let attempt = |_| {
            let attempt = Attempt::right(stack, 0);
            Attempt::pass(stack, 1);
            attempt
        };
        let Count { code, instructions, calls, opens, fsyncs, bytes, peak } =
            count(stack, &stack.confdir, &[0; 3].map(attempt));
        assert_eq!(code, 0, "{} refused a right code", stack.name());
        let numbers = [instructions as usize, calls, opens, fsyncs, bytes as usize, peak as usize];
        [vec![stack.name()], numbers.map(thousands).to_vec()].concat()
    };
    let head = [
        "stack, enrolled users",
        "instructions",
        "system calls",
        "opens",
        "fsyncs",
        "bytes written",
        "memory KiB",
    ];
    tables::print(&head, stacks.iter().map(row).collect());
}

/// A wrong code of an enrolled user, and the same of nobody.
struct Guess {
    enrolled: Vec<Sample>,
    nobody: Vec<Sample>,
}

/// What a wrong code costs beside a right one, and whether time tells who is enrolled.
pub(crate) fn guesses(stacks: &[&Stack], effort: &Effort) {
    tables::note(
        "a wrong code and an unknown user beside a right code, 1,000 users",
        &[
            "AUC: how well one time tells an enrolled user from an unknown one; 0.5 says nothing, 1.0 everything.",
            "Time to the prompt from pam_start, verdict from the answer. Enrolled and unknown in turn, fresh users.",
        ],
    );
    let rows = stacks.iter().map(|stack| {
        let guess = guess(stack, effort.guesses);
        let times =
            |samples: &[Sample], value: fn(&Sample) -> u64| samples.iter().map(value).collect::<Vec<_>>();
        let [prompt, verdict] = [|sample: &Sample| sample.prompt, |sample: &Sample| sample.verdict]
            .map(|value: fn(&Sample) -> u64| (times(&guess.enrolled, value), times(&guess.nobody, value)));
        let asked = guess.nobody.iter().all(|sample| sample.prompt > 0);
        let instructions = instructions(stack);
        vec![
            stack.name(),
            micro(median(&verdict.0)),
            micro(median(&verdict.1)),
            format!("{:.3}", auc(&verdict.0, &verdict.1)),
            if asked { format!("{:.3}", auc(&prompt.0, &prompt.1)) } else { "not asked".into() },
            instructions.map(|number| thousands(number as usize)).join(" / "),
        ]
    });
    let head = [
        "stack, enrolled users",
        "wrong µs",
        "unknown µs",
        "AUC verdict",
        "AUC prompt",
        "instructions right / wrong / unknown",
    ];
    tables::print(&head, rows.collect());
}

fn wrong(time: i64) -> String {
    code::wrong(&stacks::secret(), time)
}

/// Enrolled and unknown in turn, each user once or twice: below any limit on failures.
fn guess(stack: &Stack, guesses: usize) -> Guess {
    let mut guess = Guess { enrolled: Vec::new(), nobody: Vec::new() };
    for turn in 0..guesses {
        let right = Attempt::right(stack, turn);
        let enrolled = Attempt { answer: wrong(right.time), ..right };
        // A name that is as long, and whose owner the host does not know.
        let nobody = Attempt { user: format!("x{:06}", turn % stack.users), ..enrolled.clone() };
        guess.enrolled.push(fresh(stack, &enrolled));
        guess.nobody.push(fresh(stack, &nobody));
    }
    Attempt::pass(stack, guesses);
    assert!(
        guess.enrolled.iter().chain(&guess.nobody).all(|sample| sample.code != 0),
        "a wrong code was accepted"
    );
    guess
}

fn instructions(stack: &Stack) -> [u64; 3] {
    let mut turn = stack.users;
    ["right", "wrong", "unknown"].map(|kind| {
        let attempts = [0; 3].map(|_| {
            turn -= 1;
            let right = Attempt::right(stack, turn);
            match kind {
                "right" => right,
                "wrong" => Attempt { answer: wrong(right.time), ..right },
                _ => Attempt { answer: wrong(right.time), user: format!("x{turn:06}"), ..right },
            }
        });
        Attempt::pass(stack, 1);
        let count = count(stack, &stack.confdir, &attempts);
        assert_eq!(count.code == 0, kind == "right", "{}: {kind} gave {}", stack.name(), count.code);
        count.instructions
    })
}

/// The chance that a value of the first is above one of the second, ties half; mirrored to be above 0.5.
fn auc(first: &[u64], second: &[u64]) -> f64 {
    let mut sorted = second.to_vec();
    sorted.sort_unstable();
    let above = first.iter().map(|value| {
        let below = sorted.partition_point(|other| other < value);
        let not_above = sorted.partition_point(|other| other <= value);
        (below + not_above) as f64 / 2.0
    });
    let share = above.sum::<f64>() / (first.len() * second.len()).max(1) as f64;
    share.max(1.0 - share)
}
