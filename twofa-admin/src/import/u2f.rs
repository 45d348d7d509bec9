//! Mappings of pam_u2f (`u2f_keys`), as its util.c reads them:
//!
//! ```text
//! alice:KEYHANDLE,PUBLICKEY,es256,+presence:KEYHANDLE,PUBLICKEY,eddsa,+presence+pin
//! bob:KEYHANDLE,PUBLICKEY                                                  (before version 1.1)
//! ```

use super::entry::{ENROLL_KEY, Entry, Fate, refused};
use super::source::{self, Fault};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::collections::HashMap;
use twofa::token::{Credential, Protocol, PublicKey};

/// A label is this and a number.
pub(crate) const LABEL: &str = "u2f";
/// Some ten thousand users.
pub(crate) const MAX_FILE: u64 = 16 * 1024 * 1024;
/// pam_u2f's own limit (`max_devices`).
const MAX_DEVICES: usize = 24;

/// Whom the keys were made for, which the file does not say.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    /// Of FIDO2 credentials.
    pub(crate) origin: String,
    /// Of U2F ones, in the old form of a line.
    pub(crate) appid: String,
}

/// What a file has for its users.
pub(crate) fn parse(bytes: &[u8], party: &Party) -> Result<Vec<Entry>, Fault> {
    let text = source::text(bytes)?;
    let mut users: Vec<(usize, &str, Vec<Entry>)> = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, devices) = line.split_once(':').ok_or_else(|| Fault::at(number, "has no colon"))?;
        if user.is_empty() {
            return Err(Fault::at(number, "has no user"));
        }
        let devices: Vec<&str> = devices.split(':').filter(|device| !device.is_empty()).collect();
        if devices.len() > MAX_DEVICES {
            return Err(Fault::at(
                number,
                format!("has {} keys; pam_u2f takes {MAX_DEVICES}", devices.len()),
            ));
        }
        let entries = devices.into_iter().map(|device| {
            let fate = parse_device(device, party).map_err(|why| Fault::at(number, why))?;
            Ok(Entry { line: number, user: user.into(), what: LABEL.into(), fate, is_factor: true })
        });
        users.push((number, user, entries.collect::<Result<_, Fault>>()?));
    }
    let last: HashMap<&str, usize> = users.iter().map(|(number, user, _)| (*user, *number)).collect();
    let counting = |(number, user, entries): (usize, &str, Vec<Entry>)| {
        let counts = last.get(user) == Some(&number);
        entries.into_iter().map(move |entry| {
            if counts {
                entry
            } else {
                Entry { fate: refused("a later line of the user counts", None), ..entry }
            }
        })
    };
    Ok(users.into_iter().flat_map(counting).collect())
}

fn parse_device(device: &str, party: &Party) -> Result<Fate, String> {
    let fields: Vec<&str> = device.split(',').collect();
    match fields.as_slice() {
        [handle, public] => old(handle, public, party),
        [handle, public, kind, options] => new(handle, public, kind, options, party),
        fields => Err(format!("has a key with {} fields; 4 are right, or 2", fields.len())),
    }
}

fn new(handle: &str, public: &str, kind: &str, options: &str, party: &Party) -> Result<Fate, String> {
    if handle == "*" {
        return Ok(refused("kept on the key (resident)", Some(RESIDENT.into())));
    }
    let id = STANDARD.decode(handle).map_err(|_| "has a key handle that is not base64")?;
    let public = STANDARD.decode(public).map_err(|_| "has a public key that is not base64")?;
    let (mut verify, mut has_pin) = (false, false);
    let mut words = options.split('+');
    if words.next() != Some("") {
        return Err("has options that do not begin with +".into());
    }
    for word in words.filter(|word| !word.is_empty()) {
        match word {
            "presence" => {}
            // Both are what we call verification, which a PIN is asked for.
            "verification" | "pin" => (verify, has_pin) = (true, true),
            _ => return Err("has an option that pam_u2f does not know".into()),
        }
    }
    let public = match kind.to_ascii_lowercase().as_str() {
        "es256" => PublicKey::Es256([&[4][..], &public].concat()),
        "eddsa" => PublicKey::Ed25519(public),
        "rs256" => return Ok(refused("an RSA key", Some(ENROLL_KEY.into()))),
        _ => return Err("has a type of key that pam_u2f does not know".into()),
    };
    let rp_id = party.origin.clone();
    let credential = Credential { rp_id, id, public, protocol: Protocol::Fido2, verify };
    valid(credential, has_pin)
}

/// Made by U2F, before version 1.1 of pam_u2f.
fn old(handle: &str, public: &str, party: &Party) -> Result<Fate, String> {
    let id = URL_SAFE_NO_PAD.decode(handle).map_err(|_| "has a key handle that is not web-safe base64")?;
    let (pairs, rest) = public.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    let point: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let point = point.filter(|_| rest.is_empty()).ok_or("has a public key that is not hexadecimal")?;
    let (rp_id, public) = (party.appid.clone(), PublicKey::Es256(point));
    valid(Credential { rp_id, id, public, protocol: Protocol::U2f, verify: false }, false)
}

fn valid(credential: Credential, has_pin: bool) -> Result<Fate, String> {
    if credential.is_valid() {
        Ok(Fate::Key { credential, has_pin })
    } else {
        Err("has a key that there cannot be: wrong lengths".into())
    }
}

const RESIDENT: &str =
    "The file does not have what names a resident key: enroll it anew with `twofa-admin enroll key NAME`.";

#[cfg(test)]
mod tests {
    use super::super::tests::{never_panics, shown};
    use super::*;

    fn party() -> Party {
        Party { origin: "pam://host".into(), appid: "pam://app".into() }
    }

    fn entries(text: &str) -> Vec<String> {
        parse(text.as_bytes(), &party()).unwrap().iter().map(shown).collect()
    }

    fn handle() -> String {
        STANDARD.encode([0xfb; 64])
    }

    fn point() -> String {
        STANDARD.encode([7; 64])
    }

    #[test]
    fn lines_of_both_forms_are_taken() {
        let old = format!("{},04{}", URL_SAFE_NO_PAD.encode([0xfb; 64]), "07".repeat(64));
        let text = format!(
            "# keys\nalice:{h},{p},es256,+presence:{h},{e},EdDSA,+presence+pin\nbob:{old}\ncarol:*,{p},es256,\n\
             dave:{h},{p},rs256,+presence\nerin:\nfrank:{h},{p},es256,+verification\n",
            h = handle(),
            p = point(),
            e = STANDARD.encode([7; 32]),
        );
        assert_eq!(
            entries(&text),
            [
                "2 u2f: key Fido2 pam://host 64 verify=false pin=false",
                "2 u2f: key Fido2 pam://host 64 verify=true pin=true",
                "3 u2f: key U2f pam://app 64 verify=false pin=false",
                "4 u2f: refused, kept on the key (resident)",
                "5 u2f: refused, an RSA key",
                "7 u2f: key Fido2 pam://host 64 verify=true pin=true",
            ]
        );
    }

    #[test]
    fn both_forms_give_the_same_point() {
        let new = parse(format!("a:{},{},es256,", handle(), point()).as_bytes(), &party()).unwrap();
        let old = format!("a:{},04{}", URL_SAFE_NO_PAD.encode([0xfb; 64]), "07".repeat(64));
        let old = parse(old.as_bytes(), &party()).unwrap();
        let (Fate::Key { credential: new, .. }, Fate::Key { credential: old, .. }) =
            (&new[0].fate, &old[0].fate)
        else {
            panic!("{new:?} {old:?}");
        };
        assert_eq!((&new.id, &new.public), (&old.id, &old.public));
    }

    #[test]
    fn of_several_lines_of_a_user_the_last_counts() {
        let line = format!("alice:{},{},es256,+presence\n", handle(), point());
        let found = entries(&format!("{line}{line}"));
        assert_eq!(found[0], "1 u2f: refused, a later line of the user counts");
        assert!(found[1].starts_with("2 u2f: key"), "{found:?}");
    }

    #[test]
    fn a_malformed_file_says_where() {
        let (h, p) = (handle(), point());
        let lines = [
            "alice".to_string(),
            format!(":{h},{p},es256,"),
            format!("alice:{h}"),
            format!("alice:{h},{p},es256"),
            format!("alice:{h},{p},es256,,"),
            format!("alice:{h},{p},es256,presence"),
            format!("alice:{h},{p},es256,+presense"),
            format!("alice:{h},{p},es384,+presence"),
            format!("alice:{h}!,{p},es256,+presence"),
            format!("alice:{h},{},es256,+presence", STANDARD.encode([7; 63])),
            format!("alice:{h},{},eddsa,+presence", STANDARD.encode([7; 33])),
            format!("alice:,{p},es256,+presence"),
            format!("alice:{h},04{}", "07".repeat(64)),
            format!("alice:{},03{}", URL_SAFE_NO_PAD.encode([1; 64]), "07".repeat(64)),
            format!("alice:{}", [format!("{h},{p},es256,").as_str(); 25].join(":")),
            format!("alice:{h},{p},es256,+presence\r"),
            format!("al\x1bice:{h},{p},es256,+presence"),
        ];
        let fine = format!("bob:{h},{p},es256,+presence\n");
        for line in lines {
            let fault = parse(format!("{fine}{line}\n").as_bytes(), &party()).map(|_| ()).unwrap_err();
            assert_eq!(fault.line, 2, "{line:?} {fault:?}");
        }
    }

    #[test]
    fn random_bytes_are_no_trouble() {
        let old = format!("{},04{}", URL_SAFE_NO_PAD.encode([0xfb; 64]), "07".repeat(64));
        let seed =
            format!("alice:{},{},es256,+presence+pin:{old}\nbob:*,{},eddsa,\n", handle(), point(), point());
        never_panics(seed.as_bytes(), |bytes| drop(parse(bytes, &party())));
    }
}
