//! `user`: the accounts.

use crate::cli::{ContactArguments, UserCommand};
use crate::contacts::{self, Contacts};
use crate::context::{Context, accounts};
use crate::error::Error;
use crate::{Outcome, bulk, bypass, missing, table, when};
use twofa::account::{Account, Change, Conflict, Factors, State};
use twofa::admin::{ContactReport, KeyReport, UserReport};
use twofa::message::Happening;
use twofa::policy::Known;
use twofa::store::{self, Store};
use twofa::system;

pub(crate) fn run(context: &mut Context, command: UserCommand) -> Result<Outcome, Error> {
    match command {
        UserCommand::Add { user, contacts } => add(context, &user, &contacts),
        UserCommand::Set { user, contacts, no_phone, no_email } => {
            contacts::set(context, &user, &contacts, no_phone, no_email)
        }
        UserCommand::Import { file, format, shared_ok, how } => {
            bulk::import(context, &file, format, shared_ok, &how)
        }
        UserCommand::Export { format } => bulk::export(context, format),
        UserCommand::List => list(context),
        UserCommand::Show { user } => show(context, &user),
        UserCommand::Reset { user, yes } => reset(context, &user, yes),
        UserCommand::Unlock { user } => unlock(context, &user),
        UserCommand::Bypass { user, revoke: true, .. } => bypass::revoke(context, &user),
        UserCommand::Bypass { user, duration, reason, .. } => {
            bypass::open(context, &user, duration.unwrap_or_default(), &reason.unwrap_or_default())
        }
        UserCommand::Remove { user, yes } => remove_account(context, &user, yes),
        UserCommand::Forget { user, label, yes } => forget(context, &user, &label, yes),
        UserCommand::Repair { user } => repair(context, &user),
    }
}

/// The user as the host knows it.
pub(crate) fn known(user: &str) -> Result<Known, Error> {
    system::user(user, [].into_iter())?.ok_or_else(|| Error::NoSuchUser(user.into()))
}

/// The account of `user` as it is, or as it would be made. One of an earlier user of that name is not touched.
pub(crate) fn seen(store: &Store, user: &str) -> Result<(Account, State), Error> {
    let known = known(user)?;
    match store.account(user)? {
        None => {
            let account =
                Account { user: user.into(), uid: known.uid, generation: 0, factors: Factors::default() };
            Ok((account, State::default()))
        }
        Some((account, state)) if account.uid == known.uid => Ok((account, state)),
        Some((account, _)) => Err(Error::refused(
            format!(
                "the account of {user} belongs to uid {}, and {user} is uid {} now",
                account.uid, known.uid
            ),
            format!("If this is another person, run `twofa-admin user remove {user}` first."),
        )),
    }
}

/// Why the second name of a uid has no account.
pub(crate) fn shared_uid(uid: u32, other: &str) -> String {
    format!("uid {uid} has an account, as {other}")
}

/// The account of one user of a list, as it is or as it would be made, and its generation if it is there; or why the
/// user is passed over.
pub(crate) fn listed(store: &Store, user: &str) -> Result<Result<(Account, Option<u64>), String>, Error> {
    let Some(known) = system::user(user, [].into_iter())? else {
        return Ok(Err("this host has no such user".into()));
    };
    use store::Error::{BrokenAccount, BrokenRecord, NoRecord};
    match store.account(user) {
        Ok(Some((account, _))) if account.uid != known.uid => {
            Ok(Err(format!("the account is of uid {}", account.uid)))
        }
        Ok(Some((account, _))) => {
            let seen = account.generation;
            Ok(Ok((account, Some(seen))))
        }
        Ok(None) => {
            if let Some(other) = store.name(known.uid)? {
                return Ok(Err(shared_uid(known.uid, &other)));
            }
            let (user, factors) = (user.into(), Factors::default());
            Ok(Ok((Account { user, uid: known.uid, generation: 0, factors }, None)))
        }
        Err(error @ (BrokenAccount(_) | NoRecord(_) | BrokenRecord(_))) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Changes an account as it was `seen`, which is made now if there was none.
pub(crate) fn change<T>(
    store: &mut Store,
    seen: &Account,
    change: impl FnOnce(&mut Account, &mut State) -> Result<T, Error>,
) -> Result<T, Error> {
    if seen.generation == 0 && store.account(&seen.user)?.is_none() {
        store.add(&seen.user, seen.uid)?;
    }
    store.change(&seen.user, |account, state| {
        // A generation is never 0: that is how an account looks that was not there.
        let is_new = seen.generation == 0 && account.factors == Factors::default();
        if account.generation != seen.generation && !is_new {
            return Err(Error::refused(
                format!("{} was changed by somebody else meanwhile; nothing was added", seen.user),
                "Enroll again.",
            ));
        }
        change(account, state)
    })
}

fn add(context: &mut Context, user: &str, arguments: &ContactArguments) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let known = known(user)?;
    let contacts = Contacts::parse(&mut context.terminal, &config, arguments)?;
    contacts.refuse_missing(&config, user)?;
    contacts.refuse_shared(&store, user, arguments.shared_ok)?;
    let mut account =
        Account { user: user.into(), uid: known.uid, generation: 0, factors: Factors::default() };
    contacts.keep(&mut account);
    let methods = config.policy.methods_of(&account.factors);
    store.add_all([(user, known.uid, account.factors)].into_iter())?;
    let state = match methods.first() {
        Some(method) => format!("can log in with codes by {}", method.spoken()),
        None => "has an account, without a factor yet".into(),
    };
    context.did(&config, "user-added", user, "");
    context.terminal.say(&format!("{user} (uid {}) {state}.", known.uid))?;
    contacts::remind(context, &config, user, &contacts, methods.is_empty(), 0);
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
                report.phone.as_ref().map_or_else(|| "-".into(), contact),
                report.recovery_codes_left.to_string(),
                report.failures.to_string(),
                locks(report),
            ]
        };
        let rows: Vec<_> = reports.iter().map(row).collect();
        table::render(["USER", "UID", "APPS AND KEYS", "PHONE", "RECOVERY", "FAILURES", "LOCKED"], &rows)
    })?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

fn show(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let config = context.config()?;
    let store = Store::open(&config.store)?;
    let (account, state) = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    let report = UserReport::new(&account, &state, &config.policy, system::now());
    context.report(&report, |report| {
        let app = |app: &twofa::admin::AppReport| {
            format!(
                "{} ({} digits, {} s, {}), enrolled {}",
                table::printable(&app.label), app.digits, app.step, app.algorithm, when::local(&app.enrolled)
            )
        };
        let apps: Vec<String> = report.apps.iter().map(app).collect();
        let apps = if apps.is_empty() { "none".into() } else { apps.join("\n                 ") };
        let phone = report.phone.as_ref().map_or_else(|| "none".into(), contact_in_full);
        let addresses: Vec<String> = report.addresses.iter().map(contact_in_full).collect();
        let addresses =
            if addresses.is_empty() { "none".into() } else { addresses.join("\n                 ") };
        let keys: Vec<String> = report.keys.iter().map(key).collect();
        let keys = if keys.is_empty() { "none".into() } else { keys.join("\n                 ") };
        format!(
            "User:            {} (uid {})\nApps:            {apps}\nSecurity keys:   {keys}\nTelephone:       {phone}\nE-mail:          {addresses}\nRecovery codes:  {} left\nFailures:        {}\nLocked:          {}{}",
            table::printable(&report.user), report.uid, report.recovery_codes_left, report.failures, locks(report),
            report.bypass.as_ref().map(|open| format!("\nBYPASS:          until {}: {}", when::local(&open.until), table::printable(&open.reason))).unwrap_or_default()
        )
    })?;
    Ok(Outcome::Done)
}

/// A question mark says that nothing proved it yet.
fn contact(contact: &ContactReport) -> String {
    if contact.confirmed.is_some() { contact.to.clone() } else { format!("{} ?", contact.to) }
}

fn key(key: &KeyReport) -> String {
    let label = table::printable(&key.label);
    let standing = match key {
        KeyReport { suspended: true, .. } => ", SUSPENDED: its counter did not grow",
        KeyReport { void: true, .. } => ", VOID: the policy has another rp_id now, or asks for a PIN",
        _ => "",
    };
    format!("{label} ({}), enrolled {}{standing}", key.kind, when::local(&key.enrolled))
}

fn contact_in_full(contact: &ContactReport) -> String {
    match &contact.confirmed {
        Some(at) => format!("{}, confirmed {}", contact.to, when::local(at)),
        None => format!("{}, not confirmed", contact.to),
    }
}

fn labels(report: &UserReport) -> String {
    let keys = report.keys.iter().map(|key| key.label.as_str());
    let labels: Vec<&str> = report.apps.iter().map(|app| app.label.as_str()).chain(keys).collect();
    if labels.is_empty() { "-".into() } else { labels.join(", ") }
}

fn locks(report: &UserReport) -> String {
    let mut locks = Vec::new();
    if report.locked {
        locks.push("all but recovery codes".to_string());
    }
    if let Some(until) = &report.addresses_locked_until {
        let plural = if report.locked_addresses == 1 { "" } else { "es" };
        locks.push(format!("{} address{plural} until {}", report.locked_addresses, when::local(until)));
    }
    if locks.is_empty() { "no".into() } else { locks.join(", ") }
}

fn reset(context: &mut Context, user: &str, yes: bool) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let question = format!(
        "Remove all apps, keys and recovery codes of {user}, who then has to enroll again? Number and addresses stay."
    );
    context.terminal.insist(&question, yes)?;
    // It is reset because it cannot be read, perhaps.
    let before = store.account(user).ok().flatten().map(|(account, _)| account.factors).unwrap_or_default();
    store.reset(user)?;
    context.did(&config, "user-reset", user, "");
    context.tell(&config, &store, user, Happening::Reset, &before);
    let account = store.account(user)?.map(|(account, _)| account);
    match account.map(|account| config.policy.methods_of(&account.factors)).unwrap_or_default().first() {
        Some(method) => {
            context
                .terminal
                .say(&format!("{user} is reset, and can log in with codes by {}.", method.spoken()))?;
        }
        None => {
            context.terminal.say(&format!("{user} has no factor now."))?;
            context.terminal.note(&format!("Set one up: {}", missing::first_step(&config.policy, user)));
        }
    }
    Ok(Outcome::Done)
}

fn unlock(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let now = system::now();
    let mut sent = "";
    store.change(user, |account, state| {
        sent = match (&account.factors.phone, account.factors.addresses.is_empty()) {
            (Some(_), _) => ", and codes are sent again as far as the number's own limit allows",
            (None, false) => ", and codes are sent again",
            (None, true) => "",
        };
        let unlocked = state.apply(&Change::Unlock, &config.policy.limits, now);
        *state = unlocked.map_err(|conflict: Conflict| {
            Error::refused(format!("{user} was not unlocked: {conflict:?}"), "Please report this as a bug.")
        })?;
        Ok::<_, Error>(())
    })?;
    context.did(&config, "user-unlocked", user, "");
    context.terminal.say(&format!("{user} is unlocked; all failures are forgotten{sent}."))?;
    Ok(Outcome::Done)
}

fn remove_account(context: &mut Context, user: &str, yes: bool) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let question = format!("Remove the account of {user}, with all factors and recovery codes?");
    context.terminal.insist(&question, yes)?;
    store.remove(user)?;
    context.did(&config, "user-removed", user, "");
    context.terminal.say(&format!("{user} has no account now."))?;
    Ok(Outcome::Done)
}

fn forget(context: &mut Context, user: &str, label: &str, yes: bool) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let (account, _) = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    let mut without = account.factors.clone();
    if !remove(&mut without, label) {
        return Err(Error::refused(
            format!("{user} has no app or key `{}`", table::printable(label)),
            format!("`twofa-admin user show {user}` lists them."),
        ));
    }
    let question = if config.policy.methods_of(&without).is_empty() {
        format!("`{label}` is the only factor of {user}, who then cannot log in. Remove it?")
    } else {
        format!("Remove `{label}` of {user}?")
    };
    context.terminal.insist(&table::printable(&question), yes)?;
    store.change(user, |account, state| {
        let before = account.factors.clone();
        remove(&mut account.factors, label);
        let left = &account.factors;
        before.apps.iter().filter(|app| !left.apps.contains(app)).for_each(|app| state.forget_app(app.id));
        before.keys.iter().filter(|key| !left.keys.contains(key)).for_each(|key| state.forget_key(key.id));
        Ok::<_, Error>(())
    })?;
    context.did(&config, "factor-removed", user, label);
    context.tell(&config, &store, user, Happening::Removed(label.into()), &account.factors);
    context.terminal.say(&table::printable(&format!("`{label}` of {user} is removed.")))?;
    Ok(Outcome::Done)
}

/// Removes the app or key with this label; whether there was one.
fn remove(factors: &mut Factors, label: &str) -> bool {
    let count = |factors: &Factors| factors.apps.len() + factors.keys.len() + factors.ssh_keys.len();
    let before = count(factors);
    factors.apps.retain(|app| app.label != label);
    factors.keys.retain(|key| key.label != label);
    factors.ssh_keys.retain(|key| key.label != label);
    count(factors) < before
}

fn repair(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
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
    context.did(&config, "user-repaired", user, "");
    context.terminal.say(&format!(
        "{user} has a new state record. Codes shown until now count as used; the recovery codes are void, and so are \
         security keys at the console."
    ))?;
    context.terminal.note(&format!("Make new ones: twofa-admin recovery new {user}"));
    Ok(Outcome::Done)
}
