//! What every command starts from: root, the policy, the store, the terminal.

use crate::error::Error;
use crate::table;
use crate::terminal::Terminal;
use serde::Serialize;
use std::path::PathBuf;
use twofa::account::Factors;
use twofa::admin::UserReport;
use twofa::config::{self, Config};
use twofa::helper::{self, News};
use twofa::log::{self, Level, Log, Who};
use twofa::message::{Doer, Happening};
use twofa::store::{self, Store};
use twofa::system;

pub(crate) struct Context {
    pub(crate) conf: PathBuf,
    pub(crate) json: bool,
    pub(crate) terminal: Terminal,
}

impl Context {
    /// Nobody but root has any business here: every file is root's. A user may still manage files of
    /// their own that are named by `--conf`, as tests do; the module accepts them for nobody else.
    pub(crate) fn new(conf: PathBuf, json: bool) -> Result<Self, Error> {
        if !nix::unistd::Uid::effective().is_root() && conf == std::path::Path::new(config::DEFAULT_PATH) {
            return Err(Error::NotRoot);
        }
        // Files are made with exact modes; this is for what SQLite makes beside them.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let conf = std::path::absolute(conf)?;
        Ok(Self { conf, json, terminal: Terminal })
    }

    pub(crate) fn config(&self) -> Result<Config, Error> {
        Ok(config::read_and_keep(&self.conf)?)
    }

    /// Policy and store, to be changed.
    pub(crate) fn open(&self) -> Result<(Config, Store), Error> {
        let config = self.config()?;
        let store = Store::open_to_change(&config.store)?;
        Ok((config, store))
    }

    /// An administrator did this to a user, or to all: into the log that the logins are in, and the audit trail.
    pub(crate) fn did(&self, config: &Config, event: &'static str, user: &str, what: &str) {
        let by = std::env::var("SUDO_USER").unwrap_or_else(|_| "root".into());
        let mut log = Log::new("twofa-admin", "admin");
        log.keep(store::trail(config));
        let level = if event.starts_with("bypass") { Level::Alert } else { Level::Notice };
        // What an administrator should look for stands out among the rest.
        let title = if level == Level::Alert { event.to_ascii_uppercase() } else { event.into() };
        let mut line = format!("{title} {}", log::escape(user));
        if !what.is_empty() {
            line.push_str(&format!(" what={}", log::quote(what)));
        }
        log.write(level, &format!("{line} by={}", log::escape(&by)));
        let who = Who { user, ..Who::default() };
        log.record(event, &who, vec![("what", what.into()), ("by", by)]);
    }

    /// Tells the user of it by e-mail, if the policy wants that: at the addresses of `before` the change, and of now.
    pub(crate) fn tell(
        &mut self,
        config: &Config,
        store: &Store,
        user: &str,
        happening: Happening,
        before: &Factors,
    ) {
        if !config.policy.tells(&happening) {
            return;
        }
        let now = store.account(user).ok().flatten().map(|(account, _)| account.factors).unwrap_or_default();
        self.tell_all(config, vec![(user.into(), happening, reachable(before, &now))]);
    }

    /// The same to many, each at the addresses of these factors. Whatever comes of it, the command has done its work.
    pub(crate) fn tell_all(&mut self, config: &Config, all: Vec<(String, Happening, Factors)>) {
        let news = all.iter().map(|(user, happening, factors)| News {
            user,
            happening: happening.clone(),
            doer: Doer::Administrator,
            factors,
        });
        let news: Vec<News<'_>> = news.collect();
        let sent = helper::notify(&config.policy, &config.store.database, &news);
        let (Err(error), Some(first)) = (sent, news.first()) else {
            return;
        };
        let (why, who) = (format!("{error}. {}", error.hint()), Who { user: first.user, ..Who::default() });
        Log::new("twofa-admin", "admin").unnoticed(first.happening.occasion().name(), &who, &why);
        self.terminal.note(&table::printable(&format!("twofa-admin: no notice was sent: {why}")));
    }

    /// Prints a report: as JSON when asked for, else as `text` puts it.
    pub(crate) fn report<T: Serialize>(
        &mut self,
        report: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let text = if self.json { ascii_json(report)? } else { text(report) };
        self.terminal.say(&text)
    }
}

/// JSON in ASCII alone: what was typed as a name at some login moves no terminal.
pub(crate) fn ascii_json<T: Serialize>(report: &T) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(report).map_err(std::io::Error::from)?;
    let mut ascii = String::with_capacity(text.len());
    // What is not plain ASCII can only be inside a string, where such an escape means the same.
    for character in text.chars() {
        if character == '\n' || matches!(character, ' '..='~') {
            ascii.push(character);
        } else {
            ascii.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    Ok(ascii)
}

/// Somebody who can be told at the addresses of both.
pub(crate) fn reachable(before: &Factors, after: &Factors) -> Factors {
    let mut addresses = before.addresses.clone();
    for new in &after.addresses {
        if addresses.iter().all(|known| known.to != new.to) {
            addresses.push(new.clone());
        }
    }
    Factors { addresses, ..Factors::default() }
}

/// All accounts that can be read, and the faults of the others.
pub(crate) fn accounts(config: &Config, store: &Store) -> Result<(Vec<UserReport>, Vec<String>), Error> {
    let now = system::now();
    let (mut reports, mut faults) = (Vec::new(), Vec::new());
    store.for_each(|account| match account {
        Ok((account, state)) => {
            reports.push(UserReport::new(&account, &state, &config.policy, now));
        }
        Err(error) => faults.push(format!("{error}. {}", error.hint())),
    })?;
    Ok((reports, faults))
}
