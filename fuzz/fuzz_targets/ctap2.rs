//! Whole talks over CTAP2: getInfo, clientPIN, makeCredential, getAssertion, through the crate that reads them. It may
//! panic and print (`-- -close_fd_mask=1` keeps that off the terminal); what `ctap2` makes of it may not be wrong.
#![no_main]
#![allow(dead_code, reason = "modules of twofa-helper, in part")]

#[path = "../../twofa-helper/src/answer.rs"]
mod answer;
#[path = "../../twofa-helper/src/assertion.rs"]
mod assertion;
#[path = "../../twofa-helper/src/ctap2.rs"]
mod ctap2;

/// Nobody has the key but the fuzzer.
mod hid {
    pub fn pause(_: std::time::Duration) {}
}

use answer::{Answer, Inbox, Task};
use assertion::{hash, verify};
use hidapi::{TALK, Talk};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use twofa::code::Secret;
use twofa::helper::{Ask, Registration, Touch};
use twofa::token::{Credential, Protocol, PublicKey};

const RP: &str = "rp";
const PIN: &[u8] = b"735192";
/// Credentials that are not asked for.
const OTHER_PARTY: u8 = 3;
const U2F: u8 = 4;

const MAKE_CREDENTIAL: u8 = 1;
const GET_ASSERTION: u8 = 2;
const CLIENT_PIN: u8 = 6;
const GET_RETRIES: u8 = 1;
/// CTAP2_ERR_NO_CREDENTIALS and CTAP2_ERR_INVALID_CREDENTIAL.
const HAS_NONE: [u8; 2] = [0x2e, 0x22];

/// The crate has the word: a process of its own, which may crash.
static MAY_PANIC: AtomicBool = AtomicBool::new(false);

libfuzzer_sys::fuzz_target!(
    init: {
        set_hook(Box::new(|info| {
            if !MAY_PANIC.load(Relaxed) {
                eprintln!("{info}");
                std::process::abort();
            }
        }));
    },
    |bytes: &[u8]| {
        let Some((&how, rest)) = bytes.split_first() else { return };
        let has_pin = how & 2 != 0;
        let task = task(how, has_pin);
        let is_raw = how & 4 != 0;
        let answers = if is_raw { rest.chunks(64).map(Into::into).collect() } else { messages(rest).collect() };
        TALK.set(Talk { answers, is_raw, ..Talk::default() });
        MAY_PANIC.store(true, Relaxed);
        let asked = catch_unwind(AssertUnwindSafe(|| {
            ctap2::open(Path::new("/dev/hidraw0")).and_then(|key| ctap2::ask(key, &task))
        }));
        MAY_PANIC.store(false, Relaxed);
        let heard = TALK.take().heard;
        check_pin(&heard, has_pin, matches!(task.ask, Ask::Touch(_)));
        heard.iter().for_each(|(request, _)| check_request(&task, request));
        let Ok(answer) = asked.map(|asked| asked.unwrap_or_else(|answer| answer)) else { return };
        // `token` reads what was said.
        let said = postcard::to_allocvec(&answer).unwrap();
        let sent = [&u32::try_from(said.len()).unwrap().to_be_bytes()[..], &said].concat();
        assert_eq!(Inbox::default().take(&sent), Some(answer.clone()));
        check(&task, answer, &heard);
    }
);

fn check(task: &Task, answer: Answer, heard: &[(Vec<u8>, Option<Vec<u8>>)]) {
    match (&task.ask, answer) {
        (Ask::Touch(touch), Answer::Signed(signed)) => {
            // Nobody has the private keys.
            assert!(verify(touch.candidates(), RP, &touch.challenge, &signed).is_err());
        }
        (Ask::Register(_), Answer::Made(made)) => {
            let credential = made.credential;
            assert!(credential.is_valid() && credential.rp_id == RP);
            assert_eq!((credential.protocol, credential.verify), (Protocol::Fido2, task.has_pin));
            // It was this one that had to prove that it works.
            let (last, _) = heard.iter().rfind(|(request, _)| request[0] == GET_ASSERTION).unwrap();
            assert!(has(last, &credential.id));
        }
        (_, Answer::Signed(_) | Answer::Made(_) | Answer::Ctap2) => panic!("not what was asked"),
        _ => {}
    }
}

/// What is asked is what was to be asked.
fn check_request(task: &Task, request: &[u8]) {
    let id = |credential: u8| has(request, &[credential; 16]);
    match (&task.ask, request[0]) {
        (Ask::Touch(touch), GET_ASSERTION) => {
            assert!(has(request, hash(&touch.challenge).as_ref()) && (id(1) || id(2)));
            assert!(!id(OTHER_PARTY) && !id(U2F));
        }
        (Ask::Register(_), GET_ASSERTION) => assert!(has(request, hash(&task.proof).as_ref())),
        (Ask::Register(registration), MAKE_CREDENTIAL) => {
            assert!(has(request, hash(&registration.challenge).as_ref()));
            assert!(id(1) && id(2) && id(U2F) && !id(OTHER_PARTY));
        }
        _ => {}
    }
}

fn has(bytes: &[u8], some: &[u8]) -> bool {
    bytes.windows(some.len()).any(|part| part == some)
}

/// A PIN goes only to a key that has the credential, or does not say whether.
fn check_pin(heard: &[(Vec<u8>, Option<Vec<u8>>)], has_pin: bool, is_touch: bool) {
    // Command, map, 1: protocol, 2: what is asked of it.
    let wants_pin = |request: &[u8]| request[0] == CLIENT_PIN && request[5] != GET_RETRIES;
    let Some(at) = heard.iter().position(|(request, _)| wants_pin(request)) else { return };
    assert!(has_pin);
    if is_touch {
        let found = heard[..at].iter().any(|(request, answer)| {
            let status = answer.as_ref().and_then(|answer| answer.first());
            request[0] == GET_ASSERTION && !status.is_some_and(|status| HAS_NONE.contains(status))
        });
        assert!(found);
    }
    assert!(!heard.iter().any(|(request, _)| has(request, PIN)));
}

fn task(how: u8, has_pin: bool) -> Task {
    let credential = |id: u8, verify: bool, rp_id: &str| Credential {
        rp_id: rp_id.into(),
        id: vec![id; 16],
        public: PublicKey::Es256([&[4][..], &[9; 64]].concat()),
        protocol: Protocol::Fido2,
        verify,
    };
    let u2f = Credential { protocol: Protocol::U2f, ..credential(U2F, false, RP) };
    let other = credential(OTHER_PARTY, true, "other");
    let credentials = vec![u2f, credential(1, how & 8 != 0, RP), credential(2, how & 16 != 0, RP), other];
    let pin = has_pin.then(|| Secret::new(PIN));
    let (rp_id, challenge) = (RP.into(), [7; 32]);
    let ask = if how & 1 == 0 {
        Ask::Touch(Touch { rp_id, challenge, credentials, pin: pin.map(|pin| (pin, 0)), time: 1 })
    } else {
        let exclude = credentials;
        Ask::Register(Registration { rp_id, user: "alice".into(), challenge, exclude, pin, time: 1 })
    };
    Task::new(ask, [8; 32])
}

/// Each with its length in front.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (message, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        rest = after;
        Some(message.to_vec())
    })
}
