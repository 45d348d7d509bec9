//! What keys do, and what is made of it.

use super::*;
use twofa::code::Secret;
use twofa::token::{Protocol, PublicKey};
use twofa_tests::u2fkey::Conduct;

const SOON: Duration = Duration::from_secs(5);

fn failed(why: &str) -> String {
    words(&Touched::Failed(why.into()))
}

fn lied(why: &str) -> String {
    words(&Touched::Lied(why.into()))
}

fn signed(credential: usize) -> String {
    words(&Touched::Signed { credential, counter: 42 })
}

#[test]
fn a_touch_of_an_enrolled_key_is_proven() {
    let key = Key::plug_in(Conduct::Right);
    let site = Site::new(&[&key]);
    let own = key.credential(RP);
    let stranger = Credential { id: vec![3; 64], ..own.clone() };
    let other = key.credential("another:party");
    assert_eq!(site.touch(&[other.clone(), own.clone()], 10, SOON), signed(1));
    assert_eq!(site.touch(&[other], 10, SOON), words(&Touched::NotEnrolled));
    assert_eq!(site.touch(&[], 10, SOON), words(&Touched::NotEnrolled));
    assert_eq!(Site::new(&[]).touch(&[], 10, SOON), words(&Touched::NotEnrolled), "nobody is looked for");
    // A key that answers for a handle of another: its signature is still its own.
    let foreign = Credential { public: Key::plug_in(Conduct::Mute).credential(RP).public, ..stranger };
    assert_eq!(site.touch(&[foreign], 10, SOON), lied("its signature is not right"));
}

/// What pam_u2f keeps of a key that knows only U2F looks like any of its credentials.
#[test]
fn a_u2f_key_is_asked_for_what_was_made_by_way_of_ctap2() {
    let key = Key::plug_in(Conduct::Right);
    let newer = Credential { protocol: Protocol::Fido2, ..key.credential(RP) };
    let site = Site::new(&[&key]);
    assert_eq!(site.touch(std::slice::from_ref(&newer), 10, SOON), signed(0));
    // It can give no PIN, and its handles and keys are of one kind.
    let verified = Credential { verify: true, ..newer.clone() };
    let long = Credential { id: vec![7; 256], ..newer.clone() };
    let public = PublicKey::Ed25519(vec![1; 32]);
    let other = Credential { public, ..newer.clone() };
    assert_eq!(site.touch(&[verified, long, other], 10, SOON), words(&Touched::NotEnrolled));
    // A key that knows more is asked in the way that the credential was made.
    let both = Key::plug_in(Conduct::Ctap2);
    let newer = Credential { protocol: Protocol::Fido2, ..both.credential(RP) };
    assert_eq!(Site::new(&[&both]).touch(&[newer], 5, seconds(8)), failed("it cannot be opened"));
}

#[test]
fn every_conduct_has_its_outcome() {
    let no_sense = lied("its answer makes no sense");
    let sequence = lied("it sent packets out of sequence");
    let silent = failed("it does not answer");
    let table = [
        (Conduct::Right, signed(0)),
        (Conduct::TouchedAfter(5), signed(0)),
        (Conduct::Busy, signed(0)),
        (Conduct::OtherNonce, signed(0)),
        (Conduct::NeverTouched, words(&Touched::TimedOut)),
        (Conduct::Stranger, words(&Touched::NotEnrolled)),
        // The credential is one of U2F: over CTAP2 there is nothing to ask.
        (Conduct::Ctap2, words(&Touched::NotEnrolled)),
        (Conduct::OnlyCtap2, words(&Touched::NotEnrolled)),
        (Conduct::Mute, silent.clone()),
        (Conduct::MuteLater, silent.clone()),
        (Conduct::KeepAlive, silent.clone()),
        (Conduct::Noise, silent),
        (Conduct::Vanish, words(&Touched::Gone)),
        (Conduct::Forged, lied("its signature is not right")),
        (Conduct::NotPresent, lied("it was not touched")),
        (Conduct::OtherParty, lied("its signature is not right")),
        (Conduct::Cut, no_sense),
        (Conduct::Empty, words(&Touched::NotEnrolled)),
        (Conduct::Sequence, sequence),
        (Conduct::Huge, lied("it sent a message of an impossible length")),
        (Conduct::Status(0x6d00), failed("U2F status 0x6d00")),
        (Conduct::Status(0x6a80), failed("it does not know its own credential")),
        (Conduct::Error(0x7f), failed("CTAPHID error 0x7f")),
    ];
    thread::scope(|scope| {
        for (conduct, expected) in &table {
            scope.spawn(move || {
                let key = Key::plug_in(*conduct);
                let site = Site::new(&[&key]);
                let touched = site.touch(&[key.credential(RP)], 5, seconds(8));
                assert_eq!(touched, *expected, "{conduct:?}");
            });
        }
    });
}

#[test]
fn only_keys_that_have_a_credential_blink() {
    let own = Key::plug_in(Conduct::TouchedAfter(3));
    let stranger = Key::plug_in(Conduct::Stranger);
    let mute = Key::plug_in(Conduct::Mute);
    let liar = Key::plug_in(Conduct::Forged);
    let never = Key::plug_in(Conduct::NeverTouched);
    let site = Site::new(&[&stranger, &mute, &own, &liar, &never]);
    // The first that proves it wins; nobody waits for the mute one, and for the one that could prove it as well.
    assert_eq!(site.touch(&[own.credential(RP)], 20, SOON), signed(0));
    assert_eq!((stranger.asked(), mute.asked()), (0, 0));
    assert!(own.asked() > 3);
}

#[test]
fn of_several_keys_the_one_that_matters_is_reported() {
    let never = Key::plug_in(Conduct::NeverTouched);
    let (stranger, liar) = (Key::plug_in(Conduct::Stranger), Key::plug_in(Conduct::Forged));
    // Not the same one twice: of a terminal's packets, one reader takes what the other waits for.
    let another = Key::plug_in(Conduct::Stranger);
    let table = [
        (vec![&stranger, &liar], lied("its signature is not right")),
        (vec![&liar, &never, &stranger], words(&Touched::TimedOut)),
        (vec![&stranger, &another], words(&Touched::NotEnrolled)),
    ];
    for (keys, expected) in table {
        let site = Site::new(&keys);
        let touched = site.touch(&[never.credential(RP), liar.credential(RP)], 2, SOON);
        assert_eq!(touched, expected);
    }
}

#[test]
fn only_devices_of_roots_that_are_keys_are_asked() {
    let began = Instant::now();
    let key = Key::plug_in(Conduct::Right);
    let nothing = words(&Touched::NoKey);
    let ask = |site: &Site| site.touch(&[key.credential(RP)], 30, SOON);
    assert_eq!(ask(&Site::new(&[])), nothing);
    let site = Site::new(&[&key]);
    assert_eq!(ask(&site), signed(0));
    site.device(0, b"\x05\x01\x09\x06\xa1\x01\xc0", &key.numbers);
    assert_eq!(ask(&site), nothing, "a keyboard");
    site.device(0, &[&[0xc0; 4096], DESCRIPTOR].concat(), &key.numbers);
    assert_eq!(ask(&site), nothing, "behind the longest descriptor that there is");
    site.device(0, DESCRIPTOR, "1:3\n");
    assert_eq!(ask(&site), nothing, "a node of another device");
    site.device(0, DESCRIPTOR, &key.numbers);
    std::os::unix::fs::chown(&key.node, Some(65534), None).unwrap();
    assert_eq!(ask(&site), nothing, "somebody else's node");
    std::os::unix::fs::chown(&key.node, Some(0), None).unwrap();
    fs::write(site.path("nodes"), "hidraw0 /etc/hostname\n").unwrap();
    assert_eq!(ask(&site), nothing, "a file");
    assert!(began.elapsed() < seconds(10), "{:?}", began.elapsed());
}

#[test]
fn a_new_credential_is_one_that_works() {
    let registered = |conduct| {
        let key = Key::plug_in(conduct);
        let site = Site::new(&[&key]);
        (site.ask(&registration(&[], 5), &[], seconds(8)), key)
    };
    let (right, key) = registered(Conduct::TouchedAfter(2));
    assert_eq!(right, made(key.credential(RP)));
    let table = [
        (Conduct::Forged, "Lied(\"its signature is not right\")"),
        (Conduct::NotPresent, "Lied(\"it was not touched\")"),
        (Conduct::OtherParty, "Lied(\"its signature is not right\")"),
        (Conduct::Cut, "Lied(\"its answer makes no sense\")"),
        (Conduct::Empty, "Lied(\"its answer makes no sense\")"),
        (Conduct::NeverTouched, "TimedOut"),
        (Conduct::Mute, "Failed(\"it does not answer\")"),
        (Conduct::Vanish, "Gone"),
        (Conduct::Stranger, "Failed(\"it does not know its own credential\")"),
        // A pty is no hidraw device, which the crate insists on.
        (Conduct::Ctap2, "Failed(\"it cannot be opened\")"),
    ];
    for (conduct, expected) in table {
        assert_eq!(registered(conduct).0, expected, "{conduct:?}");
    }
}

#[test]
fn one_key_is_registered_once() {
    let (key, other) = (Key::plug_in(Conduct::Right), Key::plug_in(Conduct::Right));
    let ask = |keys: &[&Key]| Site::new(keys).ask(&registration(&[key.credential(RP)], 5), &[], SOON);
    assert_eq!(ask(&[&key]), "AlreadyRegistered");
    assert_eq!(ask(&[&key, &other]), "SeveralKeys");
    assert_eq!(ask(&[]), "NoKey");
    assert_eq!((key.asked(), other.asked()), (0, 0), "nothing blinks");
    // It would say yes to either of these.
    let foreign = Credential { id: vec![4; 64], ..key.credential("another:party") };
    let newer = Credential { id: vec![3; 64], protocol: Protocol::Fido2, ..key.credential(RP) };
    let registered = Site::new(&[&key]).ask(&registration(&[foreign, newer], 5), &[], SOON);
    assert_eq!(registered, made(key.credential(RP)));
}

#[test]
fn what_cannot_be_asked_is_not() {
    let key = Key::plug_in(Conduct::Right);
    let site = Site::new(&[&key]);
    let pin = Some(Secret::new(*b"73519284"));
    let Ask::Register(plain) = registration(&[], 5) else { panic!("a registration") };
    let with_pin = Ask::Register(Registration { pin, ..plain });
    assert_eq!(site.ask(&with_pin, &[], SOON), failed("it is a U2F key and knows no PIN"));
    let impossible = failed("the relying party has an impossible name");
    for name in ["", "a b", "a\0"] {
        let rp_id = name.into();
        let credentials = vec![key.credential(RP)];
        let touch = Touch { rp_id, challenge: CHALLENGE, credentials, pin: None, time: 5 };
        assert_eq!(site.ask(&Ask::Touch(touch), &[], SOON), impossible);
        let Ask::Register(plain) = registration(&[], 5) else { panic!("a registration") };
        let register = Ask::Register(Registration { rp_id: name.into(), ..plain });
        assert_eq!(site.ask(&register, &[], SOON), impossible);
    }
    assert_eq!(key.asked(), 0);
}

#[test]
fn of_very_many_keys_the_first_are_asked() {
    let strangers: Vec<Key> = (0..8).map(|_| Key::plug_in(Conduct::Stranger)).collect();
    let own = Key::plug_in(Conduct::Right);
    let mut keys: Vec<&Key> = strangers.iter().chain([&own]).collect();
    let touch = |keys: &[&Key]| Site::new(keys).touch(&[own.credential(RP)], 10, seconds(10));
    assert_eq!(touch(&keys), words(&Touched::NotEnrolled), "the ninth");
    keys.rotate_left(1);
    assert_eq!(touch(&keys), signed(0), "the eighth");
}
