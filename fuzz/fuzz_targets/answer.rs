//! What a `key` tells `token`: a device may have taken its process over.
#![no_main]
#![allow(dead_code, reason = "modules of twofa-helper, in part")]

#[path = "../../twofa-helper/src/answer.rs"]
mod answer;
#[path = "../../twofa-helper/src/assertion.rs"]
mod assertion;

use answer::{Answer, Inbox};
use assertion::verify;
use twofa::token::{Credential, Protocol, PublicKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = Inbox::default().take(bytes);
    // The first answer counts, in whatever pieces it comes.
    let mut inbox = Inbox::default();
    let pieces = bytes.chunks(usize::from(size).max(1)).find_map(|piece| inbox.take(piece));
    assert_eq!(pieces, whole);
    let is_there = bytes.split_first_chunk().is_some_and(|(length, rest)| {
        let length = u32::from_be_bytes(*length) as usize;
        length > 16 * 1024 || rest.len() >= length
    });
    assert_eq!(whole.is_some(), is_there);
    match whole {
        Some(Answer::Made(made)) => {
            assert!(made.credential.is_valid());
        }
        Some(Answer::Signed(signed)) => {
            let credential = Credential {
                rp_id: "rp".into(),
                id: vec![1],
                public: PublicKey::Es256([&[4][..], &[9; 64]].concat()),
                protocol: Protocol::Fido2,
                verify: false,
            };
            assert!(verify(std::iter::once((0, &credential)), "rp", &[7; 32], &signed).is_err());
        }
        _ => {}
    }
});
