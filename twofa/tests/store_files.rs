//! The local store's files: what is in them, and what becomes of a login when they are broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; one holds a lock for a while"
)]

mod common;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use common::{Folder, LABEL, LIMITS, NOW, SENDS, UID, USER, VALID_FOR};
use nix::sys::stat::Mode as FileMode;
use nix::unistd::mkfifo;
use rusqlite::Connection;
use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use twofa::account::{
    Account, App, Cap, Change, Conflict, Device, Factors, Guess, Limits, Lock, Process, Proof, SendLimits,
    Session, Source, Spent, State,
};
use twofa::config::Paths;
use twofa::login::Event;
use twofa::policy::Mode;
use twofa::ports::Store as _;
use twofa::store::{Changed, Error, LoginStore, NotCommitted, RECORD_BYTES, SLOT_BYTES, Store};

const BOB: u32 = UID + 1;
/// An entry of the ring: sequence, time, tag of the number.
const ENTRY_BYTES: usize = 32;
const RING_BYTES: usize = 24_576 * ENTRY_BYTES;

/// A store with alice, who has factors, and bob, who has others.
struct Site {
    folder: Folder,
    paths: Paths,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        let paths = folder.store();
        let mut store = Store::create(&paths).unwrap();
        store.add(USER, UID).unwrap();
        store.add("bob", BOB).unwrap();
        for (user, set) in [(USER, 1), ("bob", 2)] {
            let factors = Factors { recovery: Some(common::recovery_set(set)), ..common::factors() };
            give(&mut store, user, factors);
        }
        Self { folder, paths }
    }

    fn admin(&self) -> Store {
        Store::open_to_change(&self.paths).unwrap()
    }

    fn record(&self, uid: u32) -> PathBuf {
        self.paths.database.with_file_name("state").join(uid.to_string())
    }

    fn ring(&self) -> PathBuf {
        self.paths.database.with_file_name("state").join("sends")
    }

    /// A message for a user, within so many an hour for the host and two for the number.
    fn send(&self, user: &str, host: u16, now: u64) -> Result<State, String> {
        let limits = Limits { sends: SendLimits { host, hour: 2, ..SENDS }, ..LIMITS };
        let store = Store::open(&self.paths).unwrap();
        let account = store.account(user).unwrap().unwrap().0;
        store.commit(&account, &send(), &limits, now).map_err(|error| match error {
            NotCommitted::Conflict(Conflict::Capped(cap)) => format!("{cap:?}"),
            NotCommitted::Conflict(conflict) => panic!("{conflict:?}"),
            NotCommitted::Failed(error) => told(&error),
        })
    }

    fn journal(&self) -> PathBuf {
        self.paths.database.with_file_name("twofa.db-journal")
    }

    fn sql(&self) -> Connection {
        Connection::open(&self.paths.database).unwrap()
    }

    /// What a login of `user` gets: the account and state, or the fault with its hint.
    fn read(&self, user: &str) -> Result<Option<(Account, State)>, String> {
        let uid = match user {
            USER => UID,
            "bob" => BOB,
            _ => 1003,
        };
        let request = common::request_of(user, Some(uid));
        let policy = common::policy(Mode::Enforce);
        let mut login = LoginStore::new(&self.paths, &policy, &request);
        match login.read() {
            Event::Account(found, _) => Ok(found.map(|found| *found)),
            Event::Failed => Err(told(login.fault().unwrap())),
            event => panic!("{event:?}"),
        }
    }

    /// alice logs in with the code of this step; what is left is her newest step.
    fn log_in(&self, step: u64) -> Result<Option<u64>, String> {
        let request = common::request();
        let policy = common::policy(Mode::Enforce);
        let mut login = LoginStore::new(&self.paths, &policy, &request);
        login.read();
        match login.commit(&prove(step), NOW) {
            Event::Committed(state) => Ok(state.last_step(1)),
            Event::Conflict(Conflict::Used) => Err("used".into()),
            Event::Failed => Err(told(login.fault().unwrap())),
            event => panic!("{event:?}"),
        }
    }

    /// All bytes under the store's folder, by path.
    fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = vec![];
        collect(self.folder.path(), &mut all);
        all.sort();
        all
    }
}

fn collect(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, all);
        } else {
            let bytes = fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
}

fn told(error: &Error) -> String {
    format!("{error}. {}", error.hint())
}

fn give(store: &mut Store, user: &str, factors: Factors) {
    let edit = |account: &mut Account, _: &mut State| {
        account.factors = factors;
        Ok::<_, Error>(())
    };
    store.change(user, edit).unwrap();
}

fn home() -> Source {
    Source::new(Some(common::address()))
}

fn prove(step: u64) -> Change {
    Change::Prove { proof: Proof::App(vec![Spent { app: 1, step }]), source: home(), typos: 0 }
}

fn send() -> Change {
    let number = Some(common::phone().to);
    Change::Send { tag: [1; 32], valid_for: VALID_FOR, source: home(), number, earlier: 0 }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Replaces what is in a file, in place: mode and inode stay.
fn overwrite(path: &Path, bytes: &[u8]) {
    let before = mode_of(path);
    mode(path, 0o600);
    fs::write(path, bytes).unwrap();
    mode(path, before);
}

#[test]
fn the_files_are_the_owners_only() {
    let site = Site::new();
    for (path, expected) in [
        (site.paths.key.clone(), 0o400),
        (site.paths.database.clone(), 0o600),
        (site.paths.database.with_file_name("state"), 0o700),
        (site.record(UID), 0o600),
        (site.record(u32::MAX), 0o600),
        (site.ring(), 0o600),
    ] {
        assert_eq!(mode_of(&path), expected, "{}", path.display());
    }
    assert_eq!(fs::metadata(&site.paths.key).unwrap().len(), 32);
    for uid in [UID, BOB, u32::MAX] {
        assert_eq!(fs::metadata(site.record(uid)).unwrap().len(), RECORD_BYTES as u64);
    }
    site.log_in(7).unwrap();
    site.send(USER, 9, NOW).unwrap();
    assert_eq!(fs::metadata(site.record(UID)).unwrap().len(), RECORD_BYTES as u64);
    assert_eq!(fs::metadata(site.ring()).unwrap().len(), RING_BYTES as u64);
}

#[test]
fn creating_again_changes_nothing() {
    let site = Site::new();
    let before = site.bytes();
    Store::create(&site.paths).unwrap();
    assert_eq!(site.bytes(), before);
    fs::remove_file(&site.paths.key).unwrap();
    assert!(matches!(Store::create(&site.paths), Err(Error::NoKey(_))), "a new key would open nothing");
    assert!(!site.paths.key.exists());
}

/// Secrets are sealed, codes are kept as MACs. The key is beside them, so a copy of the folder without it.
#[test]
fn no_secret_is_in_the_files() {
    let site = Site::new();
    give(&mut site.admin(), USER, Factors { apps: common::factors().apps, ..common::contacts() });
    site.log_in(7).unwrap();
    site.send(USER, 9, NOW).unwrap();
    let text = |text: &str| text.as_bytes().to_vec();
    let mut secrets = vec![common::secret().expose().to_vec(), text(&common::secret_as_text()), text(LABEL)];
    for code in common::recovery_codes(1) {
        secrets.extend([text(&code), text(&code.replace('-', "")), text(&code.to_lowercase())]);
    }
    secrets.extend([common::PHONE, "48600000123", "600000123", "alice@example.org"].map(text));
    secrets.extend((-2..=2).map(|steps| text(&common::code_text(steps))));
    for (path, bytes) in site.bytes().into_iter().filter(|(path, _)| *path != site.paths.key) {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} shows {:?}", path.display(), String::from_utf8_lossy(secret));
        }
    }
}

/// Whoever can write to the database but lacks the key moves no factor to another name, uid or generation.
#[test]
fn a_sealed_row_opens_in_its_place_only() {
    let table = [
        "UPDATE account SET factors = (SELECT factors FROM account WHERE name = 'bob') WHERE name = 'alice'",
        "UPDATE account SET generation = generation + 100 WHERE name = 'alice'",
        "UPDATE account SET uid = 7 WHERE name = 'alice'",
        "DELETE FROM account WHERE name = 'alice'; UPDATE account SET name = 'alice' WHERE name = 'bob'",
        "UPDATE account SET factors = x'' WHERE name = 'alice'",
        "UPDATE account SET factors = substr(factors, 1, length(factors) - 1) WHERE name = 'alice'",
    ];
    for sql in table {
        let site = Site::new();
        site.sql().execute_batch(sql).unwrap();
        let expected = "the factors of alice cannot be read. Restore the store, or run `twofa-admin user reset alice` \
                        and enroll again.";
        assert_eq!(site.read(USER).unwrap_err(), expected, "{sql}");
        assert_eq!(
            Store::open(&site.paths).unwrap().account(USER).map_err(|e| told(&e)).unwrap_err(),
            expected
        );
    }
}

#[test]
fn one_unreadable_account_hides_no_other() {
    let site = Site::new();
    site.sql().execute_batch("UPDATE account SET factors = x'00' WHERE name = 'alice'").unwrap();
    let mut seen = vec![];
    let visit = |found: Result<(Account, State), Error>| match found {
        Ok((account, _)) => seen.push(account.user),
        Err(error) => seen.push(error.to_string()),
    };
    site.admin().for_each(visit).unwrap();
    assert_eq!(seen, ["the factors of alice cannot be read", "bob"]);
    site.admin().reset(USER).unwrap();
    assert_eq!(site.read(USER).unwrap().unwrap().0.factors, Factors::default());
}

/// A kill or power cut while a slot is written: the first part of it is new, or any of its sectors are.
#[test]
fn a_torn_slot_leaves_the_old_or_the_new_state() {
    const SECTOR: usize = 512;
    let site = Site::new();
    site.log_in(7).unwrap();
    let old = fs::read(site.record(UID)).unwrap();
    site.log_in(8).unwrap();
    let new = fs::read(site.record(UID)).unwrap();
    let store = Store::open(&site.paths).unwrap();
    let steps = |bytes: &[u8], whole: bool, what: String| {
        fs::write(site.record(UID), bytes).unwrap();
        let step = store.account(USER).unwrap().unwrap().1.last_step(1);
        assert_eq!(step, Some(if whole { 8 } else { 7 }), "{what}");
    };
    let differs: Vec<usize> = (0..RECORD_BYTES).filter(|at| old[*at] != new[*at]).collect();
    let (first, last) = (differs[0], differs[differs.len() - 1]);
    assert!(first / SLOT_BYTES == last / SLOT_BYTES, "one slot is written, the other is not touched");
    let base = first / SLOT_BYTES * SLOT_BYTES;
    // Each byte of the header, of the nonce and of the tag, and many of the sealed text between them.
    let lengths = (0..=64).chain((64..SLOT_BYTES - 32).step_by(61)).chain(SLOT_BYTES - 32..=SLOT_BYTES);
    for length in lengths.map(|length| base + length) {
        let torn = [&new[..length], &old[length..]].concat();
        steps(&torn, length > last, format!("{length} bytes"));
    }
    // What is written of a slot is in its first six sectors.
    let written = last % SLOT_BYTES / SECTOR + 1;
    assert_eq!(written, 6);
    for sectors in 0u32..1 << written {
        let mut torn = old.clone();
        for sector in (0..written).filter(|sector| sectors >> sector & 1 == 1) {
            let range = base + sector * SECTOR..base + (sector + 1) * SECTOR;
            torn[range.clone()].copy_from_slice(&new[range]);
        }
        steps(&torn, sectors == 63, format!("sectors {sectors:08b}"));
    }
    // The next login overwrites what is torn.
    fs::write(site.record(UID), [&new[..base + 1000], &old[base + 1000..]].concat()).unwrap();
    assert_eq!(site.log_in(9), Ok(Some(9)));
    assert_eq!(site.log_in(9), Err("used".into()));
}

/// Each fault of a record refuses its user and nobody else, and says what to do.
#[test]
fn a_broken_record_refuses() {
    type Break = fn(&Path);
    let damaged =
        "is damaged. Find the user with `getent passwd 1001`, then run `twofa-admin user repair NAME`.";
    let missing =
        "is missing. Find the user with `getent passwd 1001`, then run `twofa-admin user repair NAME`.";
    let table: [(&str, Break, &str); 12] = [
        ("both slots overwritten", |path| overwrite(path, &[0; RECORD_BYTES]), damaged),
        ("one bit of each slot", |path| flip(path, &[100, SLOT_BYTES + 100]), damaged),
        ("one bit of each header", |path| flip(path, &[8, SLOT_BYTES + 8]), damaged),
        ("empty", |path| overwrite(path, b""), damaged),
        ("one byte", |path| overwrite(path, b"t"), damaged),
        ("less than a slot", |path| cut(path, SLOT_BYTES as u64 - 1), damaged),
        ("bob's", |path| overwrite(path, &fs::read(path.with_file_name("1002")).unwrap()), damaged),
        ("missing", |path| fs::remove_file(path).unwrap(), missing),
        ("a link", link_away, "is a symbolic link"),
        ("a FIFO", |path| fifo(path), "is not a regular file"),
        ("a folder", |path| folder(path), "1001"),
        ("readable", |path| mode(path, 0o644), "can be read by others"),
    ];
    for (name, act, expected) in table {
        let site = Site::new();
        let generation = site.read(USER).unwrap().unwrap().0.generation;
        act(&site.record(UID));
        let fault = site.read(USER).expect_err(name);
        assert!(fault.contains(expected), "{name}: {fault}");
        assert!(site.read("bob").unwrap().is_some(), "{name}");
        if expected == damaged || expected == missing {
            site.admin().repair(USER, NOW).unwrap();
            let (account, state) = site.read(USER).unwrap().unwrap();
            assert!(account.generation != generation && account.factors.recovery.is_none(), "{name}");
            assert_eq!(site.log_in(state.last_step(1).unwrap() + 1), Ok(Some(NOW / 30 + 3)), "{name}");
            assert_eq!(fs::metadata(site.record(UID)).unwrap().len(), RECORD_BYTES as u64, "{name}");
        }
    }
}

fn flip(path: &Path, places: &[usize]) {
    let mut bytes = fs::read(path).unwrap();
    places.iter().for_each(|place| bytes[*place] ^= 1);
    overwrite(path, &bytes);
}

fn cut(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn link_away(path: &Path) {
    let elsewhere = path.with_file_name("elsewhere");
    fs::rename(path, &elsewhere).unwrap();
    symlink(&elsewhere, path).unwrap();
}

fn fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    mkfifo(path, FileMode::S_IRUSR | FileMode::S_IWUSR).unwrap();
}

fn folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

/// No crash of ours changes the size of a record. What is cut off could be the newest state, and reading the
/// older one would admit a code again.
#[test]
fn a_record_of_another_size_opens_no_used_code() {
    let mut opened = vec![];
    // The newest state is in the one slot, then in the other.
    for logins in 1..=2 {
        for length in [SLOT_BYTES / 2, SLOT_BYTES, RECORD_BYTES - 1] {
            let site = Site::new();
            (1..=logins).for_each(|step| assert_eq!(site.log_in(step), Ok(Some(step))));
            cut(&site.record(UID), length as u64);
            if site.log_in(logins).is_ok() {
                opened.push(format!("step {logins} again, after a cut to {length} bytes"));
            }
        }
    }
    assert_eq!(opened, [""; 0]);
}

/// Who was read before an administrator's change and another login is out of date, not damaged: a repair, which
/// the hint would ask for, takes away the recovery codes.
#[test]
fn what_changed_meanwhile_is_not_damaged() {
    let site = Site::new();
    let mut faults = vec![];
    let visit = |found: Result<(Account, State), Error>| {
        if found.as_ref().is_ok_and(|(account, _)| account.uid == UID) {
            give(&mut site.admin(), "bob", common::factors());
            let store = Store::open(&site.paths).unwrap();
            let bob = store.account("bob").unwrap().unwrap().0;
            store.commit(&bob, &prove(7), &LIMITS, NOW).unwrap();
        }
        faults.extend(found.err().map(|error| error.to_string()));
    };
    site.admin().for_each(visit).unwrap();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_record_belongs_to_one_uid_and_generation() {
    let site = Site::new();
    let record = fs::read(site.record(UID)).unwrap();
    // Kept from before a reset, and put back after it.
    site.admin().reset(USER).unwrap();
    overwrite(&site.record(UID), &record);
    assert!(site.read(USER).unwrap_err().contains("is damaged"));
    // Kept from before a removal.
    site.admin().remove(USER).unwrap();
    site.admin().add(USER, UID).unwrap();
    overwrite(&site.record(UID), &record);
    assert!(site.read(USER).unwrap_err().contains("is damaged"));
}

#[test]
fn a_key_that_is_none_refuses() {
    type Break = fn(&Path);
    let table: [(&str, Break, &str); 9] = [
        ("missing", |key| fs::remove_file(key).unwrap(), "there is no store key at"),
        ("empty", |key| overwrite(key, b""), "is not a store key"),
        ("31 bytes", |key| overwrite(key, &[1; 31]), "is not a store key"),
        ("33 bytes", |key| overwrite(key, &[1; 33]), "is not a store key"),
        ("zero", |key| overwrite(key, &[0; 32]), "is not a store key"),
        ("readable", |key| mode(key, 0o644), "can be read by others"),
        ("writable", |key| mode(key, 0o620), "can be changed by others"),
        ("a link", link_away, "is a symbolic link"),
        ("another", |key| overwrite(key, &[1; 32]), "the factors of alice cannot be read"),
    ];
    for (name, act, expected) in table {
        let site = Site::new();
        act(&site.paths.key);
        let fault = site.read(USER).expect_err(name);
        assert!(fault.contains(expected) && !fault.contains('\u{1}'), "{name}: {fault}");
    }
}

#[test]
fn a_database_that_is_none_refuses_and_stays_as_it_is() {
    type Break = fn(&Path);
    let table: [(&str, Break, &str); 11] = [
        ("missing", |path| fs::remove_file(path).unwrap(), "there is no store at"),
        ("empty", |path| overwrite(path, b""), "it is not a store of twofa"),
        ("garbage", |path| overwrite(path, &[0x5a; 12288]), "is damaged"),
        ("text", |path| overwrite(path, b"alice:secret\n"), "is damaged"),
        ("cut", |path| cut(path, 5000), "damaged"),
        ("another application's", |path| pragma(path, "application_id = 7"), "it is not a store of twofa"),
        ("newer", |path| pragma(path, "user_version = 2"), "a newer twofa (schema 2, this one knows 1)"),
        ("older", |path| pragma(path, "user_version = 0"), "it is not a store of twofa"),
        ("readable", |path| mode(path, 0o644), "can be read by others"),
        ("a link", link_away, "is a symbolic link"),
        ("a FIFO", |path| fifo(path), "is not a regular file"),
    ];
    for (name, act, expected) in table {
        let site = Site::new();
        act(&site.paths.database);
        let read = || (!name.contains("FIFO")).then(|| site.bytes());
        let before = read();
        for fault in [site.read(USER).expect_err(name), told(&admin_fault(&site))] {
            assert!(fault.contains(expected), "{name}: {fault}");
        }
        assert_eq!(read(), before, "{name}");
    }
}

fn pragma(path: &Path, set: &str) {
    Connection::open(path).unwrap().execute_batch(&format!("PRAGMA {set}")).unwrap();
}

fn admin_fault(site: &Site) -> Error {
    match Store::open_to_change(&site.paths) {
        Err(error) => error,
        Ok(store) => store.account(USER).expect_err("a fault"),
    }
}

/// What a writer leaves that is killed when part of its change is in the database: that database, and the
/// journal with which the next to open it undoes the part.
fn killed_writer(site: &Site) -> (Vec<u8>, Vec<u8>) {
    let sql = site.sql();
    sql.execute_batch(
        "PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE account SET generation = generation + 100;
         UPDATE account SET factors = zeroblob(200000);",
    )
    .unwrap();
    let left = (fs::read(&site.paths.database).unwrap(), fs::read(site.journal()).unwrap());
    sql.execute_batch("ROLLBACK").unwrap();
    assert!(left.1.starts_with(&[0xd9, 0xd5, 0x05, 0xf9]), "the journal is in use");
    left
}

#[test]
fn a_killed_writer_keeps_nobody_out() {
    let site = Site::new();
    let open = Store::open(&site.paths).unwrap();
    let alice = open.account(USER).unwrap().unwrap().0;
    let before = fs::read(&site.paths.database).unwrap();
    let (database, journal) = killed_writer(&site);
    assert_ne!(database, before);
    let leave = || {
        overwrite(&site.paths.database, &database);
        fs::write(site.journal(), &journal).unwrap();
        mode(&site.journal(), 0o600);
    };
    leave();
    assert_eq!(site.log_in(7), Ok(Some(7)));
    assert_eq!(fs::read(&site.paths.database).unwrap(), before);
    assert!(!site.journal().exists());
    // Also when everybody comes at once.
    leave();
    let found = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| site.read(USER).unwrap().is_some())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|found| *found).count()
    });
    assert_eq!(found, 16);
    // Also when the login is at its prompt already.
    leave();
    let committed = open.commit(&alice, &prove(8), &LIMITS, NOW).unwrap();
    assert_eq!((committed.last_step(1), fs::read(&site.paths.database).unwrap()), (Some(8), before));
    site.admin().check().unwrap();
}

#[test]
fn a_login_cannot_change_accounts() {
    let site = Site::new();
    let before = site.bytes();
    let mut store = Store::open(&site.paths).unwrap();
    let nothing = |_: &mut Account, _: &mut State| Ok::<_, Error>(());
    let outcomes = [
        store.add("carol", 1003),
        store.add_all([("carol", 1003, Factors::default())].into_iter()).map(drop),
        store.change(USER, nothing),
        store.reset(USER),
        store.repair(USER, NOW),
        store.remove(USER),
    ];
    for outcome in outcomes {
        let fault = outcome.unwrap_err().to_string();
        assert!(fault.contains("readonly"), "{fault}");
    }
    assert_eq!(site.bytes(), before);
}

/// Killed between the record and the database: logins go on as before, the next change works, and what was
/// half done is never met.
#[test]
fn a_killed_change_is_a_change_not_made() {
    let half = |site: &Site, act: &dyn Fn(&mut Store)| {
        let database = fs::read(&site.paths.database).unwrap();
        act(&mut site.admin());
        overwrite(&site.paths.database, &database);
    };
    let spend = |store: &mut Store| {
        let edit = |account: &mut Account, state: &mut State| {
            account.factors.recovery = None;
            state.set_last_step(1, 1_000_000);
            Ok::<_, Error>(())
        };
        store.change(USER, edit).unwrap();
    };
    type Act<'a> = &'a dyn Fn(&mut Store);
    let table: [(&str, Act<'_>); 3] = [
        ("change", &spend),
        ("reset", &|store| store.reset(USER).unwrap()),
        ("repair", &|store| store.repair(USER, NOW).unwrap()),
    ];
    for (name, act) in table {
        let site = Site::new();
        site.log_in(7).unwrap();
        let before = site.read(USER).unwrap().unwrap().0;
        half(&site, act);
        half(&site, act);
        // Somebody else's change gets the generation that was half given.
        site.admin().reset("bob").unwrap();
        let (account, state) = site.read(USER).unwrap().unwrap();
        assert_eq!((account.generation, account.factors), (before.generation, before.factors), "{name}");
        assert_eq!(state.last_step(1), Some(7), "{name}");
        half(&site, act);
        assert_eq!(site.log_in(7), Err("used".into()), "{name}");
        assert_eq!(site.log_in(8), Ok(Some(8)), "{name}");
        half(&site, act);
        give(&mut site.admin(), USER, common::factors());
        assert_eq!(site.read(USER).unwrap().unwrap().1.last_step(1), Some(8), "{name}");
        assert_eq!(site.log_in(8), Err("used".into()), "{name}");
        assert_eq!(site.log_in(9), Ok(Some(9)), "{name}");
    }
}

/// The same for users who come and go: no account, or a whole one.
#[test]
fn a_killed_addition_or_removal_is_tried_again() {
    let site = Site::new();
    let database = fs::read(&site.paths.database).unwrap();
    site.admin().add("carol", 1003).unwrap();
    overwrite(&site.paths.database, &database);
    assert!(site.read("carol").unwrap().is_none());
    site.admin().add("carol", 1003).unwrap();
    assert!(site.read("carol").unwrap().is_some());
    // Killed before the record was removed.
    let record = fs::read(site.record(UID)).unwrap();
    site.admin().remove(USER).unwrap();
    fs::write(site.record(UID), record).unwrap();
    site.admin().add(USER, UID).unwrap();
    assert_eq!(site.read(USER).unwrap().unwrap().1, State::default());
    assert_eq!(mode_of(&site.record(UID)), 0o600);
}

#[test]
fn many_users_are_added_or_none() {
    /// So many are read at once.
    const PORTION: usize = 500;
    let site = Site::new();
    let names: Vec<String> = (0..PORTION + 10).map(|n| format!("user{n}")).collect();
    let user = |n: usize| (names[n].as_str(), 5000 + u32::try_from(n).unwrap(), common::factors());
    let before = fs::read(&site.paths.database).unwrap();
    let alices = fs::read(site.record(UID)).unwrap();
    let taken = (0..20).map(user).chain([("mallory", UID, Factors::default())]);
    let fault = site.admin().add_all(taken).unwrap_err();
    assert_eq!(fault.to_string(), "uid 1001 has an account already, as alice");
    let twice = (0..20).map(user).chain([user(3)]);
    assert!(matches!(site.admin().add_all(twice), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&site.paths.database).unwrap(), before);
    assert_eq!(fs::read(site.record(UID)).unwrap(), alices);
    assert_eq!(site.admin().add_all((0..PORTION + 10).map(user)).unwrap(), names.len());
    let mut users = vec![];
    site.admin().for_each(|found| users.push(found.unwrap().0.uid)).unwrap();
    assert_eq!(users.len(), names.len() + 2);
    assert!(users.is_sorted_by(|one, next| one < next));
}

/// Adds an app to alice, bob and carol, who has no account yet; fails at this place.
fn change_three(site: &Site, fails_at: Option<usize>) -> Result<(), Error> {
    let seen = |user| Some(generation(site, user));
    let users = [(USER, UID, seen(USER)), ("bob", BOB, seen("bob")), ("carol", 1003, None)];
    let users = users.map(|(user, uid, seen)| Changed { user, uid, seen });
    site.admin().change_all(&users, |place, account, state| {
        assert_eq!(account.user, users[place].user);
        account.factors.apps.push(App { label: "imported".into(), ..common::app(7) });
        state.set_last_step(7, 70);
        if fails_at == Some(place) { Err(Error::NoRandom) } else { Ok(()) }
    })
}

/// Who has an account and who has none, factors and state.
#[test]
fn many_users_are_changed_or_none() {
    let site = Site::new();
    assert_eq!(site.log_in(40), Ok(Some(40)));
    let shown = |user: &str| {
        site.read(user)
            .unwrap()
            .map(|(account, state)| (account.factors.apps.len(), state.last_step(1), state.last_step(7)))
    };
    let old = [Some((1, Some(40), None)), Some((1, None, None)), None];
    for place in 0..3 {
        assert!(matches!(change_three(&site, Some(place)), Err(Error::NoRandom)));
        assert_eq!([USER, "bob", "carol"].map(shown), old, "{place}");
    }
    // What a change was thought out for is there no longer.
    let stale = [Changed { user: "bob", uid: BOB, seen: Some(generation(&site, USER)) }];
    let changed = site.admin().change_all(&stale, |_, _, _| Ok::<_, Error>(()));
    assert!(matches!(changed, Err(Error::Changed(user)) if user == "bob"));
    let taken = [Changed { user: "mallory", uid: UID, seen: None }];
    let changed = site.admin().change_all(&taken, |_, _, _| Ok::<_, Error>(()));
    assert!(matches!(changed, Err(Error::UidTaken { .. })));
    change_three(&site, None).unwrap();
    let new = [Some((2, Some(40), Some(70))), Some((2, None, Some(70))), Some((1, None, Some(70)))];
    assert_eq!([USER, "bob", "carol"].map(shown), new);
    assert_eq!(mode_of(&site.record(1003)), 0o600);
    assert_eq!(site.log_in(41), Ok(Some(41)));
}

/// The database is what counts: killed right before its commit, all users are as they were, and log in.
#[test]
fn a_killed_change_of_many_is_tried_again() {
    let site = Site::new();
    assert_eq!(site.log_in(40), Ok(Some(40)));
    let database = fs::read(&site.paths.database).unwrap();
    change_three(&site, None).unwrap();
    overwrite(&site.paths.database, &database);
    assert_eq!(site.read(USER).unwrap().unwrap().1.last_step(1), Some(40));
    assert_eq!(site.read("bob").unwrap().unwrap().1.last_step(7), None);
    assert!(site.read("carol").unwrap().is_none());
    assert_eq!(site.log_in(41), Ok(Some(41)));
    change_three(&site, None).unwrap();
    let state = site.read(USER).unwrap().unwrap().1;
    assert_eq!((state.last_step(1), state.last_step(7)), (Some(41), Some(70)));
}

/// A login in between could overwrite what is about to count.
#[test]
fn logins_of_users_who_are_changed_wait() {
    let site = Site::new();
    let users = [Changed { user: USER, uid: UID, seen: Some(generation(&site, USER)) }];
    let mut login = None;
    let changed = site.admin().change_all(&users, |_, _, _| {
        login = Some(site.log_in(40));
        Ok::<_, Error>(())
    });
    changed.unwrap();
    assert!(login.unwrap().unwrap_err().contains("is held by another process"));
    assert_eq!(site.log_in(40), Ok(Some(40)));
}

/// An import of a whole company: logins go on meanwhile, up to its last write.
#[test]
fn an_import_keeps_no_login_waiting() {
    let site = Site::new();
    let big = |label: &str| Factors {
        apps: vec![App { label: label.into(), ..common::app(1) }],
        ..Factors::default()
    };
    let label = "x".repeat(50_000);
    let names: Vec<String> = (0..100).map(|n| format!("user{n}")).collect();
    let mut logins = vec![];
    let users = names.iter().zip(5000..).map(|(name, uid)| {
        // Four megabytes are more than SQLite keeps in memory of what is not committed yet.
        if uid == 5000 || uid == 5090 {
            logins.push(site.log_in(uid.into()));
        }
        (name.as_str(), uid, big(&label))
    });
    site.admin().add_all(users).unwrap();
    assert_eq!(logins, [Ok(Some(5000)), Ok(Some(5090))]);
}

/// Nobody's record is where logins of nobody write; an account with its uid would break them all.
#[test]
fn nobodys_uid_has_no_account() {
    let site = Site::new();
    let fail = Change::Fail { guess: Guess::Code, source: home() };
    let log_in = || {
        let request = common::request_of("nobody-of-this-name", None);
        let policy = common::policy(Mode::Enforce);
        let mut login = LoginStore::new(&site.paths, &policy, &request);
        assert!(matches!(login.read(), Event::Account(None, _)));
        matches!(login.commit(&fail, NOW), Event::Committed(_))
    };
    assert!(log_in());
    let added = site.admin().add("minus-one", u32::MAX);
    assert!(added.is_err(), "-1 is no uid");
    assert!(log_in());
}

/// Without it, logins of nobody end otherwise than those of enrolled users; no user has it to repair.
#[test]
fn nobodys_record_is_mended_by_creating_again() {
    type Break = fn(&Path);
    let table: [(&str, Break); 3] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("empty", |path| overwrite(path, b"")),
        ("overwritten", |path| overwrite(path, &[0; RECORD_BYTES])),
    ];
    let mut left = vec![];
    for (name, act) in table {
        let site = Site::new();
        act(&site.record(u32::MAX));
        Store::create(&site.paths).unwrap();
        let request = common::request_of("nobody-of-this-name", None);
        let policy = common::policy(Mode::Enforce);
        let mut login = LoginStore::new(&site.paths, &policy, &request);
        login.read();
        let fail = Change::Fail { guess: Guess::Code, source: home() };
        if !matches!(login.commit(&fail, NOW), Event::Committed(_)) {
            left.push(name);
        }
    }
    assert_eq!(left, [""; 0]);
}

/// A hint is to be followed: what it says has to take away what the message says.
#[test]
fn the_hint_for_a_secret_that_others_read_ends_that() {
    let site = Site::new();
    for path in [&site.paths.key, &site.paths.database, &site.record(UID)] {
        let before = mode_of(path);
        mode(path, 0o644);
        let told = site.read(USER).unwrap_err();
        assert!(told.contains("can be read by others"), "{told}");
        assert!(
            ["go-rwx", "go=", "chmod 0600", "chmod 0400", "chmod 600", "chmod 400"]
                .iter()
                .any(|bits| told.contains(bits)),
            "{told}"
        );
        mode(path, before);
    }
}

#[test]
fn a_login_waits_for_another_of_the_same_user_but_not_for_ever() {
    let site = Site::new();
    let hold = |uid: u32| {
        let held = File::open(site.record(uid)).unwrap();
        held.lock().unwrap();
        held
    };
    let bobs = hold(BOB);
    assert_eq!(site.log_in(7), Ok(Some(7)), "nobody waits for another user's login");
    drop(bobs);
    let alices = hold(UID);
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(alices);
        });
        assert_eq!(site.log_in(8), Ok(Some(8)));
    });
    let stuck = hold(UID);
    assert!(site.log_in(9).unwrap_err().contains("is held by another process"));
    drop(stuck);
    assert_eq!(site.log_in(9), Ok(Some(9)), "the attempt was not lost");
}

/// What is refused is not stored, not even as another sequence number.
#[test]
fn a_conflict_writes_nothing() {
    let site = Site::new();
    site.log_in(7).unwrap();
    let before = site.bytes();
    assert_eq!(site.log_in(7), Err("used".into()));
    let store = Store::open(&site.paths).unwrap();
    let alice = Account { generation: 1, ..store.account(USER).unwrap().unwrap().0 };
    let stale = store.commit(&alice, &prove(8), &LIMITS, NOW);
    assert!(matches!(stale, Err(NotCommitted::Conflict(Conflict::Changed))));
    assert_eq!(site.bytes(), before);
}

/// No count, no message; and a login that sends nothing is none the wiser.
#[test]
fn a_ring_that_is_none_sends_nothing() {
    type Break = fn(&Path);
    let none = "is missing or damaged. Remove";
    let table: [(&str, Break, &str); 10] = [
        ("missing", |path| fs::remove_file(path).unwrap(), none),
        ("empty", |path| overwrite(path, b""), none),
        ("cut by an entry", |path| cut(path, (RING_BYTES - ENTRY_BYTES) as u64), none),
        ("cut by a byte", |path| cut(path, RING_BYTES as u64 - 1), none),
        ("longer", |path| cut(path, RING_BYTES as u64 + 1), none),
        ("readable", |path| mode(path, 0o644), "can be read by others"),
        ("writable", |path| mode(path, 0o620), "can be changed by others"),
        ("a link", link_away, "is a symbolic link"),
        ("a FIFO", |path| fifo(path), "is not a regular file"),
        ("a folder", |path| folder(path), "sends"),
    ];
    for (name, act, expected) in table {
        let site = Site::new();
        act(&site.ring());
        let before = fs::read(site.record(UID)).unwrap();
        let fault = site.send(USER, 9, NOW).expect_err(name);
        assert!(fault.contains(expected), "{name}: {fault}");
        assert_eq!(fs::read(site.record(UID)).unwrap(), before, "{name}: nothing is stored of it");
        assert_eq!(site.log_in(7), Ok(Some(7)), "{name}");
        if expected == none {
            // As the hint has it.
            let _ = fs::remove_file(site.ring());
            Store::create(&site.paths).unwrap();
            site.send(USER, 9, NOW).unwrap();
        }
    }
}

/// A store of a version that sent nothing gets its ring from the next command of an administrator.
#[test]
fn a_store_without_a_ring_gets_one() {
    let site = Site::new();
    fs::remove_file(site.ring()).unwrap();
    drop(site.admin());
    assert_eq!(mode_of(&site.ring()), 0o600);
    site.send(USER, 9, NOW).unwrap();
    let before = site.bytes();
    drop(site.admin());
    assert_eq!(site.bytes(), before, "and keeps it");
}

/// How many messages two users are sent, once each and then every pause, until there are no more.
fn sends_left(site: &Site, host: u16, from: u64) -> usize {
    let users = [USER, "bob"].iter().cycle();
    let times = (0..6).map(|n| from + n / 2 * SENDS.pause);
    users.zip(times).filter(|(user, time)| site.send(user, host, *time).is_ok()).count()
}

/// Whatever is in it: what was never written here counts for nothing, and does not end the counting.
#[test]
fn a_ring_of_noise_counts_on() {
    let entry = |sequence: u64, at: u64| [sequence.to_le_bytes(), at.to_le_bytes(), [0; 8], [0; 8]].concat();
    let filled = |byte: u8| vec![byte; RING_BYTES];
    let with = |sequence: u64| {
        let mut ring = vec![0; RING_BYTES];
        let place = usize::try_from(sequence % 24_576).unwrap() * ENTRY_BYTES;
        ring[place..place + ENTRY_BYTES].copy_from_slice(&entry(sequence, NOW - 90_000));
        ring
    };
    let noise = (0u64..).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]);
    let table = [
        ("zeros", filled(0)),
        ("an erased chip", filled(0xff)),
        ("text", filled(b'x')),
        ("noise", noise.take(RING_BYTES).collect()),
        ("the last place", with(24_575)),
        ("many rounds", with(24_576 * 1000 + 17)),
        ("the last sequence but one", with(u64::MAX - 1)),
        ("the last sequence", with(u64::MAX)),
    ];
    let mut more = vec![];
    for (name, ring) in table {
        let site = Site::new();
        overwrite(&site.ring(), &ring);
        // A number has two.
        match sends_left(&site, 9, NOW) {
            0..=2 => {}
            sent => more.push(format!("{name}: {sent} to one number")),
        }
        overwrite(&site.ring(), &ring);
        let mail = |user: &str, time: u64| {
            let limits = Limits { sends: SendLimits { host: 3, hour: 20, day: 20, ..SENDS }, ..LIMITS };
            let store = Store::open(&site.paths).unwrap();
            let account = store.account(user).unwrap().unwrap().0;
            let change =
                Change::Send { tag: [1; 32], valid_for: VALID_FOR, source: home(), number: None, earlier: 0 };
            store.commit(&account, &change, &limits, time).is_ok()
        };
        match (1..6).filter(|n| mail(USER, NOW + 1000 + n * SENDS.pause)).count() {
            0..=3 => {}
            sent => more.push(format!("{name}: {sent} from one host")),
        }
    }
    assert_eq!(more, [""; 0]);
}

/// Of all places an entry has one; what is found in another is none, and keeps nobody from sending.
#[test]
fn a_stray_entry_counts_for_nothing() {
    let site = Site::new();
    let mut ring = vec![0; RING_BYTES];
    ring[7 * ENTRY_BYTES..][..16].copy_from_slice([u64::MAX.to_le_bytes(), NOW.to_le_bytes()].as_flattened());
    overwrite(&site.ring(), &ring);
    assert_eq!(sends_left(&site, 1, NOW), 1);
}

/// A kill or power cut while the entry is written: it counts or it does not, and the login that was killed sent
/// nothing. At the beginning of the ring, in its midst, and where it turns.
#[test]
fn a_torn_entry_allows_for_no_more() {
    for at in [254u64, 24_574, 65_534] {
        let site = Site::new();
        // The entry that is overwritten is older by one turn, and than a day.
        let mut old = fs::read(site.ring()).unwrap();
        for sequence in (1..=at + 1).rev().take(30) {
            let place = usize::try_from(sequence % 24_576).unwrap() * ENTRY_BYTES;
            let entry = [sequence.to_le_bytes(), (NOW - 90_000).to_le_bytes(), [7; 8], [7; 8]].concat();
            old[place..place + ENTRY_BYTES].copy_from_slice(&entry);
        }
        if let Some(older) = (at + 2).checked_sub(24_576).filter(|older| *older > 0) {
            let place = usize::try_from(older % 24_576).unwrap() * ENTRY_BYTES;
            let entry = [older.to_le_bytes(), (NOW - 500_000).to_le_bytes(), [7; 8], [7; 8]].concat();
            old[place..place + ENTRY_BYTES].copy_from_slice(&entry);
        }
        overwrite(&site.ring(), &old);
        site.send(USER, 9, NOW).unwrap();
        let new = fs::read(site.ring()).unwrap();
        let bob = fs::read(site.record(BOB)).unwrap();
        let differs: Vec<usize> = (0..RING_BYTES).filter(|byte| old[*byte] != new[*byte]).collect();
        let place = differs[0] / ENTRY_BYTES * ENTRY_BYTES;
        assert_eq!(place, usize::try_from((at + 2) % 24_576).unwrap() * ENTRY_BYTES, "{at}");
        assert!(
            differs.iter().all(|byte| (place..place + ENTRY_BYTES).contains(byte)),
            "{at}: one is written"
        );
        let sequence = |ring: &[u8]| u64::from_le_bytes(*ring[place..].first_chunk().unwrap());
        assert_eq!(sequence(&new), at + 2);
        for length in 0..=ENTRY_BYTES {
            let torn = [&new[..place + length], &old[place + length..]].concat();
            overwrite(&site.ring(), &torn);
            overwrite(&site.record(BOB), &bob);
            // Two an hour for the number: this one, which may be lost with its login, and two more at most.
            let left = (1..4).filter(|n| site.send("bob", 9, NOW + n * SENDS.pause).is_ok()).count();
            let expected = if length == ENTRY_BYTES { 1..=1 } else { 1..=2 };
            assert!(expected.contains(&left), "{at}: {length} bytes, then {left}");
        }
    }
}

/// The key's own seal, to write what an earlier version wrote, or somebody else.
fn seal(site: &Site, place: &[u8], text: &[u8]) -> Vec<u8> {
    let key = fs::read(&site.paths.key).unwrap();
    let cipher = XChaCha20Poly1305::new(&Key::try_from(&key[..]).unwrap());
    let sealed = cipher.encrypt(&XNonce::from([5; 24]), Payload { msg: text, aad: place }).unwrap();
    [&[5; 24][..], &sealed].concat()
}

fn generation(site: &Site, user: &str) -> u64 {
    let sql = "SELECT generation FROM account WHERE name = ?1";
    site.sql().query_row(sql, [user], |row| row.get(0)).unwrap()
}

/// Puts these bytes in place of the factors of alice.
fn write_factors(site: &Site, text: &[u8]) {
    let place = [&b"account"[..], &UID.to_le_bytes(), &generation(site, USER).to_le_bytes(), USER.as_bytes()]
        .concat();
    let sealed = seal(site, &place, &[&[1], text].concat());
    site.sql().execute("UPDATE account SET factors = ?1 WHERE name = 'alice'", [sealed]).unwrap();
}

/// Puts these bytes in place of the state of alice, as much as a version wrote that knew of no sessions.
fn write_state(site: &Site, state: &[u8]) {
    const WRITTEN: usize = 2048;
    let mut text = [&[1], state].concat();
    text.resize(WRITTEN - 24 - 24 - 16, 0);
    let header = [*b"twofa st", 9u64.to_le_bytes(), generation(site, USER).to_le_bytes()].concat();
    let place = [&b"state"[..], &UID.to_le_bytes(), &header].concat();
    let mut record = fs::read(site.record(UID)).unwrap();
    record[..WRITTEN].copy_from_slice(&[&header[..], &seal(site, &place, &text)].concat());
    overwrite(&site.record(UID), &record);
}

/// The state of a version before there were roll-outs, sessions and bypasses: none of them is there, and a login stores
/// what there is now.
#[test]
fn a_state_without_sessions_is_read_and_written_anew() {
    let site = Site::new();
    let account = site.read(USER).unwrap().unwrap().0;
    let device = Device::new(common::address(), Some([1; 32]), &[]).unwrap();
    let spent = [Spent { app: 1, step: 7 }];
    let challenge = Some(([3u8; 32], NOW + 60, 3u8));
    let failures: &[(Source, u8, u64, u8, u64)] = &[];
    let state = (
        (NOW, &spent[..], 0b1u16, failures, 0u16, 0u64),
        (challenge, &[NOW][..], &[(1u8, 5u32, false)][..]),
        &[(&device, NOW, NOW + 3600, None::<[u8; 8]>)][..],
    );
    write_state(&site, &postcard::to_allocvec(&state).unwrap());
    let old = site.read(USER).unwrap().unwrap().1;
    assert_eq!((old.last_step(1), old.recovery_left(3), old.devices(NOW).count()), (Some(7), 2, 1));
    assert_eq!((old.has_grace_begun(), old.observed(), old.bypass(NOW)), (false, (0, 0), None));
    let process = Process { pid: 4711, start: 1, boot: [1; 8] };
    let session = Session { uid: UID, processes: vec![process] };
    let join = Change::Prove { proof: Proof::Session(session), source: home(), typos: 0 };
    assert_eq!(old.apply(&join, &LIMITS, NOW), Err(Conflict::Untrusted));
    let store = Store::open(&site.paths).unwrap();
    store.commit(&account, &Change::Open(vec![process]), &LIMITS, NOW).unwrap();
    store.commit(&account, &join, &LIMITS, NOW).unwrap();
    let sent = Change::Prove { proof: Proof::Sent([3; 32]), source: home(), typos: 0 };
    store.commit(&account, &sent, &LIMITS, NOW).unwrap();
    assert_eq!(site.log_in(7), Err("used".into()));
    assert_eq!(site.log_in(8), Ok(Some(8)));
    assert_eq!(site.read(USER).unwrap().unwrap().1.devices(NOW).count(), 1);
}

/// As much as the version before could write: all lists full, all numbers as long as they can be.
#[test]
fn a_full_state_of_an_earlier_version_is_read() {
    let site = Site::new();
    let spent: Vec<Spent> = (0..8).map(|app| Spent { app, step: u64::MAX }).collect();
    let address = |n: u16| IpAddr::from([0x2001, 0xdb8, n, u16::MAX, 0, 0, 0, 0]);
    let failures: Vec<_> = (0..16)
        .map(|n| (Source::new(Some(address(n))), u8::MAX, u64::MAX - 1, u8::MAX, u64::MAX - 1))
        .collect();
    let counters: Vec<_> = (0..8u8).map(|key| (key, u32::MAX, true)).collect();
    let device = |n: u16| Device::new(address(n), Some([u8::MAX; 32]), &[]).unwrap();
    let devices: Vec<_> = (0..8).map(|n| (device(n), NOW, u64::MAX, Some([u8::MAX; 8]))).collect();
    let state = (
        (NOW, &spent, u16::MAX, &failures, u16::MAX, u64::MAX),
        (Some(([u8::MAX; 32], u64::MAX, u8::MAX)), vec![u64::MAX; 20]),
        (&counters, &devices),
    );
    write_state(&site, &postcard::to_allocvec(&state).unwrap());
    let state = site.read(USER).unwrap().unwrap().1;
    assert_eq!((state.last_step(7), state.is_suspended(7)), (Some(u64::MAX), true));
    assert_eq!((state.devices(NOW).count(), state.has_grace_begun(), state.observed().0), (8, false, 0));
}

/// What a version wrote that knew of no sent codes reads as it was meant: no telephone, no code, no message.
#[test]
fn what_an_earlier_version_wrote_is_read() {
    let site = Site::new();
    let factors = common::factors();
    write_factors(&site, &postcard::to_allocvec(&(&factors.apps, &factors.recovery)).unwrap());
    // Seen, steps, recovery codes, failures, their total and the last.
    let failures = [(home(), 2u8, NOW, 1u8, NOW + 900)];
    let spent = [Spent { app: 1, step: 7 }];
    let state = (NOW, &spent[..], 0b101u16, &failures[..], 3u16, NOW);
    write_state(&site, &postcard::to_allocvec(&state).unwrap());
    let (account, state) = site.read(USER).unwrap().unwrap();
    assert_eq!(account.factors, factors);
    assert_eq!((state.seen, state.last_step(1), state.recovery_left(3)), (NOW, Some(7), 1));
    assert_eq!(state.failures_in_all(NOW), 3);
    assert_eq!(state.lock(home(), &LIMITS, NOW), Some(Lock::Address(NOW + 900)));
    let proven = Change::Prove { proof: Proof::Sent([0; 32]), source: home(), typos: 0 };
    assert_eq!(state.apply(&proven, &LIMITS, NOW + 900), Err(Conflict::Superseded));
    assert_eq!(state.apply(&prove(7), &LIMITS, NOW + 900), Err(Conflict::Used));
    site.send(USER, 9, NOW + 900).unwrap();
    assert_eq!(site.read(USER).unwrap().unwrap().1.last_step(1), Some(7));
}

/// The least there ever was: an account without any factor.
#[test]
fn an_earlier_account_without_factors_is_read() {
    let site = Site::new();
    write_factors(&site, &[0, 0]);
    assert_eq!(site.read(USER).unwrap().unwrap().0.factors, Factors::default());
}

/// Sealed with the right key or not: what is no number reaches no hook.
#[test]
fn a_contact_that_is_none_is_a_broken_account() {
    let phone = |text: &'static str| (Some((text, None::<u64>)), vec![]);
    let mail = |text: &'static str| (None, vec![(text, None::<u64>)]);
    type Contacts = (Option<(&'static str, Option<u64>)>, Vec<(&'static str, Option<u64>)>);
    let table: [(Contacts, bool); 10] = [
        (phone(common::PHONE), true),
        (mail("alice@example.org"), true),
        (phone("+1;id"), false),
        (phone("48600000123"), false),
        (phone("+48 600 000 123"), false),
        (phone("-oProxyCommand=x"), false),
        (phone(""), false),
        (mail("a@b\nBcc: x@y"), false),
        (mail(" alice@example.org"), false),
        (mail("-f@example.org"), false),
    ];
    for ((phone, addresses), good) in table {
        let site = Site::new();
        let (apps, recovery) = (common::factors().apps, common::factors().recovery);
        write_factors(&site, &postcard::to_allocvec(&(apps, recovery, &phone, &addresses)).unwrap());
        let read = site.read(USER);
        assert_eq!(read.is_ok(), good, "{phone:?} {addresses:?}");
        assert!(read.map_or_else(|fault| fault.starts_with("the factors of alice cannot be read"), |_| true));
    }
}

/// A code for nobody touches nobody's record, and neither the ring nor anything of a user.
#[test]
fn a_code_for_nobody_leaves_the_ring_alone() {
    let site = Site::new();
    let before = site.bytes();
    let policy = common::policy(Mode::Enforce);
    for (user, uid) in
        [("nobody-of-this-name", None), ("mallory", Some(2000)), (USER, Some(3000)), (USER, None)]
    {
        let request = common::request_of(user, uid);
        let mut login = LoginStore::new(&site.paths, &policy, &request);
        login.read();
        for _ in 0..20 {
            assert!(matches!(login.commit(&send(), NOW), Event::Committed(_)), "{user}");
        }
        assert!(login.fault().is_none());
    }
    let changed = |(path, bytes): &(PathBuf, Vec<u8>)| !before.contains(&(path.clone(), bytes.clone()));
    let changed: Vec<PathBuf> = site.bytes().into_iter().filter(changed).map(|(path, _)| path).collect();
    assert_eq!(changed, [site.record(u32::MAX)]);
}

/// The log says which limit was met.
#[test]
fn a_login_is_told_which_limit_it_met() {
    let site = Site::new();
    give(&mut site.admin(), USER, common::contacts());
    let policy = common::policy_of(Mode::Enforce, &[twofa::policy::Method::Sms]);
    let request = common::request();
    let mut login = LoginStore::new(&site.paths, &policy, &request);
    login.read();
    for n in 0..u64::from(SENDS.hour) {
        assert!(matches!(login.commit(&send(), NOW + n * SENDS.pause), Event::Committed(_)));
    }
    let time = NOW + 10 * SENDS.pause;
    assert!(matches!(login.commit(&send(), time), Event::Conflict(Conflict::Capped(Cap::User))));
}

/// A message that waits for another one's count waits for a moment.
#[test]
fn a_held_ring_is_waited_for() {
    let site = Site::new();
    let held = File::open(site.ring()).unwrap();
    held.lock().unwrap();
    assert_eq!(site.log_in(7), Ok(Some(7)), "who sends nothing does not wait");
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        site.send(USER, 9, NOW).unwrap();
    });
}
