//! Why a store cannot serve, and what to do about it.

use crate::account::Conflict;
use crate::trusted;
use std::fmt;
use std::path::PathBuf;

/// Why the store cannot serve.
#[derive(Debug)]
pub enum Error {
    File(trusted::Error),
    Database(rusqlite::Error),
    /// There is no store yet.
    NoDatabase(PathBuf),
    /// Not a database of ours, or damaged.
    Corrupt(PathBuf, String),
    /// A newer twofa wrote it: its schema, and the newest one known here.
    Newer(PathBuf, i64, i64),
    NoKey(PathBuf),
    /// 32 bytes, not all zero, are a key.
    BadKey(PathBuf),
    NoRecord(PathBuf),
    /// The count of messages is missing, or cut off.
    NoRing(PathBuf),
    BrokenRecord(PathBuf),
    /// This user's factors are sealed with another key, or damaged.
    BrokenAccount(String),
    /// Another login of this user holds the record for seconds.
    Busy(PathBuf),
    NoRandom,
    TooLarge,
    Exists {
        user: String,
    },
    UidTaken {
        uid: u32,
        user: String,
    },
    NoUser(String),
    /// The uid is -1, which chown(2) and others take for none.
    NoUid(String),
    /// This user's account is not the one that a change of many was thought out for.
    Changed(String),
    /// So many records can be open at once.
    TooManyFiles(u64),
}

impl Error {
    /// What an administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::NoDatabase(_) | Self::NoKey(_) => {
                "Run `twofa-admin init`, or restore /etc/twofa and /var/lib/twofa from a backup.".into()
            }
            Self::NoRing(path) => {
                format!("Remove {} if it is there, then run `twofa-admin init`.", path.display())
            }
            Self::BadKey(_) => "Restore the key from a backup: without it no factor can be read.".into(),
            Self::Corrupt(..) => "Restore it from a backup; nothing was changed.".into(),
            Self::Newer(..) => "Install the newer twofa again; nothing was changed.".into(),
            Self::NoRecord(path) | Self::BrokenRecord(path) => format!(
                "Find the user with `getent passwd {}`, then run `twofa-admin user repair NAME`.",
                path.file_name().unwrap_or_default().display()
            ),
            Self::BrokenAccount(user) => {
                format!("Restore the store, or run `twofa-admin user reset {user}` and enroll again.")
            }
            Self::Busy(_) | Self::Database(_) => {
                "Try again; if it stays, look for what holds it open.".into()
            }
            Self::NoRandom | Self::TooLarge => "Please report this as a bug.".into(),
            Self::Exists { user } => format!("See `twofa-admin user show {user}`."),
            Self::UidTaken { user, .. } => {
                format!("One uid has one account. Remove it with `twofa-admin user remove {user}`.")
            }
            Self::NoUid(_) => "Give the user a uid below 4294967295.".into(),
            Self::Changed(_) => "Run the command again.".into(),
            Self::TooManyFiles(limit) => {
                format!("Take fewer users at once, or raise the limit of {limit} open files (ulimit -Hn).")
            }
            Self::NoUser(user) => format!("Add the user with `twofa-admin user add {user}`."),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Database(error) => write!(f, "the store cannot be used: {error}"),
            Self::NoDatabase(path) => write!(f, "there is no store at {}", path.display()),
            Self::Corrupt(path, what) => write!(f, "{} is damaged: {what}", path.display()),
            Self::Newer(path, found, known) => write!(
                f,
                "{} was written by a newer twofa (schema {found}, this one knows {known})",
                path.display()
            ),
            Self::NoKey(path) => write!(f, "there is no store key at {}", path.display()),
            Self::BadKey(path) => write!(f, "{} is not a store key", path.display()),
            Self::NoRecord(path) => write!(f, "the state record {} is missing", path.display()),
            Self::NoRing(path) => write!(f, "the count of messages {} is missing or damaged", path.display()),
            Self::BrokenRecord(path) => write!(f, "the state record {} is damaged", path.display()),
            Self::BrokenAccount(user) => write!(f, "the factors of {user} cannot be read"),
            Self::Busy(path) => write!(f, "{} is held by another process", path.display()),
            Self::NoRandom => write!(f, "the kernel gives no random numbers"),
            Self::TooLarge => write!(f, "a record does not fit its place"),
            Self::Exists { user } => write!(f, "{user} has an account already"),
            Self::UidTaken { uid, user } => {
                write!(f, "uid {uid} has an account already, as {user}")
            }
            Self::NoUid(user) => write!(f, "{user} has the uid -1, which is none"),
            Self::NoUser(user) => write!(f, "{user} has no account"),
            Self::Changed(user) => {
                write!(f, "{user} was changed by somebody else meanwhile; nothing was changed here")
            }
            Self::TooManyFiles(_) => write!(f, "so many accounts cannot be changed at once"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl From<trusted::Error> for Error {
    fn from(error: trusted::Error) -> Self {
        Self::File(error)
    }
}

/// A change that was not made.
#[derive(Debug)]
pub enum NotCommitted {
    Conflict(Conflict),
    Failed(Error),
}

impl From<Conflict> for NotCommitted {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<Error> for NotCommitted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
