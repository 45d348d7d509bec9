//! `init --undo`: takes out of PAM and sshd what `init` wrote there, and nothing else.

use super::drop_in::{self, DROP_IN};
use super::file::{self, Original};
use super::lines;
use super::write::{self, agrees, shown, with_host};
use crate::context::Context;
use crate::doctor::{self, sshd};
use crate::error::Error;
use crate::{Outcome, table};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn run(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    let mut found = false;
    let mut left = false;
    // Also of services that the policy does not name any more.
    for path in services() {
        let original = match Original::read(&path) {
            Ok(original) => original,
            Err(why) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                if lines::without_lines(&text).is_some() {
                    (found, left) = (true, true);
                    context.terminal.say(&table::printable(&format!("NOT WRITTEN: {why}.")))?;
                }
                continue;
            }
        };
        let Some(new) = lines::without_lines(&original.text) else { continue };
        found = true;
        left |= !take_out(context, &original, &new, yes)?;
    }
    if let Ok(original) = Original::read(Path::new(DROP_IN))
        && let Some(new) = drop_in::without_settings(&original.text)
    {
        found = true;
        left |= !take_back(context, &original, &new, yes)?;
    }
    if !found {
        context.terminal.say("Nothing in /etc/pam.d and sshd_config.d was written by `twofa-admin init`.")?;
        return Ok(Outcome::Done);
    }
    context
        .terminal
        .note("\nPolicy, store and enrolments are as they were. What twofa-admin doctor says now:");
    doctor::run(context)?;
    Ok(if left { Outcome::Found } else { Outcome::Done })
}

fn services() -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc/pam.d").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    // Backups and unfinished files have a dot in their names.
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    paths
}

/// Whether the lines are out.
fn take_out(context: &mut Context, original: &Original, new: &str, yes: bool) -> Result<bool, Error> {
    let path = original.path.display();
    let service = original.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = path.to_string();
    if let Some(why) = with_host(|host| lines::locks_out(&service, &file, new, host)) {
        let why = format!("\nNOT WRITTEN: {path}: without the lines, {why}.");
        context.terminal.say(&table::printable(&why))?;
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
    write::reload(context, yes)?;
    Ok(true)
}

/// Where there is no policy any more, there is no trail to write to either.
fn done(context: &Context, event: &'static str, what: &str) {
    if let Ok(config) = context.config() {
        context.did(&config, event, "*", what);
    }
}
