//! The store as one login needs it: `ports::Store`.

use super::record::Record;
use super::{DECOY, DECOY_UID, Error, NotCommitted, Store};
use crate::account::{Account, Change};
use crate::config::Paths;
use crate::login::Event;
use crate::policy::{Policy, Request};
use crate::ports;

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
    fn is_theirs(&self, account: &Account) -> bool {
        let same = self.request.known.as_ref().is_some_and(|known| known.uid == account.uid);
        same && !self.policy.methods_of(&account.factors).is_empty()
    }

    /// Why the store failed, for the log.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// Who logs in without a factor for the first time gets an account to keep that in: the one thing that a login
    /// adds to the store. It is refused where that cannot be done.
    fn commit_grace(&mut self, now: u64) -> Event {
        let (user, Some(known)) = (&self.request.user, &self.request.known) else {
            return Event::Failed;
        };
        let committed =
            Store::open_to_change(self.paths).map_err(NotCommitted::from).and_then(|mut store| {
                if store.account(user)?.is_none() {
                    // Another login of this user may have been first: what counts is what is there then.
                    let _ = store.add(user, known.uid);
                }
                let found = store.account(user)?.filter(|(account, _)| account.uid == known.uid);
                let (account, _) = found.ok_or_else(|| Error::NoUser(user.clone()))?;
                store.commit(&account, &Change::Grace, &self.policy.limits, now)
            });
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
                let decoy = store.decoy_digits(&self.request.user);
                self.open = Some((store, account.cloned()));
                Event::Account(found.map(Box::new), decoy)
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn commit(&mut self, change: &Change, now: u64) -> Event {
        if *change == Change::Grace {
            return self.commit_grace(now);
        }
        let Some((store, account)) = &self.open else {
            return Event::Failed;
        };
        let committed = match account {
            Some(account) => store.commit(account, change, &self.policy.limits, now),
            None => store.commit_decoy(change, &self.policy.limits, now),
        };
        match committed {
            Ok(state) => Event::Committed(Box::new(state)),
            Err(NotCommitted::Conflict(conflict)) => Event::Conflict(conflict),
            Err(NotCommitted::Failed(fault)) => self.fail(fault),
        }
    }
}
