//! `audit`: what happened, to whom and when; and whether the trail of it is whole.

use crate::cli::{AuditCommand, AuditFilter};
use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, table, when};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use twofa::config;
use twofa::message::rfc3339;
use twofa::store::Audit;
use twofa::system;

/// As many as are shown when nothing is said about it.
const SHOWN: usize = 50;

pub(crate) fn run(
    context: &mut Context,
    command: Option<&AuditCommand>,
    filter: &AuditFilter,
) -> Result<Outcome, Error> {
    match command {
        None => show(context, filter),
        Some(AuditCommand::Export { filter }) => export(context, filter),
        Some(AuditCommand::Verify) => verify(context),
    }
}

fn open(context: &Context) -> Result<Audit, Error> {
    let config = context.config()?;
    Ok(Audit::open(&config.store, config.audit)?)
}

/// What a filter lets through, as a line and as what is in it.
struct Wanted<'a> {
    filter: &'a AuditFilter,
    since: String,
    until: String,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a AuditFilter) -> Result<Self, Error> {
        let span = |typed: &Option<String>| typed.as_deref().map(span).transpose();
        let (since, until) = (span(&filter.since)?, span(&filter.until)?);
        let since = since.map_or_else(String::new, |(first, _)| rfc3339(first));
        Ok(Self { filter, since, until: until.map_or_else(|| "~".into(), |(_, last)| rfc3339(last)) })
    }

    fn parse(&self, line: &str) -> Option<Map<String, Value>> {
        // Ours are of these; another one could move a terminal.
        let is_plain = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let Some(Value::Object(fields)) = serde_json::from_str(line).ok().filter(|_| is_plain) else {
            return None;
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let time = text("time");
        let in_time = (self.since.as_str()..=self.until.as_str()).contains(&time);
        let is_one =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|is| text(name) == is);
        (in_time && is_one(&self.filter.user, "user") && is_one(&self.filter.event, "event"))
            .then_some(fields)
    }
}

/// The first and the last second of `2026-11-22`, `2026-11-22T08:30`, or `2h`: so long ago.
fn span(typed: &str) -> Result<(u64, u64), Error> {
    let ago = config::seconds(typed).map(|ago| system::now().saturating_sub(ago));
    ago.map(|moment| (moment, moment)).or_else(|| when::span(typed)).ok_or_else(|| {
        Error::Usage(
            format!("`{}` is no time", table::printable(typed)),
            "For example: 2026-11-22, 2026-11-22T08:30 (the same in UTC: 2026-11-22T08:30Z), or 2h (two hours ago)."
                .into(),
        )
    })
}

/// The last so many of what comes.
struct Last<T> {
    most: usize,
    kept: VecDeque<T>,
}

impl<T> Last<T> {
    fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new() }
    }

    fn push(&mut self, next: T) {
        self.kept.push_back(next);
        if self.kept.len() > self.most {
            self.kept.pop_front();
        }
    }
}

fn show(context: &mut Context, filter: &AuditFilter) -> Result<Outcome, Error> {
    let wanted = Wanted::new(filter)?;
    let mut last = Last::new(filter.last.unwrap_or(SHOWN));
    open(context)?.read(|line| {
        if let Some(fields) = wanted.parse(line) {
            last.push(fields);
        }
        true
    })?;
    let rows: Vec<Map<String, Value>> = last.kept.into();
    context.report(&rows, |rows| {
        if rows.is_empty() {
            return "Nothing of that kind happened.".into();
        }
        let rows: Vec<_> = rows.iter().map(row).collect();
        table::render(["TIME", "EVENT", "USER", "FROM", "MORE"], &rows)
    })?;
    Ok(Outcome::Done)
}

fn row(fields: &Map<String, Value>) -> [String; 5] {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let from = ["address", "rhost", "tty"].map(text).into_iter().find(|from| !from.is_empty());
    let known =
        ["n", "prev", "after", "time", "event", "user", "service", "phase", "address", "rhost", "tty", "mac"];
    let is_more = |(name, value): &(&String, &Value)| {
        !known.contains(&name.as_str()) && value.as_str().is_some_and(|value| !value.is_empty())
    };
    let more = fields.iter().filter(is_more);
    let more: Vec<String> =
        more.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    let service = text("service");
    let from = from.map_or_else(|| service.clone(), |from| format!("{from} ({service})"));
    [when::local(&text("time")), text("event"), text("user"), from, when::local(&more.join(" "))]
}

fn export(context: &mut Context, filter: &AuditFilter) -> Result<Outcome, Error> {
    let wanted = Wanted::new(filter)?;
    let audit = open(context)?;
    let Some(most) = filter.last else {
        let mut outcome = Ok(());
        audit.read(|line| {
            if wanted.parse(line).is_some() {
                // In the ASCII that it was written in: nothing of it moves a terminal.
                outcome = context.terminal.say(line);
            }
            outcome.is_ok()
        })?;
        return outcome.map(|()| Outcome::Done);
    };
    let mut last = Last::new(most);
    audit.read(|line| {
        if wanted.parse(line).is_some() {
            last.push(line.to_string());
        }
        true
    })?;
    last.kept.iter().try_for_each(|line| context.terminal.say(line))?;
    Ok(Outcome::Done)
}

fn verify(context: &mut Context) -> Result<Outcome, Error> {
    let found = open(context)?.verify()?;
    let whole = found.faults.is_empty();
    let report = json!({ "lines": found.lines, "whole": whole, "faults": found.faults, "torn": found.torn });
    context.report(&report, |_| {
        let torn = match found.torn {
            0 => String::new(),
            1 => " 1 was broken off by a full disk or a power cut.".into(),
            torn => format!(" {torn} were broken off by a full disk or a power cut."),
        };
        match whole {
            true => format!("{} lines, none changed and none missing.{torn}", found.lines),
            false => format!(
                "THE AUDIT TRAIL IS NOT WHOLE.\n{}\n{} lines were looked at.{torn}",
                table::printable_lines(&found.faults),
                found.lines
            ),
        }
    })?;
    Ok(if whole { Outcome::Done } else { Outcome::Found })
}
