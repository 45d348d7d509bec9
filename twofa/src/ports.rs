//! What a login needs from outside, as small traits: the module brings PAM and the disk, tests bring scripts.

use crate::account::Change;
use crate::login::{Delivery, Event, Notice, Prompt};
use crate::token::Touch;

/// Accounts and their state.
pub trait Store {
    /// `Event::Account`, or `Event::Failed`.
    fn read(&mut self) -> Event;
    /// `Event::Committed` when the change is on disk, `Event::Conflict`, or `Event::Failed`.
    fn commit(&mut self, change: &Change, now: u64) -> Event;
}

/// The user.
pub trait Conversation {
    /// Says something; whether it arrives changes nothing.
    fn tell(&mut self, notice: &Notice);
    /// `Event::Answer` (or `Event::Pin`, where one is asked for), `Event::NoAnswer` or `Event::Gone`.
    fn ask(&mut self, prompt: &Prompt) -> Event;
}

/// Security keys that are plugged in.
pub trait Keys {
    /// `Event::Touched`, within the time it has.
    fn touch(&mut self, touch: &Touch) -> Event;
}

/// Gateways.
pub trait Courier {
    /// `Event::Delivered` when the gateway took the message, or `Event::Undelivered`.
    fn deliver(&mut self, delivery: &Delivery) -> Event;
}
