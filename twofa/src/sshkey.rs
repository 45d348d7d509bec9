//! SSH keys that live in a security key (`sk-`): what sshd says it accepted, and which key that is. Keys are
//! compared as whole blobs, never as text or by a part.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Longest list of accepted keys, and longest line, that is looked at. A certificate has a few kilobytes.
const MAX_INFO: usize = 64 * 1024;
const MAX_BLOB: usize = 16 * 1024;

/// The kinds of keys that a security key holds, and of certificates for them (OpenSSH's PROTOCOL.u2f).
const KINDS: [Kind; 2] = [
    Kind {
        name: "sk-ssh-ed25519@openssh.com",
        certificate: "sk-ssh-ed25519-cert-v01@openssh.com",
        // public key, application
        fields: 2,
    },
    Kind {
        name: "sk-ecdsa-sha2-nistp256@openssh.com",
        certificate: "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        // curve, public key, application
        fields: 3,
    },
];

struct Kind {
    name: &'static str,
    certificate: &'static str,
    fields: usize,
}

/// A public key whose private half a security key holds: its blob (RFC 4253, section 6.6).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SkKey(Vec<u8>);

/// A line of `authorized_keys`, or a `.pub` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub key: SkKey,
    pub comment: String,
    /// The line's own options say that no touch is needed. `PubkeyAuthOptions touch-required` overrules it.
    pub no_touch_required: bool,
}

/// Why a line has no key of a security key, in words that follow `the line`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(&'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl SkKey {
    /// The keys of security keys among what sshd accepted: lines `publickey TYPE BASE64` (SSH_AUTH_INFO_0). Whatever
    /// is malformed is no key.
    pub fn accepted(info: &str) -> Vec<Self> {
        publickeys(info).filter_map(|(kind, blob)| Self::decode(kind, blob)).collect()
    }

    /// `SHA256:...`, as ssh-keygen prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&Sha256::digest(&self.0).into())
    }

    /// What kind of key it is, by its name.
    pub fn kind(&self) -> &'static str {
        let name = Reader(&self.0).string();
        KINDS.iter().map(|kind| kind.name).find(|kind| Some(kind.as_bytes()) == name).unwrap_or_default()
    }

    fn decode(kind: &str, blob: &str) -> Option<Self> {
        if blob.len() > MAX_BLOB {
            return None;
        }
        let blob = STANDARD.decode(blob).ok()?;
        let key = Self::from_blob(&blob)?;
        // The word before the blob is only a word; both have to say the same.
        (Reader(&blob).string()? == kind.as_bytes()).then_some(key)
    }

    /// The key in a key's or a certificate's blob.
    fn from_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader(blob);
        let name = reader.string()?;
        let kind =
            KINDS.iter().find(|kind| [kind.name, kind.certificate].iter().any(|n| n.as_bytes() == name))?;
        let is_certificate = name == kind.certificate.as_bytes();
        if is_certificate {
            let _nonce = reader.string()?;
        }
        let mut key = Vec::with_capacity(blob.len());
        write_string(&mut key, kind.name.as_bytes())?;
        let mut fields = Vec::new();
        for _ in 0..kind.fields {
            let field = reader.string()?;
            write_string(&mut key, field)?;
            fields.push(field);
        }
        let point = match fields.as_slice() {
            [point, _application] => (point.len() == 32).then_some(point),
            [curve, point, _application] => {
                (*curve == b"nistp256" && point.len() == 65 && point.first() == Some(&4)).then_some(point)
            }
            _ => None,
        };
        point?;
        // A key ends here; a certificate goes on with what its authority says.
        (is_certificate || reader.0.is_empty()).then_some(Self(key))
    }
}

impl fmt::Debug for SkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SkKey({})", self.fingerprint())
    }
}

impl<'de> Deserialize<'de> for SkKey {
    /// A stored key is checked again.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let blob = Vec::<u8>::deserialize(deserializer)?;
        let key = Self::from_blob(&blob).filter(|key| key.0 == blob);
        key.ok_or_else(|| D::Error::custom("is not the public key of a security key"))
    }
}

impl Line {
    /// # Errors
    ///
    /// What the line has in place of such a key.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let line = line.trim();
        let words = words(line);
        let is_type = |word: &&str| {
            let plain = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start));
            plain && !word.contains('=') && !word.contains(',')
        };
        let Some(at) = words.iter().take(2).position(is_type) else {
            return Err(Fault("has no SSH public key"));
        };
        let kind = words.get(at).copied().unwrap_or_default();
        if KINDS.iter().any(|known| known.certificate == kind) {
            return Err(Fault("is a certificate; enroll the key that it is for"));
        }
        if KINDS.iter().all(|known| known.name != kind) {
            return Err(Fault(
                "has an ordinary SSH key, which is no second factor; it takes a key of type sk-",
            ));
        }
        let blob = words.get(at + 1).copied().unwrap_or_default();
        let key = SkKey::decode(kind, blob).ok_or(Fault("has a damaged key"))?;
        let options = if at == 0 { "" } else { words.first().copied().unwrap_or_default() };
        let has = |wanted: &str| options.split(',').any(|option| option.eq_ignore_ascii_case(wanted));
        if has("cert-authority") {
            return Err(Fault("is an authority for certificates; enroll the key that a certificate is for"));
        }
        let no_touch_required = has("no-touch-required");
        let comment = words.get(at + 2..).unwrap_or_default().join(" ");
        Ok(Self { key, comment, no_touch_required })
    }
}

/// A key's SHA-256 as ssh-keygen prints it.
pub fn fingerprint(sha256: &[u8; 32]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256))
}

/// The SHA-256 of a key out of what ssh-keygen prints.
pub fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let hash = STANDARD_NO_PAD.decode(text.trim().strip_prefix("SHA256:")?).ok()?;
    hash.try_into().ok()
}

/// What the last key that sshd accepted is known by (SSH_AUTH_INFO_0), of whatever kind it is.
pub fn last_accepted(info: &str) -> Option<[u8; 32]> {
    let short = publickeys(info).filter(|(_, blob)| blob.len() <= MAX_BLOB);
    let last = short.filter_map(|(_, blob)| STANDARD.decode(blob).ok()).last()?;
    Some(Sha256::digest(last).into())
}

/// The lines `publickey TYPE BASE64` of SSH_AUTH_INFO_0, each with its type and base64. Whatever is not wholly so is
/// none.
pub fn publickeys(info: &str) -> impl Iterator<Item = (&str, &str)> {
    let publickey = |line| match str::split(line, ' ').collect::<Vec<_>>().as_slice() {
        ["publickey", kind, blob] if !kind.is_empty() && !blob.is_empty() => Some((*kind, *blob)),
        _ => None,
    };
    let info = if info.len() > MAX_INFO { "" } else { info };
    info.lines().filter_map(publickey)
}

/// Words between blanks; a quoted part is of one word (sshd(8), AUTHORIZED_KEYS FILE FORMAT). A quote behind a backslash
/// does not count, whatever is in front of the backslash: so sshd reads it.
fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let is_blank = |c: char| {
        let end = !quoted && (c == ' ' || c == '\t');
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\';
        end
    };
    line.split(is_blank).filter(|word| !word.is_empty()).collect()
}

/// What is left of a blob.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// RFC 4251, section 5: a length of four bytes, then so many.
    fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        self.0 = rest;
        Some(string)
    }
}

fn write_string(blob: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    blob.extend(u32::try_from(string.len()).ok()?.to_be_bytes());
    blob.extend(string);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(fields: &[&[u8]]) -> Vec<u8> {
        let mut blob = Vec::new();
        fields.iter().for_each(|field| write_string(&mut blob, field).unwrap());
        blob
    }

    fn ed25519(seed: u8) -> Vec<u8> {
        blob(&[b"sk-ssh-ed25519@openssh.com", &[seed; 32], b"ssh:"])
    }

    fn ecdsa(seed: u8) -> Vec<u8> {
        let point = [&[4][..], &[seed; 64]].concat();
        blob(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &point, b"ssh:"])
    }

    fn info(kind: &str, blob: &[u8]) -> String {
        format!("publickey {kind} {}\n", STANDARD.encode(blob))
    }

    #[test]
    fn keys_are_read_as_sshd_names_them() {
        let both = info("sk-ssh-ed25519@openssh.com", &ed25519(1))
            + "keyboard-interactive/pam\n"
            + &info("sk-ecdsa-sha2-nistp256@openssh.com", &ecdsa(2));
        assert_eq!(SkKey::accepted(&both), [SkKey(ed25519(1)), SkKey(ecdsa(2))]);
        assert_eq!(SkKey(ed25519(1)).kind(), "sk-ssh-ed25519@openssh.com");
        let certificate = [
            blob(&[b"sk-ssh-ed25519-cert-v01@openssh.com", &[9; 32], &[1; 32], b"ssh:"]),
            vec![0, 0, 0, 0, 0, 0, 0, 7],
        ]
        .concat();
        let certified = SkKey::accepted(&info("sk-ssh-ed25519-cert-v01@openssh.com", &certificate));
        assert_eq!(certified, [SkKey(ed25519(1))], "the key that the certificate is for");
    }

    #[test]
    fn what_is_not_a_whole_key_is_none() {
        let good = ed25519(1);
        let name = "sk-ssh-ed25519@openssh.com";
        let encoded = STANDARD.encode(&good);
        let longer = [&good[..], &[0]].concat();
        let point = blob(&[name.as_bytes(), &[1; 31], b"ssh:"]);
        let curve = blob(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp521", &[4; 65], b"ssh:"]);
        let ecdsa_name = "sk-ecdsa-sha2-nistp256@openssh.com";
        let ecdsa =
            |point: &[u8]| info(ecdsa_name, &blob(&[ecdsa_name.as_bytes(), b"nistp256", point, b"ssh:"]));
        let application = blob(&[name.as_bytes(), &[1; 32], &[b'a'; MAX_BLOB]]);
        let huge = [&u32::MAX.to_be_bytes()[..], b"x"].concat();
        let bad = [
            String::new(),
            "publickey".into(),
            format!("publickey {name}"),
            format!("publickey {name} {encoded} more"),
            format!(" publickey {name} {encoded}"),
            format!("publickey  {name} {encoded}"),
            format!("publickeys {name} {encoded}"),
            format!("hostbased {name} {encoded}"),
            format!("publickey ssh-ed25519 {encoded}"),
            format!("publickey {name} {}", &encoded[..encoded.len() - 4]),
            format!("publickey {name} {encoded}="),
            format!("publickey {name} !!!!"),
            format!("publickey {ecdsa_name} {encoded}"),
            info(name, &longer),
            info(name, &point),
            info(name, &huge),
            info(name, b""),
            info(ecdsa_name, &curve),
            info("ssh-ed25519", &blob(&[b"ssh-ed25519", &[1; 32]])),
            ecdsa(&[4; 64]),
            ecdsa(&[4; 66]),
            ecdsa(&[3; 65]),
            info(name, &application),
            "\n".repeat(MAX_INFO) + &info(name, &good),
        ];
        for info in bad {
            assert_eq!(SkKey::accepted(&info), [], "{info:.80}");
        }
        for length in 0..good.len() {
            assert_eq!(SkKey::accepted(&info(name, &good[..length])), [], "{length}");
        }
    }

    #[test]
    fn only_a_whole_line_of_sshd_is_a_key() {
        let table = [
            ("publickey ssh-ed25519 AAAAC3Nz", true),
            ("publickey", false),
            ("publickey ssh-ed25519", false),
            ("publickey  AAAAC3Nz", false),
            ("publickey ssh-ed25519 AAAAC3Nz more", false),
            ("publickeys ssh-ed25519 AAAAC3Nz", false),
            ("keyboard-interactive/pam", false),
            ("hostbased ssh-ed25519 AAAAC3Nz", false),
            ("", false),
        ];
        for (line, expected) in table {
            assert_eq!(publickeys(line).next().is_some(), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_authorized_keys() {
        let name = "sk-ssh-ed25519@openssh.com";
        let encoded = STANDARD.encode(ed25519(1));
        let parse = |line: &str| Line::parse(line).map(|line| (line.comment, line.no_touch_required));
        assert_eq!(
            parse(&format!("{name} {encoded} alice@laptop work\n")),
            Ok(("alice@laptop work".into(), false))
        );
        assert_eq!(parse(&format!("{name}\t{encoded}")), Ok((String::new(), false)));
        let options = r#"from="10.0.0.1,10.0.0.2",command="echo \"ssh-rsa x\"",No-Touch-Required"#;
        assert_eq!(parse(&format!("{options} {name} {encoded} c")), Ok(("c".into(), true)));
        assert_eq!(parse(&format!("no-pty {name} {encoded}")), Ok((String::new(), false)));
        // sshd knows no backslash before a backslash: all of this is options, and the second key is the line's.
        let hidden = format!(r#"command="a\\" {name} {encoded} ",no-touch-required"#);
        let own = STANDARD.encode(ed25519(2));
        let read = Line::parse(&format!("{hidden} {name} {own}")).unwrap();
        assert_eq!((read.key, read.no_touch_required), (SkKey(ed25519(2)), true));
        let fault = |line: &str| Line::parse(line).unwrap_err().to_string();
        assert!(fault("ssh-ed25519 AAAA alice").contains("ordinary SSH key"));
        assert!(fault(&format!("{name} AAAA")).contains("damaged"));
        assert!(fault("sk-ssh-ed25519-cert-v01@openssh.com AAAA").contains("certificate"));
        assert!(fault(&format!("cert-authority {name} {encoded} ca")).contains("authority"));
        for line in ["", "# comment", "hello", "one two three"] {
            assert!(fault(line).contains("no SSH public key"), "{line}");
        }
    }

    #[test]
    fn what_was_stored_is_checked_again() {
        let read =
            |blob: Vec<u8>| postcard::from_bytes::<SkKey>(&postcard::to_allocvec(&blob).unwrap()).is_ok();
        assert!(read(ed25519(1)) && read(ecdsa(1)));
        assert!(!read(vec![]) && !read([ed25519(1), vec![0]].concat()));
        let certificate = blob(&[b"sk-ssh-ed25519-cert-v01@openssh.com", &[9; 32], &[1; 32], b"ssh:"]);
        assert!(!read(certificate), "what is kept is the key that it is for");
    }

    #[test]
    fn the_last_key_that_sshd_accepted_is_known_again() {
        let plain = blob(&[b"ssh-ed25519", &[1; 32]]);
        let sha256 = |blob: &[u8]| Some(Sha256::digest(blob).into());
        let ordinary = info("ssh-ed25519", &plain);
        let of_security_key = info("sk-ssh-ed25519@openssh.com", &ed25519(1));
        let encoded = STANDARD.encode(&plain);
        let table = [
            (String::new(), None),
            (ordinary.clone(), sha256(&plain)),
            (ordinary.trim_end().into(), sha256(&plain)),
            (ordinary.clone() + &of_security_key, sha256(&ed25519(1))),
            (of_security_key.clone() + &ordinary, sha256(&plain)),
            (of_security_key.clone() + &info("ecdsa-sha2-nistp256", b"any"), sha256(b"any")),
            (format!("password\n{ordinary}keyboard-interactive/pam\n"), sha256(&plain)),
        ];
        for (info, expected) in table {
            assert_eq!(last_accepted(&info), expected, "{info}");
        }
        assert_eq!(fingerprint(&last_accepted(&of_security_key).unwrap()), SkKey(ed25519(1)).fingerprint());
        let malformed = [
            "publickey".into(),
            "publickey ".into(),
            "publickey ssh-ed25519".into(),
            "publickey ssh-ed25519 ".into(),
            format!("publickey  {encoded}"),
            format!("publickey  ssh-ed25519 {encoded}"),
            format!("publickey ssh-ed25519 {encoded} more"),
            format!("publickey ssh-ed25519 {encoded} "),
            format!(" publickey ssh-ed25519 {encoded}"),
            format!("publickeys ssh-ed25519 {encoded}"),
            format!("hostbased ssh-ed25519 {encoded}"),
            format!("publickey ssh-ed25519 {encoded}="),
            "publickey ssh-ed25519 !!!!".into(),
            format!("publickey ssh-ed25519 {}", "A".repeat(MAX_BLOB + 4)),
        ];
        for line in malformed {
            assert_eq!(last_accepted(&line), None, "{line:.80}");
            assert_eq!(
                last_accepted(&format!("{of_security_key}{line}\n")),
                sha256(&ed25519(1)),
                "{line:.80}"
            );
        }
        let longest = "\n".repeat(MAX_INFO - ordinary.len()) + &ordinary;
        assert_eq!((last_accepted(&longest), longest.len()), (sha256(&plain), MAX_INFO));
        assert_eq!(last_accepted(&format!("\n{longest}")), None);
    }
}
