//! The users of this host and their accounts in the store: who would be refused, and who soon.

use super::finding::{Fate, Finding, Severity, Whom};
use crate::missing;
use std::collections::HashSet;
use twofa::account::{Account, State};
use twofa::admin::{self, LoginUser, Standing, Standings, UserReport};
use twofa::config::Config;
use twofa::policy::{Method, Mode, Policy};
use twofa::store::{self, Store};
use twofa::system;

const CHECK: &str = "users";
/// So few recovery codes are soon none.
const FEW: usize = 3;
/// So many devices are rarely those of one person.
const MANY: usize = 3;

/// What is counted, for monitoring.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) users: usize,
    pub(crate) enrolled: usize,
    pub(crate) refused: usize,
    pub(crate) locked: usize,
}

/// The users whom the policy covers; where that cannot be told, all who can log in.
pub(crate) fn covered(policy: &Policy) -> (Vec<LoginUser>, Vec<Finding>) {
    match missing::covered(policy) {
        Ok(users) => (users, Vec::new()),
        Err(error) => {
            let all = system::passwd().map(|text| admin::login_users(&text)).unwrap_or_default();
            let what = format!("who is covered could not be told: {error}");
            (all, vec![Finding::new(Severity::Unknown, CHECK, what, error.hint())])
        }
    }
}

pub(crate) fn examine(config: &Config, users: &[LoginUser]) -> (Counts, Vec<Finding>) {
    let mut counts = Counts { users: users.len(), ..Counts::default() };
    let store = match Store::open(&config.store) {
        Ok(store) => store,
        Err(error) => return (counts, vec![broken(&error, &[], config.policy.mode)]),
    };
    let mut findings = Vec::new();
    if let Err(error) = store.check() {
        // Whom it keeps out, the accounts say.
        let found = broken(&error, &[], config.policy.mode);
        findings.push(Finding { affected: None, outcome: None, ..found });
    }
    let (reports, faults) = reports(config, &store, users);
    let damaged = faults.iter().filter_map(|fault| fault.affected.clone()).filter_map(|whom| match whom {
        Whom::Users(users) => Some(users),
        Whom::All(_) => None,
    });
    let damaged: HashSet<String> = damaged.flatten().collect();
    if findings.is_empty() && faults.is_empty() {
        let what = match reports.len() {
            1 => "the store is sound: 1 account".into(),
            many => format!("the store is sound: {many} accounts"),
        };
        findings.push(Finding::ok("store", what));
    }
    let all_is_lost = reports.is_empty() && !faults.is_empty();
    for fault in faults {
        // A folder that nothing can be read in is said of each record in it.
        if findings.iter().all(|known| known.what != fault.what) {
            findings.push(fault);
        }
    }
    if all_is_lost {
        // Who has a factor nobody can tell.
        return (counts, findings);
    }
    let known: HashSet<(&str, u32)> =
        reports.iter().filter(|r| !r.methods.is_empty()).map(|r| (r.user.as_str(), r.uid)).collect();
    counts.enrolled = users.iter().filter(|user| known.contains(&(user.user.as_str(), user.uid))).count();
    counts.locked = reports.iter().filter(|report| report.locked || report.locked_addresses > 0).count();
    let gone = gone(&reports, users);
    let (refused, more) = refused(&config.policy, users, &reports, &damaged);
    counts.refused = refused;
    findings.extend(gone);
    findings.extend(more);
    findings.extend(standing(&config.policy, users, &reports));
    findings.extend(accounts(&config.policy, &reports));
    (counts, findings)
}

/// A part of the store that cannot be read.
fn broken(error: &store::Error, users: &[LoginUser], mode: Mode) -> Finding {
    let finding = Finding::critical("store", error.to_string(), error.hint());
    let whom = match error {
        store::Error::BrokenAccount(user) | store::Error::NoUser(user) => Whom::Users(vec![user.clone()]),
        store::Error::NoRecord(path) | store::Error::BrokenRecord(path) => {
            let uid =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
            let user = users.iter().find(|user| Some(user.uid) == uid);
            Whom::Users(user.map(|user| vec![user.user.clone()]).unwrap_or_default())
        }
        _ => Whom::everybody(),
    };
    if mode == Mode::Enforce { finding.meets(whom, Fate::LockedOut) } else { finding }
}

fn reports(config: &Config, store: &Store, users: &[LoginUser]) -> (Vec<UserReport>, Vec<Finding>) {
    let now = system::now();
    let (mut reports, mut faults) = (Vec::new(), Vec::new());
    let visited = store.for_each(|account: Result<(Account, State), store::Error>| match account {
        Ok((account, state)) => reports.push(UserReport::new(&account, &state, &config.policy, now)),
        Err(error) => faults.push(broken(&error, users, config.policy.mode)),
    });
    if let Err(error) = visited {
        faults.push(broken(&error, users, config.policy.mode));
    }
    // A whole folder that is gone is one fault.
    let all: Vec<String> = faults
        .iter()
        .filter_map(
            |fault| if let Some(Whom::Users(users)) = &fault.affected { Some(users.clone()) } else { None },
        )
        .flatten()
        .collect();
    if let Some(first) = faults.first_mut().filter(|_| all.len() > MANY) {
        first.what = format!("{}, and {} other records cannot be read", first.what, all.len() - 1);
        first.affected = Some(Whom::Users(all));
        faults.truncate(1);
    }
    (reports, faults)
}

/// Whom a login would refuse now.
fn refused(
    policy: &Policy,
    users: &[LoginUser],
    reports: &[UserReport],
    damaged: &HashSet<String>,
) -> (usize, Vec<Finding>) {
    let refused = admin::refused(policy, users, reports, system::now());
    let refused: Vec<String> =
        refused.into_iter().map(|user| user.user).filter(|user| !damaged.contains(user)).collect();
    let mut findings = Vec::new();
    if let Some(first) = refused.first() {
        let without = match policy.methods.as_slice() {
            [Method::Sms] => "a phone number",
            [Method::Email] => "an e-mail address",
            _ => "a second factor",
        };
        let what = format!("{} without {without}", count(&refused, "user"));
        let advice = format!(
            "{}; or `twofa-admin exempt add` for robots.",
            quoted(&missing::first_step(policy, first))
        );
        findings.push(match policy.mode {
            Mode::Enforce => {
                Finding::critical(CHECK, what, advice).meets(Whom::Users(refused.clone()), Fate::LockedOut)
            }
            _ => Finding::warning(CHECK, format!("{what}: refused once it is enforced"), advice)
                .of(refused.clone()),
        });
    }
    for (what, words) in [("phone", "a phone number"), ("email", "an e-mail address")] {
        let lacking: Vec<String> = missing::find(policy, reports, users)
            .into_iter()
            .filter(|missing| missing.what == what && !refused.contains(&missing.user))
            .map(|missing| missing.user)
            .collect();
        if let Some(first) = lacking.first() {
            let text = format!("{} without {words}, with another factor", count(&lacking, "user"));
            let advice = format!("`twofa-admin user set {first} --{what} ...`");
            findings.push(Finding::warning(CHECK, text, advice).of(lacking));
        }
    }
    (refused.len(), findings)
}

/// Accounts of users whom the host has no longer, or has with another uid.
fn gone(reports: &[UserReport], users: &[LoginUser]) -> Vec<Finding> {
    let (mut gone, mut moved, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    // It takes long to ask after each of many users.
    let known: HashSet<(&str, u32)> = users.iter().map(|user| (user.user.as_str(), user.uid)).collect();
    for report in reports.iter().filter(|report| !known.contains(&(report.user.as_str(), report.uid))) {
        match system::user(&report.user, [].into_iter()) {
            Ok(None) => gone.push(report.user.clone()),
            Ok(Some(known)) if known.uid != report.uid => moved.push(report.user.clone()),
            Ok(Some(_)) => {}
            Err(error) => {
                let advice = "Check the name service (nsswitch.conf).";
                return vec![Finding::new(Severity::Unknown, CHECK, error.to_string(), advice)];
            }
        }
    }
    if let Some(first) = gone.first() {
        let what = format!("{} in the store whom the host does not have", count(&gone, "user"));
        let advice = format!("`twofa-admin user remove {first}`");
        findings.push(Finding::warning(CHECK, what, advice).of(gone));
    }
    if let Some(first) = moved.first() {
        let what = format!("{} whose factors are those of another uid", count(&moved, "user"));
        let advice = format!("`twofa-admin user remove {first}`, then enroll again.");
        findings.push(Finding::critical(CHECK, what, advice).meets(Whom::Users(moved), Fate::LockedOut));
    }
    findings
}

/// Who is let in without a factor for the time being.
fn standing(policy: &Policy, users: &[LoginUser], reports: &[UserReport]) -> Vec<Finding> {
    let standings = Standings::new(policy, reports, system::now());
    let (mut names, mut ends): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for user in users {
        let end = match standings.of(user) {
            Standing::NotYet { enforced_from } => enforced_from,
            Standing::Grace { grace_until } => grace_until,
            Standing::GraceToCome { grace_days } => format!("{grace_days} days after the next login"),
            Standing::Enrolled | Standing::Refused => continue,
        };
        names.push(user.user.clone());
        ends.push(end);
    }
    ends.sort();
    let Some(end) = ends.first() else {
        return Vec::new();
    };
    let what = format!(
        "{} without a second factor let in for the time being, the first until {end}",
        count(&names, "user")
    );
    vec![Finding::note(CHECK, what, "`twofa-admin rollout status` shows who, and until when.").of(names)]
}

/// What is odd about single accounts.
fn accounts(policy: &Policy, reports: &[UserReport]) -> Vec<Finding> {
    let names = |is: &dyn Fn(&UserReport) -> bool| -> Vec<String> {
        reports.iter().filter(|report| is(report)).map(|report| report.user.clone()).collect()
    };
    let used = |method: Method| policy.methods.contains(&method);
    let mut findings = Vec::new();
    let mut push = |severity: Severity, users: Vec<String>, what: &str, advice: &str| {
        if let Some(first) = users.first() {
            let what = what.replace("{}", &count(&users, "user"));
            findings.push(Finding::new(severity, CHECK, what, advice.replace("{}", first)).of(users));
        }
    };
    push(
        Severity::Warning,
        names(&|report| report.locked || report.locked_addresses > 0),
        "{} locked after wrong codes",
        "`twofa-admin user unlock {}`, when it was the user; a recovery code ends a lock too.",
    );
    push(
        Severity::Warning,
        names(&|report| report.bypass.is_some()),
        "a bypass is open for {}",
        "`twofa-admin user bypass {} --revoke` takes it back; it ends by itself.",
    );
    push(
        Severity::Note,
        names(&|report| {
            used(Method::Sms) && report.phone.as_ref().is_some_and(|phone| phone.confirmed.is_none())
                || used(Method::Email) && report.addresses.iter().any(|address| address.confirmed.is_none())
        }),
        "{} with a number or address that no code came back from",
        "`twofa-admin enroll phone {}` sends one.",
    );
    push(
        Severity::Note,
        names(&|report| !report.methods.is_empty() && report.recovery_codes_left < FEW),
        "{} with few recovery codes",
        "`twofa-admin recovery new {}` makes ten.",
    );
    push(
        Severity::Note,
        names(&|report| report.apps.len() + report.keys.len() >= MANY),
        "{} with many apps and keys: shared accounts?",
        "Give each person an account of their own, and sudo: only then one can be told \
            from another.",
    );
    findings
}

fn count(users: &[String], what: &str) -> String {
    if users.len() == 1 { format!("1 {what}") } else { format!("{} {what}s", users.len()) }
}

fn quoted(command: &str) -> String {
    format!("`{command}`")
}
