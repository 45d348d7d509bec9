//! The lines of ours by way of pam-auth-update, where a package has brought its profiles: Debian's tool puts them into
//! common-auth and common-account, which services include, and no other package's file is changed.

use super::lines;
use super::write::{agrees, with_host, worse};
use crate::context::Context;
use crate::doctor::Finding;
use crate::error::Error;
use crate::table;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use twofa::config::Config;
use twofa::system::{self, Deadline};

const FOLDER: &str = "/usr/share/pam-configs";
const PROFILES: [&str; 2] = ["twofa", "twofa-pubkey"];
const TOOL: &str = "/usr/sbin/pam-auth-update";
/// It runs programs by their names, and must not ask on this terminal.
const ENVIRONMENT: [&str; 3] =
    ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];
const WRITTEN: [&str; 2] = ["/etc/pam.d/common-auth", "/etc/pam.d/common-account"];
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of the lines.
pub(super) enum Outcome {
    Written,
    /// They are there already, or cannot be had in this way.
    NotHere,
    Declined,
    /// Taken back, for this reason.
    TakenBack(String),
}

/// Asks unless `yes`. Nothing is done where a service has lines of its own: those would ask twice.
pub(super) fn add(context: &mut Context, config: &Config, yes: bool) -> Result<Outcome, Error> {
    let services = &config.policy.services;
    let has_lines = |service: &String| with_host(|host| lines::are_in(service, host));
    if !are_there() || services.iter().any(has_lines) {
        return Ok(Outcome::NotHere);
    }
    context.terminal.say(&format!("\n{}, by `pam-auth-update`:\n{}", WRITTEN.join(" and "), shown('+')))?;
    if !yes && !agrees(context, "Write this?")? {
        return Ok(Outcome::Declined);
    }
    let judged = || -> Vec<Finding> {
        services.iter().flat_map(|service| with_host(|host| lines::findings(service, host))).collect()
    };
    let known = judged();
    update("--enable").map_err(|error| Error::refused(format!("{TOOL}: {error}"), "Run it by hand."))?;
    if !names_us() {
        context.terminal.say(
            "pam-auth-update leaves them alone: somebody has edited them. So the services get lines of their own.",
        )?;
        return Ok(Outcome::NotHere);
    }
    if let Some(found) = worse(&known, judged()) {
        let gone = update("--remove").is_ok() && !names_us();
        let rest = if gone { "" } else { "; run `pam-auth-update --remove twofa twofa-pubkey` at once" };
        return Ok(Outcome::TakenBack(format!("with the lines in common-auth, {}{rest}", found.what)));
    }
    context.did(config, "pam-changed", "*", "profiles of pam-auth-update switched on");
    context.terminal.say("pam-auth-update has written them.")?;
    Ok(Outcome::Written)
}

/// Whether the profiles are out.
pub(super) fn take_out(context: &mut Context, yes: bool) -> Result<bool, Error> {
    context.terminal.say(&format!("\n{}, by `pam-auth-update`:\n{}", WRITTEN.join(" and "), shown('-')))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    let ran = update("--remove");
    if names_us() {
        let why = ran.err().map_or_else(|| "somebody has edited them".to_string(), |error| error.to_string());
        let why = format!("NOT WRITTEN: pam-auth-update leaves them alone: {why}.");
        context.terminal.say(&table::printable(&why))?;
        return Ok(false);
    }
    context.terminal.say("pam-auth-update has taken them out.")?;
    Ok(true)
}

fn are_there() -> bool {
    let is_there = |name: &&str| Path::new(FOLDER).join(name).exists();
    PROFILES.iter().all(is_there) && Path::new(TOOL).exists()
}

/// Whether pam-auth-update has lines of ours to take out.
pub(super) fn are_on() -> bool {
    are_there() && names_us()
}

fn names_us() -> bool {
    let is_ours = |line: &str| !line.starts_with('#') && line.contains("pam_twofa.so");
    WRITTEN.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().any(is_ours)))
}

fn update(how: &str) -> io::Result<()> {
    let arguments = [&ENVIRONMENT[..], &[TOOL, "--package", how], &PROFILES].concat();
    system::output(Path::new("/usr/bin/env"), &arguments, Deadline::after(PATIENCE)).map(drop)
}

/// What the profiles bring: pam-auth-update puts the number for `end`.
fn shown(sign: char) -> String {
    let mut shown = Vec::new();
    for name in PROFILES.iter().rev() {
        let text = fs::read_to_string(Path::new(FOLDER).join(name)).unwrap_or_default();
        let mut kind = String::new();
        for line in text.lines() {
            match line.strip_prefix(['\t', ' ']) {
                Some(rest) => shown.push(format!("     {sign} {kind:<7} {}", rest.trim().replace('\t', " "))),
                None => kind = line.split([':', '-']).next().unwrap_or_default().to_ascii_lowercase(),
            }
        }
    }
    table::printable_lines(&shown)
}
