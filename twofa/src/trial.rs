//! Enforcement on trial: unless an administrator logs in with a second factor in time, nobody is refused any more. A file
//! beside the store says until when; whoever reads it next sees that the time is over.

use crate::config::Paths;
use crate::policy::Mode;
use crate::trusted::{self, Readers};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const MAX_FILE: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// When it began, and when it ends unconfirmed, in seconds since 1970.
    pub since: u64,
    pub until: u64,
    /// The uids of those whose login confirms it.
    pub administrators: Vec<u32>,
}

impl Trial {
    /// The trial that was begun and not confirmed.
    ///
    /// # Errors
    ///
    /// When its file cannot be read or trusted: then there is none, and enforcement stands.
    pub fn read(paths: &Paths) -> Result<Option<Self>, trusted::Error> {
        let path = path(paths);
        match trusted::read(&path, Readers::Owner, MAX_FILE) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                let invalid = |_| std::io::Error::other("it says nothing about a trial");
                toml::from_str(&text).map(Some).map_err(|error| trusted::Error::Io(path, invalid(error)))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins it, before the policy enforces.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn begin(&self, paths: &Paths) -> Result<(), trusted::Error> {
        let administrators: Vec<String> = self.administrators.iter().map(ToString::to_string).collect();
        let text = format!(
            "since = {}\nuntil = {}\nadministrators = [{}]\n",
            self.since,
            self.until,
            administrators.join(", ")
        );
        trusted::replace(&path(paths), text.as_bytes(), 0o600)
    }

    /// Ends it: what the policy says, holds. There may be none.
    ///
    /// # Errors
    ///
    /// When its file cannot be removed.
    pub fn end(paths: &Paths) -> Result<(), trusted::Error> {
        let path = path(paths);
        match std::fs::remove_file(&path) {
            Ok(()) => trusted::sync_folder(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(trusted::Error::Io(path, error)),
        }
    }

    /// Whether nobody confirmed it in time. A clock from before its begin says nothing.
    pub fn has_lapsed(&self, now: u64) -> bool {
        now >= self.until
    }

    /// What is in force of a policy with `mode`.
    pub fn mode(&self, mode: Mode, now: u64) -> Mode {
        if mode == Mode::Enforce && self.has_lapsed(now) { Mode::Observe } else { mode }
    }

    /// Whether a login of this user with a second factor confirms it.
    pub fn is_confirmed_by(&self, uid: u32, now: u64) -> bool {
        !self.has_lapsed(now) && self.administrators.contains(&uid)
    }
}

fn path(paths: &Paths) -> PathBuf {
    let mut name = paths.database.file_name().unwrap_or_default().to_os_string();
    name.push(".trial");
    paths.database.with_file_name(name)
}
