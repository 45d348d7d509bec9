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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    const NOW: u64 = 1_795_298_625;

    /// Where a store would be, in a folder of its own.
    fn paths(name: &str) -> Paths {
        let folder = std::env::temp_dir().join(format!("twofa-trial-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Paths { database: folder.join("twofa.db"), key: folder.join("store.key") }
    }

    fn remove(paths: &Paths) {
        fs::remove_dir_all(paths.database.parent().unwrap()).unwrap();
    }

    fn trial(administrators: &[u32]) -> Trial {
        Trial { since: NOW, until: NOW + 600, administrators: administrators.into() }
    }

    #[test]
    fn a_trial_is_read_as_it_was_begun_until_it_is_ended() {
        let paths = paths("round");
        assert_eq!(Trial::read(&paths).unwrap(), None);
        Trial::end(&paths).unwrap();
        for administrators in [&[][..], &[0], &[0, 1001, u32::MAX - 1]] {
            let trial = trial(administrators);
            trial.begin(&paths).unwrap();
            let file = paths.database.with_file_name("twofa.db.trial");
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(Trial::read(&paths).unwrap(), Some(trial), "{administrators:?}");
        }
        let longer = Trial { since: 0, until: i64::MAX.unsigned_abs(), administrators: vec![0] };
        longer.begin(&paths).unwrap();
        assert_eq!(Trial::read(&paths).unwrap(), Some(longer), "begun anew");
        for _ in 0..2 {
            Trial::end(&paths).unwrap();
            assert_eq!(Trial::read(&paths).unwrap(), None);
        }
        remove(&paths);
    }

    /// A clock from before its begin changes nothing: that is not what ends a trial.
    #[test]
    fn enforcement_is_on_trial_until_the_deadline() {
        let trial = trial(&[0, 1001]);
        let table = [(0, false), (NOW - 1, false), (NOW, false), (NOW + 599, false), (NOW + 600, true)];
        for (now, lapsed) in table.into_iter().chain([(NOW + 601, true), (u64::MAX, true)]) {
            assert_eq!(trial.has_lapsed(now), lapsed, "{now}");
            let enforced = if lapsed { Mode::Observe } else { Mode::Enforce };
            let expected =
                [(Mode::Enforce, enforced), (Mode::Observe, Mode::Observe), (Mode::Off, Mode::Off)];
            for (mode, in_force) in expected {
                assert_eq!(trial.mode(mode, now), in_force, "{mode:?} {now}");
            }
            for (uid, administers) in [(0, true), (1001, true), (1002, false)] {
                assert_eq!(trial.is_confirmed_by(uid, now), administers && !lapsed, "{uid} {now}");
            }
        }
    }

    /// Then there is none, which is not the same as one that has ended.
    #[test]
    fn what_is_no_trial_or_not_to_be_trusted_is_a_fault() {
        let paths = paths("fault");
        let file = paths.database.with_file_name("twofa.db.trial");
        let fault = || Trial::read(&paths).expect_err("a fault").to_string();
        let texts = [
            "",
            "trial",
            "\u{0}\u{1}",
            "since = 1\nuntil = 2\n",
            "since = 1\nadministrators = [0]\n",
            "until = 2\nadministrators = [0]\n",
            "since = 1\nuntil = -2\nadministrators = [0]\n",
            "since = 1\nuntil = \"2\"\nadministrators = [0]\n",
            "since = 1\nuntil = 2\nadministrators = [-1]\n",
            "since = 1\nuntil = 2\nadministrators = [4294967296]\n",
            "since = 1\nuntil = 2\nadministrators = [\"root\"]\n",
            "since = 1\nuntil = 2\nadministrators = [0]\nmode = \"off\"\n",
            "since = 1\nuntil = 2\nadministrators = [0",
        ];
        for text in texts {
            trusted::replace(&file, text.as_bytes(), 0o600).unwrap();
            assert!(fault().ends_with("it says nothing about a trial"), "{text}: {}", fault());
        }
        trusted::replace(&file, b"since = 1\nuntil = 2\nadministrators = [0]\n#\xff", 0o600).unwrap();
        assert!(Trial::read(&paths).is_ok(), "a comment is none of its business");
        trusted::replace(&file, " ".repeat(64 * 1024 + 1).as_bytes(), 0o600).unwrap();
        assert!(fault().ends_with("is too long"), "{}", fault());
        trial(&[0]).begin(&paths).unwrap();
        for (mode, expected) in [(0o640, "can be read by others"), (0o622, "can be changed by others")] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(fault().ends_with(expected), "{}", fault());
        }
        trial(&[0]).begin(&paths).unwrap();
        chown(&file, Some(1), None).unwrap();
        assert!(fault().ends_with("is not owned by root"), "{}", fault());
        let elsewhere = paths.database.with_file_name("elsewhere");
        trusted::replace(&elsewhere, b"since = 1\nuntil = 2\nadministrators = [0]\n", 0o600).unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(fault().ends_with("is a symbolic link"), "{}", fault());
        // Whatever it is, it can be ended.
        Trial::end(&paths).unwrap();
        assert_eq!(Trial::read(&paths).unwrap(), None);
        remove(&paths);
    }

    #[test]
    fn a_trial_is_not_begun_where_it_cannot_be_written() {
        let paths = paths("nowhere");
        remove(&paths);
        assert!(trial(&[0]).begin(&paths).is_err());
        assert_eq!(Trial::read(&paths).unwrap(), None);
    }
}
