//! `mode repeat`: `times N` authentications in one process, the clock going on by `step` seconds.
//!
//! Reports memory and descriptors after the first tenth (caches are warm then) and at the end.

use crate::Events;
use crate::single::start;
use std::time::Instant;
use twofa_tests::driver::{clock, plan::Plan, process};

pub(crate) fn run(plan: &Plan) -> Events {
    let times = plan.number("times").expect("times");
    let flags = i32::try_from(plan.number("flags").unwrap_or(0)).expect("flags");
    let mut events = Events::new();
    for turn in 0..times {
        if turn == times / 10 {
            measure(&mut events, "warm");
        }
        let begin = Instant::now();
        let (code, said) = match start(plan, || ()) {
            Ok(mut open) => {
                let code = open.call("authenticate", flags).expect("a call");
                (code, open.take_events())
            }
            Err(code) => (code, Vec::new()),
        };
        let took = begin.elapsed().as_micros();
        let said = said.iter().filter(|(word, _)| ["info", "error"].contains(&word.as_str()));
        let said: Vec<_> = said.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect();
        let line = format!("{turn} {code} {took} {}", said.join(" | "));
        events.push(("child".into(), line.into()));
        clock::advance(plan.number("step").unwrap_or(0));
    }
    measure(&mut events, "end");
    events
}

fn measure(events: &mut Events, when: &str) {
    let open = process::descriptors().len();
    events.push((format!("descriptors-{when}"), open.to_string().into()));
    events.push((format!("resident-{when}"), process::resident().to_string().into()));
}
