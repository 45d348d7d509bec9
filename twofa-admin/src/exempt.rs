//! `exempt`: the dated exceptions of the policy, each with its reason.

use crate::cli::{ExemptCommand, Exempted};
use crate::context::Context;
use crate::error::Error;
use crate::policy::Draft;
use crate::{Outcome, table, when};
use serde::Serialize;
use std::collections::HashMap;
use toml_edit::{ArrayOfTables, Item, Table, value};
use twofa::admin::LoginUser;
use twofa::config::Config;
use twofa::message::rfc3339;
use twofa::policy::{Exemption, Policy, Who};
use twofa::system;

/// An exemption that ends so soon, in seconds, is spoken of.
pub(crate) const SOON: u64 = 7 * 86_400;

#[derive(Serialize)]
struct Row {
    user: Option<String>,
    group: Option<String>,
    /// Empty: from anywhere.
    from: Vec<String>,
    reason: String,
    until: String,
    ended: bool,
}

pub(crate) fn run(context: &mut Context, command: ExemptCommand) -> Result<Outcome, Error> {
    match command {
        ExemptCommand::List => list(context),
        ExemptCommand::Add { who, from, reason, until } => add(context, &who, &from, &reason, &until),
        ExemptCommand::Remove { who, yes } => remove(context, &who, yes),
    }
}

fn list(context: &mut Context) -> Result<Outcome, Error> {
    let config = context.config()?;
    let now = system::now();
    let rows: Vec<Row> = config.policy.exemptions.iter().map(|exemption| Row::new(exemption, now)).collect();
    context.report(&rows, |rows| {
        if rows.is_empty() {
            return "Nobody is exempt.".into();
        }
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        table::render(["WHO", "FROM", "UNTIL", "REASON"], &cells)
    })?;
    Ok(Outcome::Done)
}

impl Row {
    fn new(exemption: &Exemption, now: u64) -> Self {
        let (user, group) = match &exemption.who {
            Who::User(name) => (Some(name.clone()), None),
            Who::Group(name) => (None, Some(name.clone())),
        };
        Self {
            user,
            group,
            from: exemption.from.iter().map(ToString::to_string).collect(),
            reason: exemption.reason.clone(),
            until: rfc3339(exemption.until),
            ended: now >= exemption.until,
        }
    }

    fn cells(&self) -> [String; 4] {
        let who = match (&self.user, &self.group) {
            (Some(user), _) => user.clone(),
            (None, group) => format!("group {}", group.as_deref().unwrap_or_default()),
        };
        let from = if self.from.is_empty() { "anywhere".into() } else { self.from.join(", ") };
        let until = when::local(&self.until);
        let until = if self.ended { format!("ended {until}") } else { until };
        [who, from, until, self.reason.clone()]
    }
}

/// Who is exempt now, and from where if not from anywhere.
pub(crate) fn in_words(config: &Config) -> Vec<String> {
    let now = system::now();
    let holds = config.policy.exemptions.iter().filter(|exemption| now < exemption.until);
    let words = |exemption: &Exemption| match exemption.from.is_empty() {
        true => name(exemption),
        false => format!("{} from {}", name(exemption), from(exemption)),
    };
    holds.map(words).collect()
}

/// Who is exempt now.
pub(crate) fn names(config: &Config) -> Vec<String> {
    let now = system::now();
    let holds = config.policy.exemptions.iter().filter(|exemption| now < exemption.until);
    holds.map(name).collect()
}

fn name(exemption: &Exemption) -> String {
    match &exemption.who {
        Who::User(name) => name.clone(),
        Who::Group(name) => format!("group {name}"),
    }
}

/// The networks of those who are asked everywhere else, by their names.
pub(crate) fn networks(policy: &Policy, users: &[LoginUser]) -> HashMap<String, String> {
    let now = system::now();
    let here: Vec<&Exemption> = policy
        .exemptions
        .iter()
        .filter(|exemption| now < exemption.until && !exemption.from.is_empty())
        .collect();
    let mut found = HashMap::new();
    if here.is_empty() {
        return found;
    }
    let groups = here.iter().filter_map(|exemption| match &exemption.who {
        Who::Group(name) => Some(name.as_str()),
        Who::User(_) => None,
    });
    let groups: Vec<&str> = groups.collect();
    for LoginUser { user, .. } in users {
        // A group that cannot be looked up is told elsewhere.
        let known = system::user(user, groups.iter().copied()).ok().flatten();
        let is_about = |exemption: &&&Exemption| match &exemption.who {
            Who::User(name) => name == user,
            Who::Group(name) => known.as_ref().is_some_and(|known| known.groups.contains(name)),
        };
        let theirs: Vec<String> = here.iter().filter(is_about).map(|exemption| from(exemption)).collect();
        if !theirs.is_empty() {
            found.insert(user.clone(), theirs.join(", "));
        }
    }
    found
}

fn from(exemption: &Exemption) -> String {
    exemption.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What ends soon, for the reports that are read every day.
pub(crate) fn ending(config: &Config) -> Vec<String> {
    let now = system::now();
    let ends_soon = |exemption: &&Exemption| (now..now.saturating_add(SOON)).contains(&exemption.until);
    let exemptions = config.policy.exemptions.iter().filter(ends_soon);
    let sentence = |exemption: &Exemption| {
        let (Who::User(name) | Who::Group(name)) = &exemption.who;
        format!("The exemption of `{name}` ends {}.", rfc3339(exemption.until))
    };
    exemptions.map(sentence).collect()
}

fn add(
    context: &mut Context,
    who: &Exempted,
    from: &[String],
    reason: &str,
    until: &str,
) -> Result<Outcome, Error> {
    refuse_unknown(who)?;
    let mut draft = Draft::read(&context.conf)?;
    let mut table = Table::new();
    let (kind, name) = who.name();
    table.insert(kind, value(name));
    if !from.is_empty() {
        let networks: toml_edit::Array = from.iter().map(String::as_str).collect();
        table.insert("from", value(networks));
    }
    table.insert("reason", value(reason));
    let date = until.parse::<toml_edit::Datetime>().map_err(|_| {
        Error::Usage(
            format!("`{}` is not a date", table::printable(until)),
            "For example: --until 2027-01-15".into(),
        )
    })?;
    table.insert("until", value(date));
    let exemptions = draft.document.entry("exempt").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let exemptions = exemptions.as_array_of_tables_mut().ok_or_else(|| {
        Error::refused("`exempt` in the policy is not written as [[exempt]]", "Change it by hand.")
    })?;
    exemptions.push(table);
    let config = draft.replace(&context.conf, |config| {
        let ended = config.policy.exemptions.last().is_none_or(|added| added.until <= system::now());
        if ended {
            return Err(Error::refused(
                "the exemption would have ended already; nothing was changed",
                "Choose a day to come for --until.",
            ));
        }
        Ok(())
    })?;
    let until = config.policy.exemptions.last().map(|added| rfc3339(added.until)).unwrap_or_default();
    let whom = table::printable(name);
    context.did(&config, "exempted", name, &format!("{kind} until {until}: {reason}"));
    context
        .terminal
        .say(&format!("{kind} {whom} is asked for no second factor until {}.", when::local(&until)))?;
    Ok(Outcome::Done)
}

/// A typing error would exempt nobody; of a group, every login would be refused while it cannot be looked up.
fn refuse_unknown(who: &Exempted) -> Result<(), Error> {
    let (kind, name) = who.name();
    let known = match kind {
        "group" => system::user("root", [name].into_iter()).is_ok(),
        _ => system::user(name, [].into_iter())?.is_some(),
    };
    if known {
        return Ok(());
    }
    Err(Error::refused(
        format!("this host has no {kind} `{}`", table::printable(name)),
        "Check the name; nothing was changed.",
    ))
}

fn remove(context: &mut Context, who: &Exempted, yes: bool) -> Result<Outcome, Error> {
    let mut draft = Draft::read(&context.conf)?;
    let (kind, name) = who.name();
    let is_theirs = |table: &Table| table.get(kind).and_then(Item::as_str) == Some(name);
    let exemptions = draft.document.get_mut("exempt").and_then(Item::as_array_of_tables_mut);
    let removed = exemptions.map_or(0, |exemptions| {
        let before = exemptions.len();
        exemptions.retain(|table| !is_theirs(table));
        before - exemptions.len()
    });
    let whom = table::printable(name);
    if removed == 0 {
        return Err(Error::refused(
            format!("{kind} {whom} has no exemption"),
            "`twofa-admin exempt list` shows them all.",
        ));
    }
    let question = format!("Ask {kind} {whom} for a second factor again?");
    context.terminal.insist(&question, yes)?;
    let config = draft.replace(&context.conf, |_| Ok(()))?;
    context.did(&config, "exemption-removed", name, kind);
    context.terminal.say(&format!("{kind} {whom} is exempt no longer."))?;
    Ok(Outcome::Done)
}
