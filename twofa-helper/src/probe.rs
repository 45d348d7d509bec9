//! `twofa-helper probe PATH`: whether a PAM module loads, for `twofa-admin doctor`. A module that cannot be loaded
//! refuses every login ("Module is unknown").

use crate::ffi;
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

/// What libpam calls.
const HOOKS: [&str; 6] = [
    "pam_sm_authenticate",
    "pam_sm_setcred",
    "pam_sm_acct_mgmt",
    "pam_sm_open_session",
    "pam_sm_close_session",
    "pam_sm_chauthtok",
];

/// Prints `ok VERSION`, with the version of this program, or `fault` and what is wrong.
pub(crate) fn run(module: &OsStr) -> Option<ExitCode> {
    let said = match ffi::missing_symbols(module, &HOOKS) {
        Ok(missing) if missing.is_empty() => format!("ok {}", env!("CARGO_PKG_VERSION")),
        Ok(missing) => format!("fault it has no {}", missing.join(", ")),
        Err(why) => format!("fault {why}"),
    };
    writeln!(std::io::stdout(), "{said}").is_ok().then_some(ExitCode::SUCCESS)
}
