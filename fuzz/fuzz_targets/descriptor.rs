//! HID report descriptors: any device has one, and root reads it.
#![no_main]
#![allow(dead_code, reason = "a module of twofa-helper, in part")]

#[path = "../../twofa-helper/src/descriptor.rs"]
mod descriptor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Who says it is a key names the page.
    if descriptor::is_fido(bytes) {
        assert!(bytes.windows(2).any(|two| two == [0xd0, 0xf1]));
    }
});
