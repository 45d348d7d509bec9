//! Security keys that are plugged into this host: twofa-helper asks them, and checks what they sign.

use twofa::helper;
use twofa::log::{Log, Who};
use twofa::login::Event;
use twofa::policy::Policy;
use twofa::ports;
use twofa::token::{Touch, Touched};

pub(crate) struct PluggedKeys<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) log: &'a Log,
    pub(crate) who: Who<'a>,
}

impl ports::Keys for PluggedKeys<'_> {
    fn touch(&mut self, touch: &Touch) -> Event {
        let touched = helper::touch(&self.policy.helper, touch)
            .unwrap_or_else(|error| Touched::Failed(format!("{error}. {}", error.hint())));
        self.log.untouched(&touched, &self.who);
        Event::Touched(touched)
    }
}
