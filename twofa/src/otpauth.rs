//! An app's secret as people and apps take it over: the key URI that is in a QR code, and base32 to type in.

use crate::code::{Secret, Shape};
use zeroize::Zeroizing;

/// The secret in base32 (RFC 4648), without padding.
pub fn base32(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(base32::encode(base32::Alphabet::Rfc4648 { padding: false }, secret.expose()))
}

/// The same in groups of four, to be read and typed.
pub fn groups(secret: &Secret) -> Zeroizing<String> {
    let base32 = base32(secret);
    let groups: Vec<&str> =
        base32.as_bytes().chunks(4).filter_map(|group| str::from_utf8(group).ok()).collect();
    Zeroizing::new(groups.join(" "))
}

/// The key URI that authenticator apps scan. A colon divides issuer and user, so an issuer has none.
pub fn uri(issuer: &str, user: &str, secret: &Secret, shape: Shape) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "otpauth://totp/{0}:{1}?secret={2}&issuer={0}&algorithm={3}&digits={4}&period={5}",
        percent(&issuer.replace(':', "-")),
        percent(user),
        base32(secret).as_str(),
        shape.algorithm.name(),
        shape.digits,
        shape.step
    ))
}

/// RFC 3986: everything but unreserved characters is escaped.
fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Algorithm;

    #[test]
    fn the_uri_is_what_apps_scan() {
        let shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
        let secret = Secret::new(*b"12345");
        assert_eq!(
            uri("ACME: Corp", "al/ice", &secret, shape).as_str(),
            "otpauth://totp/ACME-%20Corp:al%2Fice?secret=GEZDGNBV&issuer=ACME-%20Corp&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(groups(&secret).as_str(), "GEZD GNBV");
    }
}
