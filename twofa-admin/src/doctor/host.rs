//! The rest of the host: policy, clock, disk, and what sends codes.

use super::finding::{Fate, Finding, Severity, Whom};
use crate::doubts::{self, ExemptionDoubt};
use crate::{exempt, trial};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use twofa::config::{self, Config};
use twofa::message::rfc3339;
use twofa::policy::{Method, Mode, Policy, Who};
use twofa::system::{self, Deadline};
use twofa::trial::Trial;
use twofa::trusted;

const TIMEDATECTL: &str = "/usr/bin/timedatectl";
const PATIENCE: Duration = Duration::from_secs(5);

/// The policy in force, if there is one, and what is wrong with the file.
pub(crate) fn policy(conf: &Path) -> (Option<Config>, Vec<Finding>) {
    const CHECK: &str = "policy";
    match config::read(conf) {
        Ok((config, text)) => {
            let copy = std::fs::read_to_string(config::last_valid(conf)).unwrap_or_default();
            let mut findings = mode(&config);
            if copy != text {
                let what =
                    "the copy of the policy that stands in for a broken one is not of the policy in force";
                findings.push(Finding::note(CHECK, what, "Run `twofa-admin policy check`, which keeps one."));
            }
            if findings.is_empty() {
                findings.push(Finding::ok(CHECK, format!("{} is valid and enforced", conf.display())));
            }
            (Some(config), findings)
        }
        Err(fault) => match config::load(conf) {
            Ok(loaded) => {
                let what = format!("the policy cannot be used: {fault}; the last valid copy is in force");
                (Some(loaded.config), vec![Finding::critical(CHECK, what, fault.hint())])
            }
            Err(_) => {
                let what = format!("the policy cannot be used, and there is no valid copy: {fault}");
                let finding = Finding::critical(CHECK, what, fault.hint());
                (None, vec![finding.meets(Whom::everybody(), Fate::LockedOut)])
            }
        },
    }
}

fn mode(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "policy";
    let everybody = |finding: Finding| finding.meets(Whom::everybody(), Fate::LetPast);
    let advice = "`twofa-admin policy enable` enforces it.";
    let mode = match config.policy.mode {
        Mode::Enforce => None,
        Mode::Observe => {
            Some("the mode is observe: nobody is refused; the rest is said as if it were enforced")
        }
        Mode::Off => Some("the mode is off: nobody is asked; the rest is said as if it were enforced"),
    };
    let mut findings: Vec<Finding> =
        mode.map(|what| everybody(Finding::warning(CHECK, what, advice))).into_iter().collect();
    if let Some(what) = trial::doubt(config) {
        let lapsed = matches!(Trial::read(&config.store), Ok(Some(trial)) if trial.has_lapsed(system::now()));
        let finding = Finding::warning(CHECK, what.trim_end_matches('.'), advice);
        findings.push(if lapsed { everybody(finding) } else { finding });
    }
    findings
}

pub(crate) fn exemptions(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "policy";
    let now = system::now();
    let mut findings = Vec::new();
    for doubt in doubts::exemptions(&config.policy, now) {
        findings.push(match doubt {
            ExemptionDoubt::NoUser(name) => {
                let what = format!("the exempted user `{name}` does not exist");
                let advice = format!("`twofa-admin exempt remove --user {name}`, or correct the name.");
                Finding::warning(CHECK, what, advice)
            }
            ExemptionDoubt::NoGroup(name, why) => {
                let what = format!("the exempted group `{name}` cannot be looked up: {why}");
                let advice = format!("`twofa-admin exempt remove --group {name}`, or make the group.");
                Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LockedOut)
            }
            ExemptionDoubt::Ended(name) => {
                let what = format!("the exemption of `{name}` has ended");
                Finding::note(CHECK, what, "Remove it: `twofa-admin exempt list` shows it.")
            }
        });
    }
    let soon = now..now.saturating_add(exempt::SOON);
    for exemption in config.policy.exemptions.iter().filter(|exemption| soon.contains(&exemption.until)) {
        let (Who::User(name) | Who::Group(name)) = &exemption.who;
        let what = format!("the exemption of `{name}` ends {}", rfc3339(exemption.until));
        let advice = "Enroll them before, or `twofa-admin exempt add` with a later --until.";
        findings.push(Finding::warning(CHECK, what, advice));
    }
    findings
}

pub(crate) fn clock(policy: &Policy) -> Vec<Finding> {
    const CHECK: &str = "clock";
    if !policy.clock_is_sound(system::now()) {
        let what = format!("the clock is before the policy was written ({})", rfc3339(policy.written));
        let advice = "Set the clock, or if it is right: `touch` the policy file.";
        let finding =
            Finding::critical(CHECK, format!("{what}: no exemption holds, and codes are wrong"), advice);
        return vec![finding];
    }
    let asked = system::output(
        Path::new(TIMEDATECTL),
        &["show", "--property", "NTPSynchronized", "--value"],
        Deadline::after(PATIENCE),
    );
    vec![match asked.as_deref().map(str::trim) {
        Ok("yes") => Finding::ok(CHECK, "the clock is synchronised"),
        Ok("no") => {
            let what = "the clock is not synchronised: codes of apps go wrong with it";
            Finding::warning(CHECK, what, "Run an NTP client, such as systemd-timesyncd or chrony.")
        }
        _ => Finding::note(
            CHECK,
            "whether the clock is synchronised is not known",
            "See to it that an NTP client runs.",
        ),
    }]
}

/// What hands over messages and asks security keys.
pub(crate) fn sending(policy: &Policy) -> Vec<Finding> {
    const CHECK: &str = "sending";
    let mut findings: Vec<Finding> = Vec::new();
    for (what, advice) in doubts::unsendable(policy, &doubts::looked_at(policy)) {
        // What is only prepared keeps nobody out.
        let used = policy.methods.iter().any(|method| method.is_sent() || *method == Method::Key);
        let only = policy.methods.iter().all(|method| method.is_sent() || *method == Method::Key);
        let severity = if used { Severity::Critical } else { Severity::Warning };
        let finding = Finding::new(severity, CHECK, what, advice);
        findings.push(if only { finding.meets(Whom::everybody(), Fate::LockedOut) } else { finding });
    }
    let sends = policy.methods.iter().any(|method| policy.channel(*method).is_some());
    if findings.is_empty() && sends {
        findings.push(Finding::ok(
            CHECK,
            "the hooks and their user are in order; `twofa-admin test` sends a message",
        ));
    }
    findings
}

/// The disk that the store is on, and its folder of records.
pub(crate) fn disk(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "store";
    let database = &config.store.database;
    let folder = database.parent().unwrap_or(database);
    let mut findings = Vec::new();
    if let Ok(disk) = statvfs(folder) {
        // Those that are kept for root are ours.
        let is_full = disk.blocks_free() == 0 || disk.files_free() == 0 && disk.files() > 0;
        if disk.flags().contains(FsFlags::ST_RDONLY) {
            let what = format!("{} cannot be written: the file system is read-only", folder.display());
            let advice = format!("`mount -o remount,rw` what {} is on.", folder.display());
            findings.push(Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LockedOut));
        } else if is_full {
            let what =
                format!("the disk of {} is full: logins go on, and nobody can be enrolled", folder.display());
            findings.push(Finding::warning(CHECK, what, "Make room."));
        }
    }
    let records = database.with_file_name("state");
    if let Ok(metadata) = std::fs::metadata(&records)
        && metadata.mode() & 0o077 != 0
    {
        let what = format!("{} can be read by others", records.display());
        let advice = format!("`chown root:root {0}; chmod 700 {0}`", records.display());
        findings.push(Finding::warning(CHECK, what, advice));
    }
    findings
}

/// Without it neither codes are sent nor keys asked, and the module cannot be tried.
pub(crate) fn helper(policy: &Policy) -> Vec<Finding> {
    let needs = policy.methods.iter().any(|method| *method != Method::App);
    match trusted::check_program(&policy.helper) {
        Ok(()) => Vec::new(),
        // `sending` says so.
        Err(_) if needs => Vec::new(),
        Err(error) => vec![Finding::warning("helper", error.to_string(), error.hint())],
    }
}
