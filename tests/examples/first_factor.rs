//! A first factor for tests, as a PAM module: hands over as the password (PAM_AUTHTOK) what the application put
//! into the PAM environment, as a password module does with what was typed. It proves nothing and asks nothing.

#![allow(unsafe_code, clippy::missing_safety_doc, unreachable_pub, reason = "has libpam's contracts")]

use std::ffi::{c_char, c_int, c_void};

const IGNORE: c_int = 25;
const ITEM_AUTHTOK: c_int = 6;

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_getenv(handle: *mut c_void, name: *const c_char) -> *const c_char;
    fn pam_set_item(handle: *mut c_void, item: c_int, value: *const c_void) -> c_int;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_authenticate(
    handle: *mut c_void,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    // SAFETY: libpam's own handle, and a C string.
    let typed = unsafe { pam_getenv(handle, c"TWOFA_TEST_PASSWORD".as_ptr()) };
    // SAFETY: as above; libpam copies the text, and a null pointer clears the item.
    unsafe { pam_set_item(handle, ITEM_AUTHTOK, typed.cast()) };
    IGNORE
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_setcred(
    _handle: *mut c_void,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    IGNORE
}
