//! What every store has to do, whatever engine is behind it. An engine is one implementation of `Engine` and
//! one line at the end. What is particular to files is in `store_files.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

mod common;

use common::{Folder, LIMITS, NOW, SENDS, STEP, UID, USER, VALID_FOR};
use std::sync::Barrier;
use std::thread;
use twofa::account::{
    Account, Bypass, Cap, Change, Claim, Conflict, Device, Enrolment, Factors, Guess, Limits, Lock, NewApp,
    NewPhone, Process, Proof, SendLimits, Session, Source, Spent, State,
};
use twofa::code::Secret;
use twofa::config::Paths;
use twofa::contact::Number;
use twofa::drive;
use twofa::login::{Admission, Delivery, Event, Login, Notice, Prompt, Refusal, Verdict};
use twofa::policy::{Method, Mode, Policy, Request};
use twofa::ports::{Conversation, Courier, Keys};
use twofa::store::{Error, LoginStore, NotCommitted, Store};
use twofa::token::{Touch, Touched};

const THREADS: u64 = 16;

/// Why a change was not stored.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Conflict(Conflict),
    Failed(String),
}

/// A change of factors and state together.
type Edit<'a> = &'a mut dyn FnMut(&mut Account, &mut State) -> Result<(), String>;

/// A store that several threads use at once, each as a process of its own would.
trait Engine: Sync {
    /// An empty one, gone when dropped.
    fn new() -> Self;
    fn add(&self, user: &str, uid: u32) -> Result<(), String>;
    fn change(&self, user: &str, edit: Edit<'_>) -> Result<(), String>;
    fn reset(&self, user: &str) -> Result<(), String>;
    fn repair(&self, user: &str, now: u64) -> Result<(), String>;
    fn remove(&self, user: &str) -> Result<(), String>;
    fn account(&self, user: &str) -> Result<Option<(Account, State)>, String>;
    /// All accounts, by uid.
    fn all(&self) -> Vec<(Account, State)>;
    fn commit_within(
        &self,
        limits: &Limits,
        account: &Account,
        change: &Change,
        now: u64,
    ) -> Result<State, Refused>;
    fn commit(&self, account: &Account, change: &Change, now: u64) -> Result<State, Refused> {
        self.commit_within(&LIMITS, account, change, now)
    }
    /// The store as one login sees it.
    fn login<'a>(&'a self, policy: &'a Policy, request: &'a Request) -> Box<dyn twofa::ports::Store + 'a>;
    /// Keeps what was set up in a login that is through.
    fn enroll(&self, policy: &Policy, request: &Request, enrolment: &Enrolment, now: u64) -> Event;
}

/// Accounts in SQLite, records beside it.
struct Local {
    paths: Paths,
    _folder: Folder,
}

impl Local {
    fn open(&self) -> Store {
        Store::open_to_change(&self.paths).unwrap()
    }
}

/// Message and hint, as an administrator sees them.
fn told(error: Error) -> String {
    format!("{error}. {}", error.hint())
}

impl Engine for Local {
    fn new() -> Self {
        let folder = Folder::new();
        let paths = folder.store();
        Store::create(&paths).unwrap();
        Self { paths, _folder: folder }
    }

    fn add(&self, user: &str, uid: u32) -> Result<(), String> {
        self.open().add(user, uid).map_err(told)
    }

    fn change(&self, user: &str, edit: Edit<'_>) -> Result<(), String> {
        enum Failed {
            Store(Error),
            Edit(String),
        }
        impl From<Error> for Failed {
            fn from(error: Error) -> Self {
                Self::Store(error)
            }
        }
        let changed = self.open().change(user, |account, state| edit(account, state).map_err(Failed::Edit));
        changed.map_err(|error| match error {
            Failed::Store(error) => told(error),
            Failed::Edit(error) => error,
        })
    }

    fn reset(&self, user: &str) -> Result<(), String> {
        self.open().reset(user).map_err(told)
    }

    fn repair(&self, user: &str, now: u64) -> Result<(), String> {
        self.open().repair(user, now).map_err(told)
    }

    fn remove(&self, user: &str) -> Result<(), String> {
        self.open().remove(user).map_err(told)
    }

    fn account(&self, user: &str) -> Result<Option<(Account, State)>, String> {
        self.open().account(user).map_err(told)
    }

    fn all(&self) -> Vec<(Account, State)> {
        let mut all = vec![];
        self.open().for_each(|account| all.push(account.unwrap())).unwrap();
        all
    }

    fn commit_within(
        &self,
        limits: &Limits,
        account: &Account,
        change: &Change,
        now: u64,
    ) -> Result<State, Refused> {
        let store = Store::open(&self.paths).unwrap();
        store.commit(account, change, limits, now).map_err(|error| match error {
            NotCommitted::Conflict(conflict) => Refused::Conflict(conflict),
            NotCommitted::Failed(error) => Refused::Failed(told(error)),
        })
    }

    fn login<'a>(&'a self, policy: &'a Policy, request: &'a Request) -> Box<dyn twofa::ports::Store + 'a> {
        Box::new(LoginStore::new(&self.paths, policy, request))
    }

    fn enroll(&self, policy: &Policy, request: &Request, enrolment: &Enrolment, now: u64) -> Event {
        match LoginStore::new(&self.paths, policy, request).enroll(enrolment, now) {
            Ok(_) => Event::Committed(Box::new(self.account(&request.user).unwrap().unwrap().1)),
            Err(NotCommitted::Conflict(conflict)) => Event::Conflict(conflict),
            Err(NotCommitted::Failed(_)) => Event::Failed,
        }
    }
}

fn home() -> Source {
    Source::new(Some(common::address()))
}

fn prove(step: u64) -> Change {
    Change::Prove { proof: Proof::App(vec![Spent { app: 1, step }]), source: home(), typos: 0 }
}

fn recover(position: u8) -> Change {
    Change::Prove { proof: Proof::Recovery(position), source: home(), typos: 0 }
}

fn fail(guess: Guess) -> Change {
    Change::Fail { guess, source: home() }
}

fn used() -> Result<State, Refused> {
    Err(Refused::Conflict(Conflict::Used))
}

fn changed() -> Result<State, Refused> {
    Err(Refused::Conflict(Conflict::Changed))
}

/// alice with an app and recovery codes.
fn enroll(engine: &impl Engine) -> Account {
    engine.add(USER, UID).unwrap();
    give_factors(engine, common::factors());
    engine.account(USER).unwrap().unwrap().0
}

fn give_factors(engine: &impl Engine, factors: Factors) {
    let edit = &mut |account: &mut Account, state: &mut State| {
        account.factors = factors.clone();
        state.renew_recovery();
        Ok(())
    };
    engine.change(USER, edit).unwrap();
}

fn every_factor() -> Factors {
    let Factors { keys, ssh_keys, .. } = common::key_factors();
    Factors { keys, ssh_keys, apps: common::factors().apps, ..common::contacts() }
}

fn state(engine: &impl Engine, user: &str) -> State {
    engine.account(user).unwrap().unwrap().1
}

/// Everything that is stored, to be compared.
fn everything(engine: &impl Engine) -> Vec<String> {
    engine.all().iter().map(|account| format!("{account:?}")).collect()
}

fn a_new_account_is_empty<E: Engine>() {
    let engine = E::new();
    assert!(engine.account(USER).unwrap().is_none());
    engine.add(USER, UID).unwrap();
    let (account, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!((account.user.as_str(), account.uid), (USER, UID));
    assert_eq!((account.factors, state), (Factors::default(), State::default()));
    for other in ["ALICE", "alice ", "", "%", "alice\0", "al_ce"] {
        assert!(engine.account(other).unwrap().is_none(), "{other:?}");
    }
}

fn a_name_and_a_uid_have_one_account<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    let before = everything(&engine);
    let table = [
        (USER, UID, "alice has an account already. See `twofa-admin user show alice`."),
        (USER, UID + 1, "alice has an account already. See `twofa-admin user show alice`."),
        ("bob", UID, "uid 1001 has an account already, as alice. One uid has one account."),
    ];
    for (user, uid, expected) in table {
        let told = engine.add(user, uid).expect_err(expected);
        assert!(told.starts_with(expected), "{told}");
    }
    assert_eq!(everything(&engine), before);
}

fn a_change_is_of_factors_and_state_together<E: Engine>() {
    let engine = E::new();
    let before = enroll(&engine);
    let edit = &mut |account: &mut Account, state: &mut State| {
        account.factors.apps.push(common::app(2));
        state.set_last_step(2, 77);
        Ok(())
    };
    engine.change(USER, edit).unwrap();
    let (account, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!(account.factors.apps, [common::app(1), common::app(2)]);
    assert_eq!(state.last_step(2), Some(77));
    assert!(account.generation != before.generation);
}

fn a_change_that_fails_changes_nothing<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    let before = everything(&engine);
    let edit = &mut |account: &mut Account, state: &mut State| {
        account.factors = Factors::default();
        state.set_last_step(1, 77);
        Err("thought better of it".into())
    };
    assert_eq!(engine.change(USER, edit), Err("thought better of it".into()));
    assert_eq!(everything(&engine), before);
    engine.commit(&engine.all()[0].0, &prove(7), NOW).unwrap();
}

fn who_has_no_account_cannot_be_changed<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    let before = everything(&engine);
    let nothing = &mut |_: &mut Account, _: &mut State| Ok(());
    let told =
        [engine.change("bob", nothing), engine.reset("bob"), engine.repair("bob", NOW), engine.remove("bob")];
    for told in told {
        assert_eq!(told, Err("bob has no account. Add the user with `twofa-admin user add bob`.".into()));
    }
    assert_eq!(everything(&engine), before);
}

fn a_step_is_stored_once<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    assert_eq!(engine.commit(&alice, &prove(7), NOW).unwrap().last_step(1), Some(7));
    for step in [7, 6, 0] {
        assert_eq!(engine.commit(&alice, &prove(step), NOW), used(), "{step}");
    }
    assert_eq!(engine.commit(&alice, &prove(8), NOW).unwrap(), state(&engine, USER));
    assert_eq!(engine.commit(&alice, &recover(2), NOW).unwrap().recovery_left(3), 2);
    assert_eq!(engine.commit(&alice, &recover(2), NOW), used());
    assert_eq!(engine.commit(&alice, &prove(8), NOW), used());
}

fn one_users_logins_are_nobody_elses<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    engine.add("bob", UID + 1).unwrap();
    engine.commit(&alice, &prove(7), NOW).unwrap();
    engine.commit(&alice, &fail(Guess::Code), NOW).unwrap();
    assert_eq!(state(&engine, "bob"), State::default());
    let bob = engine.account("bob").unwrap().unwrap().0;
    engine.commit(&bob, &prove(7), NOW).unwrap();
    assert_eq!(engine.commit(&alice, &prove(7), NOW), used());
}

/// A login that read the account before an administrator changed it stores nothing after.
fn a_login_does_not_outlive_a_change<E: Engine>() {
    let nothing = |engine: &E| engine.change(USER, &mut |_, _| Ok(()));
    let again = |engine: &E| {
        engine.remove(USER)?;
        engine.add(USER, UID)
    };
    type Act<'a, E> = &'a dyn Fn(&E) -> Result<(), String>;
    let table: [(&str, Act<'_, E>); 5] = [
        ("change", &nothing),
        ("reset", &|engine| engine.reset(USER)),
        ("repair", &|engine| engine.repair(USER, NOW)),
        ("remove and add", &again),
        ("remove", &|engine| engine.remove(USER)),
    ];
    for (name, act) in table {
        let engine = E::new();
        let read = enroll(&engine);
        act(&engine).unwrap();
        let before = everything(&engine);
        for change in [prove(7), recover(0), fail(Guess::Code)] {
            assert_eq!(engine.commit(&read, &change, NOW), changed(), "after {name}");
        }
        assert_eq!(everything(&engine), before, "after {name}");
    }
}

fn renewed_recovery_codes_end_the_old_ones<E: Engine>() {
    let engine = E::new();
    let open = enroll(&engine);
    engine.commit(&open, &recover(0), NOW).unwrap();
    give_factors(&engine, Factors { recovery: Some(common::recovery_set(2)), ..common::factors() });
    assert_eq!(engine.commit(&open, &recover(1), NOW), changed(), "at the prompt already");
    let (account, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!(state.recovery_left(3), 3);
    let set = account.factors.recovery.unwrap();
    let canonical = |code: &str| code.replace('-', "");
    assert!(common::recovery_codes(1).iter().all(|old| set.position(&canonical(old)).is_none()));
    assert_eq!(set.position(&canonical(&common::recovery_codes(2)[1])), Some(1));
}

fn a_reset_forgets_all_but_who_it_is<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    give_factors(&engine, every_factor());
    let alice = engine.account(USER).unwrap().unwrap().0;
    engine.commit(&alice, &prove(7), NOW).unwrap();
    (0..5).for_each(|_| drop(engine.commit(&alice, &fail(Guess::Code), NOW).unwrap()));
    engine.reset(USER).unwrap();
    let (account, state) = engine.account(USER).unwrap().unwrap();
    let Factors { phone, addresses, .. } = every_factor();
    let reached = Factors { phone, addresses, ..Factors::default() };
    assert_eq!((account.uid, account.factors), (UID, reached), "how the user is reached stays");
    let fresh = State::default().apply(&Change::Unlock, &LIMITS, NOW).unwrap();
    let mut left = fresh;
    left.note_factors(&every_factor(), &Factors::default());
    assert_eq!(state, left, "the time that was seen stays, and that there was a factor");
}

/// Nobody knows which codes were used.
fn a_repair_takes_every_code_up_to_now_for_used<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    give_factors(&engine, every_factor());
    engine.repair(USER, NOW).unwrap();
    let (account, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!(account.factors, Factors { recovery: None, keys: vec![], ..every_factor() });
    assert_eq!(state.last_step(1), Some(NOW / STEP + 2));
    assert_eq!(engine.commit(&account, &prove(NOW / STEP + 2), NOW), used());
    engine.commit(&account, &prove(NOW / STEP + 3), NOW).unwrap();
}

fn who_comes_again_meets_nothing_of_before<E: Engine>() {
    let engine = E::new();
    let first = enroll(&engine);
    engine.commit(&first, &prove(7), NOW).unwrap();
    engine.remove(USER).unwrap();
    assert!(engine.account(USER).unwrap().is_none());
    engine.add(USER, UID).unwrap();
    let (second, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!((second.factors, state), (Factors::default(), State::default()));
    assert!(second.generation != first.generation);
}

fn all_are_visited_by_uid<E: Engine>() {
    let engine = E::new();
    for (user, uid) in [("carol", 1003), ("alice", 1001), ("root", 0), ("dave", 4_294_967_294)] {
        engine.add(user, uid).unwrap();
    }
    engine.remove("carol").unwrap();
    let visited: Vec<_> = engine.all().into_iter().map(|(account, _)| (account.user, account.uid)).collect();
    let expected = [("root", 0), ("alice", 1001), ("dave", 4_294_967_294)];
    assert_eq!(visited, expected.map(|(user, uid)| (user.to_string(), uid)));
}

/// A user who types wrong codes until the end.
struct Guesser;

impl Conversation for Guesser {
    fn tell(&mut self, _: &Notice) {}
    fn ask(&mut self, _: &Prompt) -> Event {
        Event::Answer(common::wrong_code())
    }
}

/// Where codes arrive.
#[derive(Default)]
struct Mailbox(Vec<Delivery>);

/// Nothing is plugged in.
struct NoKeys;

impl Keys for NoKeys {
    fn touch(&mut self, _: &Touch) -> Event {
        Event::Touched(Touched::NoKey)
    }
}

impl Courier for Mailbox {
    fn deliver(&mut self, delivery: &Delivery) -> Event {
        self.0.push(delivery.clone());
        Event::Delivered
    }
}

fn guess(engine: &impl Engine, user: &str, known: Option<u32>) -> Verdict {
    guess_by(engine, Method::App, user, known).0
}

/// How it ends, and how many codes were sent.
fn guess_by(engine: &impl Engine, method: Method, user: &str, known: Option<u32>) -> (Verdict, usize) {
    let policy = common::policy_of(Mode::Enforce, &[method]);
    let (request, seed) = (common::request_of(user, known), common::seed(1));
    let (mut store, mut mailbox) = (engine.login(&policy, &request), Mailbox::default());
    let login = Login::new(&policy, &request, &seed);
    let verdict = drive::run(login, &mut *store, &mut Guesser, &mut mailbox, &mut NoKeys, &|| NOW);
    (verdict, mailbox.0.len())
}

/// What is charged to nobody must not lock anybody out, least of all the user who is enrolled next week.
fn guesses_for_nobody_are_charged_to_nobody<E: Engine>() {
    let table = [
        ("a user without an account", "mallory", Some(2000), Refusal::NotEnrolled),
        ("a user the host does not know", "mallory", None, Refusal::UnknownUser),
        ("a user without factors", "bob", Some(1002), Refusal::NotEnrolled),
        ("a user made anew, with another uid", USER, Some(3000), Refusal::UidMismatch),
        ("a user the host no longer knows", USER, None, Refusal::UnknownUser),
    ];
    let mut charged = vec![];
    for (who, user, known, refusal) in table {
        let engine = E::new();
        enroll(&engine);
        engine.add("bob", 1002).unwrap();
        let before = everything(&engine);
        for _ in 0..2 {
            if guess(&engine, user, known) != Verdict::Refuse(refusal) {
                charged.push(format!("{who} is told of a lock"));
            }
        }
        if everything(&engine) != before {
            charged.push(format!("{who} has an account that was charged"));
        }
    }
    assert_eq!(charged, [""; 0]);
}

/// Nor is anything sent to them, nor counted for the host, nor does a code of theirs stop anybody else's.
fn codes_for_nobody_are_sent_to_nobody<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    give_factors(&engine, common::contacts());
    engine.add("bob", 1002).unwrap();
    let before = everything(&engine);
    let table = [
        ("mallory", Some(2000), Refusal::NotEnrolled),
        ("mallory", None, Refusal::UnknownUser),
        ("bob", Some(1002), Refusal::NotEnrolled),
        (USER, Some(3000), Refusal::UidMismatch),
        (USER, None, Refusal::UnknownUser),
    ];
    for (user, known, refusal) in table {
        for method in [Method::Sms, Method::Email] {
            let outcome = guess_by(&engine, method, user, known);
            assert_eq!(outcome, (Verdict::Refuse(refusal), 0), "{user} {known:?} {method:?}");
        }
    }
    assert_eq!(everything(&engine), before);
    let only = within(SendLimits { host: 1, ..SENDS });
    let alice = engine.account(USER).unwrap().unwrap().0;
    engine.commit_within(&only, &alice, &send(1, common::PHONE), NOW).unwrap();
    assert_eq!(engine.commit_within(&only, &alice, &send(2, common::PHONE), NOW + 10), capped(Cap::Host));
}

/// A user who types the code that was sent.
struct Reader<'a>(&'a twofa::code::Seed);

impl Conversation for Reader<'_> {
    fn tell(&mut self, _: &Notice) {}
    fn ask(&mut self, _: &Prompt) -> Event {
        Event::Answer(common::sent_code(self.0, 0))
    }
}

fn a_sent_code_admits_its_login<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    give_factors(&engine, common::contacts());
    for (time, method, to) in
        [(NOW, Method::Sms, common::MASKED), (NOW + SENDS.pause, Method::Email, "a***@example.org")]
    {
        let policy = common::policy_of(Mode::Enforce, &[method]);
        let (request, seed) = (common::request(), common::seed(1));
        let (mut store, mut mailbox) = (engine.login(&policy, &request), Mailbox::default());
        let login = Login::new(&policy, &request, &seed);
        let verdict = drive::run(login, &mut *store, &mut Reader(&seed), &mut mailbox, &mut NoKeys, &|| time);
        assert_eq!(verdict, Verdict::Admit(Admission::Sent { method, to: to.into() }));
        assert_eq!(mailbox.0.len(), 1);
    }
}

fn send(code: u8, number: &str) -> Change {
    let number = Some(Number::parse(number, None).unwrap());
    Change::Send { tag: [code; 32], valid_for: VALID_FOR, source: home(), number, earlier: 0 }
}

fn mail(code: u8) -> Change {
    Change::Send { tag: [code; 32], valid_for: VALID_FOR, source: home(), number: None, earlier: 0 }
}

fn prove_sent(code: u8) -> Change {
    Change::Prove { proof: Proof::Sent([code; 32]), source: home(), typos: 0 }
}

fn within(sends: SendLimits) -> Limits {
    Limits { sends, ..LIMITS }
}

fn capped(cap: Cap) -> Result<State, Refused> {
    Err(Refused::Conflict(Conflict::Capped(cap)))
}

/// So many users, and each of them as read.
fn company(engine: &impl Engine, users: u64) -> Vec<Account> {
    for n in 0..users {
        engine.add(&format!("user{n}"), 5000 + u32::try_from(n).unwrap()).unwrap();
    }
    engine.all().into_iter().map(|(account, _)| account).collect()
}

fn a_message_is_stored_and_counted<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    let sent = engine.commit(&alice, &send(1, common::PHONE), NOW).unwrap();
    assert_eq!(sent, state(&engine, USER));
    let too_soon = |wait| Err(Refused::Conflict(Conflict::TooSoon(wait)));
    let before = everything(&engine);
    assert_eq!(engine.commit(&alice, &send(2, common::PHONE), NOW), too_soon(SENDS.pause));
    assert_eq!(engine.commit(&alice, &mail(2), NOW + SENDS.pause - 1), too_soon(1));
    assert_eq!(everything(&engine), before);
    engine.commit(&alice, &mail(2), NOW + SENDS.pause).unwrap();
    let superseded = Err(Refused::Conflict(Conflict::Superseded));
    assert_eq!(engine.commit(&alice, &prove_sent(1), NOW + SENDS.pause), superseded);
    let late = Err(Refused::Conflict(Conflict::Expired));
    assert_eq!(engine.commit(&alice, &prove_sent(2), NOW + SENDS.pause + VALID_FOR), late);
    engine.commit(&alice, &prove_sent(2), NOW + SENDS.pause).unwrap();
    assert_eq!(engine.commit(&alice, &prove_sent(2), NOW + SENDS.pause), superseded);
}

/// Also for the number of a user who is changed, reset or removed and made anew.
fn a_number_has_its_cap_whoever_asks<E: Engine>() {
    let engine = E::new();
    let users = company(&engine, 7);
    let number = || send(1, common::PHONE);
    for user in &users[..5] {
        engine.commit(user, &number(), NOW).unwrap();
    }
    engine.reset("user5").unwrap();
    engine.remove("user6").unwrap();
    engine.add("user6", 5006).unwrap();
    for (account, _) in engine.all() {
        let later = NOW + SENDS.pause;
        assert_eq!(engine.commit(&account, &number(), later), capped(Cap::Number), "{}", account.user);
        engine.commit(&account, &mail(1), later).unwrap();
    }
    let other = engine.account("user5").unwrap().unwrap().0;
    engine.commit(&other, &send(1, "+48600000124"), NOW + 2 * SENDS.pause).unwrap();
    engine.commit(&other, &number(), NOW + 3600).unwrap();
}

/// In a day, and however the clock is set: what was seen counts, but for five minutes.
fn a_number_has_its_cap_of_the_day<E: Engine>() {
    let engine = E::new();
    let users = company(&engine, 2);
    let number = send(1, common::PHONE);
    for n in 0..SENDS.day {
        let user = &users[usize::from(n % 2)];
        engine.commit(user, &number, NOW + 3600 * u64::from(n)).unwrap();
    }
    let last = NOW + 24 * 3600 - 1;
    for time in [last, last - 300, last - 3000] {
        assert_eq!(engine.commit(&users[1], &number, time), capped(Cap::Number), "{time}");
    }
    engine.commit(&users[1], &number, NOW + 24 * 3600).unwrap();
}

fn a_clock_set_back_sends_no_more<E: Engine>() {
    let engine = E::new();
    let users = company(&engine, 3);
    let two = within(SendLimits { host: 2, ..SENDS });
    engine.commit_within(&two, &users[0], &mail(1), NOW).unwrap();
    engine.commit_within(&two, &users[1], &mail(1), NOW + 3599).unwrap();
    for back in [0, 300, 3000, 3599] {
        let refused = engine.commit_within(&two, &users[2], &mail(1), NOW + 3599 - back);
        assert_eq!(refused, capped(Cap::Host), "{back}");
    }
    engine.commit_within(&two, &users[2], &mail(1), NOW + 3600).unwrap();
    // Now the first is an hour old, by the time that was seen.
    let refused = engine.commit_within(&two, &users[0], &mail(2), NOW + 3600 - 600);
    assert_eq!(refused, capped(Cap::Host));
}

fn a_host_has_its_cap_whoever_asks<E: Engine>() {
    let engine = E::new();
    let users = company(&engine, 4);
    let three = within(SendLimits { host: 3, ..SENDS });
    let numbers = ["+48600000001", "+48600000002", "+48600000003"];
    for (user, number) in users.iter().zip(numbers) {
        engine.commit_within(&three, user, &send(1, number), NOW).unwrap();
    }
    let before = everything(&engine);
    for change in [send(1, "+48600000004"), mail(1)] {
        for user in &users {
            let refused = engine.commit_within(&three, user, &change, NOW + 3599);
            assert_eq!(refused, capped(Cap::Host), "{}", user.user);
        }
    }
    assert_eq!(everything(&engine), before);
    engine.commit_within(&three, &users[3], &mail(1), NOW + 3600).unwrap();
}

fn guesses_are_charged_to_their_user<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    assert_eq!(guess(&engine, USER, Some(UID)), Verdict::Refuse(Refusal::WrongCode));
    let locked = Verdict::Refuse(Refusal::Locked(Lock::Address(NOW + 900)));
    assert_eq!(guess(&engine, USER, Some(UID)), locked);
    assert_eq!(guess(&engine, USER, Some(UID)), locked);
    assert_eq!(state(&engine, USER).failures_in_all(NOW), 5);
}

fn claim() -> Claim {
    let device = Device::new(common::address(), Some([1; 32]), &[]).unwrap();
    Claim { device, password: Some([1; 8]), duration: 86_400 }
}

fn come() -> Change {
    Change::Prove { proof: Proof::Trusted(claim()), source: home(), typos: 0 }
}

/// alice with every factor, from a device that is trusted.
fn trust(engine: &impl Engine) -> Account {
    enroll(engine);
    give_factors(engine, every_factor());
    let alice = engine.account(USER).unwrap().unwrap().0;
    engine.commit(&alice, &Change::Trust(claim()), NOW).unwrap();
    engine.commit(&alice, &come(), NOW).unwrap();
    alice
}

fn trust_is_stored_and_outlives_other_logins<E: Engine>() {
    let engine = E::new();
    let alice = trust(&engine);
    engine.add("bob", UID + 1).unwrap();
    let bob = engine.account("bob").unwrap().unwrap().0;
    let untrusted = Err(Refused::Conflict(Conflict::Untrusted));
    assert_eq!(engine.commit(&bob, &come(), NOW), untrusted, "nobody else's");
    for change in [prove(7), recover(0), fail(Guess::Code), mail(1)] {
        engine.commit(&alice, &change, NOW).unwrap();
    }
    let elsewhere = Change::Prove { proof: Proof::SshKey, source: Source::CONSOLE, typos: 0 };
    engine.commit(&alice, &elsewhere, NOW + 3600).unwrap();
    assert_eq!(engine.commit(&alice, &come(), NOW + 86_399).unwrap(), state(&engine, USER));
    let before = everything(&engine);
    assert_eq!(engine.commit(&alice, &come(), NOW + 86_400), untrusted);
    assert_eq!(everything(&engine), before);
}

fn a_change_of_factors_ends_trust<E: Engine>() {
    type Act<'a, E> = &'a dyn Fn(&E) -> Result<(), String>;
    let edit = |engine: &E, edit: &dyn Fn(&mut Factors)| {
        engine.change(USER, &mut |account: &mut Account, _: &mut State| {
            edit(&mut account.factors);
            Ok(())
        })
    };
    let table: [(&str, bool, Act<'_, E>); 12] = [
        ("nothing", true, &|engine| edit(engine, &|_| {})),
        ("the state only", true, &|engine| {
            engine.change(USER, &mut |_, state| {
                state.set_last_step(1, 77);
                Ok(())
            })
        }),
        ("another app", false, &|engine| edit(engine, &|factors| factors.apps.push(common::app(2)))),
        ("no app", false, &|engine| edit(engine, &|factors| factors.apps.clear())),
        ("no phone", false, &|engine| edit(engine, &|factors| factors.phone = None)),
        ("a phone confirmed", false, &|engine| {
            edit(engine, &|factors| factors.phone.as_mut().unwrap().confirmed = Some(NOW))
        }),
        ("no mailbox", false, &|engine| edit(engine, &|factors| factors.addresses.clear())),
        ("other recovery codes", false, &|engine| {
            edit(engine, &|factors| factors.recovery = Some(common::recovery_set(2)))
        }),
        ("no key", false, &|engine| edit(engine, &|factors| factors.keys.clear())),
        ("no SSH key", false, &|engine| edit(engine, &|factors| factors.ssh_keys.clear())),
        ("reset", false, &|engine| engine.reset(USER)),
        ("repair", false, &|engine| engine.repair(USER, NOW)),
    ];
    for (name, outlived, act) in table {
        let engine = E::new();
        trust(&engine);
        act(&engine).unwrap();
        let (alice, state) = engine.account(USER).unwrap().unwrap();
        assert_eq!(state.devices(NOW).count(), usize::from(outlived), "{name}");
        assert_eq!(engine.commit(&alice, &come(), NOW).is_ok(), outlived, "{name}");
    }
}

/// A change that fails half way ends nothing, and one of the login's own time ends the login.
fn an_administrator_ends_trust<E: Engine>() {
    let engine = E::new();
    let read = trust(&engine);
    let failed = engine.change(USER, &mut |_, state| {
        state.distrust(|_| true);
        Err("thought better of it".into())
    });
    assert!(failed.is_err());
    engine.commit(&read, &come(), NOW).unwrap();
    let mut ended = 0;
    let revoke = &mut |_: &mut Account, state: &mut State| {
        ended = state.distrust(|device| device.is_from(common::address()));
        Ok(())
    };
    engine.change(USER, revoke).unwrap();
    assert_eq!(ended, 1);
    for change in [come(), Change::Trust(claim())] {
        assert_eq!(engine.commit(&read, &change, NOW), changed(), "a login from before");
    }
    let alice = engine.account(USER).unwrap().unwrap().0;
    assert_eq!(engine.commit(&alice, &come(), NOW), Err(Refused::Conflict(Conflict::Untrusted)));
    engine.remove(USER).unwrap();
    engine.add(USER, UID).unwrap();
    assert_eq!(state(&engine, USER).devices(0).count(), 0);
}

/// From wherever the guesses come, and for those of the device too.
fn guesses_end_trust<E: Engine>() {
    let engine = E::new();
    let alice = trust(&engine);
    let source = Source::new(Some([203, 0, 113, 5].into()));
    for _ in 0..LIMITS.failures {
        engine.commit(&alice, &come(), NOW).unwrap();
        engine.commit(&alice, &Change::Fail { guess: Guess::Code, source }, NOW).unwrap();
    }
    assert_eq!(engine.commit(&alice, &come(), NOW), Err(Refused::Conflict(Conflict::Untrusted)));
    assert_eq!(state(&engine, USER).devices(0).count(), 0);
}

/// All at once: what each of them gets.
fn race<T: Send>(act: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    let run = |n| {
        barrier.wait();
        act(n)
    };
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().filter(|other| *other == one).count()
}

fn one_code_admits_one_login<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    for round in 1..=5 {
        for change in [prove(round), recover(u8::try_from(round).unwrap())] {
            let outcomes = race(|_| engine.commit(&alice, &change, NOW));
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
            assert_eq!(count(&outcomes, &used()), outcomes.len() - 1, "{outcomes:?}");
        }
    }
}

fn of_codes_at_once_one_is_sent<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    let too_soon = Err(Refused::Conflict(Conflict::TooSoon(SENDS.pause)));
    for round in 0..3 {
        let time = NOW + round * SENDS.pause;
        let outcomes = race(|n| engine.commit(&alice, &send(n.to_be_bytes()[7], common::PHONE), time));
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(count(&outcomes, &too_soon), outcomes.len() - 1, "{outcomes:?}");
        // What is stored is the code that its sender was told to send.
        engine.commit(&alice, &prove_sent(u8::try_from(winner).unwrap()), time).unwrap();
    }
}

fn messages_at_once_do_not_outrun_a_cap<E: Engine>() {
    let engine = E::new();
    let users = company(&engine, THREADS);
    let user = |n: u64| &users[usize::try_from(n).unwrap()];
    let outcomes = race(|n| engine.commit(user(n), &send(1, common::PHONE), NOW));
    assert_eq!(count(&outcomes, &capped(Cap::Number)), users.len() - usize::from(SENDS.hour));
    let host = within(SendLimits { host: 9, ..SENDS });
    let outcomes = race(|n| engine.commit_within(&host, user(n), &mail(1), NOW + SENDS.pause));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 9 - usize::from(SENDS.hour));
}

fn guesses_at_once_do_not_outrun_the_limit<E: Engine>() {
    let engine = E::new();
    let alice = enroll(&engine);
    let outcomes = race(|_| engine.commit(&alice, &fail(Guess::Code), NOW));
    let locked = Err(Refused::Conflict(Conflict::Locked(Lock::Address(NOW + 900))));
    assert_eq!(count(&outcomes, &locked), outcomes.len() - usize::from(LIMITS.failures));
    // From everywhere at once, up to the hard stop.
    let from = |n: u64, time: u64| Change::Fail {
        guess: Guess::Code,
        source: Source::new(Some([10, 0, time.to_be_bytes()[7], n.to_be_bytes()[7]].into())),
    };
    let charged: usize = (0..4)
        .map(|time| race(|n| engine.commit(&alice, &from(n, time), NOW)).iter().filter(|o| o.is_ok()).count())
        .sum();
    assert_eq!(charged, usize::from(LIMITS.total) - usize::from(LIMITS.failures));
    assert_eq!(state(&engine, USER).failures_in_all(NOW), LIMITS.total);
}

/// One login of this user makes this change.
fn of_login(engine: &impl Engine, user: &str, uid: Option<u32>, change: &Change) -> Event {
    let (policy, request) = (common::policy(Mode::Enforce), common::request_of(user, uid));
    let mut login = engine.login(&policy, &request);
    login.read();
    login.commit(change, NOW)
}

fn committed(event: Event) -> State {
    match event {
        Event::Committed(state) => *state,
        event => panic!("{event:?}"),
    }
}

fn conflict(event: Event) -> Conflict {
    match event {
        Event::Conflict(conflict) => conflict,
        event => panic!("{event:?}"),
    }
}

/// A login that the policy lets in without a factor has its user counted; nothing else of it is stored.
fn a_login_without_a_factor_makes_an_account<E: Engine>() {
    for change in [Change::Register, Change::Grace, Change::Observe] {
        let engine = E::new();
        enroll(&engine);
        let before = engine.account(USER).unwrap().unwrap().1;
        let first = committed(of_login(&engine, "bob", Some(1002), &change));
        assert_eq!(first, State::default().apply(&change, &LIMITS, NOW).unwrap(), "{change:?}");
        let (bob, stored) = engine.account("bob").unwrap().unwrap();
        assert_eq!((bob.uid, bob.factors, stored), (1002, Factors::default(), first.clone()), "{change:?}");
        // The next one finds it: nobody loses what was stored meanwhile.
        let second = committed(of_login(&engine, "bob", Some(1002), &change));
        let again = engine.account("bob").unwrap().unwrap().0;
        assert_eq!(again.generation, bob.generation, "{change:?}");
        assert_eq!(second, first.apply(&change, &LIMITS, NOW).unwrap(), "{change:?}");
        assert_eq!(state(&engine, USER), before, "nobody else's, {change:?}");
    }
}

/// Not for whom the host does not know, nor in the place of somebody else's.
fn a_login_makes_no_account_for_anybody_else<E: Engine>() {
    let table = [
        ("nobody of this host", "mallory", None),
        ("a name with an account of another uid", USER, Some(3000)),
        ("a name with an account, unknown to the host", USER, None),
        ("a uid with an account of another name", "bob", Some(UID)),
        ("the uid of nobody", "bob", Some(u32::MAX)),
    ];
    for (what, user, uid) in table {
        for change in [Change::Register, Change::Grace, Change::Observe] {
            let engine = E::new();
            enroll(&engine);
            let before = everything(&engine);
            let event = of_login(&engine, user, uid, &change);
            assert!(matches!(event, Event::Failed), "{what}: {event:?}");
            assert_eq!(everything(&engine), before, "{what}, {change:?}");
        }
    }
}

fn logins_at_once_make_one_account<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    for (user, uid) in [("bob", 1002), ("carol", 1003)] {
        let states = race(|_| committed(of_login(&engine, user, Some(uid), &Change::Observe)));
        let mut counts: Vec<u64> = states.iter().map(|state| state.observed().0.into()).collect();
        counts.sort_unstable();
        assert_eq!(counts, (1..=THREADS).collect::<Vec<_>>(), "each is counted once");
    }
    let users: Vec<_> = engine.all().into_iter().map(|(account, _)| account.user).collect();
    assert_eq!(users, [USER, "bob", "carol"]);
    // The days begin once.
    let grace = |n| {
        let (policy, request) = (common::policy(Mode::Enforce), common::request_of("dave", Some(1004)));
        committed(engine.login(&policy, &request).commit(&Change::Grace, NOW + n))
    };
    let until = |state: &State| state.grace_until(86_400, NOW).unwrap();
    let ends: Vec<u64> = race(grace).iter().map(until).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    assert_eq!(until(&state(&engine, "dave")), ends[0]);
}

const MINE: Process = Process { pid: 4711, start: 77, boot: [1; 8] };

fn join(uid: u32, processes: &[Process]) -> Change {
    let session = Session { uid, processes: processes.to_vec() };
    Change::Prove { proof: Proof::Session(session), source: Source::CONSOLE, typos: 0 }
}

/// alice logged in with a factor, in this session; bob has an account and did not.
fn log_in(engine: &impl Engine) -> Account {
    let alice = enroll(engine);
    engine.add("bob", 1002).unwrap();
    engine.commit(&alice, &Change::Open(vec![MINE]), NOW).unwrap();
    alice
}

/// Whoever is asked about: sudo asks for the caller, su for the target.
fn a_session_is_of_whose_login_it_was<E: Engine>() {
    let engine = E::new();
    log_in(&engine);
    let bob = state(&engine, "bob");
    let other = Process { start: 78, ..MINE };
    for (user, uid) in [(USER, Some(UID)), ("bob", Some(1002)), ("root", Some(0)), ("carol", Some(1003))] {
        let joined = committed(of_login(&engine, user, uid, &join(UID, &[other, MINE])));
        assert_eq!(joined, state(&engine, USER), "{user}");
        let table = [
            ("of somebody else", 1002, MINE),
            ("of nobody who has an account", 1003, MINE),
            ("of no uid at all", u32::MAX, MINE),
            ("a pid that was given again", UID, other),
            ("another boot", UID, Process { boot: [2; 8], ..MINE }),
        ];
        for (what, uid_of_login, process) in table {
            let event = of_login(&engine, user, uid, &join(uid_of_login, &[process]));
            assert_eq!(conflict(event), Conflict::Untrusted, "{user}, {what}");
        }
    }
    assert_eq!(state(&engine, "bob"), bob, "nobody else's");
    assert_eq!(engine.all().len(), 2, "and no account is made");
}

fn what_ends_trust_ends_sessions<E: Engine>() {
    type Act<'a, E> = &'a dyn Fn(&E, &Account);
    let change = |engine: &E, edit: &dyn Fn(&mut Account, &mut State)| {
        engine
            .change(USER, &mut |account: &mut Account, state: &mut State| {
                edit(account, state);
                Ok(())
            })
            .unwrap();
    };
    let guess = |engine: &E, alice: &Account, from: u8| {
        let source = Source::new(Some([203, 0, 113, from].into()));
        engine.commit(alice, &Change::Fail { guess: Guess::Code, source }, NOW).unwrap();
    };
    let table: [(&str, bool, Act<'_, E>); 9] = [
        ("nothing", true, &|_, _| {}),
        ("four guesses", true, &|engine, alice| (0..4).for_each(|_| guess(engine, alice, 1))),
        ("five guesses", false, &|engine, alice| (0..5).for_each(|_| guess(engine, alice, 1))),
        ("fifty from everywhere", false, &|engine, alice| (0..50).for_each(|n| guess(engine, alice, n))),
        ("other logins", true, &|engine, alice| drop(engine.commit(alice, &prove(7), NOW).unwrap())),
        ("a change of nothing", true, &|engine, _| change(engine, &|_, _| {})),
        ("another app", false, &|engine, _| {
            change(engine, &|account, _| account.factors.apps.push(common::app(2)));
        }),
        ("an administrator", false, &|engine, _| change(engine, &|_, state| state.distrust_all())),
        ("a reset", false, &|engine, _| engine.reset(USER).unwrap()),
    ];
    for (what, outlived, act) in table {
        let engine = E::new();
        let alice = log_in(&engine);
        act(&engine, &alice);
        let event = of_login(&engine, "root", Some(0), &join(UID, &[MINE]));
        assert_eq!(matches!(event, Event::Committed(_)), outlived, "{what}: {event:?}");
    }
}

/// What one login set up: an app of its own, and a number if a code came back from it.
fn set_up(login: u8, phone: Option<u8>) -> Enrolment {
    let seed = common::seed(login);
    let (_, recovery) = seed.recovery_codes();
    let app = NewApp { secret: seed.app_secret(), shape: common::SHAPE, step: NOW / STEP, recovery };
    let number = Number::parse(common::PHONE, None).unwrap();
    let phone = phone.map(|code| NewPhone { number, tag: [code; 32] });
    Enrolment { app: Some(app), phone }
}

fn enroll_in_login(engine: &impl Engine, user: &str, uid: Option<u32>, enrolment: &Enrolment) -> Event {
    let (policy, request) = (common::policy(Mode::Enforce), common::request_of(user, uid));
    engine.enroll(&policy, &request, enrolment, NOW)
}

fn what_was_set_up_in_a_login_counts<E: Engine>() {
    let engine = E::new();
    committed(enroll_in_login(&engine, USER, Some(UID), &set_up(1, None)));
    let (alice, state) = engine.account(USER).unwrap().unwrap();
    assert_eq!((alice.uid, state.last_step(0)), (UID, Some(NOW / STEP)));
    assert_eq!(alice.factors.apps[0].secret, common::seed(1).app_secret());
    // With a number, in a login whose messages are counted, and a session from before there was a factor.
    let policy = common::policy_of(Mode::Enforce, &[Method::App, Method::Sms]);
    let request = common::request_of("bob", Some(1002));
    let mut login = engine.login(&policy, &request);
    login.read();
    let before = [Change::Grace, Change::Open(vec![MINE]), send(7, common::PHONE)];
    before.iter().for_each(|change| drop(committed(login.commit(change, NOW))));
    let read = engine.account("bob").unwrap().unwrap().0;
    committed(engine.enroll(&policy, &request, &set_up(2, Some(7)), NOW));
    let (bob, state) = engine.account("bob").unwrap().unwrap();
    assert_eq!((bob.factors.apps.len(), bob.factors.phone.unwrap().confirmed), (1, Some(NOW)));
    assert!(state.has_grace_begun() && !state.trusts_anything());
    assert_eq!(engine.commit(&read, &prove_sent(7), NOW), changed(), "a login from before");
}

fn what_was_set_up_counts_for_who_has_no_factor_only<E: Engine>() {
    let unconfirmed = || Factors { phone: Some(common::phone()), ..Factors::default() };
    let Factors { keys, ssh_keys, .. } = common::key_factors();
    let table = [
        ("an app", Factors { apps: vec![common::app(1)], ..Factors::default() }, false),
        ("a key", Factors { keys, ..Factors::default() }, false),
        ("an SSH key", Factors { ssh_keys, ..Factors::default() }, false),
        ("a number", unconfirmed(), true),
        ("a mailbox", Factors { addresses: vec![common::mailbox()], ..Factors::default() }, true),
        ("nothing", Factors::default(), true),
    ];
    for (meanwhile, factors, kept) in table {
        let engine = E::new();
        engine.add(USER, UID).unwrap();
        give_factors(&engine, factors);
        let before = everything(&engine);
        let event = enroll_in_login(&engine, USER, Some(UID), &set_up(1, None));
        if kept {
            committed(event);
        } else {
            assert_eq!(conflict(event), Conflict::Changed, "{meanwhile}");
            assert_eq!(everything(&engine), before, "{meanwhile}");
        }
    }
    let engine = E::new();
    engine.add(USER, UID).unwrap();
    let before = everything(&engine);
    let event = enroll_in_login(&engine, USER, Some(3000), &set_up(1, None));
    assert_eq!(conflict(event), Conflict::Changed, "another's account");
    for (user, uid) in [(USER, None), ("mallory", None), ("bob", Some(UID))] {
        let event = enroll_in_login(&engine, user, uid, &set_up(1, None));
        assert!(matches!(event, Event::Failed), "{user} {uid:?}: {event:?}");
    }
    for (sent, expected) in [(8, Conflict::Superseded), (7, Conflict::Expired)] {
        let alice = engine.account(USER).unwrap().unwrap().0;
        engine.commit(&alice, &send(sent, common::PHONE), NOW - VALID_FOR - 60 * u64::from(sent)).unwrap();
        let alone = Enrolment { app: None, ..set_up(1, Some(7)) };
        let event = enroll_in_login(&engine, USER, Some(UID), &alone);
        assert_eq!(conflict(event), expected);
        assert_eq!(engine.account(USER).unwrap().unwrap().0.factors, Factors::default());
    }
    assert_eq!(before.len(), engine.all().len());
}

fn two_who_set_up_at_once_leave_one_secret<E: Engine>() {
    let engine = E::new();
    for (user, uid, has_account) in [(USER, UID, false), ("bob", 1002, true)] {
        if has_account {
            engine.add(user, uid).unwrap();
        }
        let enrolments: Vec<Enrolment> =
            (0..THREADS).map(|n| set_up(u8::try_from(n).unwrap(), None)).collect();
        let of = |n: u64| &enrolments[usize::try_from(n).unwrap()];
        let events = race(|n| enroll_in_login(&engine, user, Some(uid), of(n)));
        let winners: Vec<usize> =
            (0..events.len()).filter(|n| matches!(events[*n], Event::Committed(_))).collect();
        assert_eq!(winners.len(), 1, "{events:?}");
        let lost = events.into_iter().filter(|event| !matches!(event, Event::Committed(_)));
        lost.for_each(|event| assert_eq!(conflict(event), Conflict::Changed));
        let factors = engine.account(user).unwrap().unwrap().0.factors;
        let won = enrolments[winners[0]].app.clone().unwrap();
        let secrets: Vec<Secret> = factors.apps.into_iter().map(|app| app.secret).collect();
        assert_eq!((secrets, factors.recovery), (vec![won.secret], Some(won.recovery)));
    }
}

fn bypass(until: u64) -> Bypass {
    Bypass { code: common::recovery_set(3), until, reason: "a lost phone".into() }
}

fn pass_by() -> Change {
    Change::Prove { proof: Proof::Bypass(common::recovery_set(3)), source: home(), typos: 0 }
}

/// Of those with an account, factors or not, locked or not; and of one of the logins that race for it.
fn a_bypass_opens_one_login<E: Engine>() {
    // Far beyond what any clock of the tests says.
    const UNTIL: u64 = NOW + 100 * 365 * 86_400;
    let engine = E::new();
    let alice = enroll(&engine);
    engine.add("bob", 1002).unwrap();
    (0..5).for_each(|_| drop(engine.commit(&alice, &fail(Guess::Code), NOW).unwrap()));
    assert_eq!(conflict(of_login(&engine, USER, Some(UID), &pass_by())), Conflict::Used, "there is none");
    for (user, uid) in [(USER, UID), ("bob", 1002)] {
        for _ in 0..3 {
            let open = &mut |_: &mut Account, state: &mut State| {
                state.set_bypass(Some(bypass(UNTIL)));
                Ok(())
            };
            engine.change(user, open).unwrap();
            let events = race(|_| of_login(&engine, user, Some(uid), &pass_by()));
            let opened = events.iter().filter(|event| matches!(event, Event::Committed(_))).count();
            assert_eq!(opened, 1, "{user}: {events:?}");
            assert_eq!(state(&engine, user).bypass(NOW), None);
        }
    }
    let locked = engine.account(USER).unwrap().unwrap();
    assert_eq!(locked.1.failures_in_all(NOW), 5, "and forgives nothing");
    engine
        .change(USER, &mut |_, state| {
            state.set_bypass(Some(bypass(UNTIL)));
            Ok(())
        })
        .unwrap();
    engine.reset(USER).unwrap();
    assert_eq!(state(&engine, USER).bypass(NOW), None, "a reset closes it");
}

/// Logins and administrators at once: no step is lost, none admits twice.
fn a_change_loses_no_login<E: Engine>() {
    let engine = E::new();
    enroll(&engine);
    let outcomes = race(|n| {
        let mut admitted = vec![];
        for step in 1..=8 {
            if n == 0 {
                let edit = &mut |_: &mut Account, state: &mut State| {
                    state.set_last_step(2, step);
                    Ok(())
                };
                engine.change(USER, edit).unwrap();
            } else {
                // Read between two changes of others, it may be refused: then it admits nobody.
                let Ok(Some((alice, _))) = engine.account(USER) else {
                    continue;
                };
                match engine.commit(&alice, &prove(step), NOW) {
                    Ok(_) => admitted.push(step),
                    Err(Refused::Conflict(Conflict::Used | Conflict::Changed)) => {}
                    Err(refused) => panic!("{refused:?}"),
                }
            }
        }
        admitted
    });
    let mut admitted = outcomes.concat();
    admitted.sort_unstable();
    assert!(admitted.is_sorted_by(|one, next| one < next), "{admitted:?}");
    let state = state(&engine, USER);
    assert_eq!((state.last_step(1), state.last_step(2)), (admitted.last().copied(), Some(8)));
}

/// The suite, once for each engine.
macro_rules! suite {
    ($module:ident, $engine:ty: $($case:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::$case::<$engine>();
                }
            )*
        }
    };
    ($module:ident, $engine:ty) => {
        suite! { $module, $engine:
            a_new_account_is_empty
            a_name_and_a_uid_have_one_account
            a_change_is_of_factors_and_state_together
            a_change_that_fails_changes_nothing
            who_has_no_account_cannot_be_changed
            a_step_is_stored_once
            one_users_logins_are_nobody_elses
            a_login_does_not_outlive_a_change
            renewed_recovery_codes_end_the_old_ones
            a_reset_forgets_all_but_who_it_is
            a_repair_takes_every_code_up_to_now_for_used
            who_comes_again_meets_nothing_of_before
            all_are_visited_by_uid
            guesses_for_nobody_are_charged_to_nobody
            codes_for_nobody_are_sent_to_nobody
            a_sent_code_admits_its_login
            a_message_is_stored_and_counted
            a_number_has_its_cap_whoever_asks
            a_number_has_its_cap_of_the_day
            a_clock_set_back_sends_no_more
            a_host_has_its_cap_whoever_asks
            of_codes_at_once_one_is_sent
            messages_at_once_do_not_outrun_a_cap
            guesses_are_charged_to_their_user
            one_code_admits_one_login
            guesses_at_once_do_not_outrun_the_limit
            a_change_loses_no_login
            trust_is_stored_and_outlives_other_logins
            a_change_of_factors_ends_trust
            an_administrator_ends_trust
            guesses_end_trust
            a_login_without_a_factor_makes_an_account
            a_login_makes_no_account_for_anybody_else
            logins_at_once_make_one_account
            a_session_is_of_whose_login_it_was
            what_ends_trust_ends_sessions
            what_was_set_up_in_a_login_counts
            what_was_set_up_counts_for_who_has_no_factor_only
            two_who_set_up_at_once_leave_one_secret
            a_bypass_opens_one_login
        }
    };
}

suite!(local, super::Local);
