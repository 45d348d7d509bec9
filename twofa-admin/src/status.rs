//! `status`: what holds now.

use crate::context::{Context, accounts};
use crate::error::Error;
use crate::missing::{self, Missing};
use crate::{Outcome, doubts, exempt, table, trial, when};
use serde::Serialize;
use std::collections::HashMap;
use twofa::admin::{self, LoginUser};
use twofa::config;
use twofa::policy::{Method, Mode};
use twofa::store::Store;
use twofa::system;

/// How many names a line shows.
const MAX_NAMES: usize = 10;

#[derive(Serialize)]
struct Status {
    policy: String,
    mode: &'static str,
    methods: Vec<&'static str>,
    services: Vec<String>,
    store: String,
    accounts: usize,
    enrolled: usize,
    without_factor: Vec<LoginUser>,
    /// Those of them whom enforcement refuses; the others are let in for the time being.
    refused: Vec<LoginUser>,
    /// Who is asked for none.
    exempt: Vec<String>,
    /// The same, with the networks.
    #[serde(skip)]
    exempt_in_words: Vec<String>,
    /// Where those without a factor are asked for none, if only there.
    #[serde(skip)]
    exempt_from: HashMap<String, String>,
    /// Whom a method of the policy cannot reach.
    missing: Vec<Missing>,
    /// Numbers and addresses that no code came back from.
    unconfirmed: Vec<String>,
    locked: Vec<String>,
    few_recovery_codes: Vec<String>,
    /// Logins that an administrator opened, each until when and why.
    bypasses: Vec<String>,
    /// What there is to say of enforcement on trial, if it is in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<String>,
    /// What is out of order, each with what to do.
    faults: Vec<String>,
    /// What standards say of the methods.
    notices: Vec<String>,
}

pub(crate) fn run(context: &mut Context) -> Result<Outcome, Error> {
    // A broken policy is what this report is for: the copy in force tells the rest.
    let kept = config::read_and_keep(&context.conf);
    let mut faults = Vec::new();
    let config = match kept {
        Ok(config) => config,
        Err(_) => {
            let loaded = config::load(&context.conf)?;
            if let Some(fault) = loaded.fault {
                faults.push(format!("{fault}; the last valid copy is in force. {}", fault.hint()));
            }
            loaded.config
        }
    };
    let store = Store::open(&config.store)?;
    if let Err(fault) = store.check() {
        faults.push(format!("{fault}. {}", fault.hint()));
    }
    let (accounts, broken) = accounts(&config, &store)?;
    faults.extend(broken);
    faults.extend(doubts::but_trial(&config));
    let (trial, ended): (Vec<_>, Vec<_>) =
        trial::doubt(&config).into_iter().partition(|_| trial::is_in_order(&config));
    faults.extend(ended);
    let names =
        |reports: Vec<&twofa::admin::UserReport>| reports.into_iter().map(|r| r.user.clone()).collect();
    let enrolled = |report: &&twofa::admin::UserReport| !report.methods.is_empty();
    let unconfirmed = accounts.iter().filter(|report| {
        let used = |method: Method| config.policy.methods.contains(&method);
        used(Method::Sms) && report.phone.as_ref().is_some_and(|phone| phone.confirmed.is_none())
            || used(Method::Email) && report.addresses.iter().any(|address| address.confirmed.is_none())
    });
    let users = missing::covered(&config.policy)?;
    let few = accounts.iter().filter(enrolled).filter(|report| report.recovery_codes_left < 3).collect();
    let locked = accounts.iter().filter(|report| report.locked || report.locked_addresses > 0).collect();
    let without_factor = admin::without_factor(&config.policy, &users, &accounts);
    let status = Status {
        policy: context.conf.display().to_string(),
        mode: config.policy.mode.name(),
        methods: config.policy.methods.iter().map(|method| method.name()).collect(),
        services: config.policy.services.clone(),
        store: config.store.database.display().to_string(),
        accounts: accounts.len(),
        enrolled: accounts.iter().filter(enrolled).count(),
        exempt_from: exempt::networks(&config.policy, &without_factor),
        without_factor,
        refused: admin::refused(&config.policy, &users, &accounts, system::now()),
        bypasses: accounts.iter().filter_map(bypass).collect(),
        exempt: exempt::names(&config),
        exempt_in_words: exempt::in_words(&config),
        missing: missing::find(&config.policy, &accounts, &users),
        unconfirmed: names(unconfirmed.collect()),
        locked: names(locked),
        few_recovery_codes: names(few),
        trial: trial.into_iter().next(),
        faults,
        notices: [admin::notices(&config.policy), exempt::ending(&config)].concat(),
    };
    let refuses = config.policy.mode == Mode::Enforce && !status.refused.is_empty();
    let found = refuses || !status.missing.is_empty() || !status.faults.is_empty();
    context.report(&status, text)?;
    Ok(if found { Outcome::Found } else { Outcome::Done })
}

fn bypass(report: &admin::UserReport) -> Option<String> {
    let open = report.bypass.as_ref()?;
    Some(format!("{} until {}: {}", report.user, open.until, open.reason))
}

fn text(status: &Status) -> String {
    let mode = match status.mode {
        "enforce" => "enforce: a login without a second factor is refused",
        "observe" => "observe: nobody is refused",
        _ => "off: nobody is asked for a second factor",
    };
    // Of a thousand names, ten say what is the matter; --json has them all.
    let names = |names: &[String]| match names {
        [] => "nobody".into(),
        names if names.len() > MAX_NAMES => {
            let shown: Vec<_> = names.iter().take(MAX_NAMES).cloned().collect();
            format!("{} and {} more", shown.join(", "), names.len() - MAX_NAMES)
        }
        names => names.join(", "),
    };
    // Who is exempt from one network needs a factor everywhere else.
    let named = |user: &LoginUser| match status.exempt_from.get(&user.user) {
        Some(from) => format!("{} (exempt from {from})", user.user),
        None => user.user.clone(),
    };
    let without: Vec<String> = status.without_factor.iter().map(named).collect();
    let refused: Vec<String> = status.refused.iter().map(named).collect();
    let refused_title = match status.mode {
        "enforce" => "Refused for that:   ",
        _ => "Refused if enforced:",
    };
    let mut lines = vec![
        format!("Policy:              {}", status.policy),
        format!("Mode:                {mode}"),
        format!("Methods:             {}", status.methods.join(", ")),
        format!("Services:            {}", status.services.join(", ")),
        format!("Store:               {}", status.store),
        format!(
            "Accounts:            {}, of which {} have a second factor",
            status.accounts, status.enrolled
        ),
        format!("No second factor:    {}", names(&without)),
        format!("{refused_title} {}", names(&refused)),
        format!("Exempt:              {}", names(&status.exempt_in_words)),
        format!("Locked:              {}", names(&status.locked)),
        format!("Few recovery codes:  {}", names(&status.few_recovery_codes)),
    ];
    for (title, what, method) in
        [("No phone number:    ", "phone", "sms"), ("No e-mail address:  ", "email", "email")]
    {
        if status.methods.contains(&method) {
            let missing = status.missing.iter().filter(|missing| missing.what == what);
            lines.push(format!(
                "{title} {}",
                names(&missing.map(|missing| missing.user.clone()).collect::<Vec<_>>())
            ));
        }
    }
    if status.methods.iter().any(|method| *method != "app") {
        lines.push(format!("Not confirmed:       {}", names(&status.unconfirmed)));
    }
    lines.extend(status.bypasses.iter().map(|open| format!("BYPASS:              {open}")));
    lines.extend(status.trial.iter().map(|trial| format!("Trial:               {trial}")));
    lines.extend(status.faults.iter().map(|fault| format!("Out of order:        {fault}")));
    lines.extend(status.notices.iter().map(|notice| format!("Note:                {notice}")));
    when::local(&table::printable_lines(&lines))
}
