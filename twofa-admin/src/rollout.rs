//! `rollout status`: how far every user of the host is on the way to a second factor.

use crate::cli::RolloutCommand;
use crate::context::Context;
use crate::error::Error;
use crate::last_login::LastLogins;
use crate::{Outcome, missing, table};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use twofa::account::{Account, State};
use twofa::admin::{self, LoginUser};
use twofa::login::Phase;
use twofa::message::rfc3339;
use twofa::policy::{Mode, Policy};
use twofa::store::Store;
use twofa::system;

#[derive(Serialize)]
struct Row {
    user: String,
    uid: u32,
    #[serde(flatten)]
    standing: Standing,
    last_login: Option<String>,
}

/// What would happen to a login now, if the policy is enforced.
#[derive(Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
enum Standing {
    Enrolled,
    Exempt,
    /// No factor, and told that one is asked for from then on.
    NotYet {
        enforced_from: String,
    },
    /// No factor, and none asked for until then.
    Grace {
        until: String,
    },
    /// The days have not begun: they do at the next login.
    GraceToCome {
        days: u64,
    },
    Refused,
}

pub(crate) fn run(context: &mut Context, command: &RolloutCommand) -> Result<Outcome, Error> {
    match command {
        RolloutCommand::Status => status(context),
    }
}

fn status(context: &mut Context) -> Result<Outcome, Error> {
    let config = context.config()?;
    let policy = &config.policy;
    let store = Store::open(&config.store)?;
    let (mut accounts, mut faults) = (HashMap::new(), Vec::new());
    store.for_each(|account| match account {
        Ok((account, state)) => drop(accounts.insert((account.user.clone(), account.uid), (account, state))),
        Err(error) => faults.push(format!("{error}. {}", error.hint())),
    })?;
    let covered: HashSet<u32> = missing::covered(policy)?.into_iter().map(|user| user.uid).collect();
    let last = LastLogins::read();
    let now = system::now();
    let row = |user: LoginUser| {
        let found = accounts.get(&(user.user.clone(), user.uid));
        let is_exempt = !covered.contains(&user.uid);
        let standing = if is_exempt { Standing::Exempt } else { standing(policy, found, now) };
        Row { last_login: last.of(&user).map(rfc3339), user: user.user, uid: user.uid, standing }
    };
    let rows: Vec<Row> = admin::login_users(&system::passwd()?).into_iter().map(row).collect();
    context.report(&rows, |rows| text(policy, rows))?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    let refused = rows.iter().any(|row| matches!(row.standing, Standing::Refused));
    Ok(if refused || !faults.is_empty() { Outcome::Found } else { Outcome::Done })
}

fn standing(policy: &Policy, found: Option<&(Account, State)>, now: u64) -> Standing {
    if found.is_some_and(|(account, _)| !policy.methods_of(&account.factors).is_empty()) {
        return Standing::Enrolled;
    }
    match policy.phase(found.map(|(account, _)| account), now) {
        Phase::NotYet { from } => Standing::NotYet { enforced_from: rfc3339(from) },
        Phase::Over => Standing::Refused,
        Phase::Grace => match found.map(|(_, state)| state).filter(|state| state.has_grace_begun()) {
            None => Standing::GraceToCome { days: policy.rollout.grace / 86_400 },
            Some(state) => match state.grace_until(policy.rollout.grace, now) {
                Some(until) => Standing::Grace { until: rfc3339(until) },
                None => Standing::Refused,
            },
        },
    }
}

fn text(policy: &Policy, rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let (standing, until) = match &row.standing {
            Standing::Enrolled => ("enrolled", String::new()),
            Standing::Exempt => ("exempt", String::new()),
            Standing::NotYet { enforced_from } => ("no factor: let in until", enforced_from.clone()),
            Standing::Grace { until } => ("no factor: let in until", until.clone()),
            Standing::GraceToCome { days } => ("no factor: at the next login", format!("{days} days begin")),
            Standing::Refused => ("no factor: refused", String::new()),
        };
        let last = row.last_login.clone().unwrap_or_else(|| "not known".into());
        [row.user.clone(), row.uid.to_string(), standing.into(), until, last]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let mode = match policy.mode {
        Mode::Enforce => "",
        Mode::Observe => "\n\nThe mode is observe: nobody is refused yet.",
        Mode::Off => "\n\nThe mode is off: nobody is asked for anything yet.",
    };
    table::render(["USER", "UID", "STANDING", "UNTIL", "LAST LOGIN"], &rows) + mode
}
