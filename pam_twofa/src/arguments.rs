//! The module's arguments, in the style of the other modules. None of them weakens the policy.

use pam::constants::PamResultCode;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use twofa::config;
use twofa::log::{Level, Log, escape};

pub(crate) struct Arguments {
    /// `conf=/path`: the policy.
    pub(crate) conf: PathBuf,
    /// `debug`: more lines in the log.
    pub(crate) debug: bool,
    /// This line of the stack only tells whether an SSH key was the first factor.
    pub(crate) pubkey_is_first_factor: bool,
}

impl Arguments {
    pub(crate) const PUBKEY: &[u8] = b"pubkey_is_first_factor";

    /// An unknown argument is logged and changes nothing: a typo must not keep everybody out, and there
    /// is no argument whose absence lets anybody in. A policy that cannot be named refuses.
    pub(crate) fn parse(args: &[&CStr], log: &Log) -> Result<Self, PamResultCode> {
        let mut parsed =
            Self { conf: config::DEFAULT_PATH.into(), debug: false, pubkey_is_first_factor: false };
        let mut named = false;
        for arg in args.iter().map(|arg| arg.to_bytes()) {
            match arg {
                b"debug" => parsed.debug = true,
                Self::PUBKEY => parsed.pubkey_is_first_factor = true,
                _ => match arg.strip_prefix(b"conf=") {
                    Some(path) if path.starts_with(b"/") && !named => {
                        parsed.conf = OsStr::from_bytes(path).into();
                        named = true;
                    }
                    Some(_) => {
                        log.write(Level::Error, "argument `conf=` takes one absolute path, once");
                        return Err(PamResultCode::PAM_AUTHINFO_UNAVAIL);
                    }
                    None => {
                        let arg = escape(&String::from_utf8_lossy(arg));
                        log.write(Level::Error, &format!("unknown argument `{arg}`"));
                    }
                },
            }
        }
        Ok(parsed)
    }
}
