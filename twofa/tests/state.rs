//! The judge of every change, beside a second one that was written from the rules alone: it keeps the whole
//! history and counts anew each time. Over all short sequences of changes and clocks both say the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::net::IpAddr;
use twofa::account::{
    Bypass, Cap, Change, Claim, Conflict, Device, Guess, Limits, Lock, MAX_DEVICES, MAX_PROCESSES, Process,
    Proof, SendLimits, Session, Source, Spent, State,
};
use twofa::code::{RecoverySet, Secret};

const NOW: u64 = 1_795_298_625;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;
/// Small, so that short sequences reach every lock.
const LIMITS: Limits = Limits { prompts: 3, failures: 2, window: 15 * MINUTE, total: 4, sends: SENDS };
const SENDS: SendLimits = SendLimits { pause: MINUTE, login: 3, hour: 2, day: 3, host: 100 };
/// As lenient as failures can be, so that the three tries of a sent code are met.
const LENIENT: Limits = Limits { failures: 200, total: 200, ..LIMITS };
const VALID_FOR: u64 = 5 * MINUTE;
const RECOVERY_CODES: usize = 10;
const APPS: [u8; 2] = [1, 2];

fn source(last: u8) -> Source {
    Source::new(Some(IpAddr::from([192, 0, 2, last])))
}

fn sources() -> [Source; 3] {
    [source(1), source(2), Source::CONSOLE]
}

/// All that was accepted, each with the time it counted as.
#[derive(Clone)]
struct Model {
    limits: Limits,
    fault: Option<Fault>,
    /// The highest time seen.
    high: u64,
    accepted: Vec<(u64, Change)>,
    /// The same since there is more than codes to be known: with the highest time seen at each, and whether it locked or
    /// stopped anybody.
    trail: Vec<Trail>,
}

#[derive(Clone)]
struct Trail {
    time: u64,
    high: u64,
    locks: bool,
    act: Act,
}

/// What changes a state: a login, or an administrator.
#[derive(Clone)]
enum Act {
    Change(Change),
    Bypass(Option<Bypass>),
    Distrust,
}

/// Trust that was given, and not taken back.
#[derive(Clone, PartialEq)]
struct Given {
    claim: Claim,
    since: u64,
    until: u64,
}

/// A mistake in the model, to see that the comparison finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    EarlierCodeCounts,
    CodeOpensTwice,
    CodeBearsFour,
    CodeBearsTwo,
    CodeIsGoodForEver,
    CodeIsGoodForASecondMore,
    EveryWrongAnswerIsTheCodes,
    NoPause,
    ALongerPause,
    NoCapOfTheLogin,
    NoCapOfTheHour,
    NoCapOfTheDay,
    UnlockForgetsNoMessage,
    UnlockForgetsTheCode,
    LockedMaySend,
    HardStopMaySend,
    AppForgetsTheCode,
    TheClockIsBelieved,
    MessagesOfTheFutureCount,
    SuspendedKeyProves,
    CounterMayStay,
    LockStopsAKey,
    KeyEndsALock,
    KeyForgivesNoTypo,
    UseProlongs,
    TrustOutlivesALock,
    TrustOutlivesTheHardStop,
    ClockSetBackTrustsAgain,
    UnlockTrustsAgain,
    TrustedASecondMore,
    TrustedBeforeItWasGiven,
    AnyDurationWillDo,
    AnyPasswordWillDo,
    AnyNetworkWillDo,
    AnyKeyWillDo,
    LockedDeviceProves,
    DeviceEndsALock,
    DeviceForgivesTypos,
    NineDevices,
    AllThatEndFirstGo,
    LastToEndGoes,
    GivenAgainIsKept,
    GraceBeginsAnew,
    GraceBeginsWithTheAccount,
    GraceBeginsWhenObserved,
    GraceFollowsTheClock,
    GraceASecondMore,
    GraceASecondLess,
    UnlockForgetsGrace,
    ObservedOnce,
    ObservedFirst,
    UnlockForgetsTheObserved,
    AnyStartWillDo,
    AnyBootWillDo,
    AnyPidWillDo,
    AllProcessesHaveToBeKnown,
    NoProcessIsASession,
    SeventeenProcesses,
    FifteenProcesses,
    NewestProcessGoes,
    OpenedAgainIsOld,
    SessionOutlivesALock,
    SessionOutlivesTheHardStop,
    SessionOutlivesDistrust,
    DeviceOutlivesDistrust,
    UnlockEndsSessions,
    JoiningEndsTheSession,
    LockStopsASession,
    SessionEndsALock,
    BypassOpensTwice,
    AnyBypassWillDo,
    BypassASecondMore,
    BypassASecondLess,
    ClockSetBackOpensABypass,
    UnlockOpensABypass,
    UnlockEndsABypass,
    LockStopsABypass,
    LockEndsABypass,
    DistrustEndsABypass,
    BypassEndsALock,
    BypassForgivesNoTypo,
    FirstBypassStays,
    BypassCannotBeTakenBack,
}

/// What the failures of one address come to.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u8,
    last: u64,
    locks: u32,
    until: u64,
}

/// The latest code that was sent, if it can still be proven.
struct Sent {
    code: [u8; 32],
    until: u64,
}

impl Model {
    fn new(limits: Limits, fault: Option<Fault>) -> Self {
        Self { limits, fault, high: 0, accepted: vec![], trail: vec![] }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A clock set back counts as five minutes before the highest time seen, at most; by more than an hour, it
    /// was wrong before.
    fn time(&self, clock: u64) -> u64 {
        if self.high > clock + 60 * MINUTE || self.has(Fault::TheClockIsBelieved) {
            clock
        } else {
            clock.max(self.high.saturating_sub(5 * MINUTE))
        }
    }

    fn judge(&self, change: &Change, clock: u64) -> Result<(), Conflict> {
        let time = self.time(clock);
        match change {
            Change::Unlock | Change::Suspend(_) | Change::Trust(_) => Ok(()),
            Change::Register | Change::Grace | Change::Observe | Change::Open(_) => Ok(()),
            Change::Prove { proof: Proof::Session(session), source, .. } => {
                if self.has(Fault::LockStopsASession) {
                    self.refuse_locked(*source, time)?;
                }
                if self.joins(session) { Ok(()) } else { Err(Conflict::Untrusted) }
            }
            // The way in for those whom a lock keeps out.
            Change::Prove { proof: Proof::Bypass(code), source, .. } => {
                if self.has(Fault::LockStopsABypass) {
                    self.refuse_locked(*source, time)?;
                }
                let is_it = |open: &Bypass| open.code == *code || self.has(Fault::AnyBypassWillDo);
                if self.bypass(clock).as_ref().is_some_and(is_it) { Ok(()) } else { Err(Conflict::Used) }
            }
            Change::Prove { proof: Proof::Trusted(claim), source, .. } => {
                if !self.has(Fault::LockedDeviceProves) {
                    self.refuse_locked(*source, time)?;
                }
                self.trusted(claim, clock).map(drop).ok_or(Conflict::Untrusted)
            }
            // Locks are about guessing, and no signature is guessed.
            Change::Prove { proof: Proof::Key { .. } | Proof::SshKey, source, .. }
                if self.has(Fault::LockStopsAKey) && self.lock(*source, time).is_some() =>
            {
                self.refuse_locked(*source, time)
            }
            Change::Prove { proof: Proof::SshKey, .. } => Ok(()),
            Change::Prove { proof: Proof::Key { key, counter }, .. } => self.refuse_counter(*key, *counter),
            Change::Fail { guess: Guess::Code | Guess::Sent(_), source } => self.refuse_locked(*source, time),
            Change::Fail { guess: Guess::Recovery, source } => self.refuse_recovery_locked(*source, time),
            Change::Prove { proof: Proof::App(spent), source, .. } => {
                self.refuse_locked(*source, time)?;
                let newer = |one: &Spent| self.newest(one.app).is_none_or(|newest| one.step > newest);
                if spent.iter().all(newer) { Ok(()) } else { Err(Conflict::Used) }
            }
            Change::Prove { proof: Proof::Recovery(position), source, .. } => {
                self.refuse_recovery_locked(*source, time)?;
                if self.used().any(|used| used == *position) { Err(Conflict::Used) } else { Ok(()) }
            }
            Change::Prove { proof: Proof::Sent(code), source, .. } => {
                self.refuse_locked(*source, time)?;
                let good = |sent: &Sent| time < sent.until || self.has(Fault::CodeIsGoodForEver);
                match self.sent().filter(|sent| sent.code == *code) {
                    Some(sent) => {
                        if good(&sent) {
                            Ok(())
                        } else {
                            Err(Conflict::Expired)
                        }
                    }
                    None => Err(Conflict::Superseded),
                }
            }
            Change::Send { source, earlier, .. } => {
                match self.refuse_locked(*source, time) {
                    Err(Conflict::Locked(Lock::Total)) if self.has(Fault::HardStopMaySend) => {}
                    Err(_) if self.has(Fault::LockedMaySend) => {}
                    judged => judged?,
                }
                if *earlier >= SENDS.login && !self.has(Fault::NoCapOfTheLogin) {
                    return Err(Conflict::Capped(Cap::Login));
                }
                self.refuse_capped(time)
            }
        }
    }

    /// The latest code only; three wrong answers, or one right one, void it.
    fn sent(&self) -> Option<Sent> {
        let mut latest: Option<(Sent, u8)> = None;
        for (time, change) in &self.accepted {
            match change {
                Change::Send { tag, valid_for, .. } => {
                    let more = u64::from(self.has(Fault::CodeIsGoodForASecondMore));
                    if latest.is_none() || !self.has(Fault::EarlierCodeCounts) {
                        latest = Some((Sent { code: *tag, until: time + valid_for + more }, 0));
                    }
                }
                Change::Fail { guess: Guess::Sent(code), .. } => {
                    let bears = match self.fault {
                        Some(Fault::CodeBearsFour) => 4,
                        Some(Fault::CodeBearsTwo) => 2,
                        _ => 3,
                    };
                    let any = self.has(Fault::EveryWrongAnswerIsTheCodes);
                    if let Some((_, wrong)) = latest.as_mut().filter(|(sent, _)| sent.code == *code || any) {
                        *wrong += 1;
                    }
                    latest = latest.filter(|(_, wrong)| *wrong < bears);
                }
                Change::Prove { proof: Proof::Sent(_), .. } if !self.has(Fault::CodeOpensTwice) => {
                    latest = None;
                }
                Change::Prove { proof: Proof::App(_), .. } if self.has(Fault::AppForgetsTheCode) => {
                    latest = None;
                }
                Change::Unlock if self.has(Fault::UnlockForgetsTheCode) => latest = None,
                _ => {}
            }
        }
        latest.map(|(sent, _)| sent)
    }

    /// When the messages were sent that count: those of a day, until an administrator unlocks. One from more than an
    /// hour ahead was sent by a wrong clock, and the next one sent forgets it.
    fn messages(&self, time: u64) -> Vec<u64> {
        let mut messages = vec![];
        let is_of_the_day = |at: &u64, time: u64| {
            let future = *at > time + 60 * MINUTE && !self.has(Fault::MessagesOfTheFutureCount);
            !future && time.saturating_sub(*at) < DAY
        };
        for (time, change) in &self.accepted {
            match change {
                Change::Send { .. } => {
                    messages.retain(|at| is_of_the_day(at, *time));
                    messages.push(*time);
                }
                Change::Unlock if !self.has(Fault::UnlockForgetsNoMessage) => messages.clear(),
                _ => {}
            }
        }
        messages.retain(|at| is_of_the_day(at, time));
        messages
    }

    fn refuse_capped(&self, time: u64) -> Result<(), Conflict> {
        let messages = self.messages(time);
        let longer = u64::from(self.has(Fault::ALongerPause));
        let pause = if self.has(Fault::NoPause) { 0 } else { SENDS.pause + longer };
        let last = messages.iter().max().copied().unwrap_or(0);
        if last + pause > time {
            return Err(Conflict::TooSoon(last + pause - time));
        }
        let of_the_hour = messages.iter().filter(|at| time.saturating_sub(**at) < 60 * MINUTE).count();
        let hour = of_the_hour >= SENDS.hour.into() && !self.has(Fault::NoCapOfTheHour);
        let day = messages.len() >= SENDS.day.into() && !self.has(Fault::NoCapOfTheDay);
        if hour || day { Err(Conflict::Capped(Cap::User)) } else { Ok(()) }
    }

    fn accept(&mut self, change: &Change, clock: u64) {
        let time = self.time(clock);
        let high = self.high.max(time);
        self.high = if *change == Change::Unlock { clock } else { high };
        let before = if let Change::Fail { source, .. } = change { self.address(*source).until } else { 0 };
        self.accepted.push((time, change.clone()));
        let begins = matches!(
            change,
            Change::Trust(_) | Change::Register | Change::Grace | Change::Observe | Change::Open(_)
        );
        if self.trail.is_empty() && !begins {
            return;
        }
        let locks = match change {
            Change::Fail { guess, source } => {
                let address = self.address(*source).until != before;
                let hard = *guess != Guess::Recovery && self.total(time) >= self.limits.total;
                address && !self.has(Fault::TrustOutlivesALock)
                    || hard && !self.has(Fault::TrustOutlivesTheHardStop)
            }
            _ => false,
        };
        self.trail.push(Trail { time, high, locks, act: Act::Change(change.clone()) });
    }

    /// An administrator's doing, which no time is seen at.
    fn act(&mut self, act: Act) {
        self.trail.push(Trail { time: 0, high: 0, locks: false, act });
    }

    /// All trust that neither ended at a time that was seen, nor was given up for other trust, nor ended by a lock.
    fn given(&self) -> Vec<Given> {
        let mut given: Vec<Given> = vec![];
        for Trail { time, high, locks, act } in &self.trail {
            let change = match act {
                Act::Change(change) => change,
                Act::Distrust if !self.has(Fault::DeviceOutlivesDistrust) => {
                    given.clear();
                    continue;
                }
                Act::Distrust | Act::Bypass(_) => continue,
            };
            if *change != Change::Unlock || !self.has(Fault::UnlockTrustsAgain) {
                given.retain(|one| *high < one.until || self.has(Fault::ClockSetBackTrustsAgain));
            }
            match change {
                Change::Trust(claim) => {
                    if !self.has(Fault::GivenAgainIsKept) {
                        given.retain(|one| one.claim.device != claim.device);
                    }
                    self.make_room(&mut given);
                    given.push(Given { claim: claim.clone(), since: *time, until: time + claim.duration });
                }
                Change::Prove { proof: Proof::Trusted(claim), .. } if self.has(Fault::UseProlongs) => {
                    given.iter_mut().filter(|one| one.claim.device == claim.device).for_each(|one| {
                        one.until = time + one.claim.duration;
                    });
                }
                _ if *locks => given.clear(),
                _ => {}
            }
        }
        given
    }

    /// Eight at most: what ends first goes, and of those that end at once what was given first.
    fn make_room(&self, given: &mut Vec<Given>) {
        if given.len() < MAX_DEVICES || self.has(Fault::NineDevices) {
            return;
        }
        let ends = given.iter().map(|one| one.until);
        let end = if self.has(Fault::LastToEndGoes) { ends.max() } else { ends.min() }.unwrap();
        if self.has(Fault::AllThatEndFirstGo) {
            given.retain(|one| one.until != end);
        } else {
            given.remove(given.iter().position(|one| one.until == end).unwrap());
        }
    }

    fn trusted(&self, claim: &Claim, clock: u64) -> Option<Given> {
        let high = if self.has(Fault::ClockSetBackTrustsAgain) { clock } else { self.high.max(clock) };
        let more = u64::from(self.has(Fault::TrustedASecondMore));
        self.given().into_iter().find(|one| {
            let device = match self.fault {
                Some(Fault::AnyNetworkWillDo) => key_of(&one.claim) == key_of(claim),
                Some(Fault::AnyKeyWillDo) => one.claim.device.describe().0 == claim.device.describe().0,
                _ => one.claim.device == claim.device,
            };
            let begun = one.since <= clock + 5 * MINUTE || self.has(Fault::TrustedBeforeItWasGiven);
            let as_long = one.claim.duration <= claim.duration || self.has(Fault::AnyDurationWillDo);
            let password = one.claim.password == claim.password || self.has(Fault::AnyPasswordWillDo);
            device && begun && high < one.until + more && as_long && password
        })
    }

    /// The days begin with the first login that they are borne in, and never again.
    fn grace_since(&self) -> Option<u64> {
        let mut since = None;
        for Trail { time, act, .. } in &self.trail {
            match act {
                Act::Change(Change::Grace) if self.has(Fault::GraceBeginsAnew) => since = Some(*time),
                Act::Change(Change::Grace) => since = since.or(Some(*time)),
                Act::Change(Change::Register) if self.has(Fault::GraceBeginsWithTheAccount) => {
                    since = since.or(Some(*time));
                }
                Act::Change(Change::Observe) if self.has(Fault::GraceBeginsWhenObserved) => {
                    since = since.or(Some(*time));
                }
                Act::Change(Change::Unlock) if self.has(Fault::UnlockForgetsGrace) => since = None,
                _ => {}
            }
        }
        since
    }

    /// They end by the highest time seen: a clock set back gives none back.
    fn grace_until(&self, days: u64, clock: u64) -> Option<u64> {
        let high = if self.has(Fault::GraceFollowsTheClock) { clock } else { self.high.max(clock) };
        // What began in the future began by a wrong clock, and would have no end.
        if self.grace_since()? > clock + 3600 {
            return None;
        }
        let until = self.grace_since()? + days;
        let fault = match self.fault {
            Some(Fault::GraceASecondMore) => high <= until,
            Some(Fault::GraceASecondLess) => high + 1 < until,
            _ => high < until,
        };
        fault.then_some(until)
    }

    fn observed(&self) -> (u32, u64) {
        let mut observed = (0, 0);
        for Trail { time, act, .. } in &self.trail {
            match act {
                Act::Change(Change::Observe) if self.has(Fault::ObservedOnce) => observed = (1, *time),
                Act::Change(Change::Observe) if self.has(Fault::ObservedFirst) && observed.0 > 0 => {
                    observed.0 += 1;
                }
                Act::Change(Change::Observe) => observed = (observed.0 + 1, *time),
                Act::Change(Change::Unlock) if self.has(Fault::UnlockForgetsTheObserved) => observed = (0, 0),
                _ => {}
            }
        }
        observed
    }

    /// What sessions hang on, newest first: since a lock or an administrator ended them all, and not more than there is
    /// room for.
    fn open(&self) -> Vec<Process> {
        let mut opened: Vec<Process> = vec![];
        for Trail { locks, act, .. } in &self.trail {
            match act {
                Act::Change(Change::Open(processes)) => {
                    for process in processes {
                        let again = opened.contains(process);
                        if !again || !self.has(Fault::OpenedAgainIsOld) {
                            opened.retain(|known| known != process);
                            opened.insert(0, *process);
                        }
                    }
                }
                Act::Change(Change::Fail { guess, .. }) if *locks => {
                    let hard = *guess != Guess::Recovery;
                    let outlives = self.has(Fault::SessionOutlivesALock)
                        || hard && self.has(Fault::SessionOutlivesTheHardStop);
                    opened.retain(|_| outlives);
                }
                Act::Distrust if !self.has(Fault::SessionOutlivesDistrust) => opened.clear(),
                Act::Change(Change::Unlock) if self.has(Fault::UnlockEndsSessions) => opened.clear(),
                Act::Change(Change::Prove { proof: Proof::Session(_), .. })
                    if self.has(Fault::JoiningEndsTheSession) =>
                {
                    opened.clear();
                }
                _ => {}
            }
            match self.fault {
                Some(Fault::SeventeenProcesses) => opened.truncate(MAX_PROCESSES + 1),
                Some(Fault::FifteenProcesses) => opened.truncate(MAX_PROCESSES - 1),
                Some(Fault::NewestProcessGoes) if opened.len() > MAX_PROCESSES => drop(opened.remove(0)),
                _ => opened.truncate(MAX_PROCESSES),
            }
        }
        opened
    }

    /// Whether one of the session's processes is known, with its start and its boot.
    fn joins(&self, session: &Session) -> bool {
        let open = self.open();
        let is_known = |process: &Process| {
            open.iter().any(|known| {
                (known.pid == process.pid || self.has(Fault::AnyPidWillDo))
                    && (known.start == process.start || self.has(Fault::AnyStartWillDo))
                    && (known.boot == process.boot || self.has(Fault::AnyBootWillDo))
            })
        };
        let mut processes = session.processes.iter();
        if self.has(Fault::AllProcessesHaveToBeKnown) {
            return !session.processes.is_empty() && processes.all(is_known);
        }
        processes.any(is_known) || self.has(Fault::NoProcessIsASession) && session.processes.is_empty()
    }

    /// The way in that was opened last, if it was neither used nor closed, nor ended at a time that was seen.
    fn bypass(&self, clock: u64) -> Option<Bypass> {
        let mut open: Option<Bypass> = None;
        let unseen = self.has(Fault::ClockSetBackOpensABypass);
        for Trail { high, locks, act, .. } in &self.trail {
            let unlocks = matches!(act, Act::Change(Change::Unlock));
            if matches!(act, Act::Change(_)) && !unseen && !(unlocks && self.has(Fault::UnlockOpensABypass)) {
                open = open.filter(|open| *high < open.until);
            }
            match act {
                Act::Bypass(_) if open.is_some() && self.has(Fault::FirstBypassStays) => {}
                Act::Bypass(None) if self.has(Fault::BypassCannotBeTakenBack) => {}
                Act::Bypass(other) => open.clone_from(other),
                Act::Change(Change::Prove { proof: Proof::Bypass(_), .. })
                    if !self.has(Fault::BypassOpensTwice) =>
                {
                    open = None;
                }
                _ if unlocks && self.has(Fault::UnlockEndsABypass) => open = None,
                _ if *locks && self.has(Fault::LockEndsABypass) => open = None,
                Act::Distrust if self.has(Fault::DistrustEndsABypass) => open = None,
                _ => {}
            }
        }
        let high = if unseen { clock } else { self.high.max(clock) };
        open.filter(|open| match self.fault {
            Some(Fault::BypassASecondMore) => high <= open.until,
            Some(Fault::BypassASecondLess) => high + 1 < open.until,
            _ => high < open.until,
        })
    }

    fn refuse_locked(&self, source: Source, time: u64) -> Result<(), Conflict> {
        self.lock(source, time).map_or(Ok(()), |lock| Err(Conflict::Locked(lock)))
    }

    /// A key that once showed a counter shows a higher one each time; one that is suspended counts no longer.
    fn refuse_counter(&self, key: u8, counter: u32) -> Result<(), Conflict> {
        let (mut highest, mut suspended) = (0, false);
        for (_, change) in &self.accepted {
            match change {
                Change::Prove { proof: Proof::Key { key: proven, counter }, .. } if *proven == key => {
                    highest = highest.max(*counter);
                }
                Change::Suspend(other) => suspended |= *other == key,
                _ => {}
            }
        }
        let suspended = suspended && !self.has(Fault::SuspendedKeyProves);
        let repeated = counter == highest && (counter == 0 || self.has(Fault::CounterMayStay));
        let good = !suspended && (counter > highest || repeated);
        if good { Ok(()) } else { Err(Conflict::CounterBack(key)) }
    }

    /// The hard stop leaves recovery codes; an address that is locked is locked for all.
    fn refuse_recovery_locked(&self, source: Source, time: u64) -> Result<(), Conflict> {
        let address = self.lock(source, time).filter(|lock| *lock != Lock::Total);
        address.map_or(Ok(()), |lock| Err(Conflict::Locked(lock)))
    }

    fn lock(&self, source: Source, time: u64) -> Option<Lock> {
        let until = self.address(source).until;
        if time < until && until <= time + 65 * MINUTE {
            return Some(Lock::Address(until));
        }
        (self.total(time) >= self.limits.total).then_some(Lock::Total)
    }

    /// Two failures, each within 15 minutes of the one before, lock an address for 15 minutes, the next time
    /// for 30, then for an hour. A right code there ends it, and so does a day without a failure; a key does not.
    fn address(&self, source: Source) -> Tally {
        let mut tally = Tally::default();
        for (time, change) in &self.accepted {
            if *time >= tally.until && time.saturating_sub(tally.last) > DAY {
                tally = Tally::default();
            }
            match change {
                Change::Fail { source: failed, .. } if *failed == source => {
                    let late = time.saturating_sub(tally.last) > LIMITS.window;
                    tally.count = if late { 1 } else { tally.count + 1 };
                    tally.last = *time;
                    if tally.count == self.limits.failures {
                        let minutes = [15, 30, 60][tally.locks.min(2) as usize];
                        tally = Tally { count: 0, until: time + minutes * MINUTE, ..tally };
                        tally.locks += 1;
                    }
                }
                Change::Prove { proof: Proof::Key { .. } | Proof::SshKey, .. }
                    if !self.has(Fault::KeyEndsALock) => {}
                Change::Prove { proof: Proof::Trusted(_), .. } if !self.has(Fault::DeviceEndsALock) => {}
                Change::Prove { proof: Proof::Session(_), .. } if !self.has(Fault::SessionEndsALock) => {}
                Change::Prove { proof: Proof::Bypass(_), .. } if !self.has(Fault::BypassEndsALock) => {}
                Change::Prove { source: proven, .. } if *proven == source => tally = Tally::default(),
                Change::Unlock => tally = Tally::default(),
                _ => {}
            }
        }
        tally
    }

    /// Failures from anywhere count until an administrator unlocks, or 30 days passed without one.
    fn total(&self, time: u64) -> u16 {
        let (mut total, mut last) = (0u16, 0);
        for (time, change) in &self.accepted {
            match change {
                Change::Fail { guess: Guess::Code | Guess::Sent(_), .. } => {
                    total = if time.saturating_sub(last) > 30 * DAY { 1 } else { total + 1 };
                    last = *time;
                }
                Change::Prove { proof: Proof::Key { .. } | Proof::SshKey, .. }
                    if self.has(Fault::KeyForgivesNoTypo) => {}
                Change::Prove { proof: Proof::Trusted(_), .. } if !self.has(Fault::DeviceForgivesTypos) => {}
                Change::Prove { proof: Proof::Bypass(_), .. } if self.has(Fault::BypassForgivesNoTypo) => {}
                Change::Prove { typos, .. } => total = total.saturating_sub((*typos).into()),
                Change::Unlock => total = 0,
                Change::Fail { guess: Guess::Recovery, .. }
                | Change::Send { .. }
                | Change::Suspend(_)
                | Change::Trust(_)
                | Change::Register
                | Change::Grace
                | Change::Observe
                | Change::Open(_) => {}
            }
        }
        if time.saturating_sub(last) > 30 * DAY { 0 } else { total }
    }

    fn spent(&self) -> impl Iterator<Item = Spent> {
        self.accepted.iter().flat_map(|(_, change)| match change {
            Change::Prove { proof: Proof::App(spent), .. } => spent.clone(),
            _ => vec![],
        })
    }

    fn newest(&self, app: u8) -> Option<u64> {
        self.spent().filter(|spent| spent.app == app).map(|spent| spent.step).max()
    }

    fn used(&self) -> impl Iterator<Item = u8> {
        self.accepted.iter().filter_map(|(_, change)| match change {
            Change::Prove { proof: Proof::Recovery(position), .. } => Some(*position),
            _ => None,
        })
    }
}

/// What happens next: a change, or the clock moves by so many seconds; an administrator opens or closes a bypass, or ends
/// all trust.
#[derive(Clone, Debug)]
enum Letter {
    Do(Change),
    Clock(i64),
    Bypass(Option<Bypass>),
    Distrust,
}

fn prove(apps: &[u8], step: u64, source: Source, typos: u8) -> Letter {
    let spent = apps.iter().map(|app| Spent { app: *app, step }).collect();
    Letter::Do(Change::Prove { proof: Proof::App(spent), source, typos })
}

fn recover(position: u8, source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Recovery(position), source, typos: 0 })
}

fn fail(guess: Guess, source: Source) -> Letter {
    Letter::Do(Change::Fail { guess, source })
}

fn send(code: u8, source: Source) -> Letter {
    Letter::Do(Change::Send { tag: [code; 32], valid_for: VALID_FOR, source, number: None, earlier: 0 })
}

/// By a login that had so many as it may have.
fn send_another(code: u8, source: Source) -> Letter {
    let earlier = SENDS.login;
    Letter::Do(Change::Send { tag: [code; 32], valid_for: VALID_FOR, source, number: None, earlier })
}

fn prove_sent(code: u8, source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Sent([code; 32]), source, typos: 0 })
}

fn alphabet() -> Vec<Letter> {
    let [here, there, console] = sources();
    vec![
        prove(&[1], 5, here, 0),
        prove(&[1], 6, there, 0),
        prove(&APPS, 6, here, 1),
        prove(&[2], 5, console, 2),
        recover(0, here),
        recover(0, there),
        recover(9, here),
        fail(Guess::Code, here),
        fail(Guess::Code, there),
        fail(Guess::Code, console),
        fail(Guess::Recovery, here),
        Letter::Do(Change::Unlock),
        Letter::Clock(9 * 60),
        Letter::Clock(16 * 60),
        Letter::Clock(86_460),
        Letter::Clock(31 * 86_400),
        Letter::Clock(-200),
        Letter::Clock(-3600),
    ]
}

/// Where the exploration starts: nothing yet, and a step before each lock.
fn starts() -> Vec<Vec<Letter>> {
    let [here, there, console] = sources();
    let code = |source| fail(Guess::Code, source);
    let wait = || Letter::Clock(16 * 60);
    vec![
        vec![],
        vec![code(here), code(here), wait(), code(here)],
        vec![code(here), code(here), wait(), code(here), code(here), Letter::Clock(-600)],
        vec![code(here), code(there), code(console)],
        vec![fail(Guess::Recovery, here); 9],
        vec![fail(Guess::Recovery, there); 10],
    ]
}

/// Both judges, side by side.
#[derive(Clone)]
struct Pair {
    clock: u64,
    state: State,
    model: Model,
    /// Locks that were seen, until when.
    seen: Vec<(Source, u64)>,
}

/// What the two do not agree on.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when a test fails")]
struct Disagreement(String);

fn agree<T: PartialEq + std::fmt::Debug>(judge: &T, model: &T, what: &str) -> Result<(), Disagreement> {
    if judge == model { Ok(()) } else { Err(Disagreement(format!("{what}: {judge:?}, the model {model:?}"))) }
}

impl Pair {
    fn new() -> Self {
        Self::with(LIMITS, None)
    }

    fn with(limits: Limits, fault: Option<Fault>) -> Self {
        Self { clock: NOW, state: State::default(), model: Model::new(limits, fault), seen: vec![] }
    }

    fn step(&mut self, letter: &Letter) -> Result<(), Disagreement> {
        match letter {
            Letter::Clock(seconds) => self.clock = self.clock.checked_add_signed(*seconds).unwrap(),
            Letter::Do(change) => {
                let applied = self.state.apply(change, &self.model.limits, self.clock);
                let judged = self.model.judge(change, self.clock);
                agree(&applied.as_ref().err(), &judged.as_ref().err(), "conflict")?;
                if let Ok(state) = applied {
                    self.state = state;
                    self.model.accept(change, self.clock);
                    self.check_spent(change);
                }
                if *change == Change::Unlock {
                    self.seen.clear();
                }
            }
            Letter::Bypass(bypass) => {
                self.state.set_bypass(bypass.clone());
                self.model.act(Act::Bypass(bypass.clone()));
            }
            Letter::Distrust => {
                self.state.distrust_all();
                self.model.act(Act::Distrust);
            }
        }
        self.compare()?;
        self.check_locks();
        Ok(())
    }

    /// Everything that can be asked of a state.
    fn compare(&self) -> Result<(), Disagreement> {
        let (state, model, clock) = (&self.state, &self.model, self.clock);
        let limits = &model.limits;
        let time = model.time(clock);
        agree(&state.seen, &model.high, "time seen")?;
        agree(&state.failures_in_all(clock), &model.total(time), "failures")?;
        let left = RECOVERY_CODES - model.used().count();
        agree(&state.recovery_left(RECOVERY_CODES), &left, "recovery codes")?;
        for app in APPS {
            agree(&state.last_step(app), &model.newest(app), "step")?;
        }
        let mut held = (0, 0);
        for source in sources() {
            agree(&state.lock(source, limits, clock), &model.lock(source, time), "lock")?;
            let until = model.address(source).until;
            held = if matches!(model.lock(source, time), Some(Lock::Address(_))) {
                (held.0 + 1, held.1.max(until))
            } else {
                held
            };
        }
        agree(&state.address_locks(limits, clock), &(held.0 > 0).then_some(held), "locks")?;
        self.compare_devices()?;
        self.compare_rest()
    }

    /// Grace, what was observed, sessions and bypass.
    fn compare_rest(&self) -> Result<(), Disagreement> {
        let (state, model, clock) = (&self.state, &self.model, self.clock);
        if model.trail.is_empty() {
            let nothing = (state.has_grace_begun(), state.observed(), state.trusts_anything());
            agree(&nothing, &(false, (0, 0), false), "nothing yet")?;
            return agree(&state.bypass(clock), &None, "no bypass yet");
        }
        agree(&state.has_grace_begun(), &model.grace_since().is_some(), "grace")?;
        for days in [0, DAY, 3 * DAY] {
            agree(&state.grace_until(days, clock), &model.grace_until(days, clock), "end of grace")?;
        }
        agree(&state.observed(), &model.observed(), "observed")?;
        agree(&state.bypass(clock), &model.bypass(clock).as_ref(), "bypass")?;
        let open = model.open();
        agree(
            &state.trusts_anything(),
            &(!model.given().is_empty() || !open.is_empty()),
            "trust or session",
        )?;
        for session in sessions() {
            let join = Change::Prove { proof: Proof::Session(session.clone()), source: source(9), typos: 0 };
            let judge = state.apply(&join, &model.limits, clock).map(drop);
            agree(&judge, &model.judge(&join, clock), "session")?;
        }
        Ok(())
    }

    fn compare_devices(&self) -> Result<(), Disagreement> {
        let (state, model, clock) = (&self.state, &self.model, self.clock);
        if model.trail.is_empty() {
            return agree(&state.devices(0).count(), &0, "devices");
        }
        let high = model.high.max(clock);
        let live = model.given().iter().filter(|one| high < one.until).count();
        agree(&state.devices(clock).count(), &live, "devices")?;
        for claim in claims() {
            let judge = state.trusted(&claim, clock).map(|known| (known.since, known.until));
            let model = model.trusted(&claim, clock).map(|one| (one.since, one.until));
            agree(&judge, &model, "trust")?;
        }
        Ok(())
    }

    /// A code opens one login, and none after a newer one did.
    fn check_spent(&self, change: &Change) {
        if let Change::Prove { proof: Proof::App(spent), .. } = change {
            for new in spent {
                let of_app: Vec<u64> =
                    self.model.spent().filter(|old| old.app == new.app).map(|old| old.step).collect();
                assert!(of_app.is_sorted_by(|older, newer| older < newer), "{of_app:?}");
            }
        }
    }

    /// A lock ends when its time was seen, or by an administrator: never earlier, wherever the clock goes.
    fn check_locks(&mut self) {
        let reached = self.clock.max(self.state.seen);
        // Nor when the clock is set back so far that it must have been wrong before.
        let wrong = self.state.seen > self.clock + 60 * MINUTE;
        self.seen.retain(|(_, until)| reached < *until && !wrong);
        for (source, until) in &self.seen {
            match self.state.lock(*source, &self.model.limits, self.clock) {
                Some(Lock::Address(now)) => assert!(now >= *until),
                lock => panic!("{source:?} was locked until {until} and is {lock:?}"),
            }
        }
        for source in sources() {
            if let Some(Lock::Address(until)) = self.state.lock(source, &self.model.limits, self.clock) {
                self.seen.push((source, until));
            }
        }
    }
}

/// Goes through all sequences of so many letters; returns how many, and how many changes were accepted.
fn explore(pair: &Pair, letters: &[Letter], depth: u8) -> Result<(u64, u64), Disagreement> {
    if depth == 0 {
        return Ok((1, pair.model.accepted.len() as u64));
    }
    let mut all = (0, 0);
    for letter in letters {
        let mut pair = pair.clone();
        pair.step(letter)?;
        let (sequences, accepted) = explore(&pair, letters, depth - 1)?;
        all = (all.0 + sequences, all.1 + accepted);
    }
    Ok(all)
}

#[test]
fn the_rules_hold_over_all_short_sequences() {
    let letters = alphabet();
    for start in starts() {
        let mut pair = Pair::new();
        start.iter().for_each(|letter| pair.step(letter).unwrap());
        assert_eq!(explore(&pair, &letters, 4).unwrap().0, 18u64.pow(4));
    }
}

/// Longer ones, of the letters that matter for one thing.
#[test]
fn the_rules_hold_over_longer_sequences_of_few_letters() {
    let [here, there, _] = sources();
    let code = |source| fail(Guess::Code, source);
    let table = [
        // Locks and clocks.
        vec![code(here), code(there), Letter::Clock(16 * 60), Letter::Clock(-3600), prove(&[1], 5, here, 1)],
        // Steps and clocks.
        vec![
            prove(&[1], 5, here, 0),
            prove(&[1], 6, there, 0),
            prove(&APPS, 6, here, 0),
            Letter::Clock(-3600),
        ],
        // Recovery, its lock, and what forgives it.
        vec![
            fail(Guess::Recovery, here),
            recover(0, here),
            Letter::Clock(86_460),
            Letter::Do(Change::Unlock),
        ],
    ];
    for letters in table {
        explore(&Pair::new(), &letters, 7).unwrap();
        let mut nearly = Pair::new();
        (0..8).for_each(|_| nearly.step(&fail(Guess::Recovery, here)).unwrap());
        explore(&nearly, &letters, 5).unwrap();
    }
}

/// What matters for sent codes: which limits, and which letters, how many in a row.
fn of_sent_codes() -> Vec<(Limits, Vec<Letter>, u8)> {
    let [here, there, _] = sources();
    let wrong = |code| fail(Guess::Sent([code; 32]), there);
    let (minute, unlock) = (Letter::Clock(60), || Letter::Do(Change::Unlock));
    vec![
        // Which code, and how often it is missed.
        (
            LENIENT,
            vec![send(1, here), send(2, here), wrong(1), wrong(2), prove_sent(1, here), minute.clone()],
            6,
        ),
        (
            LENIENT,
            vec![
                send(1, here),
                wrong(1),
                wrong(2),
                prove_sent(1, here),
                prove(&[1], 5, here, 0),
                send_another(2, here),
            ],
            6,
        ),
        // Time, as it should go and as it should not.
        (
            LENIENT,
            vec![
                send(1, here),
                prove_sent(1, here),
                Letter::Clock(299),
                Letter::Clock(1),
                Letter::Clock(-400),
                Letter::Clock(-7201),
            ],
            6,
        ),
        // Pause, hour and day.
        (
            LIMITS,
            vec![
                send(1, here),
                Letter::Clock(59),
                Letter::Clock(1),
                Letter::Clock(3600),
                Letter::Clock(43_200),
                unlock(),
            ],
            7,
        ),
        (LIMITS, vec![send(1, here), minute, Letter::Clock(3600), Letter::Clock(-10_000), unlock()], 7),
        // Locks, and the hard stop.
        (
            Limits { total: 2, ..LENIENT },
            vec![send(1, here), wrong(1), prove_sent(1, here), recover(0, here), unlock(), Letter::Clock(60)],
            6,
        ),
        (
            LIMITS,
            vec![
                send(1, here),
                wrong(1),
                fail(Guess::Code, here),
                prove_sent(1, here),
                unlock(),
                send(2, there),
            ],
            6,
        ),
    ]
}

#[test]
fn sent_codes_keep_their_rules() {
    let mut explored = vec![];
    for (limits, letters, depth) in of_sent_codes() {
        explored.push(explore(&Pair::with(limits, None), &letters, depth).unwrap());
    }
    // Sequences, and changes that were accepted in them.
    let expected = [
        (46_656, 154_436),
        (46_656, 167_627),
        (46_656, 47_642),
        (279_936, 592_956),
        (78_125, 199_454),
        (46_656, 167_759),
        (46_656, 193_967),
    ];
    assert_eq!(explored, expected);
}

fn touched(key: u8, counter: u32, source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Key { key, counter }, source, typos: 0 })
}

/// What matters for keys: counters and suspension, then locks.
fn of_keys() -> [(Limits, Vec<Letter>, u8); 2] {
    let [here, there, console] = sources();
    let suspend = Letter::Do(Change::Suspend(1));
    let by_ssh = Letter::Do(Change::Prove { proof: Proof::SshKey, source: there, typos: 1 });
    [
        (
            LIMITS,
            vec![
                touched(1, 0, console),
                touched(1, 1, console),
                touched(1, 2, here),
                touched(2, 1, console),
                suspend,
                Letter::Do(Change::Unlock),
            ],
            6,
        ),
        (
            LIMITS,
            vec![
                fail(Guess::Code, here),
                fail(Guess::Recovery, there),
                touched(1, 1, here),
                by_ssh,
                prove(&[1], 5, here, 0),
                Letter::Clock(16 * 60),
            ],
            6,
        ),
    ]
}

#[test]
fn keys_keep_their_rules() {
    let explored = of_keys()
        .map(|(limits, letters, depth)| explore(&Pair::with(limits, None), &letters, depth).unwrap());
    // Sequences, and changes that were accepted in them.
    assert_eq!(explored, [(46_656, 176_241), (46_656, 195_583)]);
}

#[test]
fn faults_of_the_model_about_keys_are_found() {
    let table = [
        Fault::SuspendedKeyProves,
        Fault::CounterMayStay,
        Fault::LockStopsAKey,
        Fault::KeyEndsALock,
        Fault::KeyForgivesNoTypo,
    ];
    for fault in table {
        let found = of_keys().iter().any(|(limits, letters, depth)| {
            explore(&Pair::with(*limits, Some(fault)), letters, *depth).is_err()
        });
        assert!(found, "{fault:?}");
    }
}

/// A device by the last number of its address, and its SSH key.
fn device(last: u8, key: Option<u8>) -> Device {
    Device::new([192, 0, 2, last].into(), key.map(|key| [key; 32]), &[]).unwrap()
}

fn key_of(claim: &Claim) -> Option<String> {
    claim.device.describe().1
}

fn claim(last: u8, key: Option<u8>, password: Option<u8>, days: u64) -> Claim {
    let password = password.map(|password| [password; 8]);
    Claim { device: device(last, key), password, duration: days * DAY }
}

fn mine() -> Claim {
    claim(1, Some(1), Some(1), 1)
}

/// What is claimed of every state: mine, and what differs from it in one thing.
fn claims() -> [Claim; 8] {
    [
        mine(),
        claim(1, Some(1), Some(1), 7),
        claim(1, Some(1), Some(2), 1),
        claim(1, Some(1), None, 1),
        claim(1, Some(2), Some(1), 1),
        claim(1, None, Some(1), 1),
        claim(2, Some(1), Some(1), 1),
        claim(2, Some(1), None, 7),
    ]
}

fn trust(claim: Claim) -> Letter {
    Letter::Do(Change::Trust(claim))
}

/// A login from a device, of one that had a typo.
fn come(claim: Claim, source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Trusted(claim), source, typos: 1 })
}

/// Eight devices, each given in the same second as another.
fn eight() -> Vec<Letter> {
    let four = |from: u8| [trust(claim(from, None, None, 1)), trust(claim(from + 1, None, None, 7))];
    let wait = || [Letter::Clock(60)];
    [&four(11)[..], &four(13), &wait(), &four(15), &four(17)].concat()
}

/// What matters for trusted devices: from where, which letters, how many in a row.
fn of_devices() -> Vec<Exploration> {
    let [here, there, _] = sources();
    let unlock = || Letter::Do(Change::Unlock);
    vec![
        // Time, as it should go and as it should not.
        (
            vec![],
            vec![
                trust(mine()),
                come(mine(), here),
                Letter::Clock(86_399),
                Letter::Clock(1),
                Letter::Clock(-400),
                Letter::Clock(-90_000),
                unlock(),
            ],
            5,
        ),
        // Whose, and for how long.
        (
            vec![],
            vec![
                trust(mine()),
                trust(claim(1, Some(1), Some(2), 7)),
                trust(claim(2, Some(1), None, 7)),
                come(mine(), here),
                come(claim(1, None, Some(1), 1), here),
                come(claim(2, Some(1), None, 7), there),
                Letter::Clock(86_400),
            ],
            5,
        ),
        // Locks: a step before each, and trust that is given in spite of one.
        (
            vec![fail(Guess::Code, there)],
            vec![
                trust(mine()),
                come(mine(), here),
                fail(Guess::Code, here),
                fail(Guess::Code, there),
                fail(Guess::Recovery, here),
                prove(&[1], 5, here, 1),
                Letter::Clock(16 * 60),
            ],
            5,
        ),
        (
            vec![fail(Guess::Code, here), fail(Guess::Code, there), Letter::Clock(16 * 60), trust(mine())],
            vec![
                come(mine(), there),
                fail(Guess::Code, here),
                fail(Guess::Sent([1; 32]), there),
                Letter::Clock(16 * 60),
                unlock(),
            ],
            5,
        ),
        // More than there is room for.
        (
            eight(),
            vec![
                trust(mine()),
                trust(claim(14, None, None, 7)),
                trust(claim(2, Some(1), None, 7)),
                come(claim(14, None, None, 7), there),
                Letter::Clock(86_340),
                Letter::Clock(60),
            ],
            4,
        ),
    ]
}

#[test]
fn devices_keep_their_rules() {
    // Sequences, and changes that were accepted in them.
    let expected = [(16_807, 26_189), (16_807, 41_237), (16_807, 70_778), (3_125, 20_419), (1_296, 13_824)];
    assert_eq!(explore_all(of_devices(), None).unwrap(), expected);
}

#[test]
fn faults_of_the_model_about_devices_are_found() {
    let table = [
        Fault::UseProlongs,
        Fault::TrustOutlivesALock,
        Fault::TrustOutlivesTheHardStop,
        Fault::ClockSetBackTrustsAgain,
        Fault::UnlockTrustsAgain,
        Fault::TrustedASecondMore,
        Fault::TrustedBeforeItWasGiven,
        Fault::AnyDurationWillDo,
        Fault::AnyPasswordWillDo,
        Fault::AnyNetworkWillDo,
        Fault::AnyKeyWillDo,
        Fault::LockedDeviceProves,
        Fault::DeviceEndsALock,
        Fault::DeviceForgivesTypos,
        Fault::NineDevices,
        Fault::AllThatEndFirstGo,
        Fault::LastToEndGoes,
        Fault::GivenAgainIsKept,
    ];
    for fault in table {
        assert!(explore_all(of_devices(), Some(fault)).is_err(), "{fault:?}");
    }
}

/// From where, which letters, how many in a row.
type Exploration = (Vec<Letter>, Vec<Letter>, u8);

fn explore_all(
    explorations: Vec<Exploration>,
    fault: Option<Fault>,
) -> Result<Vec<(u64, u64)>, Disagreement> {
    let mut explored = vec![];
    for (start, letters, depth) in explorations {
        let mut pair = Pair::with(LIMITS, fault);
        for letter in &start {
            pair.step(letter)?;
        }
        explored.push(explore(&pair, &letters, depth)?);
    }
    Ok(explored)
}

/// What matters for days without a factor, and for what observe mode counts.
fn of_grace() -> Vec<Exploration> {
    let [grace, register, observe, unlock] =
        [Change::Grace, Change::Register, Change::Observe, Change::Unlock].map(Letter::Do);
    vec![
        (
            vec![],
            vec![
                grace.clone(),
                register,
                Letter::Clock(86_399),
                Letter::Clock(1),
                Letter::Clock(-400),
                Letter::Clock(-90_000),
                unlock.clone(),
            ],
            5,
        ),
        // What else there is moves nothing.
        (
            vec![Letter::Clock(60)],
            vec![
                grace,
                observe,
                unlock,
                Letter::Bypass(None),
                Letter::Distrust,
                Letter::Clock(86_000),
                Letter::Clock(-4000),
            ],
            5,
        ),
    ]
}

#[test]
fn days_without_a_factor_and_what_is_observed_keep_their_rules() {
    // Sequences, and changes that were accepted in them.
    let expected = vec![(16_807, 36_015), (16_807, 36_015)];
    assert_eq!(explore_all(of_grace(), None).unwrap(), expected);
}

#[test]
fn faults_of_the_model_about_grace_are_found() {
    let table = [
        Fault::GraceBeginsAnew,
        Fault::GraceBeginsWithTheAccount,
        Fault::GraceBeginsWhenObserved,
        Fault::GraceFollowsTheClock,
        Fault::GraceASecondMore,
        Fault::GraceASecondLess,
        Fault::UnlockForgetsGrace,
        Fault::ObservedOnce,
        Fault::ObservedFirst,
        Fault::UnlockForgetsTheObserved,
    ];
    for fault in table {
        assert!(explore_all(of_grace(), Some(fault)).is_err(), "{fault:?}");
    }
}

fn process(pid: u32, start: u64, boot: u8) -> Process {
    Process { pid, start, boot: [boot; 8] }
}

fn open(processes: &[Process]) -> Letter {
    Letter::Do(Change::Open(processes.to_vec()))
}

fn session(processes: &[Process]) -> Session {
    Session { uid: 1001, processes: processes.to_vec() }
}

fn join(processes: &[Process], source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Session(session(processes)), source, typos: 0 })
}

/// What is asked of every state: sessions of the processes that are opened, and what differs from them in one thing.
fn sessions() -> Vec<Session> {
    let of = |pid| process(pid, 100, 1);
    vec![
        session(&[of(1)]),
        session(&[of(2)]),
        session(&[of(3)]),
        session(&[of(9), of(1)]),
        session(&[process(1, 101, 1)]),
        session(&[process(1, 100, 2)]),
        session(&[process(9, 100, 1)]),
        session(&[process(9, 101, 1), process(1, 101, 1)]),
        session(&[]),
    ]
}

/// What matters for sessions: what opens and ends them, locks, and the room that there is.
fn of_sessions() -> Vec<Exploration> {
    let [here, there, _] = sources();
    let [one, two, three] = [1, 2, 3].map(|pid| process(pid, 100, 1));
    let many: Vec<Process> = (11..=23).map(|pid| process(pid, 100, 1)).collect();
    let unlock = || Letter::Do(Change::Unlock);
    vec![
        (
            vec![],
            vec![
                open(&[one]),
                open(&[three, two]),
                join(&[one], here),
                trust(mine()),
                Letter::Distrust,
                unlock(),
                Letter::Clock(-4000),
            ],
            5,
        ),
        // Locks: a step before each, and sessions that are opened in spite of one.
        (
            vec![fail(Guess::Code, there)],
            vec![
                open(&[one]),
                join(&[one], here),
                fail(Guess::Code, here),
                fail(Guess::Code, there),
                fail(Guess::Recovery, here),
                Letter::Clock(16 * 60),
            ],
            5,
        ),
        (
            vec![
                fail(Guess::Code, here),
                fail(Guess::Code, there),
                Letter::Clock(16 * 60),
                open(&[one, two]),
            ],
            vec![
                join(&[two], there),
                fail(Guess::Code, here),
                fail(Guess::Sent([1; 32]), there),
                Letter::Clock(16 * 60),
                unlock(),
            ],
            5,
        ),
        // More than there is room for.
        (
            vec![open(&[one]), open(&many)],
            vec![
                open(&[one]),
                open(&[two]),
                open(&[three, process(4, 100, 1)]),
                open(&[process(5, 100, 1), one]),
                join(&[one], here),
                Letter::Clock(86_400),
            ],
            5,
        ),
    ]
}

#[test]
fn sessions_keep_their_rules() {
    // Sequences, and changes that were accepted in them.
    let expected = vec![(16_807, 50_602), (7_776, 32_185), (3_125, 20_419), (7_776, 47_662)];
    assert_eq!(explore_all(of_sessions(), None).unwrap(), expected);
}

#[test]
fn faults_of_the_model_about_sessions_are_found() {
    let table = [
        Fault::AnyStartWillDo,
        Fault::AnyBootWillDo,
        Fault::AnyPidWillDo,
        Fault::AllProcessesHaveToBeKnown,
        Fault::NoProcessIsASession,
        Fault::SeventeenProcesses,
        Fault::FifteenProcesses,
        Fault::NewestProcessGoes,
        Fault::OpenedAgainIsOld,
        Fault::SessionOutlivesALock,
        Fault::SessionOutlivesTheHardStop,
        Fault::SessionOutlivesDistrust,
        Fault::DeviceOutlivesDistrust,
        Fault::UnlockEndsSessions,
        Fault::JoiningEndsTheSession,
        Fault::LockStopsASession,
        Fault::SessionEndsALock,
    ];
    for fault in table {
        assert!(explore_all(of_sessions(), Some(fault)).is_err(), "{fault:?}");
    }
}

/// The code of a bypass, as it is known.
fn bypass_code(number: u8) -> RecoverySet {
    RecoverySet::new(Secret::new([number; 32]), &[String::new().into()])
}

/// Open for so long from the beginning.
fn opened(number: u8, seconds: u64) -> Letter {
    let bypass = Bypass { code: bypass_code(number), until: NOW + seconds, reason: number.to_string() };
    Letter::Bypass(Some(bypass))
}

fn pass_by(number: u8, source: Source) -> Letter {
    Letter::Do(Change::Prove { proof: Proof::Bypass(bypass_code(number)), source, typos: 1 })
}

/// What matters for bypasses: time, as it should go and as it should not; then locks.
fn of_bypasses() -> Vec<Exploration> {
    let [here, there, _] = sources();
    let unlock = || Letter::Do(Change::Unlock);
    vec![
        (
            vec![opened(1, 3600)],
            vec![
                opened(2, 7200),
                pass_by(1, here),
                pass_by(2, here),
                Letter::Do(Change::Register),
                Letter::Clock(3599),
                Letter::Clock(1),
                Letter::Clock(-400),
                unlock(),
            ],
            5,
        ),
        (
            vec![Letter::Do(Change::Register), opened(1, 3600)],
            vec![
                Letter::Do(Change::Register),
                Letter::Clock(3600),
                Letter::Clock(-7201),
                pass_by(1, here),
                unlock(),
            ],
            6,
        ),
        (
            vec![fail(Guess::Code, there), opened(1, DAY)],
            vec![
                opened(2, DAY),
                pass_by(1, here),
                fail(Guess::Code, here),
                fail(Guess::Code, there),
                fail(Guess::Recovery, here),
                Letter::Bypass(None),
                Letter::Distrust,
            ],
            5,
        ),
    ]
}

#[test]
fn bypasses_keep_their_rules() {
    // Sequences, and changes that were accepted in them.
    let expected = vec![(32_768, 56_635), (15_625, 62_231), (16_807, 52_213)];
    assert_eq!(explore_all(of_bypasses(), None).unwrap(), expected);
}

#[test]
fn faults_of_the_model_about_bypasses_are_found() {
    let table = [
        Fault::BypassOpensTwice,
        Fault::AnyBypassWillDo,
        Fault::BypassASecondMore,
        Fault::BypassASecondLess,
        Fault::ClockSetBackOpensABypass,
        Fault::UnlockOpensABypass,
        Fault::UnlockEndsABypass,
        Fault::LockStopsABypass,
        Fault::LockEndsABypass,
        Fault::DistrustEndsABypass,
        Fault::BypassEndsALock,
        Fault::BypassForgivesNoTypo,
        Fault::FirstBypassStays,
        Fault::BypassCannotBeTakenBack,
    ];
    for fault in table {
        assert!(explore_all(of_bypasses(), Some(fault)).is_err(), "{fault:?}");
    }
}

/// The comparison is worth what it catches.
#[test]
fn faults_of_the_model_are_found() {
    let table = [
        Fault::EarlierCodeCounts,
        Fault::CodeOpensTwice,
        Fault::CodeBearsFour,
        Fault::CodeBearsTwo,
        Fault::CodeIsGoodForEver,
        Fault::CodeIsGoodForASecondMore,
        Fault::EveryWrongAnswerIsTheCodes,
        Fault::NoPause,
        Fault::ALongerPause,
        Fault::NoCapOfTheLogin,
        Fault::NoCapOfTheHour,
        Fault::NoCapOfTheDay,
        Fault::UnlockForgetsNoMessage,
        Fault::UnlockForgetsTheCode,
        Fault::LockedMaySend,
        Fault::HardStopMaySend,
        Fault::AppForgetsTheCode,
        Fault::TheClockIsBelieved,
        Fault::MessagesOfTheFutureCount,
    ];
    for fault in table {
        let agrees = |(limits, letters, depth): (Limits, Vec<Letter>, u8)| {
            explore(&Pair::with(limits, Some(fault)), &letters, depth).is_ok()
        };
        assert!(!of_sent_codes().into_iter().all(agrees), "{fault:?}");
    }
}
