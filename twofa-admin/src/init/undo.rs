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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Found {
    #[default]
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

/// How the lines of sshd go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    /// They stay, as the settings do.
    Held,
    /// But for what is content with an SSH key, which the settings need: that goes behind them.
    ButKey,
}

/// What became of the lines.
#[derive(Default)]
struct Lines {
    found: Found,
    of_sshd: Found,
    /// Those of pam-auth-update that were on, where they were taken out.
    profiles: Vec<&'static str>,
    /// The file of sshd as it was, where lines were taken out.
    own: Option<Original>,
    /// What is out, by name.
    gone: Vec<String>,
}

const BY_PROFILES: &str = "the profiles of pam-auth-update";

pub(super) fn run(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    let config = context.config().ok();
    // With a policy that cannot be read, the last valid one is in force, or everybody is refused.
    let enforced = config.as_ref().is_none_or(|config| config.policy.mode == Mode::Enforce);
    let named = config.map(|config| config.policy.services).unwrap_or_default();
    // What is enforced does not end by halves.
    if enforced && let Some(why) = immovable(&named) {
        let rest = "So nothing else is taken out either: what is enforced does not end by halves. \
                    `twofa-admin policy disable` ends it";
        leave(context, &format!("{why}. {rest}"))?;
        return Ok(Outcome::Found);
    }
    // Also of services that the policy does not name any more.
    let (own, others): (Vec<_>, Vec<_>) = services(&named).into_iter().partition(|path| path.ends_with(SSHD));
    let mut lines = Lines::default();
    let of_sshd = if enforced {
        // Without the settings nobody could answer what is enforced.
        take_lines(context, &own, yes, Way::ButKey, &mut lines)?;
        let of_sshd = settings(context, yes, lines.of_sshd)?;
        finish(context, &mut lines, of_sshd)?;
        of_sshd
    } else {
        // The lines refuse nobody; the settings without them refuse keys of users without a password.
        let of_sshd = settings(context, yes, Found::Nothing)?;
        let way = if of_sshd == Found::Left { Way::Held } else { Way::Whole };
        take_lines(context, &own, yes, way, &mut lines)?;
        of_sshd
    };
    if !enforced || of_sshd != Found::Left {
        others.iter().try_for_each(|path| service(context, path, yes, Way::Whole, &mut lines).map(drop))?;
    }
    let found = lines.found.and(of_sshd);
    if of_sshd == Found::Gone {
        lines.gone.push(DROP_IN.into());
    }
    if found == Found::Nothing {
        context.terminal.say("Nothing in /etc/pam.d and sshd_config.d was written by `twofa-admin init`.")?;
        return Ok(Outcome::Done);
    }
    if !lines.gone.is_empty() {
        // Also for who removes a package, and sees nothing of the rest.
        context.terminal.note(&table::printable(&format!("Taken out: {}.", lines.gone.join(", "))));
    }
    context
        .terminal
        .say("\nPolicy, store and enrolments are as they were. What twofa-admin doctor says now:")?;
    doctor::run(context)?;
    Ok(if found == Found::Left { Outcome::Found } else { Outcome::Done })
}

/// The first file that has something of ours which could not be taken out.
fn immovable(named: &[String]) -> Option<String> {
    let mut of_services = services(named).into_iter().filter_map(|path| stays(&path, has_lines));
    // pam-auth-update replaces one after the other, and stops in between. It replaces links, too.
    let of_profiles = || {
        let mut shared = profiles::WRITTEN.iter().filter_map(|path| Original::read(Path::new(path)).ok());
        if profiles::on().is_empty() { None } else { shared.find_map(|file| stays_in_place(&file)) }
    };
    of_services.next().or_else(of_profiles).or_else(|| stays(Path::new(DROP_IN), has_settings))
}

fn has_lines(text: &str) -> bool {
    lines::without_lines(text).is_some()
}

fn has_settings(text: &str) -> bool {
    drop_in::without_settings(text).is_some()
}

/// Why what is in a file could not be taken out.
fn stays(path: &Path, has: impl Fn(&str) -> bool) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    if !has(&String::from_utf8_lossy(&bytes)) {
        return None;
    }
    match Original::read(path) {
        Err(why) => Some(why.to_string()),
        Ok(original) => fault(&original).or_else(|| stays_in_place(&original)),
    }
}

/// Put in its own place, it says the same; where that fails, nothing else can be put there either.
fn stays_in_place(original: &Original) -> Option<String> {
    original.put(&original.text).err().map(|error| error.to_string())
}

/// Who would be locked out without the lines.
fn fault(original: &Original) -> Option<String> {
    let path = original.path.display().to_string();
    let service = original.path.file_name().unwrap_or_default().to_string_lossy();
    let new = lines::without_lines(&original.text)?;
    let why = with_host(|host| lines::locks_out(&service, &path, &new, host))?;
    Some(format!("{path}: without the lines, {why}"))
}

/// Those of sshd.
fn take_lines(
    context: &mut Context,
    own: &[PathBuf],
    yes: bool,
    way: Way,
    lines: &mut Lines,
) -> Result<(), Error> {
    let on = profiles::on();
    lines.found = of_profiles(context, yes, way)?;
    lines.of_sshd = lines.found;
    if lines.found == Found::Gone {
        lines.profiles = on;
        lines.gone.push(BY_PROFILES.into());
    }
    for path in own {
        let original = Original::read(path).ok();
        let one = service(context, path, yes, way, lines)?;
        lines.of_sshd = lines.of_sshd.and(one);
        lines.own = original.filter(|_| one == Found::Gone);
    }
    Ok(())
}

/// Behind the settings goes what is content with a key, too; where they stay, the lines of sshd go back.
fn finish(context: &mut Context, lines: &mut Lines, settings: Found) -> Result<(), Error> {
    let back = settings == Found::Left;
    let mut went = |context: &mut Context, what: &str, result: Result<(), Error>| {
        if back || result.is_err() {
            lines.gone.retain(|gone| gone != what);
        }
        match result {
            Ok(()) if back => {
                done(context, "pam-changed", &format!("lines put back into {what}"));
                context.terminal.say(&format!("{what}: as before, like the settings of sshd."))
            }
            Ok(()) => Ok(()),
            Err(why) => {
                lines.found = Found::Left;
                leave(context, &format!("{what}: {why}")).map(drop)
            }
        }
    };
    if !lines.profiles.is_empty() {
        let result = if back { profiles::put_back(&lines.profiles) } else { profiles::finish() };
        went(context, BY_PROFILES, result)?;
    }
    if let Some(own) = lines.own.take() {
        let half = lines::without_asking(&own.text);
        let whole = lines::without_lines(&own.text).unwrap_or_default();
        let result = match back {
            true => own.restore(&half),
            false => Original::read(&own.path).map_err(Error::from).and_then(|now| now.put(&whole)),
        };
        let is_out = result.is_ok() && !back;
        went(context, &own.path.display().to_string(), result)?;
        if is_out {
            tidy(context, &own.path, &whole)?;
        }
    }
    Ok(())
}

/// What holds the lines while the settings of sshd stay.
const HELD: &str = "without the lines, and with the settings of sshd, \
                    users with an SSH key and no password could not log in";

/// Those that pam-auth-update wrote for us, sshd's among them.
fn of_profiles(context: &mut Context, yes: bool, way: Way) -> Result<Found, Error> {
    if profiles::on().is_empty() {
        return Ok(Found::Nothing);
    }
    if way == Way::Held {
        return leave(context, &format!("{BY_PROFILES}: {HELD}"));
    }
    let out = profiles::take_out(context, yes, way == Way::ButKey)?;
    if out {
        done(context, "pam-changed", "profiles of pam-auth-update switched off");
    }
    Ok(Found::of(out))
}

fn service(
    context: &mut Context,
    path: &Path,
    yes: bool,
    way: Way,
    lines: &mut Lines,
) -> Result<Found, Error> {
    let one = of_file(context, path, yes, way)?;
    lines.found = lines.found.and(one);
    if one == Found::Gone {
        lines.gone.push(path.display().to_string());
    }
    Ok(one)
}

fn of_file(context: &mut Context, path: &Path, yes: bool, way: Way) -> Result<Found, Error> {
    let original = match Original::read(path) {
        Ok(original) => original,
        Err(_) => {
            return stays(path, has_lines).map_or(Ok(Found::Nothing), |why| leave(context, &why));
        }
    };
    let Some(new) = lines::without_lines(&original.text) else { return Ok(Found::Nothing) };
    if way == Way::Held {
        return leave(context, &format!("{}: {HELD}", path.display()));
    }
    take_out(context, &original, &new, yes, way).map(Found::of)
}

/// Those of sshd, unless its lines are left.
fn settings(context: &mut Context, yes: bool, its_lines: Found) -> Result<Found, Error> {
    let path = Path::new(DROP_IN);
    let original = match Original::read(path) {
        Ok(original) => original,
        Err(_) => {
            return stays(path, has_settings).map_or(Ok(Found::Nothing), |why| leave(context, &why));
        }
    };
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
fn take_out(
    context: &mut Context,
    original: &Original,
    new: &str,
    yes: bool,
    way: Way,
) -> Result<bool, Error> {
    let path = original.path.display();
    if let Some(why) = fault(original) {
        leave(context, &why)?;
        return Ok(false);
    }
    context.terminal.say(&shown(&original.path, &original.text, new))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    let but_key = way == Way::ButKey;
    original.put(&if but_key { lines::without_asking(&original.text) } else { new.into() })?;
    done(context, "pam-changed", &format!("lines taken out of {path}"));
    if !but_key {
        context.terminal.say(&format!("{path} is without the lines."))?;
        tidy(context, &original.path, new)?;
    }
    Ok(true)
}

fn tidy(context: &mut Context, path: &Path, text: &str) -> Result<(), Error> {
    for backup in file::tidy(path, text) {
        context.terminal.say(&format!("{} is something else, and stays.", backup.display()))?;
    }
    Ok(())
}

/// Whether the settings are out.
fn take_back(context: &mut Context, original: &Original, new: &str, yes: bool) -> Result<bool, Error> {
    context.terminal.say(&shown(&original.path, &original.text, new))?;
    if !yes && !agrees(context, "Take this out?")? {
        return Ok(false);
    }
    let works = sshd::test().is_ok();
    if let Err(why) = if new.is_empty() { original.remove() } else { original.put(new) } {
        leave(context, &why.to_string())?;
        return Ok(false);
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
