//! What is sent: a hook that keeps each message in a mailbox, and the reader of what it kept.

use super::plan::Plan;
use crate::PATIENCE;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// One message, as the hook got it.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: String,
    pub to: String,
    pub user: String,
    pub host: String,
    pub id: String,
    pub text: String,
}

/// The messages in a mailbox, in the order in which they came.
#[must_use]
pub fn messages(mail: &Path) -> Vec<Message> {
    let text = fs::read_to_string(mail.join("all")).unwrap_or_default();
    text.lines().map(Message::parse).collect()
}

impl Message {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, to, user, host, id, text] = fields[..] else {
            panic!("not a message: {line:?}");
        };
        let [kind, to, user, host, id, text] = [kind, to, user, host, id, text].map(str::to_owned);
        Self { kind, to, user, host, id, text }
    }

    /// The first six digits of the text.
    #[must_use]
    pub fn code(&self) -> String {
        let groups = self.text.split(|c: char| !c.is_ascii_digit());
        let code = groups.into_iter().find(|digits| digits.len() == 6);
        code.unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }
}

/// The script of a gateway that takes every message. A line is written at once, so that two at a time do not mix;
/// it then waits while there is a file `hold`.
#[must_use]
pub fn gateway(mail: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         set -eu\n\
         cd {mail}\n\
         text=$(cat)\n\
         printf '%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' \
         \"$TWOFA_KIND\" \"$TWOFA_TO\" \"$TWOFA_USER\" \"$TWOFA_HOST\" \"$TWOFA_ID\" \"$text\" >>all\n\
         while [ -e hold ]; do sleep 0.02; done\n\
         echo gateway-17\n",
        mail = mail.display()
    )
}

/// The mail of one user.
#[derive(Clone, Debug)]
pub struct Post {
    mail: PathBuf,
    user: String,
}

impl Post {
    /// Of the plan's user.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let (mail, user) = (plan.last("mail")?, plan.last("user")?);
        Some(Self { mail: OsStr::from_bytes(mail).into(), user: String::from_utf8_lossy(user).into_owned() })
    }

    fn messages(&self) -> Vec<Message> {
        messages(&self.mail).into_iter().filter(|message| message.user == self.user).collect()
    }

    /// The code of the last message, or of one so many before it.
    #[must_use]
    pub fn code(&self, back: usize) -> String {
        wait_for(|| self.messages().iter().rev().nth(back).map(Message::code))
    }

    /// Six digits that no message has.
    #[must_use]
    pub fn wrong_code(&self) -> String {
        let sent: Vec<String> = self.messages().iter().map(Message::code).collect();
        let mut all = (0..1_000_000_u32).map(|number| format!("{number:06}"));
        all.find(|code| !sent.contains(code)).expect("few of a million are taken")
    }
}

/// Looks until there is something.
///
/// # Panics
/// When there is nothing for long.
pub fn wait_for<T>(look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).expect("what was waited for comes")
}

/// Looks until there is something, or for so long.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
