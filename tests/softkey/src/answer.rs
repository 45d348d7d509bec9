//! What a CTAP2 answer looks like on the wire: a status byte, and members in CBOR that may be made wrong.

use ciborium::Value;

use crate::cbor;
use crate::mode::Lie;
use crate::packet;

/// Status bytes (CTAP 2.1, 8.2).
pub(crate) const OK: u8 = 0x00;
pub(crate) const INVALID_COMMAND: u8 = 0x01;
pub(crate) const INVALID_PARAMETER: u8 = 0x02;
pub(crate) const INVALID_CBOR: u8 = 0x12;
pub(crate) const MISSING_PARAMETER: u8 = 0x14;
pub(crate) const CREDENTIAL_EXCLUDED: u8 = 0x19;
pub(crate) const UNSUPPORTED_ALGORITHM: u8 = 0x26;
pub(crate) const OPERATION_DENIED: u8 = 0x27;
pub(crate) const UNSUPPORTED_OPTION: u8 = 0x2b;
pub(crate) const INVALID_OPTION: u8 = 0x2c;
pub(crate) const KEEPALIVE_CANCEL: u8 = 0x2d;
pub(crate) const NO_CREDENTIALS: u8 = 0x2e;
pub(crate) const USER_ACTION_TIMEOUT: u8 = 0x2f;
pub(crate) const PIN_INVALID: u8 = 0x31;
pub(crate) const PIN_BLOCKED: u8 = 0x32;
pub(crate) const PIN_AUTH_INVALID: u8 = 0x33;
pub(crate) const PIN_AUTH_BLOCKED: u8 = 0x34;
pub(crate) const PIN_NOT_SET: u8 = 0x35;
pub(crate) const PIN_REQUIRED: u8 = 0x36;
pub(crate) const PIN_POLICY_VIOLATION: u8 = 0x37;

/// In the answers to makeCredential and getAssertion.
const AUTH_DATA: i64 = 2;
const NUMBER_OF_CREDENTIALS: i64 = 5;
/// 2^31-1
const MANY: u32 = 0x7fff_ffff;

/// An answer of these members, their names in ascending order.
pub(crate) fn of(mut members: Vec<(i64, Value)>, lie: Option<Lie>) -> Vec<u8> {
    match lie {
        Some(Lie::Nested) => return [vec![OK], vec![0x81; packet::MAX - 2], vec![0x80]].concat(),
        Some(Lie::Many) => members.push((NUMBER_OF_CREDENTIALS, MANY.into())),
        Some(Lie::Duplicate) => members.extend(twice(&members)),
        Some(Lie::UnknownMembers) => members.extend(unknown()),
        _ => (),
    }
    let mut bytes = vec![OK, 0xa0 | u8::try_from(members.len()).unwrap_or(0)];
    for (name, value) in &members {
        bytes.extend(cbor::encode(&(*name).into()));
        match (lie, value) {
            (Some(Lie::Huge), Value::Bytes(data)) if *name == AUTH_DATA => {
                bytes.extend([&[0x5a][..], &MANY.to_be_bytes(), data].concat());
            }
            (Some(Lie::HugeAuthData), Value::Bytes(data)) if *name == AUTH_DATA => {
                bytes.extend([&[0x59, 0xff, 0xff][..], data].concat());
            }
            _ => bytes.extend(cbor::encode(value)),
        }
    }
    if lie == Some(Lie::Truncated) {
        bytes.truncate(bytes.len() / 2);
    }
    bytes
}

/// The authenticator data once more, all zero.
fn twice(members: &[(i64, Value)]) -> Option<(i64, Value)> {
    let data = members.iter().find(|(name, _)| *name == AUTH_DATA)?.1.as_bytes()?;
    Some((AUTH_DATA, Value::Bytes(vec![0; data.len()])))
}

/// Members of all kinds under names that no specification gives away.
fn unknown() -> [(i64, Value); 4] {
    let map = cbor::map([(Value::from("later"), Value::from(true)), (Value::from(-9), Value::Null)]);
    [
        (0x60, map),
        (0x61, Value::Array(vec![1.into(), "two".into(), Value::Float(3.5)])),
        (0x62, Value::Tag(1000, Box::new(Value::Bytes(vec![7; 40])))),
        (-0x1_0000, u64::MAX.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lie(lie: Lie) -> Vec<u8> {
        of(vec![(1, "a".into()), (AUTH_DATA, Value::Bytes(vec![7; 37]))], Some(lie))
    }

    #[test]
    fn an_honest_answer_is_cbor() {
        let bytes = of(vec![(1, "a".into())], None);
        assert_eq!(bytes, [0, 0xa1, 1, 0x61, b'a']);
    }

    #[test]
    fn some_lies_are_cbor() {
        for honest_form in [Lie::Many, Lie::Duplicate, Lie::UnknownMembers, Lie::NoUp] {
            assert!(cbor::decode(&lie(honest_form)[1..]).is_some(), "{honest_form:?}");
        }
    }

    #[test]
    fn others_are_none() {
        for broken in [Lie::Huge, Lie::HugeAuthData, Lie::Truncated] {
            assert!(cbor::decode(&lie(broken)[1..]).is_none(), "{broken:?}");
        }
        assert_eq!(lie(Lie::Nested).len(), packet::MAX);
    }
}
