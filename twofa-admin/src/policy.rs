//! `policy`: show, check and change it. A change is checked as a whole before it replaces the file.

mod edit;

use crate::cli::PolicyCommand;
use crate::context::{Context, accounts};
use crate::error::Error;
use crate::file::Original;
use crate::{Outcome, doubts, exempt, missing, sshd, table, trial, when};
use serde_json::json;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Value};
use twofa::admin::{self, LoginUser, PolicyReport};
use twofa::config::{self, Config};
use twofa::policy::{Mode, Policy};
use twofa::store::Store;
use twofa::system;
use twofa::trial::Trial;

pub(crate) fn run(context: &mut Context, command: PolicyCommand) -> Result<Outcome, Error> {
    match command {
        PolicyCommand::Show => show(context),
        PolicyCommand::Check { file } => check(context, file),
        PolicyCommand::Edit { force } => edit::run(context, force),
        PolicyCommand::Set { values, force } => set(context, &values, force),
        PolicyCommand::Enable { force, confirm_within } => enable(context, force, confirm_within),
        PolicyCommand::Disable { yes } => disable(context, yes),
    }
}

fn show(context: &mut Context) -> Result<Outcome, Error> {
    let report = PolicyReport::new(&context.config()?);
    context.report(&report, |report| toml::to_string(report).unwrap_or_default().trim_end().into())?;
    Ok(Outcome::Done)
}

fn check(context: &mut Context, file: Option<PathBuf>) -> Result<Outcome, Error> {
    let path = match file {
        Some(file) => std::path::absolute(file)?,
        None => context.conf.clone(),
    };
    // Only the policy in force is kept as the last valid one.
    let checked = if path == context.conf {
        config::read_and_keep(&path)
    } else {
        config::read(&path).map(|(config, _)| config)
    };
    let (doubts, notices, fault) = match checked {
        Ok(config) => {
            let notices = admin::notices(&config.policy).into_iter().chain(exempt::ending(&config));
            let notices = notices.chain(sshd::notice(&config));
            (doubts::about(&config), notices.collect(), None)
        }
        Err(fault) => (Vec::new(), Vec::new(), Some((fault.to_string(), fault.hint()))),
    };
    let report = json!({
        "file": path, "valid": fault.is_none(), "fault": fault.as_ref().map(|(fault, _)| fault),
        "doubts": doubts, "notices": notices,
    });
    context.report(&report, |_| match &fault {
        None => {
            let valid = [format!("{} is a valid policy.", path.display())];
            when::local(&[&valid, doubts.as_slice(), notices.as_slice()].concat().join("\n"))
        }
        Some((fault, hint)) => format!("{fault}\n{hint}"),
    })?;
    Ok(if fault.is_none() && doubts.is_empty() { Outcome::Done } else { Outcome::Found })
}

fn enable(context: &mut Context, force: bool, confirm_within: Option<u64>) -> Result<Outcome, Error> {
    let enforce = ["mode=enforce".to_string()];
    let Some(seconds) = confirm_within else {
        return set(context, &enforce, force);
    };
    // Begun before there is anything to end: a kill in between enforces nothing.
    let store = context.config()?.store;
    let earlier = Trial::read(&store).ok().flatten();
    let told = trial::begin(&context.config()?, seconds)?;
    let outcome = change(context, &enforce, force);
    match &outcome {
        Ok(Outcome::Done) => context.terminal.say(&told)?,
        // Whatever held before holds on.
        _ => earlier.map_or_else(|| Trial::end(&store), |earlier| earlier.begin(&store))?,
    }
    outcome
}

fn disable(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    context.terminal.insist("Switch enforcement off, so that nobody is asked for a second factor?", yes)?;
    set(context, &["mode=off".into()], false)
}

/// Changes values of the file. What an administrator sets so is no trial.
pub(crate) fn set(context: &mut Context, values: &[String], force: bool) -> Result<Outcome, Error> {
    let outcome = change(context, values, force)?;
    let sets_mode = |value: &String| value.split('=').next().is_some_and(|key| key.trim() == "mode");
    if outcome == Outcome::Done && values.iter().any(sets_mode) {
        Trial::end(&context.config()?.store)?;
    }
    Ok(outcome)
}

/// Changes values of the file and keeps everything else of it, comments included.
fn change(context: &mut Context, values: &[String], force: bool) -> Result<Outcome, Error> {
    let (after, draft) = with(&context.conf, values)?;
    put_in_force(context, &draft.original, &after, &draft.document.to_string(), &values.join(" "), force)
}

/// Replaces the policy, unless that would lock somebody out.
fn put_in_force(
    context: &mut Context,
    original: &Original,
    after: &Config,
    text: &str,
    what: &str,
    force: bool,
) -> Result<Outcome, Error> {
    let before = config::read(&context.conf).ok().map(|(before, _)| before);
    // What the file said before it was broken, nobody knows: then all of it is new.
    let nothing = Config { policy: Policy { mode: Mode::Off, ..after.policy.clone() }, ..after.clone() };
    if let Some(outcome) = refuse_lock_out(context, before.as_ref().unwrap_or(&nothing), after, force)? {
        return Ok(outcome);
    }
    original.put(text)?;
    let config = context.config()?;
    context.did(&config, "policy-changed", "*", what);
    context.terminal.say(&format!("The policy is changed; the mode is {}.", config.policy.mode.name()))?;
    doubts::about(&config).iter().for_each(|doubt| context.terminal.note(&when::local(doubt)));
    Ok(Outcome::Done)
}

/// The policy with other values: checked, and not stored yet.
pub(crate) fn with(conf: &Path, values: &[String]) -> Result<(Config, Draft), Error> {
    let mut draft = Draft::read(conf)?;
    for value in values {
        assign(&mut draft.document, value)?;
    }
    Ok((draft.check(conf)?, draft))
}

/// The policy, to be changed without losing its comments, or what somebody else wrote meanwhile.
pub(crate) struct Draft {
    original: Original,
    pub(crate) document: DocumentMut,
}

impl Draft {
    pub(crate) fn read(conf: &Path) -> Result<Self, Error> {
        config::read(conf)?;
        let original = Original::read(conf)?;
        let document = original.text.parse().map_err(|error: toml_edit::TomlError| {
            Error::refused(format!("the policy cannot be edited: {}", error.message()), "Correct it by hand.")
        })?;
        Ok(Self { original, document })
    }

    fn check(&self, conf: &Path) -> Result<Config, Error> {
        config::parse(conf, &self.document.to_string()).map_err(|fault| {
            Error::refused(fault.to_string(), "Nothing was changed. `twofa-admin policy show` has every key.")
        })
    }

    /// Puts it in force, if it is valid and `check` has nothing against it.
    pub(crate) fn replace(
        &self,
        conf: &Path,
        check: impl FnOnce(&Config) -> Result<(), Error>,
    ) -> Result<Config, Error> {
        check(&self.check(conf)?)?;
        self.original.put(&self.document.to_string())?;
        Ok(config::read_and_keep(conf)?)
    }
}

/// Looks at whom a change would lock out, and reports them: then it is not made.
fn refuse_lock_out(
    context: &mut Context,
    before: &Config,
    after: &Config,
    force: bool,
) -> Result<Option<Outcome>, Error> {
    let lapsed = Trial::read(&before.store).is_ok_and(|trial| {
        trial.is_some_and(|trial| trial.mode(before.policy.mode, system::now()) != before.policy.mode)
    });
    let enforced = before.policy.mode == Mode::Enforce && !lapsed && before.store == after.store;
    let enforces = after.policy.mode == Mode::Enforce;
    let (old, new) = (&before.policy, &after.policy);
    let sends_anew = new.methods.iter().any(|method| method.is_sent() && !old.methods.contains(method));
    let same_ways = old.methods == new.methods
        && old.sms == new.sms
        && old.email == new.email
        && old.key == new.key
        && old.rollout == new.rollout;
    if sends_anew || enforces && !(enforced && same_ways) {
        doubts::refuse_unsendable(&after.policy, &after.policy.methods)?;
    }
    if force || !(sends_anew || enforces) {
        return Ok(None);
    }
    // Enforcement without a store that works would refuse everybody.
    let store = Store::open(&after.store)?;
    let accounts = accounts(after, &store)?.0;
    if enforced && same_ways {
        return Ok(None);
    }
    let users = missing::covered(&after.policy)?;
    let now = system::now();
    let mut refused =
        if enforces { admin::refused(&after.policy, &users, &accounts, now) } else { Vec::new() };
    if enforced && old.methods == new.methods {
        // Of another prefix or address it is enough to hear whom it locks out.
        let accounts = crate::context::accounts(before, &store)?.0;
        let already = admin::refused(&before.policy, &users, &accounts, now);
        refused.retain(|user| !already.contains(user));
    }
    // Whom a new method cannot reach; of one that was there before, only who could not log in at all.
    let mut missing = missing::find(&after.policy, &accounts, &users);
    missing.retain(|missing| sends_anew || refused.iter().any(|refused| refused.user == missing.user));
    if !missing.is_empty() {
        missing::report(context, &missing)?;
        return Ok(Some(Outcome::Found));
    }
    if refused.is_empty() {
        return Ok(None);
    }
    report_refused(context, &after.policy, &refused).map(Some)
}

/// `limits.failures=3`: the value is TOML, or else a string.
fn assign(document: &mut DocumentMut, assignment: &str) -> Result<(), Error> {
    let usage = || {
        Error::Usage(
            format!("`{}` is not KEY=VALUE", table::printable(assignment)),
            "For example: twofa-admin policy set limits.failures=3".into(),
        )
    };
    let (key, value) = assignment.split_once('=').ok_or_else(usage)?;
    let value: Value = value.trim().parse().unwrap_or_else(|_| value.trim().into());
    let (path, name) = match key.trim().rsplit_once('.') {
        Some((path, name)) => (path.split('.').collect(), name),
        None => (Vec::new(), key.trim()),
    };
    if name.is_empty() || path.iter().any(|part| part.is_empty()) {
        return Err(usage());
    }
    let mut item: &mut Item = document.as_item_mut();
    for part in path {
        let table = item.as_table_like_mut().ok_or_else(usage)?;
        item = table.entry(part).or_insert(toml_edit::table());
    }
    let table = item.as_table_like_mut().ok_or_else(usage)?;
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            // The comment behind the old value stays.
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(name, Item::Value(value));
        }
    }
    Ok(())
}

fn report_refused(context: &mut Context, policy: &Policy, refused: &[LoginUser]) -> Result<Outcome, Error> {
    let report = json!({ "changed": false, "without_factor": refused });
    let networks = exempt::networks(policy, refused);
    context.report(&report, |_| {
        let rows = refused.iter().map(|user| [user.user.clone(), user.uid.to_string()]);
        let from = |user: &LoginUser| networks.get(&user.user).cloned().unwrap_or_else(|| "-".into());
        let table = match networks.is_empty() {
            true => table::render(["USER", "UID"], &rows.collect::<Vec<_>>()),
            // From elsewhere they are asked like anybody.
            false => {
                let rows = rows.zip(refused).map(|([name, uid], user)| [name, uid, from(user)]);
                table::render(["USER", "UID", "EXEMPT ONLY FROM"], &rows.collect::<Vec<_>>())
            }
        };
        format!(
            "{table}\n\nThese users can log in and have no second factor: they would be refused. Nothing was changed.\n\
             Users whom the name service does not list (LDAP often does not) were not looked at."
        )
    })?;
    let step = missing::first_step(policy, "USER");
    context.terminal.note(&format!("Enroll them with `{step}`, or repeat with --force."));
    Ok(Outcome::Found)
}
