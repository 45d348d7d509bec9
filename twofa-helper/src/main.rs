//! `twofa-helper`: runs an administrator's hook for `pam_twofa`, and owns whatever may hang, print or crash.
//!
//! Two programs in one file. `deliver` is started by the module, as root, and stays to watch; it starts `exec`
//! as the hook's user, which puts on the last restrictions and becomes the hook.

mod children;
mod deliver;
mod exec;
mod ffi;
mod fresh;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // What the host had open is not ours, and still less the hook's.
    ffi::close_from(3);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.as_slice() {
        [word] if word == "deliver" => deliver::run(),
        [word, hook] if word == "exec" => exec::run(Path::new(hook)),
        _ => None,
    };
    done.unwrap_or_else(usage)
}

/// Nobody has to type these commands.
fn usage() -> ExitCode {
    let text = "usage: twofa-helper deliver    started by pam_twofa, with a socket as standard input\n\
                To send a message by hand: twofa-admin test\n";
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}
