//! `asker HELPER touch|register FILE SETTING...`: asks the security keys of this machine through twofa-helper, by hand
//! or in a guest. FILE holds the credentials so far, and gets the new one.
//!
//! Settings: `pin=PIN`, `time=SECONDS`, `rp=ID`, `verify` (every credential wants its PIN). Prints what came of it, the
//! seconds that it took, and what is left of the helper.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; it measures time"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};
use twofa::code::Secret;
use twofa::helper::{self, Registered, Registration, Touch, Touched};
use twofa::token::Credential;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [helper, what, file, settings @ ..] = &arguments[..] else {
        panic!("usage: asker HELPER touch|register FILE SETTING...");
    };
    let value = |name: &str| {
        settings.iter().find_map(|setting| setting.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let read =
        fs::read(file).map(|bytes| postcard::from_bytes::<Vec<Credential>>(&bytes).expect("credentials"));
    let mut known = read.unwrap_or_default();
    if settings.iter().any(|setting| setting == "verify") {
        known.iter_mut().for_each(|credential| credential.verify = true);
    }
    let rp_id = value("rp").unwrap_or_else(|| "pam_twofa:example".into());
    let pin = value("pin").map(|pin| Secret::new(pin.as_bytes()));
    let time = value("time").map_or(20, |time| time.parse().expect("seconds"));
    let challenge = twofa::system::random().expect("random numbers");
    let began = Instant::now();
    let came = match what.as_str() {
        "touch" => {
            let mut touch = Touch { rp_id, challenge, credentials: known, pin: None, time };
            let mut touched = helper::touch(Path::new(helper), &touch);
            // As a login does: the PIN is for the key that asked for it.
            if let (Ok(Touched::PinRequired(device)), Some(pin)) = (&touched, pin) {
                touch.pin = Some((pin, *device));
                touched = helper::touch(Path::new(helper), &touch);
            }
            format!("{touched:?}")
        }
        "register" => {
            let exclude = known.clone();
            let registration = Registration { rp_id, user: "alice".into(), challenge, exclude, pin, time };
            match helper::register(Path::new(helper), &registration) {
                Ok(Registered::Credential(credential)) => {
                    let algorithm = format!("{:?}", credential.public);
                    let kind = algorithm.split('(').next().unwrap_or_default().to_owned();
                    let said = format!("Ok({kind} {:?} verify {})", credential.protocol, credential.verify);
                    known.push(credential);
                    fs::write(file, postcard::to_allocvec(&known).unwrap()).expect("a file to write");
                    said
                }
                other => format!("{other:?}"),
            }
        }
        _ => panic!("touch or register"),
    };
    println!("{came} {:.1} s, left: {}", began.elapsed().as_secs_f64(), left(Path::new(helper)));
}

/// How many processes of the helper there still are.
fn left(helper: &Path) -> usize {
    let program = fs::canonicalize(helper).expect("the helper");
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let exe = |folder: PathBuf| fs::read_link(folder.join("exe")).ok();
    folders.filter(|entry| exe(entry.path()).as_ref() == Some(&program)).count()
}
