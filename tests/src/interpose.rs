// Functions of libc that a test wants to answer itself. A program that includes this file and is
// linked with `-rdynamic`, or preloads it, is asked before libc is:
//
// - the clock (`clock_gettime`, `gettimeofday`, `time`), see `twofa_tests::driver::clock`;
// - `connect` to the system log: the machine's own log sees nothing of the tests;
// - `getpwnam_r` and `getpwuid_r`: as many users as a test needs, and databases that fail.

#![allow(
    unsafe_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_safety_doc,
    unreachable_pub,
    reason = "stands in for libc, with libc's contracts"
)]

use libc::{c_char, c_int, c_void, passwd, size_t, sockaddr, socklen_t, timespec, timeval, uid_t};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use twofa_tests::driver::clock;

/// What the environment asks for. It is read at the first call, before the driver changes anything.
struct Wishes {
    /// Where connections to the system log go instead: `TWOFA_TEST_LOG`.
    log: Option<CString>,
    /// Names `t000000` to `t999999` are users, `x000000` to `x999999` are none: `TWOFA_TEST_USERS`.
    many: bool,
    /// One name has this number: `TWOFA_TEST_UID=name:number`.
    renumbered: Option<(Vec<u8>, uid_t)>,
    /// The user database fails with this error: `TWOFA_TEST_NSS`.
    broken: Option<c_int>,
}

fn wishes() -> &'static Wishes {
    static WISHES: OnceLock<Wishes> = OnceLock::new();
    WISHES.get_or_init(|| {
        if let Ok(text) = std::env::var("TWOFA_TEST_CLOCK") {
            clock::set(clock::parse(&text));
        }
        let text = |name| std::env::var(name).ok();
        Wishes {
            log: text("TWOFA_TEST_LOG").and_then(|path| CString::new(path).ok()),
            many: text("TWOFA_TEST_USERS").is_some(),
            renumbered: text("TWOFA_TEST_UID").and_then(|pair| {
                let (name, uid) = pair.split_once(':')?;
                Some((name.into(), uid.parse().ok()?))
            }),
            broken: text("TWOFA_TEST_NSS").and_then(|number| number.parse().ok()),
        }
    })
}

/// The function of libc that ours stands before.
macro_rules! real {
    ($name:ident: fn($($argument:ty),*) -> $result:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        let name = concat!(stringify!($name), "\0");
        // SAFETY: the name ends with a NUL byte.
        let find = || unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) } as usize;
        let address = *REAL.get_or_init(find);
        assert!(address != 0, "libc has {name}");
        // SAFETY: libc's function of this name has this type.
        unsafe { std::mem::transmute::<usize, unsafe extern "C" fn($($argument),*) -> $result>(address) }
    }};
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(id: libc::clockid_t, out: *mut timespec) -> c_int {
    let real = real!(clock_gettime: fn(libc::clockid_t, *mut timespec) -> c_int);
    // SAFETY: the caller's arguments, passed on.
    let result = unsafe { real(id, out) };
    if result == 0 && [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE].contains(&id) {
        wishes();
        // SAFETY: the call succeeded, so `out` is valid.
        unsafe { (*out).tv_sec = clock::shown((*out).tv_sec) };
    }
    if result == 0 && id == libc::CLOCK_MONOTONIC {
        // SAFETY: as above.
        unsafe { (*out).tv_sec += clock::passed() };
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(out: *mut timeval, zone: *mut c_void) -> c_int {
    let real = real!(gettimeofday: fn(*mut timeval, *mut c_void) -> c_int);
    // SAFETY: the caller's arguments, passed on.
    let result = unsafe { real(out, zone) };
    if result == 0 && !out.is_null() {
        wishes();
        // SAFETY: the call succeeded and `out` is not null.
        unsafe { (*out).tv_sec = clock::shown((*out).tv_sec) };
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
    let real = real!(time: fn(*mut libc::time_t) -> libc::time_t);
    wishes();
    // SAFETY: a null pointer asks for the result only.
    let now = clock::shown(unsafe { real(std::ptr::null_mut()) });
    if !out.is_null() {
        // SAFETY: the caller gives room for one time.
        unsafe { *out = now };
    }
    now
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = real!(connect: fn(c_int, *const sockaddr, socklen_t) -> c_int);
    // SAFETY: `address` is valid for `length` bytes, as for connect(2).
    let instead = unsafe { log_address(address, length) };
    match instead {
        // SAFETY: our own address, of a whole sockaddr_un.
        Some(log) => unsafe { real(fd, (&raw const log).cast(), size_of_val(&log) as socklen_t) },
        // SAFETY: the caller's arguments, passed on.
        None => unsafe { real(fd, address, length) },
    }
}

/// Where a connection to the system log shall go, if `address` is one and the test has a wish.
unsafe fn log_address(address: *const sockaddr, length: socklen_t) -> Option<libc::sockaddr_un> {
    const LOGS: [&[u8]; 3] = [b"/dev/log", b"/var/run/syslog", b"/run/systemd/journal/socket"];
    let family = size_of::<libc::sa_family_t>();
    // SAFETY: the caller vouches for `length` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), length as usize) };
    let asked = bytes.get(family..)?.split(|&byte| byte == 0).next()?;
    // SAFETY: longer than the family, so the family is there.
    let unix = unsafe { (*address).sa_family } == libc::AF_UNIX as libc::sa_family_t;
    let wish = wishes().log.as_ref()?.as_bytes_with_nul();
    if !unix || !LOGS.contains(&asked) {
        return None;
    }
    // SAFETY: all zero bytes are a valid sockaddr_un.
    let mut instead: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    instead.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let letters = instead.sun_path.iter_mut().zip(wish);
    letters.for_each(|(to, &from)| *to = from as c_char);
    Some(instead)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpwnam_r(
    name: *const c_char,
    entry: *mut passwd,
    buffer: *mut c_char,
    size: size_t,
    found: *mut *mut passwd,
) -> c_int {
    let real =
        real!(getpwnam_r: fn(*const c_char, *mut passwd, *mut c_char, size_t, *mut *mut passwd) -> c_int);
    // SAFETY: a C string, as for getpwnam_r(3).
    let asked = unsafe { CStr::from_ptr(name) }.to_bytes();
    if let Some(error) = wishes().broken {
        return error;
    }
    let renumbered = wishes().renumbered.as_ref().filter(|(of, _)| of == asked);
    let uid = renumbered.map(|(_, uid)| *uid).or_else(|| made_up(b't', asked));
    if uid.is_none() && made_up(b'x', asked).is_some() {
        // As fast as the answer about a user who exists.
        // SAFETY: the caller gives room for the pointer.
        unsafe { *found = std::ptr::null_mut() };
        return 0;
    }
    match uid {
        // SAFETY: the caller's arguments, passed on.
        Some(uid) => unsafe { fill(asked, uid, entry, (buffer, size), found) },
        // SAFETY: the caller's arguments, passed on.
        None => unsafe { real(name, entry, buffer, size, found) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpwuid_r(
    uid: uid_t,
    entry: *mut passwd,
    buffer: *mut c_char,
    size: size_t,
    found: *mut *mut passwd,
) -> c_int {
    let real = real!(getpwuid_r: fn(uid_t, *mut passwd, *mut c_char, size_t, *mut *mut passwd) -> c_int);
    if let Some(error) = wishes().broken {
        return error;
    }
    let name = format!("t{:06}", uid.wrapping_sub(FIRST));
    match made_up(b't', name.as_bytes()) {
        // SAFETY: the caller's arguments, passed on.
        Some(_) => unsafe { fill(name.as_bytes(), uid, entry, (buffer, size), found) },
        // SAFETY: the caller's arguments, passed on.
        None => unsafe { real(uid, entry, buffer, size, found) },
    }
}

/// The number of the user `t000000`.
const FIRST: uid_t = 700_000;

/// The number of a user `t000000`, `t000001`, … (or what it would be with another letter), when the test
/// wants them.
fn made_up(letter: u8, name: &[u8]) -> Option<uid_t> {
    let digits = OsStr::from_bytes(name.strip_prefix(&[letter])?).to_str()?;
    let number: uid_t = digits.parse().ok().filter(|_| digits.len() == 6)?;
    wishes().many.then_some(FIRST + number)
}

/// Writes a user into the caller's buffer.
unsafe fn fill(
    name: &[u8],
    uid: uid_t,
    entry: *mut passwd,
    (buffer, size): (*mut c_char, size_t),
    found: *mut *mut passwd,
) -> c_int {
    let texts = [name, b"x", b"", b"/nonexistent", b"/bin/sh"];
    let bytes = texts.join(&0);
    if bytes.len() + 1 > size {
        // SAFETY: the caller gives room for the pointer.
        unsafe { *found = std::ptr::null_mut() };
        return libc::ERANGE;
    }
    let mut starts = [buffer; 5];
    let mut at = 0;
    for (start, text) in starts.iter_mut().zip(texts) {
        *start = buffer.wrapping_add(at);
        at += text.len() + 1;
    }
    let [pw_name, pw_passwd, pw_gecos, pw_dir, pw_shell] = starts;
    let (pw_uid, pw_gid) = (uid, uid);
    // SAFETY: the buffer has room for the bytes and one NUL more; `entry` and `found` are the caller's.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), buffer, bytes.len());
        *buffer.add(bytes.len()) = 0;
        *entry = passwd { pw_name, pw_passwd, pw_uid, pw_gid, pw_gecos, pw_dir, pw_shell };
        *found = entry;
    }
    0
}
