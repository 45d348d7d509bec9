//! The time that a module sees: the real one, a shifted one, or one that stands still.
//!
//! Only the state is kept here. `interpose.rs` puts it before libc in the programs that want it.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// What the clock of the programs under test shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Real,
    /// The real time and these seconds.
    Shifted(i64),
    /// Always this second, so that no test runs into the end of a code's time.
    Frozen(i64),
}

const REAL: u8 = 0;
const SHIFTED: u8 = 1;
const FROZEN: u8 = 2;

static KIND: AtomicU8 = AtomicU8::new(REAL);
static SECONDS: AtomicI64 = AtomicI64::new(0);
static PASSED: AtomicI64 = AtomicI64::new(0);

pub fn set(clock: Clock) {
    let (kind, seconds) = match clock {
        Clock::Real => (REAL, 0),
        Clock::Shifted(by) => (SHIFTED, by),
        Clock::Frozen(at) => (FROZEN, at),
    };
    SECONDS.store(seconds, Ordering::SeqCst);
    KIND.store(kind, Ordering::SeqCst);
}

/// So many seconds pass, by all clocks; or the clock that can be set is set back by them.
pub fn advance(seconds: i64) {
    PASSED.fetch_add(seconds.max(0), Ordering::SeqCst);
    if KIND.load(Ordering::SeqCst) == REAL {
        KIND.store(SHIFTED, Ordering::SeqCst);
    }
    let now = SECONDS.load(Ordering::SeqCst);
    SECONDS.store(now.wrapping_add(seconds), Ordering::SeqCst);
}

/// What to show instead of the real second.
#[must_use]
pub fn shown(real: i64) -> i64 {
    let seconds = SECONDS.load(Ordering::SeqCst);
    match KIND.load(Ordering::SeqCst) {
        FROZEN => seconds,
        SHIFTED => real.wrapping_add(seconds),
        _ => real,
    }
}

/// How many seconds passed besides those that really did.
#[must_use]
pub fn passed() -> i64 {
    PASSED.load(Ordering::SeqCst)
}

/// The second that a module would see now.
#[must_use]
pub fn now() -> i64 {
    shown(real())
}

/// The second it really is. Asks the kernel, because libc's functions may be ours.
#[must_use]
pub fn real() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the kernel to write one timespec.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec
}

/// `real`, `+SECONDS`, `-SECONDS` or `@SECOND`, as it stands in a plan or in the environment.
#[must_use]
pub fn parse(text: &str) -> Clock {
    if let Some(at) = text.strip_prefix('@') {
        return Clock::Frozen(at.parse().expect("@ and a second"));
    }
    match text {
        "real" => Clock::Real,
        by => Clock::Shifted(by.parse().expect("a number of seconds")),
    }
}

#[must_use]
pub fn print(clock: Clock) -> String {
    match clock {
        Clock::Real => "real".into(),
        Clock::Shifted(by) => format!("{by:+}"),
        Clock::Frozen(at) => format!("@{at}"),
    }
}
