//! What is made of the answers of keys that say the truth, and of others.

use super::*;
use crate::assertion::{Assertion, hash};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use twofa::code::Secret;
use twofa::token::{Protocol, PublicKey};

const RP: &str = "pam_twofa:example";
const CHALLENGE: [u8; 32] = [1; 32];
const PROOF: [u8; 32] = [2; 32];

fn pair() -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap()
}

fn credential(pair: &Ed25519KeyPair, rp_id: &str) -> Credential {
    let public = PublicKey::Ed25519(pair.public_key().as_ref().into());
    Credential { rp_id: rp_id.into(), id: vec![9; 16], public, protocol: Protocol::Fido2, verify: false }
}

fn signed(pair: &Ed25519KeyPair, rp_id: &str, flags: u8, challenge: &[u8; 32]) -> Assertion {
    let data = [hash(rp_id.as_bytes()).as_ref(), &[flags, 0, 0, 0, 5]].concat();
    let signature = pair.sign(&[&data, hash(challenge).as_ref()].concat()).as_ref().into();
    Assertion { credential: Some(vec![9; 16]), data, signature }
}

fn job(credentials: Vec<Credential>) -> Touch {
    Touch { rp_id: RP.into(), challenge: CHALLENGE, credentials, pin: None, time: 30 }
}

#[test]
fn only_a_right_signature_of_a_credential_of_this_party_counts() {
    let pair = pair();
    let other = credential(&self::pair(), "another:party");
    let touch = job(vec![other, credential(&pair, RP)]);
    let right = judge_touch(&touch, 0, Answer::Signed(signed(&pair, RP, 1, &CHALLENGE)));
    assert_eq!(right, Ok(Touched::Signed { credential: 1, counter: 5 }));
    for wrong in [
        signed(&pair, RP, 0, &CHALLENGE),
        signed(&pair, RP, 1, &PROOF),
        signed(&pair, "another:party", 1, &CHALLENGE),
        signed(&self::pair(), RP, 1, &CHALLENGE),
    ] {
        let touched = judge_touch(&touch, 0, Answer::Signed(wrong));
        assert!(matches!(touched, Ok(Touched::Lied(_))), "{touched:?}");
    }
    // A credential of another party does not sign for this one, whatever it signs.
    let touch = job(vec![credential(&pair, "another:party")]);
    let touched = judge_touch(&touch, 0, Answer::Signed(signed(&pair, RP, 1, &CHALLENGE)));
    assert!(matches!(touched, Ok(Touched::Lied(_))), "{touched:?}");
}

fn registration(exclude: Vec<Credential>, pin: Option<&str>) -> (Registration, Task) {
    let new = |exclude, pin| Registration {
        rp_id: RP.into(),
        user: "alice".into(),
        challenge: CHALLENGE,
        exclude,
        pin,
        time: 30,
    };
    (new(exclude, None), Task::new(Ask::Register(new(vec![], pin.map(Secret::new))), PROOF))
}

#[test]
fn a_new_credential_has_to_work() {
    let pair = pair();
    let made = |credential, proof| Answer::Made(Box::new(Made { credential, proof }));
    let own = || credential(&pair, RP);
    let proof = |flags| signed(&pair, RP, flags, &PROOF);
    let (plain, task) = registration(vec![], None);
    let judged = |answer| judge_registration(&plain, &task, answer).unwrap();
    assert_eq!(judged(made(own(), proof(1))), Registered::Credential(own()));
    // What a process says of verification does not count, in neither direction.
    let claimed = Credential { verify: true, ..own() };
    assert_eq!(judged(made(claimed, proof(1))), Registered::Credential(own()));
    let lies = [
        made(own(), proof(0)),
        made(own(), signed(&pair, RP, 1, &CHALLENGE)),
        made(own(), signed(&self::pair(), RP, 1, &PROOF)),
        made(credential(&pair, "another:party"), proof(1)),
        made(Credential { id: vec![8; 16], ..own() }, proof(1)),
        made(Credential { id: vec![], ..own() }, proof(1)),
        made(Credential { public: PublicKey::Ed25519(vec![]), ..own() }, proof(1)),
        // U2F knows no such keys, and yet it signs.
        made(Credential { protocol: Protocol::U2f, ..own() }, proof(1)),
        Answer::NotEnrolled,
    ];
    for answer in lies {
        let what = format!("{answer:?}");
        let registered = judged(answer);
        assert!(matches!(registered, Registered::Lied(_)), "{what}: {registered:?}");
    }
    let (with_pin, task) = registration(vec![], Some("1234"));
    let judged = |answer| judge_registration(&with_pin, &task, answer).unwrap();
    let verified = Credential { verify: true, ..own() };
    assert_eq!(judged(made(own(), proof(5))), Registered::Credential(verified));
    assert!(matches!(judged(made(own(), proof(1))), Registered::Lied(_)), "without the PIN");
    let (known, task) = registration(vec![own()], None);
    let again = judge_registration(&known, &task, made(own(), proof(1)));
    assert_eq!(again, Ok(Registered::AlreadyRegistered));
}

#[test]
fn answers_to_another_question_are_nonsense() {
    let pair = pair();
    let touch = job(vec![credential(&pair, RP)]);
    let proof = signed(&pair, RP, 1, &PROOF);
    let made = Answer::Made(Box::new(Made { credential: credential(&pair, RP), proof: proof.clone() }));
    for answer in [made, Answer::AlreadyRegistered] {
        assert_eq!(judge_touch(&touch, 0, answer), Ok(Touched::Failed(NONSENSE.into())));
    }
    let (registration, task) = registration(vec![], None);
    let judged = judge_registration(&registration, &task, Answer::Signed(proof));
    assert_eq!(judged, Ok(Registered::Failed(NONSENSE.into())));
    assert_eq!(judge_touch(&touch, 0, Answer::Ctap2), Err(Way::Ctap2));
}

#[test]
fn reasons_of_a_process_are_cut_and_harmless() {
    let touch = job(vec![]);
    let why = "bad\n\x1b[31m\u{202e}\u{e4}".to_owned() + &"x".repeat(10_000);
    let Ok(Touched::Lied(said)) = judge_touch(&touch, 0, Answer::Lied(why.clone())) else { panic!("no lie") };
    assert!(said.starts_with("bad[31mxxx") && said.len() == 120, "{said}");
    let failed = Answer::Failed(why.clone());
    let Ok(Touched::Failed(said)) = judge_touch(&touch, 0, failed.clone()) else { panic!("no failure") };
    assert_eq!(said.len(), 120);
    let (registration, task) = registration(vec![], None);
    let judged = |answer| judge_registration(&registration, &task, answer);
    assert_eq!(judged(failed), Ok(Registered::Failed(said.clone())));
    assert_eq!(judged(Answer::Lied(why)), Ok(Registered::Lied(said)));
}

#[test]
fn what_matters_most_is_reported() {
    let order = [
        Touched::NoKey,
        Touched::NotEnrolled,
        Touched::Failed(String::new()),
        Touched::Lied(String::new()),
        Touched::Gone,
        Touched::TimedOut,
        Touched::Denied,
        Touched::PinRequired(0),
        Touched::SeveralKeys,
        Touched::WrongPin { left: None },
        Touched::PinPaused,
        Touched::PinBlocked,
        Touched::Signed { credential: 0, counter: 0 },
    ];
    assert!(order.windows(2).all(|two| weight(&two[0]) < weight(&two[1])));
}
