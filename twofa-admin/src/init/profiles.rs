//! The lines of ours by way of pam-auth-update, where a package has brought its profiles: Debian's tool puts them into
//! common-auth and common-account, which services include, and no other package's file is changed.

use super::lines;
use super::write::{agrees, with_host, worse};
use crate::context::Context;
use crate::doctor::Finding;
use crate::doctor::ways::KEY_ARGUMENT;
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
pub(super) const WRITTEN: [&str; 2] = ["/etc/pam.d/common-auth", "/etc/pam.d/common-account"];
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
    update("--enable", &PROFILES)
        .map_err(|error| Error::refused(format!("{TOOL}: {error}"), "Run it by hand."))?;
    if !names_us() {
        context.terminal.say(
            "pam-auth-update leaves them alone: somebody has edited them. So the services get lines of their own.",
        )?;
        return Ok(Outcome::NotHere);
    }
    if let Some(found) = worse(&known, judged()) {
        let gone = update("--remove", &PROFILES).is_ok() && !names_us();
        let rest = if gone { "" } else { "; run `pam-auth-update --remove twofa twofa-pubkey` at once" };
        return Ok(Outcome::TakenBack(format!("with the lines in common-auth, {}{rest}", found.what)));
    }
    context.did(config, "pam-changed", "*", "profiles of pam-auth-update switched on");
    context.terminal.say("pam-auth-update has written them.")?;
    Ok(Outcome::Written)
}

/// Whether the profiles are out; of them the one for SSH keys stays when `keep_key`, until [`finish`] or [`put_back`].
pub(super) fn take_out(context: &mut Context, yes: bool, keep_key: bool) -> Result<bool, Error> {
    context.terminal.say(&format!("\n{}, by `pam-auth-update`:\n{}", WRITTEN.join(" and "), shown('-')))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    let were_on = on();
    let ran = update("--remove", if keep_key { &PROFILES[..1] } else { &PROFILES });
    let stays = if keep_key { asks() } else { names_us() };
    if stays {
        // It may have come half-way.
        let _ = put_back(&were_on);
        let why = format!("NOT WRITTEN: pam-auth-update leaves them alone: {}.", unchanged(ran));
        context.terminal.say(&table::printable(&why))?;
        return Ok(false);
    }
    context.terminal.say("pam-auth-update has taken them out.")?;
    Ok(true)
}

/// Takes out the one for SSH keys too.
pub(super) fn finish() -> Result<(), Error> {
    check(update("--remove", &PROFILES), !names_us())
}

pub(super) fn put_back(were_on: &[&str]) -> Result<(), Error> {
    let ran = update("--enable", were_on);
    check(ran, on() == were_on)
}

fn check(ran: io::Result<()>, as_wanted: bool) -> Result<(), Error> {
    match as_wanted {
        true => Ok(()),
        false => Err(Error::refused(format!("{TOOL}: {}", unchanged(ran)), "Run it by hand.")),
    }
}

fn unchanged(ran: io::Result<()>) -> String {
    ran.err().map_or_else(|| "somebody has edited them".to_string(), |error| error.to_string())
}

fn are_there() -> bool {
    let is_there = |name: &&str| Path::new(FOLDER).join(name).exists();
    PROFILES.iter().all(is_there) && Path::new(TOOL).exists()
}

/// Of which pam-auth-update has lines to take out.
pub(super) fn on() -> Vec<&'static str> {
    let is_on = [asks(), has_line(|line| line.contains(KEY_ARGUMENT))];
    PROFILES.into_iter().zip(is_on).filter(|(_, is_on)| *is_on && are_there()).map(|(name, _)| name).collect()
}

fn names_us() -> bool {
    has_line(|_| true)
}

/// Whether a line is there that asks for the second factor, or for its proof.
fn asks() -> bool {
    has_line(|line| !line.contains(KEY_ARGUMENT))
}

fn has_line(is_one: impl Fn(&str) -> bool) -> bool {
    let is_ours = |line: &str| !line.starts_with('#') && line.contains("pam_twofa.so") && is_one(line);
    WRITTEN.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().any(is_ours)))
}

fn update(how: &str, profiles: &[&str]) -> io::Result<()> {
    let arguments = [&ENVIRONMENT[..], &[TOOL, "--package", how], profiles].concat();
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
