//! Codes on their way: the message is handed to twofa-helper, which runs the policy's hook.

use twofa::helper::{self, Job, Kind, Outcome};
use twofa::log::{Log, Who};
use twofa::login::{Delivery, Event};
use twofa::policy::{Policy, Request};
use twofa::ports;

pub(crate) struct HookCourier<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) request: &'a Request,
    pub(crate) log: &'a Log,
    pub(crate) who: Who<'a>,
}

impl ports::Courier for HookCourier<'_> {
    fn deliver(&mut self, delivery: &Delivery) -> Event {
        let Some(channel) = self.policy.channel(delivery.method) else {
            return Event::Undelivered;
        };
        let kind = if delivery.enrolls { Kind::Enroll } else { Kind::Login };
        let job = Job::new(channel, kind, delivery, self.request);
        let (why, complaint) = match helper::deliver(&self.policy.helper, &job, delivery.code.expose()) {
            Ok(report) => match report.outcome {
                Outcome::Sent => {
                    self.log.delivered(delivery, &self.who, &report.answer);
                    return Event::Delivered;
                }
                outcome => (outcome.to_string(), report.complaint),
            },
            Err(error) => (format!("{error}. {}", error.hint()), String::new()),
        };
        self.log.undelivered(delivery, &self.who, &why, &complaint);
        Event::Undelivered
    }
}
