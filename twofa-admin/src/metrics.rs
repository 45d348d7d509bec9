//! `metrics`: figures for Prometheus, by the textfile collector of its node exporter: a timer runs this, and no daemon.

use crate::context::{Context, accounts};
use crate::error::Error;
use crate::{Outcome, doubts, exempt, missing};
use std::fmt::Write as _;
use std::path::Path;
use twofa::admin::{self, Standing};
use twofa::config;
use twofa::policy::Mode;
use twofa::store::Store;
use twofa::trial::Trial;
use twofa::{system, trusted};

pub(crate) fn run(context: &mut Context, textfile: Option<&Path>) -> Result<Outcome, Error> {
    let text = collect(context);
    match textfile {
        // In one step: whoever collects it sees the old or the new one, whole.
        Some(path) => trusted::replace(&std::path::absolute(path)?, text.as_bytes(), 0o644)?,
        None => context.terminal.say(text.trim_end())?,
    }
    Ok(Outcome::Done)
}

/// Figures of what could be looked at; what could not has none, and the first one says so.
fn collect(context: &Context) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(text, "# HELP twofa_{name} {help}\n# TYPE twofa_{name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "twofa_{name}{labels} {value}");
        }
    };
    let valid = config::read(&context.conf).is_ok();
    gauge("policy_valid", "Whether the policy file is valid.", &[("", valid.into())]);
    let Ok(loaded) = config::load(&context.conf) else {
        return text;
    };
    let mut config = loaded.config;
    if let Ok(Some(trial)) = Trial::read(&config.store) {
        config.policy.mode = trial.mode(config.policy.mode, system::now());
    }
    let policy = &config.policy;
    let modes = [Mode::Enforce, Mode::Observe, Mode::Off]
        .map(|mode| (format!("{{mode=\"{}\"}}", mode.name()), u64::from(policy.mode == mode)));
    let modes: Vec<(&str, u64)> = modes.iter().map(|(labels, is)| (labels.as_str(), *is)).collect();
    gauge("mode", "Which mode is in force.", &modes);
    gauge("doubts", "What is out of order on this host.", &[("", doubts::about(&config).len() as u64)]);
    gauge(
        "exemptions_ending",
        "Exemptions that end within a week.",
        &[("", exempt::ending(&config).len() as u64)],
    );
    let store = Store::open(&config.store).and_then(|store| store.check().map(|()| store));
    gauge("store_sound", "Whether the store can be read and is undamaged.", &[("", store.is_ok().into())]);
    let Some((accounts, faults)) = store.ok().and_then(|store| accounts(&config, &store).ok()) else {
        return text;
    };
    gauge("accounts_unreadable", "Accounts that cannot be read.", &[("", faults.len() as u64)]);
    let count = |is: &dyn Fn(&admin::UserReport) -> bool| {
        accounts.iter().filter(|account| is(account)).count() as u64
    };
    gauge("accounts", "Accounts.", &[("", accounts.len() as u64)]);
    gauge(
        "accounts_locked",
        "Accounts that only take recovery codes.",
        &[("", count(&|account| account.locked))],
    );
    gauge(
        "accounts_few_recovery_codes",
        "Enrolled accounts with fewer than three recovery codes.",
        &[("", count(&|account| !account.methods.is_empty() && account.recovery_codes_left < 3))],
    );
    gauge(
        "bypasses_open",
        "Logins that an administrator opened.",
        &[("", count(&|account| account.bypass.is_some()))],
    );
    gauge(
        "would_be_refused",
        "Logins that observe mode let in and enforcement would have refused.",
        &[("", accounts.iter().map(|account| u64::from(account.would_be_refused)).sum())],
    );
    let Ok(users) = missing::covered(policy) else {
        return text;
    };
    // Of these users alone: accounts of others, of who left or is exempt, make up for nobody.
    let standings = admin::Standings::new(policy, &accounts, system::now());
    let standing = |is: Standing| users.iter().filter(|user| standings.of(user) == is).count() as u64;
    let (enrolled, refused) = (standing(Standing::Enrolled), standing(Standing::Refused));
    let covered = users.len() as u64;
    gauge(
        "users",
        "Users whom the policy asks for a second factor, by what enforcement would do now.",
        &[
            ("{standing=\"enrolled\"}", enrolled),
            ("{standing=\"refused\"}", refused),
            ("{standing=\"let-in-without\"}", covered.saturating_sub(enrolled).saturating_sub(refused)),
        ],
    );
    text
}
