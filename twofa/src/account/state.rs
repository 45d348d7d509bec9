//! What logins change about a user, and the one judge of every such change.

use super::*;

const MAX_SOURCES: usize = 16;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

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

/// What logins change about a user. A store holds it locked while it reads, applies and writes. Fields are only ever
/// added at its end, and such that zeros mean none: then a record of an earlier version reads as it was meant.
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
    /// The code on its way.
    challenge: Option<Challenge>,
    /// When messages were sent, for a day.
    sends: Vec<u64>,
    counters: Vec<Counter>,
    devices: Vec<TrustedDevice>,
    /// When the days without a factor began; 0 when they have not.
    grace_since: u64,
    /// Logins that observe mode let in and enforcement would have refused, and when the last one was.
    observed: u32,
    last_observed: u64,
    /// What the sessions of logins that proved a factor hang on, oldest first.
    processes: Vec<Process>,
    bypass: Option<Bypass>,
    /// The user had a factor once: a roll-out is not for such.
    had_factor: bool,
}

/// A device, and from when to when it is trusted: nothing makes it longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedDevice {
    pub device: Device,
    pub since: u64,
    pub until: u64,
    password: Option<PasswordTag>,
}

/// The highest signature counter that a key showed (CTAP 2.1, section 6.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    key: u8,
    count: u32,
    suspended: bool,
}

/// A sent code. There is one a user: the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Challenge {
    tag: Tag,
    until: u64,
    /// Wrong answers that it still bears.
    tries: u8,
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

/// The time that locks and limits follow, when `seen` is the highest one ever seen: a clock set back does not
/// shorten what was already waited for, nor end anything.
pub fn clock(now: u64, seen: u64) -> u64 {
    if seen > now.saturating_add(CLOCK_LEAD) {
        return now;
    }
    now.max(seen.saturating_sub(CLOCK_TOLERANCE))
}

/// Whether a message sent `at` was sent in the last `span` seconds. One from the far future was a wrong clock's.
pub fn was_sent_within(at: u64, span: u64, now: u64) -> bool {
    at <= now.saturating_add(CLOCK_LEAD) && now.saturating_sub(at) < span
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
        // What was seen to end has ended, even if an administrator sets right the time that was seen.
        next.devices.retain(|known| next.seen < known.until);
        next.bypass.take_if(|bypass| next.seen >= bypass.until);
        match change {
            Change::Prove { proof, source, typos } => next.prove(proof, *source, *typos, limits, clock)?,
            Change::Fail { guess, source } => {
                self.refuse_if_locked(*guess, *source, limits, now)?;
                next.charge_address(*source, limits, now);
                if matches!(guess, Guess::Code | Guess::Sent(_)) {
                    next.total = self.failures_in_all(now).saturating_add(1);
                    next.last_failure = now;
                    if next.total >= limits.total {
                        next.distrust_all();
                    }
                }
                if let Guess::Sent(tag) = guess {
                    next.charge_challenge(tag);
                }
            }
            Change::Send { tag, valid_for, source, number: _, earlier } => {
                self.refuse_if_locked(Guess::Sent(*tag), *source, limits, now)?;
                if *earlier >= limits.sends.login {
                    return Err(Conflict::Capped(Cap::Login));
                }
                next.count_send(&limits.sends, now)?;
                let until = now.saturating_add(*valid_for);
                next.challenge = Some(Challenge { tag: *tag, until, tries: SENT_TRIES });
            }
            Change::Trust(claim) => next.trust(claim.clone(), now),
            Change::Grace if self.grace_since == 0 => next.grace_since = now,
            Change::Grace | Change::Register => {}
            Change::Observe => {
                next.observed = self.observed.saturating_add(1);
                next.last_observed = now;
            }
            Change::Open(processes) => {
                next.processes.retain(|known| !processes.contains(known));
                next.processes.extend(processes.iter().take(MAX_PROCESSES));
                let too_many = next.processes.len().saturating_sub(MAX_PROCESSES);
                next.processes.drain(..too_many);
            }
            Change::Suspend(key) => {
                let known = next.take_counter(*key);
                next.counters.push(Counter { suspended: true, ..known });
            }
            Change::Unlock => {
                // Also ends what a clock that once ran far ahead had left behind.
                next.seen = clock;
                next.failures.clear();
                next.total = 0;
                next.sends.clear();
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

    /// The trust in a device, while it holds. A clock set back does not bring it back.
    pub fn trusted(&self, claim: &Claim, now: u64) -> Option<&TrustedDevice> {
        let known = self.devices.iter().find(|known| known.device == claim.device)?;
        let in_time = self.seen.max(now) < known.until && known.since <= now.saturating_add(CLOCK_TOLERANCE);
        let as_long = known.until.saturating_sub(known.since) <= claim.duration;
        (in_time && as_long && known.password == claim.password).then_some(known)
    }

    /// The devices whose trust has not ended.
    pub fn devices(&self, now: u64) -> impl Iterator<Item = &TrustedDevice> {
        self.devices.iter().filter(move |known| self.seen.max(now) < known.until)
    }

    /// Ends the trust in those devices; returns in how many.
    pub fn distrust(&mut self, is_meant: impl Fn(&Device) -> bool) -> usize {
        let before = self.devices.len();
        self.devices.retain(|known| !is_meant(&known.device));
        before - self.devices.len()
    }

    /// Ends all trust: in devices, and in the sessions that are open.
    pub fn distrust_all(&mut self) {
        self.devices.clear();
        self.processes.clear();
    }

    /// Whether there is a device or session that nothing more is asked of.
    pub fn trusts_anything(&self) -> bool {
        !self.devices.is_empty() || !self.processes.is_empty()
    }

    /// How many logins observe mode let in that enforcement would have refused, and when the last one was.
    pub fn observed(&self) -> (u32, u64) {
        (self.observed, self.last_observed)
    }

    /// The way in that an administrator opened, while it is open.
    pub fn bypass(&self, now: u64) -> Option<&Bypass> {
        self.bypass.as_ref().filter(|bypass| self.seen.max(now) < bypass.until)
    }

    /// Opens a way in, in place of an earlier one; or closes it.
    pub fn set_bypass(&mut self, bypass: Option<Bypass>) {
        self.bypass = bypass;
    }

    /// An administrator changed the user's factors, or something else.
    pub fn follow(&mut self, before: &Factors, after: &Factors) {
        self.note_factors(before, after);
        if before != after {
            self.distrust_all();
        }
    }

    /// Takes down that this user has a factor, or had one that is taken away.
    pub fn note_factors(&mut self, before: &Factors, after: &Factors) {
        let lost = |had: bool, has: bool| had && !has;
        self.had_factor |= !before.prove_nothing() || !after.prove_nothing();
        self.had_factor |= lost(before.phone.is_some(), after.phone.is_some());
        self.had_factor |= lost(!before.addresses.is_empty(), !after.addresses.is_empty());
    }

    /// What outlasts a reset: the highest time seen, and how far the roll-out got.
    pub fn inherit(&mut self, old: &Self) {
        self.seen = old.seen;
        self.grace_since = old.grace_since;
        self.had_factor |= old.had_factor;
    }

    /// For who cannot be told from somebody who had one.
    pub fn presume_factor(&mut self) {
        self.had_factor = true;
    }

    pub fn had_factor(&self) -> bool {
        self.had_factor
    }

    /// Whether the days without a factor have begun, and perhaps ended.
    pub fn has_grace_begun(&self) -> bool {
        self.grace_since > 0
    }

    /// Until when a user without a factor is let in, of `days` in seconds. A clock set back gives none back.
    pub fn grace_until(&self, days: u64, now: u64) -> Option<u64> {
        let until = self.grace_since.saturating_add(days);
        // Days that begin in the future began by a wrong clock, and would have no end.
        let has_begun = self.grace_since > 0 && self.grace_since <= now.saturating_add(CLOCK_LEAD);
        (has_begun && self.seen.max(now) < until).then_some(until)
    }

    /// Whether days of `days` in seconds, or a bypass, have ended, and no change was made since.
    pub fn has_ended_unseen(&self, days: u64, now: u64) -> bool {
        let grace = Some(self.grace_since).filter(|since| *since > 0).map(|since| since.saturating_add(days));
        let bypass = self.bypass.as_ref().map(|bypass| bypass.until);
        [grace, bypass].into_iter().flatten().any(|until| self.seen < until && until <= now)
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

    /// Whether this key's counter once did not grow.
    pub fn is_suspended(&self, key: u8) -> bool {
        self.counters.iter().any(|counter| counter.key == key && counter.suspended)
    }

    /// A key was enrolled, with the counter that it showed then.
    pub fn set_counter(&mut self, key: u8, count: u32) {
        self.forget_key(key);
        self.counters.push(Counter { key, count, suspended: false });
    }

    /// A key was removed; its number may be given to another.
    pub fn forget_key(&mut self, key: u8) {
        self.counters.retain(|counter| counter.key != key);
    }

    fn take_counter(&mut self, key: u8) -> Counter {
        let at = self.counters.iter().position(|counter| counter.key == key);
        at.map_or(Counter { key, count: 0, suspended: false }, |at| self.counters.swap_remove(at))
    }

    /// An app was removed; its number may be given to another.
    pub fn forget_app(&mut self, app: u8) {
        self.spent.retain(|spent| spent.app != app);
    }

    fn clock(&self, now: u64) -> u64 {
        clock(now, self.seen)
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

    fn prove(
        &mut self,
        proof: &Proof,
        source: Source,
        typos: u8,
        limits: &Limits,
        now: u64,
    ) -> Result<(), Conflict> {
        // Locks are about guessing. A signature is not guessed: it is neither stopped by them, nor ends them.
        if let Some(guess) = proof.guess() {
            self.refuse_if_locked(guess, source, limits, now)?;
            self.failures.retain(|failures| failures.source != source);
        }
        if let Proof::Trusted(claim) = proof {
            self.refuse_if_locked(Guess::Code, source, limits, now)?;
            // Whoever shares a device's trust forgives nobody's guesses.
            return self.trusted(claim, now).map(|_| ()).ok_or(Conflict::Untrusted);
        }
        self.spend(proof, self.clock(now))?;
        self.total = self.total.saturating_sub(typos.into());
        Ok(())
    }

    /// One more device; of too many, the one whose trust ends first goes.
    fn trust(&mut self, claim: Claim, now: u64) {
        let Claim { device, password, duration } = claim;
        self.devices.retain(|known| known.device != device);
        if self.devices.len() >= MAX_DEVICES {
            let first = self.devices.iter().map(|known| known.until).min();
            if let Some(at) = self.devices.iter().position(|known| Some(known.until) == first) {
                self.devices.remove(at);
            }
        }
        self.devices.push(TrustedDevice {
            device,
            since: now,
            until: now.saturating_add(duration),
            password,
        });
    }

    fn spend(&mut self, proof: &Proof, now: u64) -> Result<(), Conflict> {
        match proof {
            Proof::SshKey | Proof::Trusted(_) => {}
            Proof::Session(session) => {
                if !session.processes.iter().any(|process| self.processes.contains(process)) {
                    return Err(Conflict::Untrusted);
                }
            }
            Proof::Bypass(code) => match self.bypass(now).map(|bypass| bypass.code == *code) {
                Some(true) => self.bypass = None,
                _ => return Err(Conflict::Used),
            },
            Proof::Key { key, counter } => {
                let known = self.take_counter(*key);
                // A key without a counter says 0 for ever.
                let grows = *counter > known.count || (*counter, known.count) == (0, 0);
                if known.suspended || !grows {
                    return Err(Conflict::CounterBack(*key));
                }
                self.counters.push(Counter { count: *counter, ..known });
            }
            Proof::Sent(tag) => match self.challenge.take() {
                Some(challenge) if challenge.tag == *tag && now < challenge.until => {}
                Some(challenge) if challenge.tag == *tag => return Err(Conflict::Expired),
                _ => return Err(Conflict::Superseded),
            },
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

    /// A wrong answer to the sent code: none is accepted after a few.
    fn charge_challenge(&mut self, tag: &Tag) {
        if let Some(challenge) = self.challenge.as_mut().filter(|challenge| challenge.tag == *tag) {
            challenge.tries = challenge.tries.saturating_sub(1);
            if challenge.tries == 0 {
                self.challenge = None;
            }
        }
    }

    fn count_send(&mut self, limits: &SendLimits, now: u64) -> Result<(), Conflict> {
        self.sends.retain(|at| was_sent_within(*at, DAY, now));
        let within = |span| self.sends.iter().filter(|at| was_sent_within(**at, span, now)).count();
        if let Some(last) = self.sends.iter().max().filter(|last| was_sent_within(**last, limits.pause, now))
        {
            return Err(Conflict::TooSoon(last.saturating_add(limits.pause).saturating_sub(now)));
        }
        if within(HOUR) >= limits.hour.into() || within(DAY) >= limits.day.min(MAX_SENDS).into() {
            return Err(Conflict::Capped(Cap::User));
        }
        self.sends.push(now);
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
            self.distrust_all();
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NOW: u64 = 1_795_298_625;
    const SENDS: SendLimits = SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 };
    const LIMITS: Limits = Limits { prompts: 3, failures: 5, window: 900, total: 50, sends: SENDS };

    /// As large as a state gets: all lists full, all numbers as long as they can be.
    pub(crate) fn maximal() -> State {
        let failures = |n: u16| Failures {
            source: Source(Some(Ipv6Addr::from([u16::MAX, n, n, n, 0, 0, 0, 0]).into())),
            count: u8::MAX,
            last: u64::MAX,
            locks: u8::MAX,
            locked_until: u64::MAX,
        };
        let device = |n: u16| TrustedDevice {
            device: Device { network: failures(n).source, key: Some([u8::MAX; 32]) },
            since: u64::MAX,
            until: u64::MAX,
            password: Some([u8::MAX; 8]),
        };
        State {
            seen: u64::MAX,
            spent: (0..MAX_APPS as u8).map(|app| Spent { app, step: u64::MAX }).collect(),
            recovery_used: u16::MAX,
            failures: (0..MAX_SOURCES as u16).map(failures).collect(),
            total: u16::MAX,
            last_failure: u64::MAX,
            challenge: Some(Challenge { tag: [u8::MAX; 32], until: u64::MAX, tries: u8::MAX }),
            sends: vec![u64::MAX; MAX_SENDS.into()],
            counters: (0..MAX_KEYS as u8)
                .map(|key| Counter { key, count: u32::MAX, suspended: true })
                .collect(),
            devices: (0..MAX_DEVICES as u16).map(device).collect(),
            grace_since: u64::MAX,
            observed: u32::MAX,
            last_observed: u64::MAX,
            processes: vec![Process { pid: u32::MAX, start: u64::MAX, boot: [u8::MAX; 8] }; MAX_PROCESSES],
            bypass: Some(Bypass {
                code: RecoverySet::new(Secret::new([u8::MAX; 32]), &[String::new().into()]),
                until: u64::MAX,
                reason: "x".repeat(MAX_REASON),
            }),
            had_factor: true,
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

    fn send(code: u8, valid_for: u64) -> Change {
        Change::Send { tag: [code; 32], valid_for, source: home(), number: None, earlier: 0 }
    }

    fn right_sent(code: u8) -> Change {
        Change::Prove { proof: Proof::Sent([code; 32]), source: home(), typos: 0 }
    }

    fn wrong_sent(code: u8) -> Change {
        Change::Fail { guess: Guess::Sent([code; 32]), source: home() }
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
        let sends = SendLimits { pause: u64::MAX, login: 255, hour: 255, day: 255, host: u16::MAX };
        let limits = Limits { prompts: 255, failures: 1, window: u64::MAX, total: u16::MAX, sends };
        for now in [0, NOW, u64::MAX] {
            for change in [
                wrong(home()),
                wrong_recovery(),
                right(u64::MAX, 255),
                recovery(15),
                Change::Unlock,
                send(1, u64::MAX),
                wrong_sent(1),
                right_sent(255),
                trust(Claim { duration: u64::MAX, ..mine() }),
                come(mine()),
            ] {
                let _ = maximal().apply(&change, &limits, now);
                let _ = State::default().apply(&change, &limits, now);
            }
        }
    }

    #[test]
    fn a_sent_code_opens_once_and_in_time() {
        let state = after(&State::default(), 1, &send(1, 300), NOW);
        assert!(state.apply(&right_sent(1), &LIMITS, NOW + 299).is_ok());
        for late in [300, 301, 3600] {
            let after_it = state.apply(&right_sent(1), &LIMITS, NOW + late);
            assert_eq!(after_it, Err(Conflict::Expired), "{late}");
        }
        let spent = after(&state, 1, &right_sent(1), NOW);
        assert_eq!(spent.apply(&right_sent(1), &LIMITS, NOW), Err(Conflict::Superseded));
        assert_eq!(state.apply(&right_sent(2), &LIMITS, NOW), Err(Conflict::Superseded), "another login's");
        assert_eq!(State::default().apply(&right_sent(1), &LIMITS, NOW), Err(Conflict::Superseded));
        let newer = after(&state, 1, &send(2, 300), NOW + 60);
        assert_eq!(
            newer.apply(&right_sent(1), &LIMITS, NOW + 60),
            Err(Conflict::Superseded),
            "the latest only"
        );
        assert!(newer.apply(&right_sent(2), &LIMITS, NOW + 60).is_ok());
    }

    #[test]
    fn a_sent_code_bears_three_wrong_answers_of_its_own_login() {
        let state = after(&State::default(), 1, &send(1, 300), NOW);
        let elsewhere = Change::Fail { guess: Guess::Sent([2; 32]), source: source("203.0.113.5") };
        let state = after(&state, 4, &elsewhere, NOW);
        let state = after(&state, 2, &wrong_sent(1), NOW);
        assert!(state.apply(&right_sent(1), &LIMITS, NOW).is_ok());
        let state = after(&state, 1, &wrong_sent(1), NOW);
        assert_eq!(state.apply(&right_sent(1), &LIMITS, NOW), Err(Conflict::Superseded));
        assert_eq!(state.failures_in_all(NOW), 7, "towards the hard stop they count as others do");
    }

    #[test]
    fn a_login_has_its_own_cap() {
        for (earlier, good) in [(0, true), (2, true), (3, false), (u8::MAX, false)] {
            let send = Change::Send { tag: [1; 32], valid_for: 300, source: home(), number: None, earlier };
            let expected = if good { Ok(()) } else { Err(Conflict::Capped(Cap::Login)) };
            assert_eq!(State::default().apply(&send, &LIMITS, NOW).map(drop), expected, "{earlier}");
        }
    }

    #[test]
    fn messages_have_a_pause_and_two_caps() {
        let mut state = State::default();
        let mut now = NOW;
        for _ in 0..5 {
            state = after(&state, 1, &send(1, 300), now);
            assert_eq!(state.apply(&send(1, 300), &LIMITS, now), Err(Conflict::TooSoon(60)));
            assert_eq!(state.apply(&send(1, 300), &LIMITS, now + 59), Err(Conflict::TooSoon(1)));
            now += 60;
        }
        assert_eq!(state.apply(&send(1, 300), &LIMITS, NOW + 3599), Err(Conflict::Capped(Cap::User)));
        assert!(state.apply(&send(1, 300), &LIMITS, NOW + 3600).is_ok(), "an hour after the first");
        for n in 1..=5 {
            state = after(&state, 1, &send(1, 300), NOW + n * 3600);
        }
        assert_eq!(
            state.apply(&send(1, 300), &LIMITS, NOW + 80_000),
            Err(Conflict::Capped(Cap::User)),
            "10 a day"
        );
        assert!(state.apply(&send(1, 300), &LIMITS, NOW + 24 * 3600).is_ok());
        assert!(
            after(&state, 1, &Change::Unlock, NOW + 80_000)
                .apply(&send(1, 300), &LIMITS, NOW + 80_000)
                .is_ok()
        );
    }

    /// Neither set back nor run ahead does the clock send more, nor stop sending for good.
    #[test]
    fn messages_follow_the_steady_clock() {
        let mut state = State::default();
        for n in 0..5 {
            state = after(&state, 1, &send(1, 300), NOW + n * 60);
        }
        for back in [0, 60, 300, 301, 3000] {
            assert!(state.apply(&send(1, 300), &LIMITS, NOW + 240 - back).is_err(), "{back}");
        }
        assert_eq!(state.apply(&right_sent(1), &LIMITS, NOW + 600), Err(Conflict::Expired));
        for ahead in [7201, 10 * 365 * DAY] {
            let ahead = after(&state, 1, &send(1, 300), NOW + ahead);
            let back = after(&ahead, 1, &send(1, 300), NOW + 3600);
            assert!(back.apply(&right_sent(1), &LIMITS, NOW + 3600).is_ok());
        }
    }

    #[test]
    fn a_lock_stops_messages_too() {
        let locked = after(&State::default(), 5, &wrong(home()), NOW);
        let refused = Err(Conflict::Locked(Lock::Address(NOW + 900)));
        assert_eq!(locked.apply(&send(1, 300), &LIMITS, NOW), refused);
        let hard = State { total: LIMITS.total, last_failure: NOW, ..State::default() };
        assert_eq!(hard.apply(&send(1, 300), &LIMITS, NOW), Err(Conflict::Locked(Lock::Total)));
        let sent = after(&State::default(), 1, &send(1, 300), NOW);
        let hard = State { total: LIMITS.total, last_failure: NOW, ..sent };
        assert_eq!(hard.apply(&right_sent(1), &LIMITS, NOW), Err(Conflict::Locked(Lock::Total)));
    }

    fn touched(counter: u32) -> Change {
        Change::Prove { proof: Proof::Key { key: 3, counter }, source: home(), typos: 0 }
    }

    #[test]
    fn a_keys_counter_grows_or_stays_at_zero() {
        let table =
            [(0, 0, true), (0, 1, true), (1, 0, false), (1, 1, false), (1, 2, true), (u32::MAX, 0, false)];
        for (before, after_it, good) in table {
            let mut state = State::default();
            state.set_counter(3, before);
            let expected = if good { Ok(()) } else { Err(Conflict::CounterBack(3)) };
            assert_eq!(
                state.apply(&touched(after_it), &LIMITS, NOW).map(drop),
                expected,
                "{before} {after_it}"
            );
        }
        let state = after(&State::default(), 1, &touched(5), NOW);
        assert_eq!(state.apply(&touched(5), &LIMITS, NOW), Err(Conflict::CounterBack(3)));
        let state = after(&state, 1, &Change::Suspend(3), NOW);
        assert!(state.is_suspended(3) && !state.is_suspended(2));
        assert_eq!(
            state.apply(&touched(6), &LIMITS, NOW),
            Err(Conflict::CounterBack(3)),
            "also when it grows again"
        );
        let mut state = state;
        state.set_counter(3, 0);
        assert!(state.apply(&touched(1), &LIMITS, NOW).is_ok(), "enrolled anew");
    }

    /// Nobody guesses a signature: no lock keeps a key out, and a key ends none.
    #[test]
    fn locks_are_not_for_keys() {
        let hard = State { total: LIMITS.total, last_failure: NOW, ..State::default() };
        let locked = after(&hard, 5, &wrong_recovery(), NOW);
        assert!(locked.apply(&right(7, 0), &LIMITS, NOW).is_err());
        let by_ssh = Change::Prove { proof: Proof::SshKey, source: home(), typos: 0 };
        for by_key in [touched(1), by_ssh] {
            let proven = after(&locked, 1, &by_key, NOW);
            assert_eq!(proven.failures, locked.failures, "{by_key:?}");
            assert_eq!(proven.failures_in_all(NOW), LIMITS.total, "{by_key:?}");
        }
        let after_typos = Change::Prove { proof: Proof::SshKey, source: home(), typos: 2 };
        let proven = after(&locked, 1, &after_typos, NOW);
        assert_eq!(proven.failures, locked.failures);
        assert_eq!(proven.failures_in_all(NOW), LIMITS.total - 2, "but its own typos");
    }

    fn device(address: &str, key: Option<u8>) -> Option<Device> {
        let own = ["198.51.100.1", "::ffff:198.51.100.2", "2001:db8:9::1", "127.0.0.1"];
        let own = own.map(|own| own.parse().unwrap());
        Device::new(address.parse().unwrap(), key.map(|key| [key; 32]), &own)
    }

    fn claim(address: &str, days: u64) -> Claim {
        let device = device(address, Some(1)).unwrap();
        Claim { device, password: Some([1; 8]), duration: days * DAY }
    }

    fn mine() -> Claim {
        claim("192.0.2.7", 1)
    }

    fn trust(claim: Claim) -> Change {
        Change::Trust(claim)
    }

    fn come(claim: Claim) -> Change {
        Change::Prove { proof: Proof::Trusted(claim), source: home(), typos: 0 }
    }

    fn is_trusted(state: &State, claim: &Claim, now: u64) -> bool {
        let is_trusted = state.trusted(claim, now).is_some();
        let expected = if is_trusted { Ok(()) } else { Err(Conflict::Untrusted) };
        assert_eq!(state.apply(&come(claim.clone()), &LIMITS, now).map(drop), expected, "{now}");
        is_trusted
    }

    #[test]
    fn an_address_that_others_have_too_is_no_device() {
        let table = [
            ("192.0.2.7", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::/64")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("127.0.0.1", None),
            ("127.9.9.9", None),
            ("::ffff:127.0.0.2", None),
            ("::1", None),
            ("169.254.7.7", None),
            ("::ffff:169.254.7.7", None),
            ("fe80::1", None),
            ("febf::1", None),
            ("0.0.0.0", None),
            ("::", None),
            ("::ffff:0.0.0.0", None),
            ("224.0.0.1", None),
            ("239.255.255.255", None),
            ("::ffff:224.0.0.1", None),
            ("ff02::1", None),
            ("255.255.255.255", None),
            ("::ffff:255.255.255.255", None),
            // The host's own.
            ("198.51.100.1", None),
            ("::ffff:198.51.100.1", None),
            ("198.51.100.2", None),
            ("2001:db8:9::1", None),
            // Of somebody in its network.
            ("198.51.100.3", Some("198.51.100.3")),
            ("2001:db8:9::2", Some("2001:db8:9::/64")),
        ];
        for (address, expected) in table {
            let network = device(address, None).map(|device| device.describe());
            assert_eq!(network, expected.map(|network| (network.into(), None)), "{address}");
        }
    }

    #[test]
    fn a_device_is_its_network_and_its_key() {
        let table = [
            ("192.0.2.7", Some(1), "192.0.2.7", Some(1), true),
            ("192.0.2.7", Some(1), "::ffff:192.0.2.7", Some(1), true),
            ("2001:db8:1:2::1", None, "2001:db8:1:2:ffff::9", None, true),
            ("2001:db8:1:2::1", None, "2001:db8:1:3::1", None, false),
            ("192.0.2.7", Some(1), "192.0.2.8", Some(1), false),
            ("192.0.2.7", Some(1), "192.0.2.7", Some(2), false),
            ("192.0.2.7", Some(1), "192.0.2.7", None, false),
            ("192.0.2.7", None, "192.0.2.7", Some(1), false),
        ];
        for (one, key, other, other_key, same) in table {
            assert_eq!(
                device(one, key) == device(other, other_key),
                same,
                "{one} {key:?} {other} {other_key:?}"
            );
        }
        let home = device("2001:db8:1:2::1", None).unwrap();
        assert!(home.is_from("2001:db8:1:2::9".parse().unwrap()));
        assert!(!home.is_from("2001:db8:1:3::1".parse().unwrap()));
        let (_, key) = device("192.0.2.7", Some(1)).unwrap().describe();
        assert_eq!(key.as_deref(), Some("SHA256:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"));
    }

    /// To the second, and however often it is used.
    #[test]
    fn trust_ends_when_it_says() {
        let given = after(&State::default(), 1, &trust(mine()), NOW);
        let used =
            (1..24).fold(given.clone(), |state, hour| after(&state, 1, &come(mine()), NOW + hour * HOUR));
        for state in [given, used] {
            assert!(is_trusted(&state, &mine(), NOW + DAY - 1));
            for late in [0, 1, DAY, 365 * DAY] {
                assert!(!is_trusted(&state, &mine(), NOW + DAY + late), "{late}");
            }
            assert_eq!((state.devices(NOW + DAY - 1).count(), state.devices(NOW + DAY).count()), (1, 0));
        }
    }

    #[test]
    fn no_clock_brings_trust_back() {
        let given = after(&State::default(), 1, &trust(mine()), NOW);
        for (time, trusted) in [(NOW - 300, true), (NOW - 301, false), (NOW - DAY, false), (0, false)] {
            assert_eq!(is_trusted(&given, &mine(), time), trusted, "{time}");
        }
        let over = after(&given, 1, &right(7, 0), NOW + DAY);
        // Also when an administrator forgets, with the failures, what time was seen.
        for state in [over.clone(), after(&over, 1, &Change::Unlock, NOW)] {
            for time in [NOW, NOW + 1, NOW + DAY - 1] {
                assert!(!is_trusted(&state, &mine(), time), "{time}");
            }
        }
        assert!(is_trusted(&after(&given, 1, &Change::Unlock, NOW), &mine(), NOW + 1));
    }

    #[test]
    fn trust_is_of_one_password_and_no_longer_than_the_policy_says() {
        let given = after(&State::default(), 1, &trust(claim("192.0.2.7", 7)), NOW);
        let longer = |duration| Claim { duration, ..claim("192.0.2.7", 7) };
        for (duration, trusted) in [(DAY, false), (7 * DAY - 1, false), (7 * DAY, true), (30 * DAY, true)] {
            assert_eq!(is_trusted(&given, &longer(duration), NOW), trusted, "{duration}");
        }
        assert!(!is_trusted(&given, &longer(30 * DAY), NOW + 7 * DAY), "a longer policy lengthens nothing");
        for (before, now) in [(Some(1), Some(2)), (Some(1), None), (None, Some(1))] {
            let [before, now] = [before, now]
                .map(|password: Option<u8>| Claim { password: password.map(|tag| [tag; 8]), ..mine() });
            let given = after(&State::default(), 1, &trust(before.clone()), NOW);
            assert!(is_trusted(&given, &before, NOW) && !is_trusted(&given, &now, NOW), "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_lock_ends_all_trust() {
        let given = after(&State::default(), 1, &trust(mine()), NOW);
        let given = after(&given, 1, &trust(claim("203.0.113.9", 7)), NOW);
        let elsewhere = source("203.0.113.5");
        let recovery = Change::Fail { guess: Guess::Recovery, source: elsewhere };
        for wrong in
            [wrong(elsewhere), recovery, Change::Fail { guess: Guess::Sent([1; 32]), source: elsewhere }]
        {
            let nearly = after(&given, 4, &wrong, NOW);
            assert_eq!(nearly.devices(NOW).count(), 2, "{wrong:?}");
            let locked = after(&nearly, 1, &wrong, NOW);
            assert_eq!(locked.devices(NOW).count(), 0, "{wrong:?}");
            assert_eq!(after(&locked, 1, &Change::Unlock, NOW).devices(NOW).count(), 0, "{wrong:?}");
        }
        let nearly = State { total: LIMITS.total - 1, last_failure: NOW, ..given };
        assert_eq!(after(&nearly, 1, &wrong_recovery(), NOW).devices(NOW).count(), 2);
        assert_eq!(after(&nearly, 1, &wrong(elsewhere), NOW).devices(NOW).count(), 0, "the hard stop");
    }

    #[test]
    fn a_lock_stops_a_trusted_device() {
        let hard = State { total: LIMITS.total, last_failure: NOW, ..State::default() };
        let locked = after(&State::default(), 5, &wrong_recovery(), NOW);
        for (state, lock) in [(hard, Lock::Total), (locked, Lock::Address(NOW + 900))] {
            let given = after(&state, 1, &trust(mine()), NOW);
            assert_eq!(given.apply(&come(mine()), &LIMITS, NOW), Err(Conflict::Locked(lock)));
        }
    }

    #[test]
    fn a_trusted_device_proves_and_changes_nothing_else() {
        let state = after(&State::default(), 4, &wrong(home()), NOW);
        let state = after(&state, 1, &send(1, 300), NOW);
        let state = after(&state, 1, &trust(mine()), NOW);
        for typos in [0, 3] {
            let come = Change::Prove { proof: Proof::Trusted(mine()), source: home(), typos };
            assert_eq!(state.apply(&come, &LIMITS, NOW), Ok(state.clone()), "{typos}");
            let later = State { seen: NOW + 60, ..state.clone() };
            assert_eq!(state.apply(&come, &LIMITS, NOW + 60), Ok(later), "{typos}");
        }
    }

    #[test]
    fn of_nine_devices_the_one_that_ends_first_goes() {
        let of = |n: u16, days| claim(&format!("192.0.2.{n}"), days);
        let all = (0..8).fold(State::default(), |state, n| {
            let days = if n == 5 { 1 } else { 7 };
            after(&state, 1, &trust(of(n, days)), NOW)
        });
        assert_eq!(all.devices(NOW).count(), MAX_DEVICES);
        let again = after(&all, 1, &trust(of(3, 7)), NOW + 60);
        assert_eq!(again.devices(NOW + 60).count(), MAX_DEVICES, "given again is none more");
        assert_eq!(again.trusted(&of(3, 7), NOW + 60).unwrap().until, NOW + 60 + 7 * DAY);
        let shorter = after(&all, 1, &trust(of(3, 1)), NOW);
        assert_eq!(shorter.trusted(&of(3, 1), NOW).unwrap().until, NOW + DAY, "nor longer than it says");
        let nine = after(&all, 1, &trust(of(9, 7)), NOW + 60);
        assert_eq!(nine.devices(NOW + 60).count(), MAX_DEVICES);
        assert!(nine.trusted(&of(5, 7), NOW + 60).is_none());
        // Of those that end in one second, one goes.
        let ten = after(&nine, 1, &trust(of(10, 7)), NOW + 60);
        assert_eq!(ten.devices(NOW + 60).count(), MAX_DEVICES);
        assert!(ten.trusted(&of(0, 7), NOW + 60).is_none() && ten.trusted(&of(1, 7), NOW + 60).is_some());
        let later = after(&all, 1, &trust(of(9, 7)), NOW + DAY);
        assert_eq!(later.devices(NOW + DAY).count(), MAX_DEVICES, "what is over takes no room");
        assert!(later.trusted(&of(0, 7), NOW + DAY).is_some());
    }

    #[test]
    fn trust_ends_in_the_devices_that_are_meant() {
        let mut state = after(&State::default(), 1, &trust(mine()), NOW);
        state = after(&state, 1, &trust(claim("2001:db8::1", 1)), NOW);
        let from = |address: &str| {
            let address = address.parse().unwrap();
            move |device: &Device| device.is_from(address)
        };
        assert_eq!(state.distrust(from("192.0.2.8")), 0);
        assert_eq!(state.distrust(from("2001:db8::77")), 1);
        assert!(state.trusted(&mine(), NOW).is_some());
        assert_eq!((state.distrust(|_| true), state.devices(NOW).count()), (1, 0));
    }
}
