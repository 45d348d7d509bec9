//! The store, with a log: why nothing could be read, stored or sent is written down when it happens, as who is at the
//! prompt may leave before the login is over.

use twofa::account::{Change, Conflict, Enrolment};
use twofa::log::{Level, Log, Who};
use twofa::login::Event;
use twofa::ports;
use twofa::store::{LoginStore, NotCommitted};

pub(crate) struct LoggedStore<'a> {
    pub(crate) store: LoginStore<'a>,
    pub(crate) log: &'a Log,
    pub(crate) who: Who<'a>,
}

impl LoggedStore<'_> {
    /// Keeps what the user set up; returns what is kept of it.
    pub(crate) fn enroll(&self, enrolment: &Enrolment, now: u64) -> Option<Enrolment> {
        match self.store.enroll(enrolment, now) {
            Ok(kept) => Some(kept),
            Err(NotCommitted::Conflict(_)) => None,
            Err(NotCommitted::Failed(fault)) => {
                self.log.write(Level::Alert, &format!("store: {fault}. {}", fault.hint()));
                None
            }
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
        if matches!((change, &event), (Change::Suspend(_), Event::Committed(_))) {
            self.log.suspended(&self.who);
        }
        if let (Change::Trust(claim), Event::Committed(_)) = (change, &event) {
            self.log.trusted(claim, &self.who, now);
        }
        self.logged(event)
    }
}
