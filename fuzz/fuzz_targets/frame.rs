//! CTAPHID packets, and the U2F answers in them.
#![no_main]
#![allow(dead_code, reason = "modules of twofa-helper, in part")]

#[path = "../../twofa-helper/src/assertion.rs"]
mod assertion;
#[path = "../../twofa-helper/src/frame.rs"]
mod frame;
#[path = "../../twofa-helper/src/u2f.rs"]
mod u2f;

use frame::{Event, MSG, PACKET, Reception};

const CHANNEL: [u8; 4] = [1; 4];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    answer(bytes);
    // As they come: no packet is skipped when another was wrong.
    let mut reception = Reception::new(CHANNEL, MSG);
    for packet in bytes.chunks(PACKET) {
        if let Ok(Event::Message(message)) = reception.take(packet) {
            assert!(message.len() <= assertion::MAX_ANSWER);
            answer(&message);
        }
    }
    // And what is sent arrives.
    if bytes.len() <= assertion::MAX_ANSWER {
        let mut reception = Reception::new(CHANNEL, MSG);
        let events =
            frame::packets(CHANNEL, MSG, bytes).into_iter().map(|packet| reception.take(&packet[1..]));
        assert_eq!(events.last(), Some(Ok(Event::Message(bytes.to_vec()))));
    }
});

fn answer(bytes: &[u8]) {
    let Some((data, _)) = u2f::status(bytes) else { return };
    if let Some(credential) = u2f::registered("rp", data) {
        assert!(credential.is_valid());
    }
    if let Some(assertion) = u2f::signed("rp", b"handle", data) {
        assert!(assertion.data.len() == 37);
    }
}
