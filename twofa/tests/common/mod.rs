//! What the tests share: a policy, a request, a user with an app and recovery codes, and a store of its own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses its part; a broken test says so and stops"
)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};
use twofa::account::{App, Factors, Key, Limits, SendLimits, SshKey};
use twofa::code::{self, Algorithm, Answer, RecoverySet, Secret, Seed, Shape};
use twofa::config::Paths;
use twofa::contact::{Address, Confirmable, Number, Prefix};
use twofa::policy::{
    AppRules, Channel, EmailRules, KeyRules, Known, Method, Mode, NotifyRules, Policy, Request, RolloutRules,
    SmsRules, Template, TrustRules,
};
use twofa::sshkey::SkKey;
use twofa::token::{Credential, Protocol, PublicKey};
use zeroize::Zeroizing;

/// The middle of a time step, on 2026-11-21.
pub(crate) const NOW: u64 = 59_843_287 * STEP + 15;
pub(crate) const STEP: u64 = 30;
pub(crate) const USER: &str = "alice";
pub(crate) const UID: u32 = 1001;
pub(crate) const LIMITS: Limits = Limits { prompts: 3, failures: 5, window: 900, total: 50, sends: SENDS };
/// The pause is so short that an app's code outlasts three of them.
pub(crate) const SENDS: SendLimits = SendLimits { pause: 10, login: 3, hour: 5, day: 10, host: 100 };
pub(crate) const VALID_FOR: u64 = 300;
pub(crate) const PHONE: &str = "+48600000123";
pub(crate) const MASKED: &str = "+48 *** *** 123";
/// The end of `PHONE`, as a number that nobody has could end.
pub(crate) const DECOY: u16 = 123;
pub(crate) const SHAPE: Shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
pub(crate) const LABEL: &str = "alices-own-phone";
pub(crate) const RP_ID: &str = "twofa.example";
const SECRET: &[u8; 20] = b"!an app of the tests";
const PASSWORD: &[u8] = b"correct horse";

pub(crate) fn policy(mode: Mode) -> Policy {
    policy_of(mode, &[Method::App])
}

/// Every method can send; these are asked for.
pub(crate) fn policy_of(mode: Mode, methods: &[Method]) -> Policy {
    let channel = Channel {
        hook: "/etc/twofa/hook".into(),
        hook_user: "nobody".into(),
        valid_for: VALID_FOR,
        text: Template::default(),
    };
    let country = Prefix::parse("+48").unwrap();
    Policy {
        mode,
        methods: methods.into(),
        services: vec!["sshd".into(), "login".into()],
        support: None,
        limits: LIMITS,
        app: AppRules { shape: SHAPE, skew: 1, issuer: None },
        sms: Some(SmsRules { channel: channel.clone(), prefixes: vec![country], country: None }),
        email: Some(EmailRules { channel, default_address: None }),
        key: KeyRules { rp_id: RP_ID.into(), pin: false },
        trust: TrustRules::default(),
        rollout: RolloutRules::default(),
        notify: NotifyRules::default(),
        helper: "/usr/libexec/twofa/twofa-helper".into(),
        exemptions: vec![],
        written: 0,
    }
}

pub(crate) fn address() -> IpAddr {
    [192, 0, 2, 7].into()
}

pub(crate) fn request() -> Request {
    request_of(USER, Some(UID))
}

/// A login of `user`, whom the host knows by this uid, if at all.
pub(crate) fn request_of(user: &str, uid: Option<u32>) -> Request {
    Request {
        service: "sshd".into(),
        user: user.into(),
        known: uid.map(|uid| Known { uid, groups: vec![] }),
        address: Some(address()),
        first_factor: true,
        local: false,
        ssh_keys: vec![],
        claim: None,
        processes: Vec::new(),
        session: None,
        host: "host.example".into(),
    }
}

pub(crate) fn secret() -> Secret {
    Secret::new(*SECRET)
}

/// The secret as an app takes it.
pub(crate) fn secret_as_text() -> String {
    let bits: Vec<u8> = SECRET.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let letter = |five: &[u8]| five.iter().fold(0, |value, bit| value << 1 | usize::from(*bit));
    bits.chunks(5).map(|five| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[letter(five)])).collect()
}

pub(crate) fn app(id: u8) -> App {
    App { id, label: LABEL.into(), secret: secret(), shape: SHAPE, added: 0 }
}

/// Recovery codes as they are shown; each `set` has others.
pub(crate) fn recovery_codes(set: u8) -> Vec<Zeroizing<String>> {
    (1..=3).map(|code| code::format_recovery(&[set * 16 + code; code::RECOVERY_BYTES])).collect()
}

pub(crate) fn recovery_set(set: u8) -> RecoverySet {
    RecoverySet::new(Secret::new([7; 32]), &recovery_codes(set))
}

pub(crate) fn factors() -> Factors {
    Factors { apps: vec![app(1)], recovery: Some(recovery_set(1)), ..Factors::default() }
}

/// A telephone and a mailbox in place of the app.
pub(crate) fn contacts() -> Factors {
    Factors { apps: vec![], phone: Some(phone()), addresses: vec![mailbox()], ..factors() }
}

pub(crate) fn phone() -> Confirmable<Number> {
    Confirmable { to: Number::parse(PHONE, None).unwrap(), confirmed: None }
}

pub(crate) fn mailbox() -> Confirmable<Address> {
    Confirmable { to: Address::parse("alice@example.org").unwrap(), confirmed: None }
}

/// A security key of this host.
pub(crate) fn key(id: u8) -> Key {
    let credential = Credential {
        rp_id: RP_ID.into(),
        id: vec![id],
        public: PublicKey::Ed25519(vec![id; 32]),
        protocol: Protocol::Fido2,
        verify: false,
    };
    Key { id, label: LABEL.into(), credential, has_pin: true, added: 0 }
}

/// The SSH key of a security key; each `seed` has another.
pub(crate) fn sk_key(seed: u8) -> SkKey {
    let fields = [&b"sk-ssh-ed25519@openssh.com"[..], &[seed; 32], b"ssh:"];
    let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
    let blob: Vec<u8> = fields.iter().flat_map(|field| [&length(field)[..], field].concat()).collect();
    postcard::from_bytes(&postcard::to_allocvec(&blob).unwrap()).unwrap()
}

pub(crate) fn ssh_key(seed: u8) -> SshKey {
    SshKey { label: LABEL.into(), key: sk_key(seed), added: 0 }
}

/// Keys of both kinds in place of the app.
pub(crate) fn key_factors() -> Factors {
    Factors { apps: vec![], keys: vec![key(1)], ssh_keys: vec![ssh_key(1)], ..factors() }
}

/// The random bytes of one login.
pub(crate) fn seed(login: u8) -> Seed {
    Seed::new([login; 32])
}

/// The `number`th code that such a login sends.
pub(crate) fn sent_code(seed: &Seed, number: u8) -> Answer {
    typed(seed.sent_code(number).expose())
}

/// The app's code, so many steps from `NOW`.
pub(crate) fn code_text(steps: i64) -> String {
    let time = NOW.checked_add_signed(steps * STEP.cast_signed()).unwrap();
    code::code_at(&secret(), SHAPE, time).unwrap()
}

pub(crate) fn typed(text: &str) -> Answer {
    Answer::parse(text.as_bytes(), Some(PASSWORD))
}

pub(crate) fn right_code() -> Answer {
    typed(&code_text(0))
}

/// Six digits that are no code around `NOW`.
pub(crate) fn wrong_code() -> Answer {
    let good: Vec<String> = (-2..=2).map(code_text).collect();
    let wrong = (0..).map(|number| format!("{number:06}")).find(|digits| !good.contains(digits));
    typed(&wrong.unwrap())
}

pub(crate) fn right_recovery() -> Answer {
    typed(&recovery_codes(1)[0])
}

pub(crate) fn wrong_recovery() -> Answer {
    typed(&recovery_codes(9)[0])
}

pub(crate) fn password() -> Answer {
    Answer::parse(PASSWORD, Some(PASSWORD))
}

pub(crate) fn fake() -> Answer {
    typed("\u{8}\n\r\u{7f}INCORRECT")
}

/// A folder of its own, gone when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("twofa-core-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a store in this folder keeps its parts.
    pub(crate) fn store(&self) -> Paths {
        Paths { database: self.0.join("lib/twofa.db"), key: self.0.join("store.key") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
