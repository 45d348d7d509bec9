//! What is known of a user: the factors an administrator set up (`Account`), and what logins change
//! (`State`), with the one function that judges every such change.

use crate::code::{RecoverySet, Secret, Shape};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// Bounds of the lists in `State`, whose encoded size is fixed.
pub const MAX_APPS: usize = 8;
const MAX_SOURCES: usize = 16;

/// Locks and grace follow the highest time ever seen, less what a clock may be corrected by.
const CLOCK_TOLERANCE: u64 = 300;

/// Failures are forgotten in full after this long without one.
const QUIET: u64 = 30 * 24 * 3600;
/// How long an address is remembered after its last failure, for the doubling of its lock.
const REMEMBERED: u64 = 24 * 3600;
const MAX_LOCK: u64 = 3600;
/// Ten wrong recovery codes close that door for a day, and no other.
const RECOVERY_FAILURES: u8 = 10;
const RECOVERY_LOCK: u64 = 24 * 3600;

/// One user: who it is on this host, and the factors.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub uid: u32,
    /// Grows with every change an administrator makes; a `State` belongs to one generation.
    pub generation: u64,
    pub factors: Factors,
}

/// What an administrator set up for a user; sealed at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    pub apps: Vec<App>,
    pub recovery: Option<RecoverySet>,
}

impl Factors {
    /// Whether there is anything a user could answer a code prompt with.
    pub fn can_answer(&self) -> bool {
        !self.apps.is_empty()
    }
}

/// One authenticator app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Names this app in `State`, for as long as it is enrolled.
    pub id: u8,
    /// What the user calls it: `phone`, `tablet`.
    pub label: String,
    pub secret: Secret,
    pub shape: Shape,
    /// When it was enrolled, in seconds since 1970.
    pub added: u64,
}

/// Where a login comes from, as far as failures are counted: an IPv4 address, an IPv6 /64 (one
/// customer's network, whose addresses cost nothing), or none at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source(Option<IpAddr>);

impl Source {
    pub const CONSOLE: Self = Self(None);

    pub fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !0 << 64).into(),
            v4 => v4,
        }))
    }
}

/// How many wrong answers are borne; from the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Guesses in one login.
    pub prompts: u8,
    /// Failures of one user from one address until that address is locked.
    pub failures: u8,
    /// Seconds: without a failure for so long, an address starts anew. Also the first lock's length.
    pub window: u64,
    /// Failures of one user from anywhere until only a recovery code is accepted.
    pub total: u16,
}

/// Why no code is accepted, or no code of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This address, until then (seconds since 1970).
    Address(u64),
    /// All codes but recovery codes, until an administrator unlocks the user.
    Total,
    /// Recovery codes, until then.
    Recovery(u64),
}

/// What an answer proved; spending it is what makes it count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A code that is right for these apps. More than one only when one secret was enrolled twice:
    /// then the code is spent for all of them.
    App(Vec<Spent>),
    /// The recovery code at this position of the set.
    Recovery(u8),
}

/// The newest time step that an app's code was accepted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub app: u8,
    pub step: u64,
}

/// The two kinds of wrong answer, counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Code,
    Recovery,
}

/// What a login, or `twofa-admin user unlock`, wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A right answer. `typos` failures were charged to this same login before: they were its user's.
    Prove { proof: Proof, source: Source, typos: u8 },
    /// A wrong answer.
    Fail { guess: Guess, source: Source },
    /// An administrator forgives all failures.
    Unlock,
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The code was used, or a newer one was.
    Used,
    Locked(Lock),
    /// An administrator changed the user's factors meanwhile.
    Changed,
}

/// What logins change about a user. A store holds it locked while it reads, applies and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The highest time ever seen at a change, in seconds since 1970.
    pub seen: u64,
    spent: Vec<Spent>,
    /// One bit for each recovery code that was used.
    recovery_used: u16,
    failures: Vec<Failures>,
    /// Failures from anywhere, and when the last one was.
    total: u16,
    last_failure: u64,
    recovery_failures: u8,
    recovery_locked_until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failures {
    source: Source,
    count: u8,
    last: u64,
    /// Locks so far; each is twice as long as the one before.
    locks: u8,
    locked_until: u64,
}

impl Failures {
    /// Neither locked nor worth remembering for the next lock.
    fn is_over(&self, now: u64) -> bool {
        now >= self.locked_until && now.saturating_sub(self.last) > REMEMBERED
    }
}

impl State {
    /// The only judge of a change: the new state, or why there is none.
    ///
    /// # Errors
    ///
    /// `Conflict` says why the change is refused; nothing is to be stored then.
    pub fn apply(&self, change: &Change, limits: &Limits, now: u64) -> Result<Self, Conflict> {
        let clock = now;
        let now = self.clock(now);
        let mut next = self.clone();
        next.seen = now.max(self.seen);
        next.failures.retain(|failures| !failures.is_over(now));
        match change {
            Change::Prove { proof, source, typos } => {
                self.refuse_if_locked(proof.guess(), *source, limits, now)?;
                next.spend(proof)?;
                next.failures.retain(|failures| failures.source != *source);
                next.total = next.total.saturating_sub((*typos).into());
            }
            Change::Fail { guess, source } => {
                self.refuse_if_locked(*guess, *source, limits, now)?;
                match guess {
                    Guess::Code => next.charge(*source, limits, now),
                    Guess::Recovery => next.charge_recovery(now),
                }
            }
            Change::Unlock => {
                // Also ends what a clock that once ran far ahead had left behind.
                next.seen = clock;
                next.failures.clear();
                next.total = 0;
                next.recovery_failures = 0;
                next.recovery_locked_until = 0;
            }
        }
        Ok(next)
    }

    /// The lock that stops every answer from `source`, or all but recovery codes.
    pub fn lock(&self, source: Source, limits: &Limits, now: u64) -> Option<Lock> {
        let now = self.clock(now);
        let held = self.failures.iter().find(|held| held.source == source && now < held.locked_until);
        match held {
            Some(held) => Some(Lock::Address(held.locked_until)),
            None => (self.failures_in_all(now) >= limits.total).then_some(Lock::Total),
        }
    }

    /// Failures that still count towards the hard stop.
    pub fn failures_in_all(&self, now: u64) -> u16 {
        if self.clock(now).saturating_sub(self.last_failure) > QUIET { 0 } else { self.total }
    }

    /// The address locks that hold now: how many, and when the last of them ends.
    pub fn address_locks(&self, now: u64) -> Option<(usize, u64)> {
        let now = self.clock(now);
        let held = self.failures.iter().filter(|held| now < held.locked_until);
        let (count, until) = held.fold((0, 0), |(n, until), held| (n + 1, held.locked_until.max(until)));
        (count > 0).then_some((count, until))
    }

    /// When recovery codes are accepted again, if they are locked now.
    pub fn recovery_lock(&self, now: u64) -> Option<u64> {
        (self.clock(now) < self.recovery_locked_until).then_some(self.recovery_locked_until)
    }

    /// How many codes of a set of `total` are left.
    pub fn recovery_left(&self, total: usize) -> usize {
        total.saturating_sub(self.recovery_used.count_ones() as usize)
    }

    /// A new set of recovery codes: none of it is used.
    pub fn renew_recovery(&mut self) {
        self.recovery_used = 0;
    }

    /// The newest step spent for an app.
    pub fn last_step(&self, app: u8) -> Option<u64> {
        self.spent.iter().find(|spent| spent.app == app).map(|spent| spent.step)
    }

    /// Marks a step as spent, at enrolment: the code that proved the app opens no login.
    pub fn set_last_step(&mut self, app: u8, step: u64) {
        self.forget_app(app);
        self.spent.push(Spent { app, step });
    }

    /// An app was removed; its number may be given to another.
    pub fn forget_app(&mut self, app: u8) {
        self.spent.retain(|spent| spent.app != app);
    }

    /// The time that locks follow: a clock set back does not shorten what was already waited for,
    /// nor end anything.
    fn clock(&self, now: u64) -> u64 {
        now.max(self.seen.saturating_sub(CLOCK_TOLERANCE))
    }

    fn refuse_if_locked(
        &self,
        guess: Guess,
        source: Source,
        limits: &Limits,
        now: u64,
    ) -> Result<(), Conflict> {
        match (self.lock(source, limits, now), guess) {
            // The hard stop is about guessing six digits; 120 bits are not guessed.
            (None | Some(Lock::Total), Guess::Recovery) => match self.recovery_lock(now) {
                Some(until) => Err(Conflict::Locked(Lock::Recovery(until))),
                None => Ok(()),
            },
            (Some(lock), _) => Err(Conflict::Locked(lock)),
            (None, Guess::Code) => Ok(()),
        }
    }

    fn spend(&mut self, proof: &Proof) -> Result<(), Conflict> {
        match proof {
            Proof::App(steps) => {
                if steps.is_empty() {
                    return Err(Conflict::Used);
                }
                for spent in steps {
                    // Never an older step after a newer one: a clock set back opens nothing.
                    if self.last_step(spent.app).is_some_and(|last| spent.step <= last) {
                        return Err(Conflict::Used);
                    }
                    self.set_last_step(spent.app, spent.step);
                }
            }
            Proof::Recovery(position) => {
                let bit = 1u16.checked_shl((*position).into()).ok_or(Conflict::Used)?;
                if self.recovery_used & bit != 0 {
                    return Err(Conflict::Used);
                }
                self.recovery_used |= bit;
                self.recovery_failures = 0;
            }
        }
        Ok(())
    }

    fn charge(&mut self, source: Source, limits: &Limits, now: u64) {
        self.total = self.failures_in_all(now).saturating_add(1);
        self.last_failure = now;
        let mut held = self.take_failures(source);
        if now.saturating_sub(held.last) > limits.window {
            held.count = 0;
        }
        held.count = held.count.saturating_add(1);
        held.last = now;
        if held.count >= limits.failures {
            let doubled = limits.window.saturating_mul(1 << held.locks.min(16));
            held.locked_until = now.saturating_add(doubled.min(MAX_LOCK.max(limits.window)));
            held.locks = held.locks.saturating_add(1);
            held.count = 0;
        }
        self.failures.push(held);
    }

    /// The entry of `source`, taken out; with a full list the one that matters least goes too. An
    /// attacker with many addresses gains nothing: `total` counts them all.
    fn take_failures(&mut self, source: Source) -> Failures {
        if let Some(at) = self.failures.iter().position(|held| held.source == source) {
            return self.failures.swap_remove(at);
        }
        if self.failures.len() >= MAX_SOURCES {
            let least = self.failures.iter().map(|held| held.last.max(held.locked_until)).min();
            if let Some(at) =
                self.failures.iter().position(|held| Some(held.last.max(held.locked_until)) == least)
            {
                self.failures.swap_remove(at);
            }
        }
        Failures { source, count: 0, last: 0, locks: 0, locked_until: 0 }
    }

    fn charge_recovery(&mut self, now: u64) {
        self.recovery_failures = self.recovery_failures.saturating_add(1);
        if self.recovery_failures >= RECOVERY_FAILURES {
            self.recovery_failures = 0;
            self.recovery_locked_until = now.saturating_add(RECOVERY_LOCK);
        }
    }
}

impl Proof {
    fn guess(&self) -> Guess {
        match self {
            Self::App(_) => Guess::Code,
            Self::Recovery(_) => Guess::Recovery,
        }
    }
}
