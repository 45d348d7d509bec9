//! The two functions of libpam that pam-bindings has no call for, and typed data in a handle: the only
//! unsafe code of the workspace that is shipped.
#![allow(unsafe_code)]

use libc::{c_char, c_int, c_uint};
use pam::module::PamHandle;
use std::ffi::CStr;

unsafe extern "C" {
    fn pam_getenv(pamh: *mut PamHandle, name: *const c_char) -> *const c_char;
    fn pam_fail_delay(pamh: *mut PamHandle, microseconds: c_uint) -> c_int;
}

/// A variable of the PAM environment, which the application sets; not of the process.
pub(crate) fn getenv(pamh: &PamHandle, name: &CStr) -> Option<String> {
    // SAFETY: libpam's own handle, valid for this call, and a terminated name. pam_getenv(3) only reads;
    // its C prototype lacks `const`.
    let value = unsafe { pam_getenv(std::ptr::from_ref(pamh).cast_mut(), name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so a terminated string that lives until the variable changes; it is copied here.
    let value = unsafe { CStr::from_ptr(value) };
    value.to_str().ok().map(Into::into)
}

/// Asks libpam to wait before it tells of a failure.
pub(crate) fn fail_delay(pamh: &mut PamHandle, microseconds: u32) {
    // SAFETY: libpam's own handle, valid and exclusively borrowed for this call.
    let _ = unsafe { pam_fail_delay(pamh, microseconds) };
}

/// The data under `key`, which only this module sets, and always with type `T`.
pub(crate) fn data<'a, T>(pamh: &'a PamHandle, key: &str) -> Option<&'a T> {
    // SAFETY: `handle::Proven` is the only user of this function and of `set_data`, with one key and one type.
    unsafe { pamh.get_data::<T>(key) }.ok()
}
