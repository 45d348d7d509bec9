//! Carries a login from its begin to its verdict. It knows no rule.

use crate::login::{Event, Login, Step, Verdict};
use crate::ports::{Conversation, Courier, Keys, Store};

/// Does each step and feeds back what came of it.
pub fn run(
    mut login: Login<'_>,
    store: &mut dyn Store,
    talk: &mut dyn Conversation,
    courier: &mut dyn Courier,
    keys: &mut dyn Keys,
    clock: &dyn Fn() -> u64,
) -> Verdict {
    let mut event = Event::Begin;
    loop {
        event = match login.next(event, clock()) {
            Step::Read => store.read(),
            Step::Ask { notice, prompt } => {
                notice.iter().for_each(|notice| talk.tell(notice));
                talk.ask(&prompt)
            }
            Step::Commit(change) => store.commit(&change, clock()),
            Step::Deliver(delivery) => courier.deliver(&delivery),
            Step::Touch { notice, touch } => {
                notice.iter().for_each(|notice| talk.tell(notice));
                keys.touch(&touch)
            }
            Step::Finish { notice, verdict } => {
                notice.iter().for_each(|notice| talk.tell(notice));
                return verdict;
            }
        };
    }
}
