//! What the module's file is, before anybody runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unsafe_code,
    reason = "a broken test says so and stops; it loads the module itself"
)]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::process::Command;
use twofa_tests::driver::site::module;

const HOOKS: [&str; 6] = [
    "pam_sm_acct_mgmt",
    "pam_sm_authenticate",
    "pam_sm_chauthtok",
    "pam_sm_close_session",
    "pam_sm_open_session",
    "pam_sm_setcred",
];

/// What a program of binutils says about the module.
fn say(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg(module()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (package binutils): {error}"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn exports_the_six_hooks_and_nothing_else() {
    let text = say("nm", &["-D", "--defined-only"]);
    let names: BTreeSet<_> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, BTreeSet::from(HOOKS));
}

#[test]
fn needs_only_what_is_always_there() {
    let text = say("readelf", &["-d"]);
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    let names: BTreeSet<_> =
        needed.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0)).collect();
    let allowed = ["libpam.so.0", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];
    let others: Vec<_> =
        names.iter().filter(|name| !allowed.contains(name) && !name.starts_with("ld-linux")).collect();
    assert!(others.is_empty() && names.contains("libpam.so.0"), "{names:?}");
    // The clock must stay libc's, so that the tests can move it, and libc's own work with it.
    assert!(names.contains("libc.so.6"), "{names:?}");
}

#[test]
fn is_hardened() {
    let dynamic = say("readelf", &["-d"]);
    assert!(dynamic.contains("BIND_NOW") || dynamic.contains("NOW"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
    assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
    let segments = say("readelf", &["-lW"]);
    assert!(segments.contains("GNU_RELRO"), "{segments}");
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("GNU_STACK");
    assert!(!stack.contains("RWE"), "{stack}");
    let both: Vec<_> =
        segments.lines().filter(|line| line.contains("LOAD") && line.contains("RWE")).collect();
    assert!(both.is_empty(), "writable code: {both:?}");
}

#[test]
fn loads_twice_with_every_symbol_resolved() {
    let path = CString::new(module().to_str().unwrap()).unwrap();
    for _ in 0..2 {
        // SAFETY: a C string; the module's constructors are those of Rust's runtime.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        // SAFETY: dlerror returns a C string after a failure.
        assert!(!handle.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        let found = |name: &str| {
            let name = CString::new(name).unwrap();
            // SAFETY: an open handle and a C string.
            !unsafe { libc::dlsym(handle, name.as_ptr()) }.is_null()
        };
        assert!(HOOKS.iter().all(|name| found(name)));
        assert!(!found("nonexistent"));
        // SAFETY: opened above, and nothing of it is used any more.
        assert_eq!(unsafe { libc::dlclose(handle) }, 0);
    }
}
