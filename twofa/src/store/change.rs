//! What administrators change: factors and state of a user together, whatever happens in between.

use super::accounts::Edit;
use super::record::{self, Record};
use super::seal::Sealer;
use super::{DECOY_UID, Error, Store, new_generation};
use crate::account::{Account, Factors, State};
use crate::system;
use crate::trusted;
use std::path::Path;

/// What a command has open besides records.
const OTHER_FILES: u64 = 64;

/// A user of [`Store::change_all`].
pub struct Changed<'u> {
    pub user: &'u str,
    pub uid: u32,
    /// The generation that the change was thought out for; no account yet is `None`.
    pub seen: Option<u64>,
}

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
        let before = account.factors.clone();
        let done = change(&mut account, &mut state)?;
        state.follow(&before, &account.factors);
        account.generation = new_generation()?;
        record.write(&slot, account.generation, &state)?;
        edit.update(&account, &self.sealer)?;
        edit.commit()?;
        Ok(done)
    }

    /// Changes factors and state of many users, of whom some may have no account yet: all or none, whatever happens in
    /// between. `change` is called once for each, in order, with its place.
    ///
    /// It is the commit of the database that counts: until then each record still has the slot that logins go by.
    /// Logins of these users wait meanwhile, as they could overwrite the other one.
    ///
    /// # Errors
    ///
    /// When an account is not the one that was seen, or the store cannot take it; then nothing changed.
    pub fn change_all<E: From<Error>>(
        &mut self,
        users: &[Changed<'_>],
        mut change: impl FnMut(usize, &mut Account, &mut State) -> Result<(), E>,
    ) -> Result<(), E> {
        let old = users.iter().filter(|changed| changed.seen.is_some()).count() as u64;
        system::allow_open_files(old + OTHER_FILES).map_err(Error::TooManyFiles)?;
        let hold = |changed: &Changed<'_>| match changed.seen {
            Some(_) => Record::lock(&self.records, changed.uid, &self.sealer).map(Some),
            None => Ok(None),
        };
        let held = users.iter().map(hold).collect::<Result<Vec<_>, Error>>()?;
        let edit = self.accounts.begin()?;
        for ((place, changed), record) in users.iter().enumerate().zip(&held) {
            let user = changed.user;
            let Some(record) = record else {
                insert(&edit, &self.records, &self.sealer, changed, |account, state| {
                    change(place, account, state)
                })?;
                continue;
            };
            let found = edit.find(user, &self.sealer)?;
            let same =
                |account: &Account| account.uid == changed.uid && Some(account.generation) == changed.seen;
            let mut account = found.filter(same).ok_or_else(|| Error::Changed(user.into()))?;
            let slot = record.read(account.generation)?;
            let (mut state, before) = (slot.state.clone(), account.factors.clone());
            change(place, &mut account, &mut state)?;
            state.follow(&before, &account.factors);
            account.generation = new_generation()?;
            record.write_unsynced(&slot, account.generation, &state)?;
            edit.update(&account, &self.sealer)?;
        }
        trusted::sync_file_system(&self.records).map_err(Error::from)?;
        Ok(edit.commit()?)
    }

    /// Forgets what a user proves a login with, and the state, also when they can no longer be read. The number and
    /// addresses are who the user is, and stay if they can be read.
    ///
    /// # Errors
    ///
    /// When there is no such user or the store cannot take it; then nothing changed.
    pub fn reset(&mut self, user: &str) -> Result<(), Error> {
        self.renew(user, |edit, sealer| {
            let mut state = State::default();
            let before = match edit.find(user, sealer) {
                Ok(Some(account)) => account.factors,
                Ok(None) | Err(Error::BrokenAccount(_)) => {
                    state.presume_factor();
                    Factors::default()
                }
                Err(error) => return Err(error),
            };
            let Factors { phone, addresses, .. } = before.clone();
            let after = Factors { phone, addresses, ..Factors::default() };
            state.note_factors(&before, &after);
            Ok((after, state))
        })
    }

    /// Gives one user a new record in place of a missing or damaged one. The apps stay; as nobody knows
    /// which codes were used, all up to now count as used, and the recovery codes are void. So are keys with a
    /// counter: what it stood at, and whether it ever went back, nobody knows either.
    ///
    /// # Errors
    ///
    /// When there is no such user or the store cannot take it; then nothing changed.
    pub fn repair(&mut self, user: &str, now: u64) -> Result<(), Error> {
        self.renew(user, |edit, sealer| {
            let account = edit.find(user, sealer)?.ok_or_else(|| Error::NoUser(user.into()))?;
            let mut state = State::default();
            state.presume_factor();
            for app in &account.factors.apps {
                // Two steps ahead: the widest skew there is.
                state.set_last_step(app.id, now / u64::from(app.shape.step) + 2);
            }
            Ok((Factors { recovery: None, keys: Vec::new(), ..account.factors }, state))
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
                state.inherit(&slot.state);
                record.write(&slot, account.generation, &state)?;
            }
            Some((_, Err(Error::BrokenRecord(_)))) | None => {
                // Nobody knows, and nobody is let in for that.
                state.presume_factor();
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

    /// The user whose account has this uid.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn name(&self, uid: u32) -> Result<Option<String>, Error> {
        self.accounts.name(uid)
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

/// Adds a user, with what `change` makes of an empty account.
fn insert<E: From<Error>>(
    edit: &Edit<'_>,
    records: &Path,
    sealer: &Sealer,
    new: &Changed<'_>,
    change: impl FnOnce(&mut Account, &mut State) -> Result<(), E>,
) -> Result<(), E> {
    let &Changed { user, uid, .. } = new;
    if uid == DECOY_UID {
        return Err(Error::NoUid(user.into()).into());
    }
    edit.refuse_taken(user, uid)?;
    let mut account =
        Account { user: user.into(), uid, generation: new_generation()?, factors: Factors::default() };
    let mut state = State::default();
    change(&mut account, &mut state)?;
    // No account has this uid: a file of this name is what a killed predecessor left.
    let bytes = record::new(account.owner(), &state, sealer)?;
    trusted::replace_unsynced(&record::path(records, uid), &bytes, 0o600).map_err(Error::from)?;
    Ok(edit.insert(&account, sealer)?)
}
