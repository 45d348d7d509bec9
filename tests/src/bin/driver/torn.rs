//! `mode torn`: what a power cut in the middle of a write leaves, in every shape.
//!
//! `record PATH` is the file; `before` and `after` are its bytes around one login. Each shape is written
//! to the file twice: once to offer the code of that login again, once to offer a fresh one.

use crate::Events;
use crate::single::start;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use twofa_tests::driver::clock::{self, Clock};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;

const SLOT: usize = 4096;
/// What a disk writes at once.
const SECTOR: usize = 512;

pub(crate) fn run(plan: &Plan) -> Events {
    let (before, after) = (plan.last("before").expect("before"), plan.last("after").expect("after"));
    let path = plan.text("record").expect("record");
    let record = File::options().write(true).open(path).expect("the record can be written");
    let used = plan.number("used-at").expect("used-at");
    let secret = plan.text("secret").expect("secret");
    let mut events = Events::new();
    for (name, bytes) in shapes(before, after) {
        let offer = |at: i64| {
            record.write_all_at(&bytes, 0).expect("the record can be written");
            clock::set(Clock::Frozen(at));
            login(plan, secret)
        };
        let again = offer(used);
        let fresh = offer(used + 60);
        events.push(("torn".into(), format!("{name} {again} {fresh}").into()));
    }
    events
}

/// Names and bytes of all shapes: each prefix of the changed slot, and each set of its sectors.
fn shapes(before: &[u8], after: &[u8]) -> Vec<(String, Vec<u8>)> {
    let differs = before.iter().zip(after).position(|(old, new)| old != new);
    let slot = differs.expect("the login changed the record") / SLOT * SLOT;
    let prefix = |length: usize| {
        let mut bytes = before.to_vec();
        bytes[slot..slot + length].copy_from_slice(&after[slot..slot + length]);
        (format!("prefix-{length}"), bytes)
    };
    let sectors = |set: usize| {
        let mut bytes = before.to_vec();
        for sector in (0..SLOT / SECTOR).filter(|sector| set >> sector & 1 == 1) {
            let range = slot + sector * SECTOR..slot + (sector + 1) * SECTOR;
            bytes[range.clone()].copy_from_slice(&after[range]);
        }
        (format!("sectors-{set:08b}"), bytes)
    };
    let prefixes = (0..=SLOT).map(prefix);
    prefixes.chain((0..1 << (SLOT / SECTOR)).map(sectors)).collect()
}

fn login(plan: &Plan, secret: &str) -> i32 {
    let mut open = start(plan, || ()).expect("pam_start");
    open.set_answers(VecDeque::from([Answer::Code(secret.into(), 0), Answer::Null]));
    open.call("authenticate", 0).expect("a call")
}
