//! `twofa-helper`: runs an administrator's hook for `pam_twofa`, asks security keys, and owns whatever may hang, print
//! or crash.
//!
//! Seven programs in one file. `deliver` is started by the module, as root, and stays to watch; it starts `exec`
//! as the hook's user, which puts on the last restrictions and becomes the hook. `token` is started by the module too;
//! it starts a `key` for each security key, and believes none of them. `probe` loads the module for `twofa-admin doctor`.
//! `notify` begins `notice`, which is nobody's child and sends what nobody waits for.

mod answer;
mod assertion;
mod caller;
mod children;
mod ctap1;
mod ctap2;
mod deliver;
mod descriptor;
mod devices;
mod exec;
mod ffi;
mod frame;
mod fresh;
mod hid;
mod key;
mod ledger;
mod notify;
mod party;
mod probe;
mod token;
mod u2f;
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
        [word] if word == "token" => token::run(),
        [word] if word == "notify" => notify::run(),
        [word] if word == "notice" => notify::go_on(),
        [word, module] if word == "probe" => probe::run(module),
        [word, way, device] if word == "key" => key::run(way, Path::new(device)),
        _ => None,
    };
    done.unwrap_or_else(usage)
}

/// Nobody has to type these commands.
fn usage() -> ExitCode {
    let text = "usage: twofa-helper deliver    started by pam_twofa, with a socket as standard input\n       \
                twofa-helper token      the same\n       \
                twofa-helper notify     the same\n\
                To send a message by hand: twofa-admin test\n";
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}
