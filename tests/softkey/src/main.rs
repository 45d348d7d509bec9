//! A security key made of software, for tests: it plugs itself in through /dev/uhid and does what its mode says.
//!
//! `softkey [--u2f-only] [--pin PIN] DIRECTORY`: the directory's name is the key's; in it are `state`, what the key
//! remembers when it is unplugged, and `mode`, one word of [`mode::Mode`], which may be rewritten at any time.

// Who may not open /dev/uhid or write the state cannot test: it stops and says why.
#![allow(clippy::expect_used, clippy::disallowed_methods, clippy::print_stderr, reason = "not shipped")]

mod answer;
mod cbor;
mod certificate;
mod ctap2;
mod device;
mod link;
mod mode;
mod packet;
mod pin;
mod secrets;
mod token;
mod u2f;
mod uhid;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, fs};

use device::{Device, Output};
use mode::Mode;
use token::Token;
use uhid::Uhid;

/// What the command line asks for.
struct Options {
    directory: PathBuf,
    u2f_only: bool,
    pin: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = parse(env::args().skip(1)) else {
        eprintln!("usage: softkey [--u2f-only] [--pin PIN] DIRECTORY");
        return ExitCode::from(2);
    };
    fs::create_dir_all(&options.directory).expect("the key's directory");
    let mut token = Token::open(&options.directory.join("state"));
    if let Some(pin) = options.pin {
        token.set_first_pin(&pin);
    }
    let name = options.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (uhid, packets) = Uhid::plug_in(&name).expect("/dev/uhid");
    serve(Device::new(token, options.u2f_only), &uhid, &packets, &options.directory.join("mode"));
    ExitCode::SUCCESS
}

/// Until the mode says to vanish, or the kernel ends the device.
fn serve(mut device: Device, uhid: &Uhid, packets: &Receiver<packet::Packet>, mode: &Path) {
    let began = Instant::now();
    loop {
        let wait =
            device.next_tick().map_or(Duration::from_secs(3600), |at| at.saturating_sub(began.elapsed()));
        let received = packets.recv_timeout(wait);
        let mode = Mode::read(mode);
        let outputs = match received {
            Ok(packet) => device.receive(&packet, began.elapsed(), &mode),
            Err(RecvTimeoutError::Timeout) => device.tick(began.elapsed(), &mode),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for output in outputs {
            match output {
                Output::Packet(packet) => uhid.send(&packet).expect("a report to the kernel"),
                Output::Vanish => return,
            }
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { directory: PathBuf::new(), u2f_only: false, pin: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--u2f-only" => options.u2f_only = true,
            "--pin" => options.pin = Some(arguments.next()?),
            _ if argument.starts_with('-') || options.directory != Path::new("") => return None,
            _ => options.directory = argument.into(),
        }
    }
    (options.directory != Path::new("")).then_some(options)
}
