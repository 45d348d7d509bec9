//! Accounts and states on disk. Two places: a SQLite database that only administrators change, and one
//! fixed-size record a user that logins change (`record`). A login reads the first and writes the second.

mod accounts;
mod audit;
mod change;
mod error;
mod login;
mod record;
mod seal;
mod sends;

pub use audit::{Audit, Verified, trail};
pub use change::Changed;
pub use error::{Error, NotCommitted};
pub use login::LoginStore;
pub use record::{RECORD_BYTES, SLOT_BYTES};

use crate::account::{Account, Change, Conflict, Limits, State};
use crate::config::Paths;
use crate::contact::Number;
use crate::system;
use crate::trusted::{self, Readers};
use accounts::Accounts;
use record::{Owner, Record};
use seal::Sealer;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a login of nobody who could be admitted writes, so that it takes as long as any other.
const DECOY_UID: u32 = u32::MAX;
const DECOY: Owner = Owner { uid: DECOY_UID, generation: 0 };

impl Account {
    fn owner(&self) -> Owner {
        Owner { uid: self.uid, generation: self.generation }
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
        let store = Self::open_with(paths, true)?;
        // A store of a version that sent nothing has none. Without it nothing is sent, and all else goes on.
        let _ = sends::create(&store.records);
        Ok(store)
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
        sends::create(&records)?;
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

    /// What a login of `user` meets: an account of this uid by another name is nobody else's to begin anew.
    ///
    /// # Errors
    ///
    /// When it is damaged or missing; no account is `None`.
    pub fn account_at_login(&self, user: &str, uid: Option<u32>) -> Result<Option<(Account, State)>, Error> {
        let by_uid = self.accounts.name(uid.unwrap_or(DECOY_UID))?;
        match (self.account(user)?, by_uid) {
            (None, Some(other)) => self.account(&other),
            (found, _) => Ok(found),
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
        if let Change::Send { number, .. } = change {
            self.count_send(number.as_ref(), account, limits, now)?;
        }
        record.write(&slot, account.generation, &next)?;
        Ok(next)
    }

    /// Counts a message for its number and for the host, before the user's own count is stored: a kill in between
    /// counts one too many and sends none.
    fn count_send(
        &self,
        number: Option<&Number>,
        account: &Account,
        limits: &Limits,
        now: u64,
    ) -> Result<(), NotCommitted> {
        // A number that somebody types in is counted apart: it may be another user's, who needs it to log in.
        let is_own = |number: &Number| account.factors.phone.as_ref().is_some_and(|own| own.to == *number);
        let purpose = |number: &Number| if is_own(number) { "number" } else { "new number" };
        let tag = number.and_then(|to| self.sealer.tag(purpose(to), to.as_str()).first_chunk().copied());
        let counted = sends::count(&self.records, tag, &limits.sends, now)?;
        counted.map_err(NotCommitted::Conflict)
    }

    /// The same number for the same name, and for nobody to guess.
    fn decoy_digits(&self, user: &str) -> u16 {
        let [high, low, ..] = self.sealer.tag("decoy", user);
        u16::from_le_bytes([high, low])
    }

    /// The work of a commit, for nobody.
    fn commit_decoy(&self, change: &Change, limits: &Limits, now: u64) -> Result<State, NotCommitted> {
        let record = Record::lock(&self.records, DECOY_UID, &self.sealer)?;
        self.accounts.generation(DECOY_UID)?;
        let slot = record.read(DECOY.generation)?;
        let next = State::default().apply(change, limits, now);
        record.write(&slot, DECOY.generation, next.as_ref().unwrap_or(&State::default()))?;
        next.map_err(NotCommitted::Conflict)
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
