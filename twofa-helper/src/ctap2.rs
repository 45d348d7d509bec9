//! A `key` over CTAP2, through a crate that waits without end, prints and panics: a process that may be killed.

use crate::answer::{Answer, Made, Task};
use crate::assertion::{Assertion, hash};
use crate::hid::pause;
use ctap_hid_fido2::fidokey::get_assertion::get_assertion_params::GetAssertionArgs;
use ctap_hid_fido2::fidokey::{
    CredentialSupportedKeyType, GetAssertionArgsBuilder, MakeCredentialArgsBuilder,
};
use ctap_hid_fido2::public_key::PublicKeyType;
use ctap_hid_fido2::public_key_credential_user_entity::PublicKeyCredentialUserEntity;
use ctap_hid_fido2::{Cfg, FidoKeyHid, FidoKeyHidFactory, HidParam};
use hidapi::HidApi;
use std::path::Path;
use std::str;
use std::time::Duration;
use twofa::code::Secret;
use twofa::helper::{Ask, Registration, Touch};
use twofa::token::{Credential, Protocol, PublicKey};

/// Of credentials in one request, whatever the key says it can take.
const MAX_LIST: u32 = 8;
/// CTAP 2.1, section 6.5.1: a PIN in UTF-8.
const PIN: std::ops::RangeInclusive<usize> = 4..=63;

const AGAIN: Duration = Duration::from_millis(150);

// CTAP 2.1, section 8.2.
const INVALID_COMMAND: u8 = 0x01;
const TIMEOUT: u8 = 0x05;
const CHANNEL_BUSY: u8 = 0x06;
const CREDENTIAL_EXCLUDED: u8 = 0x19;
const INVALID_CREDENTIAL: u8 = 0x22;
const OPERATION_DENIED: u8 = 0x27;
const UNSUPPORTED_OPTION: u8 = 0x2b;
const INVALID_OPTION: u8 = 0x2c;
const NO_CREDENTIALS: u8 = 0x2e;
const USER_ACTION_TIMEOUT: u8 = 0x2f;
const PIN_INVALID: u8 = 0x31;
const PIN_BLOCKED: u8 = 0x32;
const PIN_AUTH_BLOCKED: u8 = 0x34;
const PIN_NOT_SET: u8 = 0x35;
const PIN_REQUIRED: u8 = 0x36;
const ACTION_TIMEOUT: u8 = 0x3a;
const UP_REQUIRED: u8 = 0x3b;

/// Opens a device. Nothing is sent to it yet.
pub(crate) fn open(device: &Path) -> Result<FidoKeyHid, Answer> {
    let gone = || Answer::failed("it cannot be opened");
    // Its search would read what every HID device says about itself, in C, while this process is still root.
    HidApi::disable_device_discovery();
    let config = Cfg { enable_keep_alive_msg: false, ..Cfg::init() };
    let path = HidParam::Path(device.to_str().ok_or_else(gone)?.into());
    FidoKeyHidFactory::create_by_params(&[path], &config).map_err(|_| gone())
}

pub(crate) fn ask(mut key: FidoKeyHid, task: &Task) -> Result<Answer, Answer> {
    let info = patiently(|| key.get_info()).map_err(trouble)?;
    // Newer keys may know only the second.
    if !info.pin_uv_auth_protocols.is_empty() && !info.pin_uv_auth_protocols.contains(&1) {
        key.pin_protocol_version = 2;
    }
    let list = usize::try_from(info.max_credential_count_in_list.clamp(1, MAX_LIST)).unwrap_or(1);
    match &task.ask {
        Ask::Touch(touch) => sign(&key, touch, list, task.pin.as_ref()),
        Ask::Register(registration) => make(&key, registration, task),
    }
}

/// What a key has said without being touched.
enum Found<'a> {
    Nothing,
    One(&'a Credential),
    /// It does not say without a PIN.
    Verified,
    /// It does not say without a touch.
    Touched,
}

fn sign(key: &FidoKeyHid, touch: &Touch, list: usize, secret: Option<&Secret>) -> Result<Answer, Answer> {
    let candidates: Vec<&Credential> = touch
        .candidates()
        .map(|(_, known)| known)
        .filter(|known| known.protocol == Protocol::Fido2)
        .collect();
    let (candidates, verify) = match find(key, touch, &candidates, list)? {
        Found::Nothing => return Ok(Answer::NotEnrolled),
        Found::One(found) => (vec![found], found.verify),
        Found::Verified => (candidates, true),
        Found::Touched => {
            let verify = candidates.iter().any(|known| known.verify);
            (candidates, verify)
        }
    };
    let pin = pin(secret)?;
    let unverified = |key| assert(key, &touch.rp_id, &touch.challenge, &candidates, None);
    let verified = || match pin {
        None => Err(Answer::PinRequired),
        Some(_) => assert(key, &touch.rp_id, &touch.challenge, &candidates, pin),
    };
    let assertion = if verify {
        verified()?
    } else {
        match unverified(key) {
            // Some keys say so only now.
            Err(Answer::PinRequired) => verified()?,
            other => other?,
        }
    };
    Ok(Answer::Signed(assertion))
}

/// Which credential the key has, asked without a touch: so only a key that has one blinks.
fn find<'a>(
    key: &FidoKeyHid,
    touch: &Touch,
    all: &[&'a Credential],
    list: usize,
) -> Result<Found<'a>, Answer> {
    for some in all.chunks(list) {
        let args = args(&touch.rp_id, &touch.challenge, some).without_pin_and_uv().without_up().build();
        match first(key, &args) {
            Ok(assertion) => {
                let found = match (&assertion.credential, some) {
                    (None, [one]) => Some(one),
                    (id, some) => some.iter().find(|known| Some(&known.id) == id.as_ref()),
                };
                return found
                    .map(|found| Found::One(found))
                    .ok_or(Answer::lied("it has a credential of its own"));
            }
            Err(error) => match status(&error) {
                Some(NO_CREDENTIALS | INVALID_CREDENTIAL) => {}
                Some(PIN_REQUIRED) => return Ok(Found::Verified),
                Some(UP_REQUIRED | UNSUPPORTED_OPTION | INVALID_OPTION) => return Ok(Found::Touched),
                _ => return Err(trouble(error)),
            },
        }
    }
    Ok(Found::Nothing)
}

fn make(key: &FidoKeyHid, registration: &Registration, task: &Task) -> Result<Answer, Answer> {
    let Registration { rp_id, user, challenge, exclude, .. } = registration;
    let pin = pin(task.pin.as_ref())?;
    // A number of the user's that says nothing about the user.
    let user_id = hash(format!("{rp_id}\0{user}").as_bytes());
    let user = PublicKeyCredentialUserEntity::new(Some(user_id.as_ref()), Some(user), Some(user));
    let mut builder = MakeCredentialArgsBuilder::new(rp_id, challenge).user_entity(&user);
    for credential in exclude.iter().filter(|credential| credential.rp_id == *rp_id) {
        builder = builder.exclude_authenticator(&credential.id);
    }
    builder = match pin {
        Some(pin) => builder.pin(pin),
        None => builder.without_pin_and_uv(),
    };
    let builder =
        builder.key_type(CredentialSupportedKeyType::Ecdsa256).key_type(CredentialSupportedKeyType::Ed25519);
    let arguments = builder.build();
    let made =
        patiently(|| key.make_credential_with_args(&arguments)).map_err(|error| pin_trouble(key, error))?;
    let bytes = made.credential_publickey.der;
    let credential = Credential {
        rp_id: rp_id.clone(),
        id: made.credential_descriptor.id,
        public: match made.credential_publickey.key_type {
            PublicKeyType::Ed25519 => PublicKey::Ed25519(bytes),
            PublicKeyType::Ecdsa256 | PublicKeyType::Unknown => PublicKey::Es256(bytes),
        },
        protocol: Protocol::Fido2,
        verify: pin.is_some(),
    };
    if !credential.is_valid() {
        return Ok(Answer::lied("its new credential makes no sense"));
    }
    let proof = assert(key, rp_id, &task.proof, &[&credential], pin)?;
    Ok(Answer::Made(Box::new(Made { credential, proof })))
}

/// An assertion with a touch, and with a PIN if there is one.
fn assert(
    key: &FidoKeyHid,
    rp_id: &str,
    challenge: &[u8; 32],
    candidates: &[&Credential],
    pin: Option<&str>,
) -> Result<Assertion, Answer> {
    let args = args(rp_id, challenge, candidates);
    let args = match pin {
        Some(pin) => args.pin(pin),
        None => args.without_pin_and_uv(),
    };
    first(key, &args.build()).map_err(|error| pin_trouble(key, error))
}

fn args<'a>(rp_id: &str, challenge: &[u8; 32], candidates: &[&Credential]) -> GetAssertionArgsBuilder<'a> {
    let args = GetAssertionArgsBuilder::new(rp_id, challenge);
    candidates.iter().fold(args, |args, credential| args.add_credential_id(&credential.id))
}

fn first(key: &FidoKeyHid, args: &GetAssertionArgs) -> Result<Assertion, String> {
    let assertion = patiently(|| key.get_assertion_with_args(args))?.into_iter().next();
    let assertion = assertion.ok_or("no assertion")?;
    Ok(Assertion {
        credential: Some(assertion.credential_id).filter(|id| !id.is_empty()),
        data: assertion.auth_data,
        signature: assertion.signature,
    })
}

/// Asks again and again while somebody else has the key; `token` ends it when the time is up.
fn patiently<T, E: ToString>(mut ask: impl FnMut() -> Result<T, E>) -> Result<T, String> {
    loop {
        match ask().map_err(|error| error.to_string()) {
            Err(error) if status(&error) == Some(CHANNEL_BUSY) => pause(AGAIN),
            asked => return asked,
        }
    }
}

/// One that cannot be a PIN costs no try.
fn pin(pin: Option<&Secret>) -> Result<Option<&str>, Answer> {
    let Some(pin) = pin else { return Ok(None) };
    let text = str::from_utf8(pin.expose()).ok().filter(|text| PIN.contains(&text.len()));
    text.map(Some).ok_or(Answer::WrongPin { left: None })
}

/// Like [`trouble`]; after a wrong PIN the key is asked how many tries are left.
fn pin_trouble(key: &FidoKeyHid, error: impl ToString) -> Answer {
    match trouble(error) {
        Answer::WrongPin { .. } => {
            let left = key.get_pin_retries().ok().and_then(|left| u8::try_from(left).ok());
            if left == Some(0) { Answer::PinBlocked } else { Answer::WrongPin { left } }
        }
        other => other,
    }
}

/// The crate's errors are only texts.
fn trouble(error: impl ToString) -> Answer {
    let error = error.to_string();
    let Some(status) = status(&error) else {
        let unplugged = error.starts_with("read err") || error.starts_with("write err");
        return if unplugged { Answer::Gone } else { Answer::lied("its answer makes no sense") };
    };
    match status {
        TIMEOUT | USER_ACTION_TIMEOUT | ACTION_TIMEOUT => Answer::TimedOut,
        CREDENTIAL_EXCLUDED => Answer::AlreadyRegistered,
        OPERATION_DENIED => Answer::Denied,
        NO_CREDENTIALS => Answer::NotEnrolled,
        PIN_INVALID => Answer::WrongPin { left: None },
        PIN_AUTH_BLOCKED => Answer::PinPaused,
        PIN_BLOCKED => Answer::PinBlocked,
        PIN_NOT_SET => Answer::failed("no PIN is set on it"),
        PIN_REQUIRED => Answer::PinRequired,
        INVALID_COMMAND => Answer::failed("it says that it speaks CTAP2, and does not"),
        status => Answer::Failed(format!("CTAP2 status {status:#04x}")),
    }
}

/// The number in `response_status err = 0x27 CTAP2_ERR_…`.
fn status(error: &str) -> Option<u8> {
    let number = error.strip_prefix("response_status err = 0x")?;
    let digits = number.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_crate_by_their_text() {
        let status = |text: &str| trouble(format!("response_status err = {text}"));
        let table = [
            (
                status("0x27 CTAP2_ERR_OPERATION_DENIED  Not authorized for requested operation."),
                Answer::Denied,
            ),
            (status("0x2F CTAP2_ERR_USER_ACTION_TIMEOUT   Timeout"), Answer::TimedOut),
            (status("0x31 CTAP2_ERR_PIN_INVALID   PIN Invalid."), Answer::WrongPin { left: None }),
            (status("0x32 CTAP2_ERR_PIN_BLOCKED PIN Blocked."), Answer::PinBlocked),
            (status("0x34 CTAP2_ERR_PIN_AUTH_BLOCKED"), Answer::PinPaused),
            (status("0x36 CTAP2_ERR_PIN_REQUIRED"), Answer::PinRequired),
            (status("0x19 CTAP2_ERR_CREDENTIAL_EXCLUDED"), Answer::AlreadyRegistered),
            (status("0x7F CTAP1_ERR_OTHER"), Answer::failed("CTAP2 status 0x7f")),
            (status("0x2"), Answer::failed("CTAP2 status 0x02")),
            (trouble("read err = 0xFE"), Answer::Gone),
            (trouble("write error"), Answer::Gone),
            (trouble("ciborium parse error"), Answer::lied("its answer makes no sense")),
            (status("0xzz"), Answer::lied("its answer makes no sense")),
            (trouble(""), Answer::lied("its answer makes no sense")),
        ];
        for (answer, expected) in table {
            assert_eq!(answer, expected);
        }
    }

    #[test]
    fn what_cannot_be_a_pin_is_not_tried() {
        let wrong =
            |bytes: &[u8]| pin(Some(&Secret::new(bytes))).err() == Some(Answer::WrongPin { left: None });
        assert!(wrong(b"") && wrong(b"123") && wrong(&[b'1'; 64]) && wrong(b"12\xff4"));
        assert!(!wrong(b"1234") && !wrong(&[b'1'; 63]) && !wrong("\u{e4}\u{e4}".as_bytes()));
        assert_eq!(pin(None), Ok(None));
    }
}
