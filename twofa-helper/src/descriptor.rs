//! HID report descriptors (HID 1.11, section 6.2.2), only as far as to tell whether a device is a security key.

/// CTAP 2.1, section 11.2.8.2.
const FIDO_PAGE: u32 = 0xf1d0;
const FIDO_AUTHENTICATOR: u32 = 0x01;

/// The kernel's limit, HID_MAX_DESCRIPTOR_SIZE.
pub(crate) const MAX_DESCRIPTOR: usize = 4096;

const COLLECTION: u8 = 0xa0;
const USAGE_PAGE: u8 = 0x04;
const PUSH: u8 = 0xa4;
const POP: u8 = 0xb4;
const USAGE: u8 = 0x08;
const LONG_ITEM: u8 = 0xfe;
/// Of an item's first byte; the two lowest bits are its size.
const TAG_AND_TYPE: u8 = 0xfc;
const TYPE: u8 = 0x0c;
const MAIN: u8 = 0x00;
const APPLICATION: u32 = 0x01;

/// Whether one of the applications of the device is a FIDO authenticator.
pub(crate) fn is_fido(descriptor: &[u8]) -> bool {
    let mut rest = descriptor;
    let mut page = 0;
    let mut pages = vec![];
    let mut usage = None;
    while let Some((item, data, after)) = next(rest) {
        rest = after;
        match item {
            USAGE_PAGE => page = data,
            PUSH => pages.push(page),
            POP => page = pages.pop().unwrap_or_default(),
            // Four bytes hold a page of their own; of several usages the first is the collection's.
            USAGE => {
                let whole = if data > 0xffff { data } else { page << 16 | data };
                usage = usage.or(Some(whole));
            }
            COLLECTION if data == APPLICATION && usage == Some(FIDO_PAGE << 16 | FIDO_AUTHENTICATOR) => {
                return true;
            }
            _ => {}
        }
        if item & TYPE == MAIN {
            usage = None;
        }
    }
    false
}

/// The next short item: its tag and type, its data, and what follows. Long items have no meaning yet.
fn next(mut bytes: &[u8]) -> Option<(u8, u32, &[u8])> {
    loop {
        let (&first, rest) = bytes.split_first()?;
        if first == LONG_ITEM {
            let size = usize::from(*rest.first()?);
            // The size and the tag are a byte each.
            bytes = rest.get(2 + size..)?;
            continue;
        }
        let size = match first & !TAG_AND_TYPE {
            3 => 4,
            size => usize::from(size),
        };
        let (data, after) = rest.split_at_checked(size)?;
        let data = data.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        return Some((first & TAG_AND_TYPE, data, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CTAP 2.1, section 11.2.8.2, as nearly every key has it.
    const KEY: [u8; 34] = [
        0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95,
        0x40, 0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
    ];
    const KEYBOARD: [u8; 12] = [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x75, 0x08, 0x81, 0x00];

    #[test]
    fn keys_and_what_is_none() {
        let behind_keyboard = [&KEYBOARD[..], &[0xc0], &KEY].concat();
        let table: [(&str, Vec<u8>, bool); 22] = [
            ("a key", KEY.into(), true),
            ("a key behind a keyboard", behind_keyboard, true),
            ("a keyboard", KEYBOARD.into(), false),
            ("nothing", vec![], false),
            ("page in four bytes", vec![0x07, 0xd0, 0xf1, 0, 0, 0x09, 0x01, 0xa1, 0x01], true),
            ("page within the usage", vec![0x0b, 0x01, 0, 0xd0, 0xf1, 0xa1, 0x01], true),
            ("collection in two bytes", vec![0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa2, 0x01, 0x00], true),
            ("long item before", vec![0xfe, 2, 9, 0x06, 0, 0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01], true),
            ("pushed and popped", vec![0x06, 0xd0, 0xf1, 0xa4, 0x05, 0x01, 0xb4, 0x09, 1, 0xa1, 1], true),
            ("pushed only", vec![0x06, 0xd0, 0xf1, 0xa4, 0x05, 0x01, 0x09, 1, 0xa1, 1], false),
            ("popped only", vec![0x06, 0xd0, 0xf1, 0xb4, 0x09, 0x01, 0xa1, 0x01], false),
            ("only the page", vec![0x06, 0xd0, 0xf1], false),
            ("no collection", vec![0x06, 0xd0, 0xf1, 0x09, 0x01], false),
            ("another usage", vec![0x06, 0xd0, 0xf1, 0x09, 0x02, 0xa1, 0x01], false),
            ("usage of an item before", vec![0x06, 0xd0, 0xf1, 0x09, 0x01, 0x81, 0x02, 0xa1, 0x01], false),
            ("the first usage of two", vec![0x06, 0xd0, 0xf1, 0x09, 0x01, 0x09, 0x02, 0xa1, 0x01], true),
            ("the second usage of two", vec![0x06, 0xd0, 0xf1, 0x09, 0x02, 0x09, 0x01, 0xa1, 0x01], false),
            ("a physical collection", vec![0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x00], false),
            ("bytes turned round", vec![0x06, 0xf1, 0xd0, 0x09, 0x01, 0xa1, 0x01], false),
            ("inside a long item", [vec![0xfe, 7, 9], KEY[..7].to_vec()].concat(), false),
            ("a usage page of one byte", vec![0x05, 0xd0, 0x09, 0x01, 0xa1, 0x01], false),
            ("a long item that is cut", vec![0xfe], false),
        ];
        for (what, bytes, expected) in table {
            assert_eq!(is_fido(&bytes), expected, "{what}");
        }
    }

    #[test]
    fn a_descriptor_that_is_cut_anywhere() {
        for length in 0..=KEY.len() {
            assert_eq!(is_fido(&KEY[..length]), length >= 7, "{length}");
        }
    }
}
