//! CBOR as CTAP2 uses it (CTAP 2.1, 8): maps whose members are put in the canonical order by who writes them.

use ciborium::Value;

/// One value, and nothing behind it.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Value> {
    let value = ciborium::from_reader(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything");
    bytes
}

/// A map with these members.
pub(crate) fn map<K: Into<Value>, const N: usize>(members: [(K, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A member of a map.
pub(crate) fn get(map: &Value, key: impl Into<Value>) -> Option<&Value> {
    let key = key.into();
    map.as_map()?.iter().find_map(|(name, value)| (*name == key).then_some(value))
}

/// A member that is a byte string.
pub(crate) fn bytes(map: &Value, key: impl Into<Value>) -> Option<&[u8]> {
    get(map, key)?.as_bytes().map(Vec::as_slice)
}

/// A member that is a text.
pub(crate) fn text<'m>(map: &'m Value, key: &str) -> Option<&'m str> {
    get(map, key)?.as_text()
}

/// A member that is a number.
pub(crate) fn number(map: &Value, key: impl Into<Value>) -> Option<i64> {
    get(map, key)?.as_integer()?.try_into().ok()
}

/// The elements of a member that is an array; none when it is not there.
pub(crate) fn elements(map: &Value, key: impl Into<Value>) -> &[Value] {
    get(map, key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_keep_their_order() {
        let value = map([(1, Value::from("a")), (-1, Value::Bytes(vec![2, 3]))]);
        let bytes_of = [0xa2, 0x01, 0x61, b'a', 0x20, 0x42, 2, 3];
        assert_eq!(encode(&value), bytes_of);
        assert_eq!(decode(&bytes_of), Some(value.clone()));
        assert_eq!(bytes(&value, -1), Some(&[2, 3][..]));
        assert_eq!(get(&value, 2), None);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0xa1, 1]), None);
        assert_eq!(decode(&[1, 1]), None);
        assert_eq!(decode(&[0x81; 5000]), None);
    }
}
