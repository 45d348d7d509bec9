//! System calls that no crate here has a safe function for: the only unsafe code of `twofa-helper`.
#![allow(unsafe_code)]

use libc::{c_int, c_long, c_ulong, pid_t};
use nix::sys::signal::Signal;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::{io, ptr};

/// Closes every descriptor from `first` on. Called before this process opens anything.
pub(crate) fn close_from(first: c_int) {
    // SAFETY: closes descriptors by number, flags 0; nothing in this process owns one of them yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Linux before 5.9, or a filter of system calls.
    let names = std::fs::read_dir("/proc/self/fd").map(|folder| folder.flatten().collect::<Vec<_>>());
    let listed = names
        .map(|names| names.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect());
    let fds: Vec<c_int> = listed.unwrap_or_else(|_| (first..65536).collect());
    for fd in fds.into_iter().filter(|fd| *fd >= first) {
        // SAFETY: as above; the folder that was read is closed again, and closing a free number is harmless.
        unsafe { libc::close(fd) };
    }
}

/// Signals that the host ignores would be ignored by the hook too. Not signal(3), which leaves out the two that the
/// C library uses for threads: glibc's posix_spawn(3), by which we were started, leaves those ignored.
pub(crate) fn default_signals(except: &[Signal]) {
    /// Linux has 64 of them on every machine but MIPS.
    const SIGNALS: c_int = 64;
    // In every machine's `struct sigaction` of the kernel, zeros are: the default action, no flag, an empty mask.
    let default = [0 as c_ulong; 8];
    for signal in (1..=SIGNALS).filter(|signal| except.iter().all(|kept| *kept as c_int != *signal)) {
        let nowhere = ptr::null_mut::<c_ulong>();
        // SAFETY: more than one sigaction to read, none to write, a mask of 8 bytes. KILL and STOP cannot be set.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, nowhere, 8usize) };
    }
}

/// Whatever this process becomes or starts ignores it too, unless it decides otherwise.
pub(crate) fn ignore(signal: Signal) {
    // SAFETY: to ignore is no function either.
    unsafe { libc::signal(signal as c_int, libc::SIG_IGN) };
}

/// What wait(2) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// The process, and its status as wait(2) encodes it.
    Ended(pid_t, c_int),
    /// There are children, and all of them run.
    Running,
    /// There are none.
    None,
}

/// Takes leave of one child that has ended. (nix's waitpid fails for one that a real-time signal has ended.)
pub(crate) fn reap() -> Child {
    let mut status = 0;
    loop {
        // SAFETY: room for one status.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 => return Child::Running,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Child::None,
            pid => return Child::Ended(pid, status),
        }
    }
}

/// How many bytes of a pipe nobody has read.
pub(crate) fn unread(pipe: BorrowedFd) -> io::Result<c_int> {
    let mut count = 0;
    // SAFETY: FIONREAD stores one int, for which there is room; the descriptor is open.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 { Ok(count) } else { Err(io::Error::last_os_error()) }
}

/// capget(2): `_LINUX_CAPABILITY_VERSION_3`, which has two words for each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// No capability in any set. A change of user leaves the inheritable ones, and under some securebits all.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let sets = [0u32; 6];
    // SAFETY: a header and two times three words, as this version asks for; both are only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A session keyring of our own, so that the hook does not possess the keys of the host's (Kerberos tickets).
pub(crate) fn new_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    let nameless: c_ulong = 0;
    // SAFETY: a null name asks for a nameless keyring. A kernel without keyrings fails, and has none to hide.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nameless) };
}

/// Loads a library as libpam does, and names those of `symbols` that it lacks. It stays loaded: this process ends soon.
pub(crate) fn missing_symbols(
    library: &OsStr,
    symbols: &[&'static str],
) -> Result<Vec<&'static str>, String> {
    let path = CString::new(library.as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: a terminated name. What the library does when it is loaded, it does in every login, and here alone.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() {
        // SAFETY: no other thread; the text lives until the next call of these functions, and is copied.
        let why = unsafe {
            let why = libc::dlerror();
            if why.is_null() { String::new() } else { CStr::from_ptr(why).to_string_lossy().into_owned() }
        };
        return Err(why);
    }
    let lacks = |symbol: &&&str| {
        let Ok(name) = CString::new(**symbol) else {
            return true;
        };
        // SAFETY: the handle of a library that is loaded, and a terminated name.
        unsafe { libc::dlsym(handle, name.as_ptr()) }.is_null()
    };
    Ok(symbols.iter().filter(lacks).copied().collect())
}
