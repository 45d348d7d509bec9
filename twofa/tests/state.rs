//! The judge of every change, beside a second one that was written from the rules alone: it keeps the whole
//! history and counts anew each time. Over all short sequences of changes and clocks both say the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::net::IpAddr;
use twofa::account::{Change, Conflict, Guess, Limits, Lock, Proof, Source, Spent, State};

const NOW: u64 = 1_795_298_625;
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;
/// Small, so that short sequences reach every lock.
const LIMITS: Limits = Limits { prompts: 3, failures: 2, window: 15 * MINUTE, total: 4 };
const RECOVERY_CODES: usize = 10;
const APPS: [u8; 2] = [1, 2];

fn source(last: u8) -> Source {
    Source::new(Some(IpAddr::from([192, 0, 2, last])))
}

fn sources() -> [Source; 3] {
    [source(1), source(2), Source::CONSOLE]
}

/// All that was accepted, each with the time it counted as.
#[derive(Clone, Default)]
struct Model {
    /// The highest time seen.
    high: u64,
    accepted: Vec<(u64, Change)>,
}

/// What the failures of one address come to.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u8,
    last: u64,
    locks: u32,
    until: u64,
}

impl Model {
    /// A clock set back counts as five minutes before the highest time seen, at most; by more than an hour, it
    /// was wrong before.
    fn time(&self, clock: u64) -> u64 {
        if self.high > clock + 60 * MINUTE { clock } else { clock.max(self.high.saturating_sub(5 * MINUTE)) }
    }

    fn judge(&self, change: &Change, clock: u64) -> Result<(), Conflict> {
        let time = self.time(clock);
        match change {
            Change::Unlock => Ok(()),
            Change::Fail { guess: Guess::Code, source } => self.refuse_locked(*source, time),
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
        }
    }

    fn accept(&mut self, change: &Change, clock: u64) {
        let time = self.time(clock);
        self.high = if *change == Change::Unlock { clock } else { self.high.max(time) };
        self.accepted.push((time, change.clone()));
    }

    fn refuse_locked(&self, source: Source, time: u64) -> Result<(), Conflict> {
        self.lock(source, time).map_or(Ok(()), |lock| Err(Conflict::Locked(lock)))
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
        (self.total(time) >= LIMITS.total).then_some(Lock::Total)
    }

    /// Two failures, each within 15 minutes of the one before, lock an address for 15 minutes, the next time
    /// for 30, then for an hour. A success there ends it, and so does a day without a failure.
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
                    if tally.count == LIMITS.failures {
                        let minutes = [15, 30, 60][tally.locks.min(2) as usize];
                        tally = Tally { count: 0, until: time + minutes * MINUTE, ..tally };
                        tally.locks += 1;
                    }
                }
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
                Change::Fail { guess: Guess::Code, .. } => {
                    total = if time.saturating_sub(last) > 30 * DAY { 1 } else { total + 1 };
                    last = *time;
                }
                Change::Prove { typos, .. } => total = total.saturating_sub((*typos).into()),
                Change::Unlock => total = 0,
                Change::Fail { guess: Guess::Recovery, .. } => {}
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

/// What happens next: a change, or the clock moves by so many seconds.
#[derive(Clone, Debug)]
enum Letter {
    Do(Change),
    Clock(i64),
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

impl Pair {
    fn new() -> Self {
        Self { clock: NOW, state: State::default(), model: Model::default(), seen: vec![] }
    }

    fn step(&mut self, letter: &Letter) {
        match letter {
            Letter::Clock(seconds) => self.clock = self.clock.checked_add_signed(*seconds).unwrap(),
            Letter::Do(change) => {
                let applied = self.state.apply(change, &LIMITS, self.clock);
                assert_eq!(applied.as_ref().err(), self.model.judge(change, self.clock).as_ref().err());
                if let Ok(state) = applied {
                    self.state = state;
                    self.model.accept(change, self.clock);
                    self.check_spent(change);
                }
                if *change == Change::Unlock {
                    self.seen.clear();
                }
            }
        }
        self.compare();
        self.check_locks();
    }

    /// Everything that can be asked of a state.
    fn compare(&self) {
        let (state, model, clock) = (&self.state, &self.model, self.clock);
        let time = model.time(clock);
        assert_eq!(state.seen, model.high);
        assert_eq!(state.failures_in_all(clock), model.total(time));
        assert_eq!(state.recovery_left(RECOVERY_CODES), RECOVERY_CODES - model.used().count());
        for app in APPS {
            assert_eq!(state.last_step(app), model.newest(app));
        }
        let mut held = (0, 0);
        for source in sources() {
            assert_eq!(state.lock(source, &LIMITS, clock), model.lock(source, time));
            let until = model.address(source).until;
            held = if matches!(model.lock(source, time), Some(Lock::Address(_))) {
                (held.0 + 1, held.1.max(until))
            } else {
                held
            };
        }
        assert_eq!(state.address_locks(&LIMITS, clock), (held.0 > 0).then_some(held));
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
            match self.state.lock(*source, &LIMITS, self.clock) {
                Some(Lock::Address(now)) => assert!(now >= *until),
                lock => panic!("{source:?} was locked until {until} and is {lock:?}"),
            }
        }
        for source in sources() {
            if let Some(Lock::Address(until)) = self.state.lock(source, &LIMITS, self.clock) {
                self.seen.push((source, until));
            }
        }
    }
}

/// Goes through all sequences of so many letters; returns how many.
fn explore(pair: &Pair, letters: &[Letter], depth: u8) -> u64 {
    if depth == 0 {
        return 1;
    }
    let go = |letter| {
        let mut pair = pair.clone();
        pair.step(letter);
        explore(&pair, letters, depth - 1)
    };
    letters.iter().map(go).sum()
}

#[test]
fn the_rules_hold_over_all_short_sequences() {
    let letters = alphabet();
    for start in starts() {
        let mut pair = Pair::new();
        start.iter().for_each(|letter| pair.step(letter));
        assert_eq!(explore(&pair, &letters, 4), 18u64.pow(4));
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
        explore(&Pair::new(), &letters, 7);
        let mut nearly = Pair::new();
        (0..8).for_each(|_| nearly.step(&fail(Guess::Recovery, here)));
        explore(&nearly, &letters, 5);
    }
}
