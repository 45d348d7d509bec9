//! A user's telephone and mail in a world: the hook keeps every message, or behaves as bad gateways do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::driver::post;
pub use crate::driver::post::Message;
use crate::world::World;

/// The hooks of [`crate::setup::policy_of`].
const HOOKS: [&str; 2] = ["/etc/twofa/hooks/sms", "/etc/twofa/hooks/email"];
const FOLDER: &str = "/var/lib/mailbox";

/// The text stays in the shell: what it gives to other programs, anybody may see.
const HOOK: &str = r#"#!/bin/sh
set -eu
cd /var/lib/mailbox
text=$(cat)
order() { read -r order code <order; }
order
case $order in
refuse)
    echo "not taken: ${text%% is your*}" >&2
    exit "$code"
    ;;
stubborn) trap '' TERM ;;
esac
printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$TWOFA_KIND" "$TWOFA_TO" "$TWOFA_USER" "$TWOFA_HOST" "$TWOFA_ID" "$text" >>all
while [ "$order" != take ]; do
    sleep 0.05
    order
done
echo "taken: ${text%% is your*}"
"#;

/// Where the messages of one world arrive.
pub struct Mailbox {
    folder: PathBuf,
    read: usize,
}

/// What the gateway shall do from now on.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Take,
    /// Say so on stderr, with the code in it, and exit with this status.
    Refuse(u8),
    /// Take the message, then hang until told otherwise.
    Hang,
    /// The same, and do not mind SIGTERM.
    HangStubbornly,
}

impl Mailbox {
    /// Installs the hooks in `world`, which take everything.
    pub fn new(world: &World) -> Self {
        for hook in HOOKS {
            world.write(hook, HOOK);
            fs::set_permissions(world.path(hook), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        world.run(&["install", "-d", "-m", "700", "-o", "_twofa", FOLDER]).ok();
        let mailbox = Self { folder: world.path(FOLDER), read: 0 };
        mailbox.order(Order::Take);
        mailbox
    }

    pub fn order(&self, order: Order) {
        let line = match order {
            Order::Take => "take 0\n".into(),
            Order::Refuse(code) => format!("refuse {code}\n"),
            Order::Hang => "hang 0\n".into(),
            Order::HangStubbornly => "stubborn 0\n".into(),
        };
        // In one step: a hook that hangs reads it all the time.
        let new = self.folder.join("order.new");
        fs::write(&new, line).and_then(|()| fs::rename(&new, self.folder.join("order"))).expect("an order");
    }

    /// Waits for the next message.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = post::messages(&self.folder).get(self.read) {
                self.read += 1;
                return message.clone();
            }
            assert!(Instant::now() < end, "no message came within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the next message and takes the code out of it.
    #[track_caller]
    pub fn code(&mut self) -> String {
        self.receive().code()
    }

    /// Fails when there is a message that was not read.
    #[track_caller]
    pub fn expect_nothing(&self) {
        let messages = post::messages(&self.folder);
        assert_eq!(messages.len(), self.read, "{messages:?}");
    }
}
