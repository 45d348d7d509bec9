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
/// Further back than this, the time seen was the wrong one: a clock that once ran ahead must not freeze all locks.
/// Nothing that a code is worth depends on it: used steps stay used.
const CLOCK_LEAD: u64 = 3600;

/// Failures are forgotten in full after this long without one.
const QUIET: u64 = 30 * 24 * 3600;
/// How long an address is remembered after its last failure, for the doubling of its lock.
const REMEMBERED: u64 = 24 * 3600;
const MAX_LOCK: u64 = 3600;

/// One user: who it is on this host, and the factors.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: String,
    pub uid: u32,
    /// Another number with every change an administrator makes; a `State` belongs to one generation.
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

/// The two kinds of wrong answer. Both count against the address they come from; towards the hard stop only codes
/// do, as 120 bits are not guessed: whoever sets it off cannot close the way back in too.
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
    /// A lock that ends later than any lock made now would is a wrong clock's.
    fn is_locked(&self, limits: &Limits, now: u64) -> bool {
        let longest = longest_lock(limits).saturating_add(CLOCK_TOLERANCE);
        now < self.locked_until && self.locked_until - now <= longest
    }

    /// Neither locked nor worth remembering for the next lock.
    fn is_over(&self, now: u64) -> bool {
        now >= self.locked_until && now.saturating_sub(self.last) > REMEMBERED
    }
}

/// In seconds.
fn longest_lock(limits: &Limits) -> u64 {
    MAX_LOCK.max(limits.window)
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
                next.charge_address(*source, limits, now);
                if *guess == Guess::Code {
                    next.total = self.failures_in_all(now).saturating_add(1);
                    next.last_failure = now;
                }
            }
            Change::Unlock => {
                // Also ends what a clock that once ran far ahead had left behind.
                next.seen = clock;
                next.failures.clear();
                next.total = 0;
            }
        }
        Ok(next)
    }

    /// The lock that stops every answer from `source`, or all but recovery codes.
    pub fn lock(&self, source: Source, limits: &Limits, now: u64) -> Option<Lock> {
        let now = self.clock(now);
        let held = self.failures.iter().find(|held| held.source == source && held.is_locked(limits, now));
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
    pub fn address_locks(&self, limits: &Limits, now: u64) -> Option<(usize, u64)> {
        let now = self.clock(now);
        let held = self.failures.iter().filter(|held| held.is_locked(limits, now));
        let (count, until) = held.fold((0, 0), |(n, until), held| (n + 1, held.locked_until.max(until)));
        (count > 0).then_some((count, until))
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
        if self.seen > now.saturating_add(CLOCK_LEAD) {
            return now;
        }
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
            (None, _) | (Some(Lock::Total), Guess::Recovery) => Ok(()),
            (Some(lock), _) => Err(Conflict::Locked(lock)),
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
            }
        }
        Ok(())
    }

    fn charge_address(&mut self, source: Source, limits: &Limits, now: u64) {
        let mut held = self.take_failures(source);
        if now.saturating_sub(held.last) > limits.window {
            held.count = 0;
        }
        held.count = held.count.saturating_add(1);
        held.last = now;
        if held.count >= limits.failures {
            let doubled = limits.window.saturating_mul(1 << held.locks.min(16));
            held.locked_until = now.saturating_add(doubled.min(longest_lock(limits)));
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
}

impl Proof {
    fn guess(&self) -> Guess {
        match self {
            Self::App(_) => Guess::Code,
            Self::Recovery(_) => Guess::Recovery,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOW: u64 = 1_795_298_625;
    const LIMITS: Limits = Limits { prompts: 3, failures: 5, window: 900, total: 50 };

    /// As large as a state gets: all lists full, all numbers as long as they can be.
    pub(crate) fn maximal() -> State {
        let failures = |n: u16| Failures {
            source: Source(Some(Ipv6Addr::from([u16::MAX, n, n, n, 0, 0, 0, 0]).into())),
            count: u8::MAX,
            last: u64::MAX,
            locks: u8::MAX,
            locked_until: u64::MAX,
        };
        State {
            seen: u64::MAX,
            spent: (0..MAX_APPS as u8).map(|app| Spent { app, step: u64::MAX }).collect(),
            recovery_used: u16::MAX,
            failures: (0..MAX_SOURCES as u16).map(failures).collect(),
            total: u16::MAX,
            last_failure: u64::MAX,
        }
    }

    fn source(address: &str) -> Source {
        Source::new(Some(address.parse().unwrap()))
    }

    fn home() -> Source {
        source("192.0.2.7")
    }

    fn wrong(source: Source) -> Change {
        Change::Fail { guess: Guess::Code, source }
    }

    fn wrong_recovery() -> Change {
        Change::Fail { guess: Guess::Recovery, source: home() }
    }

    fn right(step: u64, typos: u8) -> Change {
        Change::Prove { proof: Proof::App(vec![Spent { app: 1, step }]), source: home(), typos }
    }

    fn recovery(position: u8) -> Change {
        Change::Prove { proof: Proof::Recovery(position), source: home(), typos: 0 }
    }

    /// `times` the same change, each of which has to be accepted.
    fn after(state: &State, times: u16, change: &Change, now: u64) -> State {
        (0..times).fold(state.clone(), |state, _| state.apply(change, &LIMITS, now).unwrap())
    }

    #[test]
    fn failures_are_counted_by_network() {
        let table = [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ("::1", "127.0.0.1", false),
            ("fe80::1", "fe80::2", true),
        ];
        for (one, other, same) in table {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
        assert_eq!(Source::new(None), Source::CONSOLE);
        assert_ne!(source("::"), Source::CONSOLE);
    }

    #[test]
    fn an_address_is_locked_longer_each_time() {
        let mut state = State::default();
        let mut now = NOW;
        for length in [900, 1800, 3600, 3600, 3600] {
            state = after(&state, 4, &wrong(home()), now);
            assert_eq!(state.lock(home(), &LIMITS, now), None);
            state = after(&state, 1, &wrong(home()), now);
            let lock = Some(Lock::Address(now + length));
            assert_eq!(state.lock(home(), &LIMITS, now + length - 1), lock);
            assert_eq!(state.lock(home(), &LIMITS, now + length), None);
            assert_eq!(state.lock(source("192.0.2.8"), &LIMITS, now), None, "nobody else's");
            now += length;
        }
        // A day without a failure, and it starts anew.
        now += REMEMBERED;
        assert_eq!(after(&state, 5, &wrong(home()), now).lock(home(), &LIMITS, now), {
            Some(Lock::Address(now + 900))
        });
    }

    #[test]
    fn a_locked_attempt_changes_nothing() {
        let state = after(&State::default(), 5, &wrong(home()), NOW);
        let lock = Conflict::Locked(Lock::Address(NOW + 900));
        for change in [wrong(home()), wrong_recovery(), right(7, 0), recovery(0)] {
            assert_eq!(state.apply(&change, &LIMITS, NOW + 899), Err(lock), "{change:?}");
            assert!(state.apply(&change, &LIMITS, NOW + 900).is_ok(), "{change:?}");
        }
    }

    #[test]
    fn slow_failures_lock_no_address() {
        let mut state = State::default();
        for n in 0..20 {
            let now = NOW + n * (LIMITS.window + 1);
            state = after(&state, 1, &wrong(home()), now);
            assert_eq!(state.lock(home(), &LIMITS, now), None);
        }
        assert_eq!(state.failures_in_all(NOW), 20);
    }

    /// NIST SP 800-63B allows 100; whatever the addresses and days, 50 and no more.
    #[test]
    fn the_hard_stop_counts_everybody_and_leaves_recovery_codes() {
        let mut state = State::default();
        for n in 0..LIMITS.total {
            let source = Source::new(Some(IpAddr::from([10, 0, 0, n.to_be_bytes()[1]])));
            let now = NOW + u64::from(n) * 24 * 3600;
            assert_eq!(state.lock(home(), &LIMITS, now), None);
            state = after(&state, 1, &wrong(source), now);
        }
        let now = NOW + u64::from(LIMITS.total) * 24 * 3600;
        let hard = Err(Conflict::Locked(Lock::Total));
        assert_eq!(state.apply(&right(7, 0), &LIMITS, now), hard);
        assert_eq!(state.apply(&wrong(home()), &LIMITS, now), hard);
        let recovered = state.apply(&recovery(0), &LIMITS, now).unwrap();
        assert_eq!(recovered.apply(&right(7, 0), &LIMITS, now), hard, "a recovery code lifts no hard stop");
        assert!(after(&state, 1, &Change::Unlock, now).apply(&right(7, 0), &LIMITS, now).is_ok());
        assert!(state.apply(&right(7, 0), &LIMITS, now + QUIET).is_ok(), "nor do 30 days, but a quiet time");
    }

    #[test]
    fn a_success_forgives_its_own_address_and_its_own_typos() {
        let elsewhere = source("203.0.113.5");
        let state = after(&State::default(), 4, &wrong(elsewhere), NOW);
        let state = after(&state, 3, &wrong(home()), NOW);
        let state = after(&state, 1, &right(7, 2), NOW);
        assert_eq!(state.failures_in_all(NOW), 5, "four of somebody else's, one of an earlier login");
        assert_eq!(after(&state, 4, &wrong(home()), NOW).lock(home(), &LIMITS, NOW), None);
        let there = after(&state, 1, &wrong(elsewhere), NOW).lock(elsewhere, &LIMITS, NOW);
        assert_eq!(there, Some(Lock::Address(NOW + 900)));
    }

    /// Who has the password can set off the hard stop; the way back in stays open everywhere else.
    #[test]
    fn wrong_recovery_codes_lock_their_address_only() {
        let state = after(&State::default(), 5, &wrong_recovery(), NOW);
        assert_eq!(state.lock(home(), &LIMITS, NOW), Some(Lock::Address(NOW + 900)));
        assert_eq!(state.failures_in_all(NOW), 0);
        let hard = State { total: LIMITS.total, last_failure: NOW, ..state };
        let elsewhere = Change::Prove { proof: Proof::Recovery(0), source: source("203.0.113.5"), typos: 0 };
        assert!(hard.apply(&elsewhere, &LIMITS, NOW).is_ok());
        let locked = Err(Conflict::Locked(Lock::Address(NOW + 900)));
        assert_eq!(hard.apply(&recovery(0), &LIMITS, NOW), locked);
    }

    #[test]
    fn a_recovery_code_opens_once() {
        let state = after(&State::default(), 1, &recovery(15), NOW);
        assert_eq!(state.apply(&recovery(15), &LIMITS, NOW), Err(Conflict::Used));
        assert_eq!(state.recovery_left(16), 15);
        assert_eq!(state.apply(&recovery(16), &LIMITS, NOW), Err(Conflict::Used), "there are no more bits");
        assert_eq!(state.apply(&recovery(255), &LIMITS, NOW), Err(Conflict::Used));
        let mut renewed = state;
        renewed.renew_recovery();
        assert!(renewed.apply(&recovery(15), &LIMITS, NOW).is_ok());
    }

    #[test]
    fn a_step_only_grows() {
        let both = |step| Change::Prove {
            proof: Proof::App(vec![Spent { app: 2, step }, Spent { app: 1, step }]),
            source: home(),
            typos: 0,
        };
        let state = after(&State::default(), 1, &right(7, 0), NOW);
        for step in [0, 6, 7] {
            assert_eq!(state.apply(&right(step, 0), &LIMITS, NOW), Err(Conflict::Used), "{step}");
            assert_eq!(state.apply(&both(step), &LIMITS, NOW), Err(Conflict::Used), "spent for one of two");
        }
        let state = after(&state, 1, &both(8), NOW);
        assert_eq!((state.last_step(1), state.last_step(2)), (Some(8), Some(8)));
        let nothing = Change::Prove { proof: Proof::App(vec![]), source: home(), typos: 0 };
        assert_eq!(state.apply(&nothing, &LIMITS, NOW), Err(Conflict::Used));
    }

    /// Clock set back: as long as it is behind, waiting starts from five minutes before what was seen.
    #[test]
    fn a_clock_set_back_ends_no_lock() {
        let state = after(&State::default(), 5, &wrong(home()), NOW);
        let lock = Some(Lock::Address(NOW + 900));
        for back in [0, 1, 299, 300, 301, 3600] {
            assert_eq!(state.lock(home(), &LIMITS, NOW - back), lock, "{back}");
        }
        let state = after(&state, 1, &wrong(source("192.0.2.8")), NOW + 950);
        assert_eq!(state.lock(home(), &LIMITS, NOW + 800), lock, "within the tolerance it may be right");
        assert_eq!(after(&state, 1, &wrong(source("192.0.2.8")), 0).seen, NOW + 950);
    }

    /// A clock that ran far ahead leaves no lock that nobody could wait for, and used codes stay used.
    #[test]
    fn a_clock_that_ran_ahead_freezes_nothing() {
        for ahead in [3601, 24 * 3600, 10 * 365 * 24 * 3600] {
            let state = after(&State::default(), 1, &right(7, 0), NOW + ahead);
            let state = after(&state, 5, &wrong(home()), NOW + ahead);
            assert_eq!(state.lock(home(), &LIMITS, NOW), None, "{ahead}");
            assert_eq!(state.apply(&right(7, 0), &LIMITS, NOW), Err(Conflict::Used), "{ahead}");
            let state = after(&state, 5, &wrong(source("192.0.2.8")), NOW);
            let lock = state.lock(source("192.0.2.8"), &LIMITS, NOW);
            assert_eq!(lock, Some(Lock::Address(NOW + 900)), "{ahead}");
            assert_eq!(state.lock(source("192.0.2.8"), &LIMITS, NOW + 900), None, "{ahead}");
        }
    }

    /// Someone with a whole network at hand neither grows the record nor gets more guesses.
    #[test]
    fn many_addresses_push_out_what_matters_least() {
        let address = |n: u8| source(&format!("2001:db8:0:{n:x}::1"));
        let locked = after(&State::default(), 5, &wrong(home()), NOW);
        let crowded = (0..40).fold(locked, |state, n| after(&state, 1, &wrong(address(n)), NOW + 1));
        assert_eq!(crowded.failures.len(), MAX_SOURCES);
        assert_eq!(crowded.lock(home(), &LIMITS, NOW + 2), Some(Lock::Address(NOW + 900)), "still locked");
        assert_eq!(crowded.failures_in_all(NOW), 45);
    }

    #[test]
    fn no_number_overflows() {
        let limits = Limits { prompts: 255, failures: 1, window: u64::MAX, total: u16::MAX };
        for now in [0, NOW, u64::MAX] {
            for change in
                [wrong(home()), wrong_recovery(), right(u64::MAX, 255), recovery(15), Change::Unlock]
            {
                let _ = maximal().apply(&change, &limits, now);
                let _ = State::default().apply(&change, &limits, now);
            }
        }
    }
}
