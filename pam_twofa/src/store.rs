//! The store, with a log: why nothing could be read, stored or sent is written down when it happens, as who is at the
//! prompt may leave before the login is over. For the same reason it is here that users are told of what was stored.

use twofa::account::{Change, Conflict, Enrolment, Proof};
use twofa::config::Config;
use twofa::helper::{self, News};
use twofa::log::{Level, Log, Who};
use twofa::login::Event;
use twofa::message::{Doer, Happening};
use twofa::ports;
use twofa::store::{LoginStore, NotCommitted};

pub(crate) struct LoggedStore<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: LoginStore<'a>,
    pub(crate) log: &'a Log,
    pub(crate) who: Who<'a>,
}

impl LoggedStore<'_> {
    /// Keeps what the user set up; returns what is kept of it.
    pub(crate) fn enroll(&self, enrolment: &Enrolment, now: u64) -> Option<Enrolment> {
        match self.store.enroll(enrolment, now) {
            Ok(kept) => {
                self.tell(Happening::SetUp(Box::new(kept.clone())));
                Some(kept)
            }
            Err(NotCommitted::Conflict(_)) => None,
            Err(NotCommitted::Failed(fault)) => {
                self.log.write(Level::Alert, &format!("store: {fault}. {}", fault.hint()));
                None
            }
        }
    }

    fn committed(&self, change: &Change, now: u64) {
        match change {
            Change::Suspend(_) => self.log.suspended(&self.who),
            Change::Trust(claim) => {
                self.log.trusted(claim, &self.who, now);
                let (device, until) = (claim.device.clone(), now.saturating_add(claim.duration));
                self.tell(Happening::DeviceTrusted { device, until });
            }
            Change::Prove { proof: Proof::Recovery(_), .. } => self.tell(Happening::RecoveryUsed),
            Change::Prove { proof: Proof::Bypass(_), .. } => self.tell(Happening::BypassUsed),
            _ => {}
        }
    }

    /// Tells the user, if the policy wants it. Nobody waits for what comes of it.
    fn tell(&self, happening: Happening) {
        let Config { policy, store, .. } = self.config;
        if !policy.tells(&happening) {
            return;
        }
        let Some(factors) = self.store.factors() else {
            return;
        };
        let event = happening.occasion().name();
        let doer = Doer::Login(self.who.address);
        let news = News { user: self.who.user, happening, doer, factors: &factors };
        if let Err(error) = helper::notify(policy, &store.database, &[news]) {
            self.log.unnoticed(event, &self.who, &format!("{error}. {}", error.hint()));
        }
    }

    fn logged(&self, event: Event) -> Event {
        match &event {
            Event::Failed => {
                if let Some(fault) = self.store.fault() {
                    self.log.write(Level::Alert, &format!("store: {fault}. {}", fault.hint()));
                }
            }
            Event::Conflict(Conflict::Capped(cap)) => self.log.capped(*cap, &self.who),
            _ => {}
        }
        event
    }
}

impl ports::Store for LoggedStore<'_> {
    fn read(&mut self) -> Event {
        let event = self.store.read();
        self.logged(event)
    }

    fn commit(&mut self, change: &Change, now: u64) -> Event {
        let event = self.store.commit(change, now);
        if let Event::Committed(_) = &event {
            self.committed(change, now);
        }
        self.logged(event)
    }
}
