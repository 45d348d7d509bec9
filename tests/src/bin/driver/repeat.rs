//! `mode repeat`: `times N` authentications in one process, the clock going on by `step` seconds.
//!
//! Reports how often each result came, and memory, descriptors and children after the first tenth (caches are warm
//! then) and at the end. It keeps nothing of a single login: that would be growth of its own.

use crate::Events;
use crate::single::start;
use std::collections::BTreeMap;
use twofa_tests::driver::{clock, plan::Plan, process};

pub(crate) fn run(plan: &Plan) -> Events {
    let times = plan.number("times").expect("times");
    let flags = i32::try_from(plan.number("flags").unwrap_or(0)).expect("flags");
    let mut events = Events::new();
    let mut tally = BTreeMap::<i32, usize>::new();
    for turn in 0..times {
        if turn == times / 10 {
            measure(&mut events, "warm");
        }
        let code = match start(plan, || ()) {
            Ok(mut open) => open.call("authenticate", flags).expect("a call"),
            Err(code) => code,
        };
        *tally.entry(code).or_default() += 1;
        clock::advance(plan.number("step").unwrap_or(0));
    }
    measure(&mut events, "end");
    let line = |(code, count)| ("tally".into(), format!("{code} {count}").into());
    events.extend(tally.into_iter().map(line));
    events
}

fn measure(events: &mut Events, when: &str) {
    let open = process::descriptors().len();
    events.push((format!("descriptors-{when}"), open.to_string().into()));
    events.push((format!("children-{when}"), process::children().len().to_string().into()));
    events.push((format!("resident-{when}"), process::resident().to_string().into()));
}
