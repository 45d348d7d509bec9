//! `init --undo`: takes out of PAM and sshd what `init` wrote there, and nothing else.

use super::drop_in::{self, DROP_IN};
use super::lines;
use super::profiles;
use super::write::{self, agrees, shown, with_host};
use crate::context::Context;
use crate::doctor::{self, sshd};
use crate::error::Error;
use crate::file::{self, Original};
use crate::{Outcome, table};
use std::fs;
use std::path::{Path, PathBuf};
use twofa::policy::{Mode, SSHD};

/// What was written to a file, or to several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Gone,
    Left,
}

impl Found {
    fn of(gone: bool) -> Self {
        if gone { Self::Gone } else { Self::Left }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Gone, Self::Gone) => Self::Gone,
            _ => Self::Left,
        }
    }
}

pub(super) fn run(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    let config = context.config().ok();
    let enforced = config.as_ref().is_some_and(|config| config.policy.mode == Mode::Enforce);
    let named = config.map(|config| config.policy.services).unwrap_or_default();
    // While nothing is enforced, the lines without the settings refuse nobody; the settings without the lines refuse
    // keys of users without a password. What is enforced, nobody could answer without the settings.
    let of_sshd = if enforced { Found::Nothing } else { settings(context, yes, Found::Nothing)? };
    let held = of_sshd == Found::Left;
    let mut lines_of_sshd = of_profiles(context, yes, held)?;
    let mut found = of_sshd.and(lines_of_sshd);
    let mut gone = Vec::new();
    if lines_of_sshd == Found::Gone {
        gone.push("the profiles of pam-auth-update".to_string());
    }
    // Also of services that the policy does not name any more.
    for path in services(&named) {
        let is_sshd = path.ends_with(SSHD);
        let one = service(context, &path, yes, is_sshd && held)?;
        found = found.and(one);
        if one == Found::Gone {
            gone.push(path.display().to_string());
        }
        if is_sshd {
            lines_of_sshd = lines_of_sshd.and(one);
        }
    }
    let of_sshd = if enforced { settings(context, yes, lines_of_sshd)? } else { of_sshd };
    found = found.and(of_sshd);
    if of_sshd == Found::Gone {
        gone.push(DROP_IN.into());
    }
    if found == Found::Nothing {
        context.terminal.say("Nothing in /etc/pam.d and sshd_config.d was written by `twofa-admin init`.")?;
        return Ok(Outcome::Done);
    }
    if !gone.is_empty() {
        // Also for who removes a package, and sees nothing of the rest.
        context.terminal.note(&table::printable(&format!("Taken out: {}.", gone.join(", "))));
    }
    context
        .terminal
        .say("\nPolicy, store and enrolments are as they were. What twofa-admin doctor says now:")?;
    doctor::run(context)?;
    Ok(if found == Found::Left { Outcome::Found } else { Outcome::Done })
}

/// What holds the lines while the settings of sshd stay.
const HELD: &str = "without the lines, and with the settings of sshd, \
                    users with an SSH key and no password could not log in";

/// Those that pam-auth-update wrote for us, sshd's among them.
fn of_profiles(context: &mut Context, yes: bool, held: bool) -> Result<Found, Error> {
    if !profiles::are_on() {
        return Ok(Found::Nothing);
    }
    if held {
        return leave(context, &format!("the profiles of pam-auth-update: {HELD}"));
    }
    let out = profiles::take_out(context, yes)?;
    if out {
        done(context, "pam-changed", "profiles of pam-auth-update switched off");
    }
    Ok(Found::of(out))
}

fn service(context: &mut Context, path: &Path, yes: bool, held: bool) -> Result<Found, Error> {
    let original = match Original::read(path) {
        Ok(original) => original,
        Err(why) => {
            let bytes = fs::read(path).unwrap_or_default();
            if lines::without_lines(&String::from_utf8_lossy(&bytes)).is_none() {
                return Ok(Found::Nothing);
            }
            return leave(context, &format!("{why}"));
        }
    };
    let Some(new) = lines::without_lines(&original.text) else { return Ok(Found::Nothing) };
    if held {
        return leave(context, &format!("{}: {HELD}", path.display()));
    }
    take_out(context, &original, &new, yes).map(Found::of)
}

/// Those of sshd, unless its lines are left.
fn settings(context: &mut Context, yes: bool, its_lines: Found) -> Result<Found, Error> {
    let path = Path::new(DROP_IN);
    let Ok(original) = Original::read(path) else { return Ok(Found::Nothing) };
    let Some(new) = drop_in::without_settings(&original.text) else { return Ok(Found::Nothing) };
    if its_lines == Found::Left {
        let why = "without the settings, and with the lines of PAM, nobody could type a code";
        return leave(context, &format!("{DROP_IN}: {why}"));
    }
    take_back(context, &original, &new, yes).map(Found::of)
}

fn leave(context: &mut Context, why: &str) -> Result<Found, Error> {
    context.terminal.say(&table::printable_lines(&[String::new(), format!("NOT WRITTEN: {why}.")]))?;
    Ok(Found::Left)
}

fn services(named: &[String]) -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc/pam.d").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    // Backups and unfinished files have a dot in their names; few services have.
    let is_named = |path: &PathBuf| named.iter().any(|name| path.ends_with(name));
    paths.retain(|path| path.extension().is_none() || is_named(path));
    paths.sort();
    paths
}

/// Whether the lines are out.
fn take_out(context: &mut Context, original: &Original, new: &str, yes: bool) -> Result<bool, Error> {
    let path = original.path.display();
    let service = original.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = path.to_string();
    if let Some(why) = with_host(|host| lines::locks_out(&service, &file, new, host)) {
        leave(context, &format!("{path}: without the lines, {why}"))?;
        return Ok(false);
    }
    context.terminal.say(&shown(&original.path, &original.text, new))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    original.put(new)?;
    done(context, "pam-changed", &format!("lines taken out of {path}"));
    context.terminal.say(&format!("{path} is without the lines."))?;
    for backup in file::tidy(&original.path, new) {
        context.terminal.say(&format!("{} is something else, and stays.", backup.display()))?;
    }
    Ok(true)
}

/// Whether the settings are out.
fn take_back(context: &mut Context, original: &Original, new: &str, yes: bool) -> Result<bool, Error> {
    context.terminal.say(&shown(&original.path, &original.text, new))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    let works = sshd::test().is_ok();
    match new.is_empty() {
        true => original.remove()?,
        false => original.put(new)?,
    }
    if let Err(why) = sshd::test()
        && works
    {
        if new.is_empty() { original.remake() } else { original.restore(new) }?;
        context.terminal.say(&format!("{DROP_IN} is as it was: without it, {}", table::printable(&why)))?;
        return Ok(false);
    }
    done(context, "sshd-changed", &format!("settings taken out of {DROP_IN}"));
    context.terminal.say(&format!("{DROP_IN} is without the settings."))?;
    if !write::reload(context, yes)? {
        context.terminal.note(
            "Until sshd is reloaded (`systemctl reload ssh`), it asks users with an SSH key for a password too,\n\
             if they have one or not.",
        );
    }
    Ok(true)
}

/// Where there is no policy any more, there is no trail to write to either.
fn done(context: &Context, event: &'static str, what: &str) {
    if let Ok(config) = context.config() {
        context.did(&config, event, "*", what);
    }
}
