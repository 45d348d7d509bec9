//! Writes the lines of PAM and sshd: each after it was shown and agreed to, judged by the doctor before and after, and
//! taken back at once when somebody would be locked out.

use super::drop_in::{self, CONFIG, DROP_IN};
use super::lines::{self, Host};
use super::make_folder;
use super::profiles;
use crate::context::Context;
use crate::doctor::{self, Fate, Finding, Severity, module, sshd};
use crate::error::Error;
use crate::file::{self, Original, difference};
use crate::table;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twofa::config::{Config, DEFAULT_PATH};
use twofa::policy::{Mode, SSHD};
use twofa::system::{self, Deadline};
use twofa::trusted;

const FOLDER: &str = "/etc/pam.d";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const PATIENCE: Duration = Duration::from_secs(20);

/// What was done, and what is left to do.
#[derive(Default)]
pub(super) struct Written {
    pub(super) backups: Vec<PathBuf>,
    /// Whether lines of PAM are missing that somebody has to add by hand.
    pub(super) lines_by_hand: bool,
    /// The same of sshd's settings.
    pub(super) settings_by_hand: bool,
    /// Whether sshd does not go by its new settings yet.
    pub(super) reload_by_hand: bool,
    pub(super) changed: bool,
}

/// Asks for each file unless `yes`.
pub(super) fn run(context: &mut Context, config: &Config, yes: bool) -> Result<Written, Error> {
    let mut written = Written::default();
    if let Err(why) = check_host(context, config) {
        context.terminal.say(&table::printable_lines(&[String::new(), why.0, why.1]))?;
        (written.lines_by_hand, written.settings_by_hand) = (true, true);
        return Ok(written);
    }
    let goes_on = add_profiles(context, config, yes, &mut written)?;
    for service in &config.policy.services {
        let path = Path::new(FOLDER).join(service);
        if goes_on && fs::symlink_metadata(&path).is_ok() {
            add_lines(context, config, service, &path, yes, &mut written)?;
        }
    }
    if config.policy.services.iter().any(|service| service == SSHD) && fs::metadata(CONFIG).is_ok() {
        add_drop_in(context, config, yes, &mut written)?;
    }
    Ok(written)
}

/// Whether lines of PAM are missing, and settings of sshd; also where that cannot be told.
pub(super) fn missing(context: &Context, config: &Config) -> (bool, bool) {
    // Lines for another policy say so.
    if context.conf != Path::new(DEFAULT_PATH) {
        return (true, true);
    }
    let exists = |service: &&String| fs::symlink_metadata(Path::new(FOLDER).join(service)).is_ok();
    let lacks_lines = |service: &String| {
        let path = Path::new(FOLDER).join(service);
        let text = Original::read(&path).map(|original| original.text);
        let lines = |text: String| with_host(|host| lines::with_lines(service, &text, host));
        !text.is_ok_and(|text| lines(text) == Ok(None))
    };
    let mut services = config.policy.services.iter().filter(|name| exists(name)).peekable();
    let settings = drop_in::settings(&config.policy, sshd::has_challenge());
    let has_settings =
        || sshd::test().and_then(|()| sshd::not_in_force(&settings)).is_ok_and(|no| no.is_empty());
    let by_ssh = config.policy.services.iter().any(|service| service == SSHD);
    (services.peek().is_none() || services.any(lacks_lines), by_ssh && !has_settings())
}

/// Whether lines can be written here at all: what is wrong, and what to do.
fn check_host(context: &Context, config: &Config) -> Result<(), (String, String)> {
    if context.conf != Path::new(DEFAULT_PATH) {
        let what = format!("Nothing is written for another policy than {DEFAULT_PATH}.");
        return Err((what, "Add the lines by hand, with `conf=` and its path.".into()));
    }
    let named = BTreeSet::from(["pam_twofa.so".to_string()]);
    let found = module::findings(module::folder().as_deref(), &named, &config.policy.helper);
    match found.into_iter().find(|finding| finding.severity > Severity::Note) {
        Some(finding) => Err((
            format!("Neither PAM nor sshd is touched, as {}.", finding.what),
            format!("{} Then run `twofa-admin init` again.", finding.advice),
        )),
        None => Ok(()),
    }
}

/// Whether to go on with the services' own files, which then lack only what the profiles did not bring.
fn add_profiles(
    context: &mut Context,
    config: &Config,
    yes: bool,
    written: &mut Written,
) -> Result<bool, Error> {
    // The lines would hold from the next login on: each service says so.
    if config.policy.mode == Mode::Enforce {
        return Ok(true);
    }
    match profiles::add(context, config, yes)? {
        profiles::Outcome::NotHere => return Ok(true),
        profiles::Outcome::Written => written.changed = true,
        profiles::Outcome::Declined => written.lines_by_hand = true,
        profiles::Outcome::TakenBack(why) => leave(context, &mut written.lines_by_hand, &format!("{why}."))?,
    }
    Ok(written.changed)
}

fn add_lines(
    context: &mut Context,
    config: &Config,
    service: &str,
    path: &Path,
    yes: bool,
    written: &mut Written,
) -> Result<(), Error> {
    let found = Original::read(path).map_err(|error| error.to_string());
    let found = found.and_then(Original::refuse_other_names);
    let planned = found.and_then(|original| {
        let new = with_host(|host| lines::with_lines(service, &original.text, host));
        new.map(|new| (original, new)).map_err(|why| format!("{}: {why}", path.display()))
    });
    let (original, new) = match planned {
        Ok((original, Some(new))) => (original, new),
        Ok((_, None)) => {
            return context.terminal.say(&format!("\n{}: all lines are there.", path.display()));
        }
        Err(why) => return leave(context, &mut written.lines_by_hand, &format!("{why}.")),
    };
    if config.policy.mode == Mode::Enforce {
        let why = format!(
            "{}: the policy is enforced, so the lines would hold from the next login on. \
            Run `twofa-admin policy set mode=off` first",
            path.display()
        );
        return leave(context, &mut written.lines_by_hand, &format!("{why}."));
    }
    context.terminal.say(&shown(path, &original.text, &new))?;
    if !yes && !agrees(context, "Write this?")? {
        written.lines_by_hand = true;
        return Ok(());
    }
    let known = stack(service);
    match original.replace(&new) {
        Ok(backup) => written.backups.push(backup),
        Err(error) => {
            return leave(context, &mut written.lines_by_hand, &format!("{error}. {}", error.hint()));
        }
    }
    if let Some(found) = worse(&known, stack(service)) {
        original.restore(&new)?;
        file::tidy(path, &original.text);
        written.backups.pop();
        let why = format!("{} is as it was: with the lines in it, {}", path.display(), found.what);
        return leave(context, &mut written.lines_by_hand, &format!("{why}."));
    }
    written.changed = true;
    context.did(config, "pam-changed", "*", &format!("lines added to {}", path.display()));
    context.terminal.say(&format!("{} is written.", path.display()))
}

fn add_drop_in(
    context: &mut Context,
    config: &Config,
    yes: bool,
    written: &mut Written,
) -> Result<(), Error> {
    let settings = drop_in::settings(&config.policy, sshd::has_challenge());
    let new = drop_in::text(&settings);
    let path = Path::new(DROP_IN);
    let missing = sshd::test().and_then(|()| sshd::not_in_force(&settings));
    if missing.as_ref().is_ok_and(Vec::is_empty) {
        return context.terminal.say("\nsshd: all settings are there.");
    }
    let fault = match missing {
        Ok(_) => check_sshd(path, &settings),
        // Made when the service starts; where a socket starts it, not before the first login.
        Err(why) if why.contains("privilege separation directory") => {
            Err(format!("{why} `mkdir -p /run/sshd`, and run `twofa-admin init` again"))
        }
        Err(why) => Err(format!("`sshd -t` fails already: {}", why.trim_end_matches('.'))),
    };
    if let Err(why) = fault {
        return leave(context, &mut written.settings_by_hand, &format!("sshd: {why}."));
    }
    context.terminal.say(&shown(path, "", &new))?;
    if let Some(what) = sshd::newly_enough().filter(|_| config.policy.mode != Mode::Enforce) {
        context.terminal.say(&format!(
            "\nNOTE: from the reload on, and until the policy is enforced, {what} is enough for sshd, which wants\n\
             more now. Keep who it is not for out by other means, or enforce it at once."
        ))?;
    }
    if let Some(root) = sshd::of_root() {
        context.terminal.say(&format!("\nNOTE: from the reload on, {}. {}", root.what, root.advice))?;
    }
    if !yes && !agrees(context, "Write this?")? {
        written.settings_by_hand = true;
        return Ok(());
    }
    let known = doctor::of_ways_in(config, &context.conf);
    let made = make_folder(path, 0o755);
    let made = made.and_then(|()| Ok(trusted::create(path, new.as_bytes(), 0o644)?));
    if let Err(error) = made {
        return leave(context, &mut written.settings_by_hand, &format!("{error}. {}", error.hint()));
    }
    let fault = match (sshd::test(), sshd::not_in_force(&settings)) {
        (Err(why), _) | (_, Err(why)) => Some(why),
        (_, Ok(missing)) if !missing.is_empty() => Some(format!(
            "`{}` has no effect: a file that is read before says otherwise",
            missing.join("`, `")
        )),
        _ => worse(&known, doctor::of_ways_in(config, &context.conf)).map(|found| found.what),
    };
    if let Some(why) = fault {
        Original::read(path)?.remove()?;
        return leave(
            context,
            &mut written.settings_by_hand,
            &format!("{DROP_IN} is taken back: with it, {why}."),
        );
    }
    written.changed = true;
    context.did(config, "sshd-changed", "*", &format!("{DROP_IN} written"));
    context.terminal.say(&format!("{DROP_IN} is written, and `sshd -t` finds no fault."))?;
    written.reload_by_hand = !reload(context, yes)?;
    Ok(())
}

/// Whether sshd would take the settings, and users still get in with them.
fn check_sshd(path: &Path, settings: &[String]) -> Result<(), String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    if let Ok(found) = fs::symlink_metadata(path) {
        let lacks = |text: String| settings.iter().any(|line| !text.lines().any(|own| own.trim() == line));
        let what = match found.is_file() && read(path).is_ok_and(lacks) {
            true => "is there already, and says something else",
            false => "is there already, and sshd does not go by it",
        };
        return Err(format!("{DROP_IN} {what}"));
    }
    drop_in::check_included(&read(Path::new(CONFIG))?)?;
    // sshd would ask users for a password who have none.
    let service = Path::new(FOLDER).join(SSHD);
    let text = Original::read(&service).map_err(|error| error.to_string())?.text;
    match with_host(|host| lines::with_lines(SSHD, &text, host)) {
        Ok(None) => Ok(()),
        _ => Err(format!(
            "without the lines in {}, users with an SSH key and no password could not log in",
            service.display()
        )),
    }
}

/// Makes sshd go by its settings; whether it does. Open connections stay.
pub(super) fn reload(context: &mut Context, yes: bool) -> Result<bool, Error> {
    let by_hand = "sshd goes by it once it is reloaded: `systemctl reload ssh`, or `kill -HUP` and\n\
                   the id of its process.";
    let systemd = Path::new("/run/systemd/system").is_dir();
    if !systemd || !yes && !agrees(context, "Reload sshd now? Open connections stay.")? {
        context.terminal.say(by_hand)?;
        return Ok(false);
    }
    let systemctl = |unit: &str| {
        system::output(Path::new(SYSTEMCTL), &["reload", unit], Deadline::after(PATIENCE)).is_ok()
    };
    // Debian's name, and everybody else's.
    let reloaded = systemctl("ssh.service") || systemctl("sshd.service");
    context.terminal.say(&match reloaded {
        true => "sshd is reloaded.".into(),
        false => format!(
            "systemd did not reload sshd. Where a socket starts it, the next connection goes by it. Else: {by_hand}"
        ),
    })?;
    Ok(reloaded)
}

fn leave(context: &mut Context, by_hand: &mut bool, why: &str) -> Result<(), Error> {
    *by_hand = true;
    context.terminal.say(&format!("\nNOT WRITTEN: {}", table::printable(why)))
}

/// Yes, or no; the end of the input is no.
pub(super) fn agrees(context: &mut Context, question: &str) -> Result<bool, Error> {
    match context.terminal.confirm(question) {
        Err(Error::Stopped) => Ok(false),
        answer => answer,
    }
}

pub(super) fn shown(path: &Path, old: &str, new: &str) -> String {
    let lines: Vec<String> = difference(old, new).lines().map(str::to_string).collect();
    format!("\n{}:\n{}", path.display(), table::printable_lines(&lines))
}

/// What stands around a file of PAM on this host.
pub(super) fn with_host<T>(action: impl FnOnce(Host<'_>) -> T) -> T {
    let folder = module::folder();
    let exists = |name: &str| module::exists(folder.as_deref(), name);
    action(Host { read: &doctor::text_of, exists: &exists })
}

fn stack(service: &str) -> Vec<Finding> {
    with_host(|host| lines::findings(service, host))
}

/// The first of `found` that locks somebody out or lets somebody past, and was not there before.
pub(super) fn worse(known: &[Finding], found: Vec<Finding>) -> Option<Finding> {
    let is_bad = |finding: &Finding| {
        finding.severity == Severity::Critical
            && matches!(finding.outcome, Some(Fate::LockedOut | Fate::LetPast))
    };
    let is_new = |finding: &Finding| !known.iter().any(|other| other.what == finding.what);
    found.into_iter().find(|finding| is_bad(finding) && is_new(finding))
}
