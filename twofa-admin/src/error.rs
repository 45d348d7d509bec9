//! Errors as two lines: what happened, and what to do.

use std::{fmt, io};
use twofa::{config, store, system, trusted};

#[derive(Debug)]
pub(crate) enum Error {
    NotRoot,
    Policy(config::Error),
    Store(store::Error),
    File(trusted::Error),
    Lookup(system::LookupError),
    /// The name is not one of this host's users.
    NoSuchUser(String),
    /// stdin ended, or the user said no.
    Stopped,
    /// Reading or writing the terminal, or what stands for it.
    Io(io::Error),
    /// Anything else that was refused: what happened, what to do.
    Refused(String, String),
    /// The words of the command do not make sense: what is wrong, what would be right.
    Usage(String, String),
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(what.into(), hint.into())
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotRoot => "Run it with sudo.".into(),
            Self::Policy(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Lookup(_) => "Check the name service (nsswitch.conf), then try again.".into(),
            Self::NoSuchUser(_) => "Check the name; `getent passwd` lists the users.".into(),
            Self::Stopped => "Run the command again when you are ready.".into(),
            Self::Io(_) => "Check stdin and stdout of the command.".into(),
            Self::Refused(_, hint) | Self::Usage(_, hint) => hint.clone(),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(..) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => f.write_str("only root can do this"),
            Self::Policy(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Lookup(error) => error.fmt(f),
            Self::NoSuchUser(user) => write!(f, "there is no user `{}` on this host", user.escape_default()),
            Self::Stopped => f.write_str("stopped; nothing was changed"),
            Self::Io(error) => write!(f, "input or output failed: {error}"),
            Self::Refused(what, _) | Self::Usage(what, _) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::Policy(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<trusted::Error> for Error {
    fn from(error: trusted::Error) -> Self {
        Self::File(error)
    }
}

impl From<system::LookupError> for Error {
    fn from(error: system::LookupError) -> Self {
        Self::Lookup(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
