//! `user`: the accounts.

use crate::cli::UserCommand;
use crate::context::{Context, accounts};
use crate::error::Error;
use crate::{Outcome, table};
use twofa::account::{Change, Conflict};
use twofa::admin::UserReport;
use twofa::policy::Known;
use twofa::store::{self, Store};
use twofa::system;

pub(crate) fn run(context: &mut Context, command: UserCommand) -> Result<Outcome, Error> {
    match command {
        UserCommand::Add { user } => add(context, &user),
        UserCommand::List => list(context),
        UserCommand::Show { user } => show(context, &user),
        UserCommand::Reset { user, yes } => reset(context, &user, yes),
        UserCommand::Unlock { user } => unlock(context, &user),
        UserCommand::Remove { user, yes } => remove(context, &user, yes),
        UserCommand::Forget { user, label, yes } => forget(context, &user, &label, yes),
        UserCommand::Repair { user } => repair(context, &user),
    }
}

/// The user as the host knows it.
pub(crate) fn known(user: &str) -> Result<Known, Error> {
    system::user(user, [].into_iter())?.ok_or_else(|| Error::NoSuchUser(user.into()))
}

/// The account of `user`, made if there is none yet. One of an earlier user of that name is not touched.
pub(crate) fn ensure(store: &mut Store, user: &str) -> Result<(), Error> {
    let known = known(user)?;
    match store.account(user)? {
        None => Ok(store.add(user, known.uid)?),
        Some((account, _)) if account.uid == known.uid => Ok(()),
        Some((account, _)) => Err(Error::refused(
            format!(
                "the account of {user} belongs to uid {}, and {user} is uid {} now",
                account.uid, known.uid
            ),
            format!("If this is another person, run `twofa-admin user remove {user}` first."),
        )),
    }
}

fn add(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (_, mut store) = context.open()?;
    let known = known(user)?;
    store.add(user, known.uid)?;
    context.terminal.say(&format!("{user} (uid {}) has an account, without a factor yet.", known.uid))?;
    context.terminal.note(&format!("Set one up: twofa-admin enroll app {user}"));
    Ok(Outcome::Done)
}

fn list(context: &mut Context) -> Result<Outcome, Error> {
    let config = context.config()?;
    let store = Store::open(&config.store)?;
    let (reports, faults) = accounts(&config, &store)?;
    context.report(&reports, |reports| {
        if reports.is_empty() {
            return "Nobody has an account yet. Add one: twofa-admin enroll app USER".into();
        }
        let row = |report: &UserReport| {
            [
                report.user.clone(),
                report.uid.to_string(),
                labels(report),
                report.recovery_codes_left.to_string(),
                report.failures.to_string(),
                locks(report),
            ]
        };
        let rows: Vec<_> = reports.iter().map(row).collect();
        table::render(["USER", "UID", "APPS", "RECOVERY", "FAILURES", "LOCKED"], &rows)
    })?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

fn show(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let config = context.config()?;
    let store = Store::open(&config.store)?;
    let (account, state) = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    let report = UserReport::new(&account, &state, &config.policy.limits, system::now());
    context.report(&report, |report| {
        let app = |app: &twofa::admin::AppReport| {
            format!(
                "{} ({} digits, {} s, {}), enrolled {}",
                table::printable(&app.label), app.digits, app.step, app.algorithm, app.enrolled
            )
        };
        let apps: Vec<String> = report.apps.iter().map(app).collect();
        let apps = if apps.is_empty() { "none".into() } else { apps.join("\n                 ") };
        format!(
            "User:            {} (uid {})\nApps:            {apps}\nRecovery codes:  {} left\nFailures:        {}\nLocked:          {}",
            table::printable(&report.user), report.uid, report.recovery_codes_left, report.failures, locks(report)
        )
    })?;
    Ok(Outcome::Done)
}

fn labels(report: &UserReport) -> String {
    let labels: Vec<&str> = report.apps.iter().map(|app| app.label.as_str()).collect();
    if labels.is_empty() { "none".into() } else { labels.join(", ") }
}

fn locks(report: &UserReport) -> String {
    let mut locks = Vec::new();
    if report.locked {
        locks.push("all but recovery codes".to_string());
    }
    if let Some(until) = &report.addresses_locked_until {
        let plural = if report.locked_addresses == 1 { "" } else { "es" };
        locks.push(format!("{} address{plural} until {until}", report.locked_addresses));
    }
    if locks.is_empty() { "no".into() } else { locks.join(", ") }
}

fn reset(context: &mut Context, user: &str, yes: bool) -> Result<Outcome, Error> {
    let (_, mut store) = context.open()?;
    let question = format!("Remove all factors and recovery codes of {user}, who then has to enroll again?");
    context.terminal.insist(&question, yes)?;
    store.reset(user)?;
    context.terminal.say(&format!("{user} has no factor now."))?;
    context.terminal.note(&format!("Set one up: twofa-admin enroll app {user}"));
    Ok(Outcome::Done)
}

fn unlock(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let now = system::now();
    store.change(user, |_, state| {
        let unlocked = state.apply(&Change::Unlock, &config.policy.limits, now);
        *state = unlocked.map_err(|conflict: Conflict| {
            Error::refused(format!("{user} was not unlocked: {conflict:?}"), "Please report this as a bug.")
        })?;
        Ok::<_, Error>(())
    })?;
    context.terminal.say(&format!("{user} is unlocked; all failures are forgotten."))?;
    Ok(Outcome::Done)
}

fn remove(context: &mut Context, user: &str, yes: bool) -> Result<Outcome, Error> {
    let (_, mut store) = context.open()?;
    let question = format!("Remove the account of {user}, with all factors and recovery codes?");
    context.terminal.insist(&question, yes)?;
    store.remove(user)?;
    context.terminal.say(&format!("{user} has no account now."))?;
    Ok(Outcome::Done)
}

fn forget(context: &mut Context, user: &str, label: &str, yes: bool) -> Result<Outcome, Error> {
    let (_, mut store) = context.open()?;
    let (account, _) = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    let last = account.factors.apps.len() == 1;
    let question = if last {
        format!("`{label}` is the only app of {user}, who then cannot log in. Remove it?")
    } else {
        format!("Remove the app `{label}` of {user}?")
    };
    context.terminal.insist(&table::printable(&question), yes)?;
    store.change(user, |account, state| {
        let apps = &mut account.factors.apps;
        let Some(at) = apps.iter().position(|app| app.label == label) else {
            return Err(Error::refused(
                format!("{user} has no app `{}`", table::printable(label)),
                format!("`twofa-admin user show {user}` lists the apps."),
            ));
        };
        state.forget_app(apps.remove(at).id);
        Ok(())
    })?;
    context.terminal.say(&table::printable(&format!("The app `{label}` of {user} is removed.")))?;
    Ok(Outcome::Done)
}

fn repair(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (_, mut store) = context.open()?;
    match store.account(user) {
        Err(store::Error::NoRecord(_) | store::Error::BrokenRecord(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(None) => return Err(store::Error::NoUser(user.into()).into()),
        Ok(Some(_)) => {
            context.terminal.say(&format!("The state record of {user} is sound; nothing was changed."))?;
            return Ok(Outcome::Done);
        }
    }
    store.repair(user, system::now())?;
    context.terminal.say(&format!(
        "{user} has a new state record. Codes shown until now count as used, and the recovery codes are void."
    ))?;
    context.terminal.note(&format!("Make new ones: twofa-admin recovery new {user}"));
    Ok(Outcome::Done)
}
