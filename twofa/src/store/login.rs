//! The store as one login needs it: `ports::Store`.

use super::record::{Record, refuse_beyond_limit};
use super::{DECOY, DECOY_UID, Error, NotCommitted, Store};
use crate::account::{Account, Change, Conflict, Enrolment, Factors, Proof, State};
use crate::config::Paths;
use crate::login::Event;
use crate::policy::{Policy, Request};
use crate::{ports, system, trusted};

/// By how much the database grows at most when one account is added.
const ROOM: u64 = 1024 * 1024;

/// The store as one login sees it: it opens when the login first needs it.
pub struct LoginStore<'a> {
    paths: &'a Paths,
    policy: &'a Policy,
    request: &'a Request,
    open: Option<(Store, Option<Account>)>,
    fault: Option<Error>,
}

impl<'a> LoginStore<'a> {
    pub fn new(paths: &'a Paths, policy: &'a Policy, request: &'a Request) -> Self {
        Self { paths, policy, request, open: None, fault: None }
    }

    /// Whether what this login does is this account's: else it is nobody's, and charges nobody.
    fn is_theirs(&self, account: &Account, state: &State) -> bool {
        let same = self.request.known.as_ref().is_some_and(|known| known.uid == account.uid);
        let can_prove =
            || !self.policy.methods_of(&account.factors).is_empty() || state.bypass(system::now()).is_some();
        same && account.user == self.request.user && can_prove()
    }

    /// Why the store failed, for the log.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// What the user has whose login this is, as far as it can be read.
    pub fn factors(&self) -> Option<Factors> {
        match &self.open {
            Some((_, account)) => account.as_ref().map(|account| account.factors.clone()),
            None => {
                let (account, state) = Store::open(self.paths).ok()?.account(&self.request.user).ok()??;
                self.is_theirs(&account, &state).then_some(account.factors)
            }
        }
    }

    /// Who logs in without a factor, or with codes that need no doing of an administrator's, gets an account to keep
    /// that in: the one thing that a login adds to the store.
    fn commit_to_own(&mut self, change: &Change, now: u64) -> Result<State, NotCommitted> {
        let (user, Some(known)) = (&self.request.user, &self.request.known) else {
            return Err(Error::NoUser(self.request.user.clone()).into());
        };
        let mut store = Store::open(self.paths)?;
        if store.account(user)?.is_none() {
            self.refuse_small_files()?;
            // Another login of this user may have been first: what counts is what is there then.
            let _ = Store::open_to_change(self.paths)?.add(user, known.uid);
            store = Store::open(self.paths)?;
        }
        let found = store.account(user)?.filter(|(account, _)| account.uid == known.uid);
        let (account, _) = found.ok_or_else(|| Error::NoUser(user.clone()))?;
        let state = store.commit(&account, change, &self.policy.limits, now)?;
        self.open = Some((store, Some(account)));
        Ok(state)
    }

    /// The session is of the user whose login it was, whoever that is to become by it.
    fn commit_to_session(&self, change: &Change, uid: u32, now: u64) -> Result<State, NotCommitted> {
        let store = Store::open(self.paths)?;
        let found = store.accounts.name(uid)?.map(|user| store.account(&user)).transpose()?.flatten();
        let (account, _) = found.ok_or(Conflict::Untrusted)?;
        store.commit(&account, change, &self.policy.limits, now)
    }

    /// Keeps what the user set up in this login, which is through now, and returns what was kept.
    ///
    /// # Errors
    ///
    /// When nothing was.
    pub fn enroll(&self, enrolment: &Enrolment, now: u64) -> Result<Enrolment, NotCommitted> {
        let (user, Some(known)) = (&self.request.user, &self.request.known) else {
            return Err(Error::NoUser(self.request.user.clone()).into());
        };
        self.refuse_small_files()?;
        let mut store = Store::open_to_change(self.paths)?;
        if store.account(user)?.is_none() {
            let _ = store.add(user, known.uid);
        }
        store.change(user, |account, state| {
            let has_factor = !self.policy.methods_of(&account.factors).is_empty();
            if account.uid != known.uid || has_factor {
                return Err(Conflict::Changed.into());
            }
            Ok::<_, NotCommitted>(enrolment.keep(account, state, &self.policy.limits, now)?)
        })
    }

    /// Beyond the caller's limit the kernel would kill it, and at su it is a user's own limit.
    fn refuse_small_files(&self) -> Result<(), Error> {
        let io = |error| Error::File(trusted::Error::Io(self.paths.database.clone(), error));
        let length = std::fs::metadata(&self.paths.database).map_err(io)?.len();
        refuse_beyond_limit(length.saturating_add(ROOM)).map_err(io)
    }

    fn event(&mut self, committed: Result<State, NotCommitted>) -> Event {
        match committed {
            Ok(state) => Event::Committed(Box::new(state)),
            Err(NotCommitted::Conflict(conflict)) => Event::Conflict(conflict),
            Err(NotCommitted::Failed(fault)) => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: Error) -> Event {
        self.fault = Some(fault);
        Event::Failed
    }
}

impl ports::Store for LoginStore<'_> {
    fn read(&mut self) -> Event {
        let read = Store::open(self.paths).and_then(|store| {
            let uid = self.request.known.as_ref().map(|known| known.uid);
            let found = store.account_at_login(&self.request.user, uid)?;
            if found.is_none() {
                // The work of reading somebody's state, so that the time to the prompt tells nothing.
                let _ = Record::open(&store.records, DECOY_UID, &store.sealer)?.read(DECOY.generation);
            }
            Ok((store, found))
        });
        match read {
            Ok((store, found)) => {
                let theirs = found.as_ref().filter(|(account, state)| self.is_theirs(account, state));
                let decoy = store.decoy_digits(&self.request.user);
                self.open = Some((store, theirs.map(|(account, _)| account.clone())));
                Event::Account(found.map(Box::new), decoy)
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn commit(&mut self, change: &Change, now: u64) -> Event {
        let committed = match (change, &self.open) {
            (Change::Grace | Change::Register | Change::Observe, _) => self.commit_to_own(change, now),
            (Change::Prove { proof: Proof::Session(session), .. }, _) => {
                self.commit_to_session(change, session.uid, now)
            }
            (_, Some((store, Some(account)))) => store.commit(account, change, &self.policy.limits, now),
            (_, Some((store, None))) => store.commit_decoy(change, &self.policy.limits, now),
            (_, None) => return Event::Failed,
        };
        self.event(committed)
    }
}
