//! Accounts and states on disk. Two places: a SQLite database that only administrators change, and one
//! fixed-size record a user that logins change (`record`). A login reads the first and writes the second.

mod accounts;
mod record;
mod seal;

pub use record::{RECORD_BYTES, SLOT_BYTES};

use crate::account::{Account, Change, Conflict, Factors, Limits, State};
use crate::config::Paths;
use crate::login::Event;
use crate::policy::Request;
use crate::trusted::{self, Readers};
use crate::{ports, system};
use accounts::{Accounts, Edit};
use record::{Owner, Record};
use seal::Sealer;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a login of nobody who could be admitted writes, so that it takes as long as any other.
const DECOY_UID: u32 = u32::MAX;
const DECOY: Owner = Owner { uid: DECOY_UID, generation: 0 };

/// Why the store cannot serve.
#[derive(Debug)]
pub enum Error {
    File(trusted::Error),
    Database(rusqlite::Error),
    /// There is no store yet.
    NoDatabase(PathBuf),
    /// Not a database of ours, or damaged.
    Corrupt(PathBuf, String),
    /// A newer twofa wrote it: its schema, and the newest one known here.
    Newer(PathBuf, i64, i64),
    NoKey(PathBuf),
    /// 32 bytes, not all zero, are a key.
    BadKey(PathBuf),
    NoRecord(PathBuf),
    BrokenRecord(PathBuf),
    /// This user's factors are sealed with another key, or damaged.
    BrokenAccount(String),
    /// Another login of this user holds the record for seconds.
    Busy(PathBuf),
    NoRandom,
    TooLarge,
    Exists {
        user: String,
    },
    UidTaken {
        uid: u32,
        user: String,
    },
    NoUser(String),
    /// The uid is -1, which chown(2) and others take for none.
    NoUid(String),
}

impl Error {
    /// What an administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::NoDatabase(_) | Self::NoKey(_) => {
                "Run `twofa-admin init`, or restore /etc/twofa and /var/lib/twofa from a backup.".into()
            }
            Self::BadKey(_) => "Restore the key from a backup: without it no factor can be read.".into(),
            Self::Corrupt(..) => "Restore it from a backup; nothing was changed.".into(),
            Self::Newer(..) => "Install the newer twofa again; nothing was changed.".into(),
            Self::NoRecord(path) | Self::BrokenRecord(path) => format!(
                "Find the user with `getent passwd {}`, then run `twofa-admin user repair NAME`.",
                path.file_name().unwrap_or_default().display()
            ),
            Self::BrokenAccount(user) => {
                format!("Restore the store, or run `twofa-admin user reset {user}` and enroll again.")
            }
            Self::Busy(_) | Self::Database(_) => {
                "Try again; if it stays, look for what holds it open.".into()
            }
            Self::NoRandom | Self::TooLarge => "Please report this as a bug.".into(),
            Self::Exists { user } => format!("See `twofa-admin user show {user}`."),
            Self::UidTaken { user, .. } => {
                format!("One uid has one account. Remove it with `twofa-admin user remove {user}`.")
            }
            Self::NoUid(_) => "Give the user a uid below 4294967295.".into(),
            Self::NoUser(user) => format!("Add the user with `twofa-admin user add {user}`."),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Database(error) => write!(f, "the store cannot be used: {error}"),
            Self::NoDatabase(path) => write!(f, "there is no store at {}", path.display()),
            Self::Corrupt(path, what) => write!(f, "{} is damaged: {what}", path.display()),
            Self::Newer(path, found, known) => write!(
                f,
                "{} was written by a newer twofa (schema {found}, this one knows {known})",
                path.display()
            ),
            Self::NoKey(path) => write!(f, "there is no store key at {}", path.display()),
            Self::BadKey(path) => write!(f, "{} is not a store key", path.display()),
            Self::NoRecord(path) => write!(f, "the state record {} is missing", path.display()),
            Self::BrokenRecord(path) => write!(f, "the state record {} is damaged", path.display()),
            Self::BrokenAccount(user) => write!(f, "the factors of {user} cannot be read"),
            Self::Busy(path) => write!(f, "{} is held by another process", path.display()),
            Self::NoRandom => write!(f, "the kernel gives no random numbers"),
            Self::TooLarge => write!(f, "a record does not fit its place"),
            Self::Exists { user } => write!(f, "{user} has an account already"),
            Self::UidTaken { uid, user } => {
                write!(f, "uid {uid} has an account already, as {user}")
            }
            Self::NoUid(user) => write!(f, "{user} has the uid -1, which is none"),
            Self::NoUser(user) => write!(f, "{user} has no account"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl From<trusted::Error> for Error {
    fn from(error: trusted::Error) -> Self {
        Self::File(error)
    }
}

impl Account {
    fn owner(&self) -> Owner {
        Owner { uid: self.uid, generation: self.generation }
    }
}

/// A change that was not made.
#[derive(Debug)]
pub enum NotCommitted {
    Conflict(Conflict),
    Failed(Error),
}

impl From<Error> for NotCommitted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An open store.
pub struct Store {
    accounts: Accounts,
    sealer: Sealer,
    records: PathBuf,
}

impl Store {
    /// Opens the store for a login: accounts cannot be changed through it.
    ///
    /// # Errors
    ///
    /// When the key or the database is missing, unsafe, damaged or newer. Nothing is written then.
    pub fn open(paths: &Paths) -> Result<Self, Error> {
        Self::open_with(paths, false)
    }

    /// Opens the store for an administrator.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_to_change(paths: &Paths) -> Result<Self, Error> {
        Self::open_with(paths, true)
    }

    fn open_with(paths: &Paths, change: bool) -> Result<Self, Error> {
        let sealer = read_key(&paths.key)?;
        let accounts = Accounts::open(&paths.database, change)?;
        Ok(Self { accounts, sealer, records: records(paths) })
    }

    /// Makes what is missing of a store: key, database, records' folder. What is there stays.
    ///
    /// # Errors
    ///
    /// When a part is there but cannot be used, or cannot be made.
    pub fn create(paths: &Paths) -> Result<Self, Error> {
        if !paths.key.exists() {
            if paths.database.exists() {
                // A new key beside an old store would lock everybody out for good.
                return Err(Error::NoKey(paths.key.clone()));
            }
            let key = Zeroizing::new(system::random::<{ seal::KEY_BYTES }>().map_err(|_| Error::NoRandom)?);
            trusted::create(&paths.key, &key[..], 0o400)?;
        }
        let sealer = read_key(&paths.key)?;
        let records = records(paths);
        make_folder(&records)?;
        let decoy =
            Record::open(&records, DECOY_UID, &sealer).and_then(|record| record.read(DECOY.generation));
        if let Err(Error::NoRecord(path) | Error::BrokenRecord(path)) = decoy {
            trusted::replace(&path, &record::new(DECOY, &State::default(), &sealer)?, 0o600)?;
        }
        if !paths.database.exists() {
            Accounts::create(&paths.database)?;
        }
        Self::open_to_change(paths)
    }

    /// The account of `user` and its state.
    ///
    /// # Errors
    ///
    /// When either is damaged or missing; no account is `None`.
    pub fn account(&self, user: &str) -> Result<Option<(Account, State)>, Error> {
        match self.accounts.find(user, &self.sealer)? {
            Some(account) => self.with_state(account),
            None => Ok(None),
        }
    }

    /// An account just read, and its state: read again, both, if they changed in between.
    fn with_state(&self, account: Account) -> Result<Option<(Account, State)>, Error> {
        let unlocked = Record::open(&self.records, account.uid, &self.sealer)
            .and_then(|record| record.read(account.generation));
        match unlocked {
            Ok(slot) => return Ok(Some((account, slot.state))),
            Err(Error::BrokenRecord(_) | Error::NoRecord(_)) => {}
            Err(error) => return Err(error),
        }
        // An administrator's change, or two logins that overwrote both slots while they were read. Under the
        // lock neither happens.
        let held = Record::lock(&self.records, account.uid, &self.sealer);
        let Some(account) = self.accounts.find(&account.user, &self.sealer)? else {
            return Ok(None);
        };
        let slot = held?.read(account.generation)?;
        Ok(Some((account, slot.state)))
    }

    /// Makes one change of a login, or none: on disk when this returns the new state.
    ///
    /// # Errors
    ///
    /// `Conflict` when the change is refused, `Failed` when it could not be judged or stored.
    pub fn commit(
        &self,
        account: &Account,
        change: &Change,
        limits: &Limits,
        now: u64,
    ) -> Result<State, NotCommitted> {
        let record = Record::lock(&self.records, account.uid, &self.sealer);
        // Under the lock that an administrator's change holds too: the answer stays true until the end.
        if self.accounts.generation(account.uid)? != Some(account.generation) {
            return Err(NotCommitted::Conflict(Conflict::Changed));
        }
        let record = record?;
        let slot = record.read(account.generation)?;
        let next = slot.state.apply(change, limits, now).map_err(NotCommitted::Conflict)?;
        record.write(&slot, account.generation, &next)?;
        Ok(next)
    }

    /// The work of a commit, for nobody.
    fn commit_decoy(&self, change: &Change, limits: &Limits, now: u64) -> Result<State, Error> {
        let record = Record::lock(&self.records, DECOY_UID, &self.sealer)?;
        self.accounts.generation(DECOY_UID)?;
        let slot = record.read(DECOY.generation)?;
        let next = State::default().apply(change, limits, now).unwrap_or_default();
        record.write(&slot, DECOY.generation, &next)?;
        Ok(next)
    }
}

/// What administrators do.
impl Store {
    /// Gives `user` an account without factors.
    ///
    /// # Errors
    ///
    /// When the name or the uid has one, or the store cannot take it.
    pub fn add(&mut self, user: &str, uid: u32) -> Result<(), Error> {
        self.insert([(user, uid, Factors::default())].into_iter(), false).map(drop)
    }

    /// Adds users with their factors, all or none; returns how many.
    ///
    /// # Errors
    ///
    /// As [`Store::add`], for the first user that cannot be added.
    pub fn add_all<'u>(
        &mut self,
        users: impl Iterator<Item = (&'u str, u32, Factors)>,
    ) -> Result<usize, Error> {
        self.insert(users, true)
    }

    fn insert<'u>(
        &mut self,
        users: impl Iterator<Item = (&'u str, u32, Factors)>,
        many: bool,
    ) -> Result<usize, Error> {
        let replace = if many { trusted::replace_unsynced } else { trusted::replace };
        let edit = self.accounts.begin()?;
        let mut added = 0;
        for (user, uid, factors) in users {
            if uid == DECOY_UID {
                return Err(Error::NoUid(user.into()));
            }
            edit.refuse_taken(user, uid)?;
            let account = Account { user: user.into(), uid, generation: new_generation()?, factors };
            // No account has this uid: a file of this name is what a killed predecessor left.
            let record = record::new(account.owner(), &State::default(), &self.sealer)?;
            replace(&record::path(&self.records, uid), &record, 0o600)?;
            edit.insert(&account, &self.sealer)?;
            added += 1;
        }
        if many {
            trusted::sync_file_system(&self.records)?;
        }
        edit.commit()?;
        Ok(added)
    }

    /// Changes factors and state of one user together: afterwards, or after a kill at any point, both are
    /// old or both are new. Logins of this user wait meanwhile, nobody else's do.
    ///
    /// # Errors
    ///
    /// When there is no such user or the store cannot take it; then nothing changed.
    pub fn change<T, E: From<Error>>(
        &mut self,
        user: &str,
        change: impl FnOnce(&mut Account, &mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let found = self.accounts.find(user, &self.sealer)?;
        let uid = found.ok_or_else(|| Error::NoUser(user.into()))?.uid;
        let record = Record::lock(&self.records, uid, &self.sealer)?;
        let edit = self.accounts.begin()?;
        // Read again: another administrator may have changed it before we held the lock.
        let found = edit.find(user, &self.sealer)?.filter(|account| account.uid == uid);
        let mut account = found.ok_or_else(|| Error::NoUser(user.into()))?;
        let slot = record.read(account.generation)?;
        let mut state = slot.state.clone();
        let done = change(&mut account, &mut state)?;
        account.generation = new_generation()?;
        record.write(&slot, account.generation, &state)?;
        edit.update(&account, &self.sealer)?;
        edit.commit()?;
        Ok(done)
    }

    /// Forgets all factors and the state of one user, also when they can no longer be read.
    ///
    /// # Errors
    ///
    /// When there is no such user or the store cannot take it; then nothing changed.
    pub fn reset(&mut self, user: &str) -> Result<(), Error> {
        self.renew(user, |_, _| Ok((Factors::default(), State::default())))
    }

    /// Gives one user a new record in place of a missing or damaged one. The apps stay; as nobody knows
    /// which codes were used, all up to now count as used, and the recovery codes are void.
    ///
    /// # Errors
    ///
    /// When there is no such user or the store cannot take it; then nothing changed.
    pub fn repair(&mut self, user: &str, now: u64) -> Result<(), Error> {
        self.renew(user, |edit, sealer| {
            let account = edit.find(user, sealer)?.ok_or_else(|| Error::NoUser(user.into()))?;
            let mut state = State::default();
            for app in &account.factors.apps {
                // Two steps ahead: the widest skew there is.
                state.set_last_step(app.id, now / u64::from(app.shape.step) + 2);
            }
            Ok((Factors { recovery: None, ..account.factors }, state))
        })
    }

    fn renew(
        &mut self,
        user: &str,
        make: impl FnOnce(&Edit<'_>, &Sealer) -> Result<(Factors, State), Error>,
    ) -> Result<(), Error> {
        let uid = self.accounts.uid(user)?.ok_or_else(|| Error::NoUser(user.into()))?;
        // Logins of this user wait; a record that is not there is held by none.
        let held = match Record::lock(&self.records, uid, &self.sealer) {
            Err(Error::NoRecord(_)) => None,
            held => Some(held?),
        };
        let edit = self.accounts.begin()?;
        let before = edit.generation_of(user, uid)?;
        let (factors, mut state) = make(&edit, &self.sealer)?;
        let account = Account { user: user.into(), uid, generation: new_generation()?, factors };
        match held.as_ref().map(|record| (record, record.read(before))) {
            Some((record, Ok(slot))) => {
                state.seen = slot.state.seen;
                record.write(&slot, account.generation, &state)?;
            }
            Some((_, Err(Error::BrokenRecord(_)))) | None => {
                let record = record::new(account.owner(), &state, &self.sealer)?;
                trusted::replace(&record::path(&self.records, uid), &record, 0o600)?;
            }
            Some((_, Err(error))) => return Err(error),
        }
        edit.update(&account, &self.sealer)?;
        edit.commit()
    }

    /// Removes the account of `user`.
    ///
    /// # Errors
    ///
    /// When there is none, or the store cannot take it.
    pub fn remove(&mut self, user: &str) -> Result<(), Error> {
        let uid = self.accounts.uid(user)?.ok_or_else(|| Error::NoUser(user.into()))?;
        let held = Record::lock(&self.records, uid, &self.sealer);
        let edit = self.accounts.begin()?;
        edit.generation_of(user, uid)?;
        edit.delete(uid)?;
        edit.commit()?;
        // Without an account it means nothing, and is replaced if the uid gets one again.
        let path = record::path(&self.records, uid);
        if std::fs::remove_file(&path).is_ok() {
            trusted::sync_folder(&path)?;
        }
        drop(held);
        Ok(())
    }

    /// Calls `visit` with every account, by uid; one that cannot be read comes as an error.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn for_each(&self, mut visit: impl FnMut(Result<(Account, State), Error>)) -> Result<(), Error> {
        self.accounts.for_each(&self.sealer, |account| {
            visit(account.and_then(|account| {
                let user = account.user.clone();
                self.with_state(account)?.ok_or(Error::NoUser(user))
            }));
        })
    }

    /// Checks the database for damage.
    ///
    /// # Errors
    ///
    /// What is damaged.
    pub fn check(&self) -> Result<(), Error> {
        self.accounts.check()
    }
}

/// A number that no account ever had: 63 random bits, as SQLite's integers have a sign.
fn new_generation() -> Result<u64, Error> {
    let random = system::random::<8>().map_err(|_| Error::NoRandom)?;
    Ok(u64::from_le_bytes(random) >> 1)
}

fn read_key(path: &Path) -> Result<Sealer, Error> {
    let key = trusted::read(path, Readers::Owner, 4096).map_err(|error| match error {
        error if error.is_missing() => Error::NoKey(path.into()),
        error => Error::File(error),
    })?;
    let key = Zeroizing::new(key);
    Sealer::new(&key).ok_or_else(|| Error::BadKey(path.into()))
}

/// The records are beside the database.
fn records(paths: &Paths) -> PathBuf {
    paths.database.with_file_name("state")
}

fn make_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| trusted::Error::Io(path.into(), error))?;
    Ok(trusted::sync_folder(path)?)
}

/// The store as one login sees it: it opens when the login first needs it.
pub struct LoginStore<'a> {
    paths: &'a Paths,
    limits: &'a Limits,
    request: &'a Request,
    open: Option<(Store, Option<Account>)>,
    fault: Option<Error>,
}

impl<'a> LoginStore<'a> {
    pub fn new(paths: &'a Paths, limits: &'a Limits, request: &'a Request) -> Self {
        Self { paths, limits, request, open: None, fault: None }
    }

    /// Whether what this login does is this account's: else it is nobody's, and charges nobody.
    fn is_theirs(&self, account: &Account) -> bool {
        let same = self.request.known.as_ref().is_some_and(|known| known.uid == account.uid);
        same && account.factors.can_answer()
    }

    /// Why the store failed, for the log.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    fn fail(&mut self, fault: Error) -> Event {
        self.fault = Some(fault);
        Event::Failed
    }
}

impl ports::Store for LoginStore<'_> {
    fn read(&mut self) -> Event {
        let read = Store::open(self.paths).and_then(|store| {
            let found = store.account(&self.request.user)?;
            if found.is_none() {
                // The work of reading somebody's state, so that the time to the prompt tells nothing.
                let _ = Record::open(&store.records, DECOY_UID, &store.sealer)?.read(DECOY.generation);
            }
            Ok((store, found))
        });
        match read {
            Ok((store, found)) => {
                let account =
                    found.as_ref().map(|(account, _)| account).filter(|account| self.is_theirs(account));
                self.open = Some((store, account.cloned()));
                Event::Account(found.map(Box::new))
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn commit(&mut self, change: &Change, now: u64) -> Event {
        let Some((store, account)) = &self.open else {
            return Event::Failed;
        };
        let committed = match account {
            Some(account) => store.commit(account, change, self.limits, now),
            None => store.commit_decoy(change, self.limits, now).map_err(NotCommitted::Failed),
        };
        match committed {
            Ok(state) => Event::Committed(Box::new(state)),
            Err(NotCommitted::Conflict(conflict)) => Event::Conflict(conflict),
            Err(NotCommitted::Failed(fault)) => self.fail(fault),
        }
    }
}
