//! `status`: what holds now.

use crate::context::{Context, accounts, without_factor};
use crate::error::Error;
use crate::{Outcome, doubts, table};
use serde::Serialize;
use twofa::admin::LoginUser;
use twofa::config;
use twofa::policy::Mode;
use twofa::store::Store;

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
    locked: Vec<String>,
    few_recovery_codes: Vec<String>,
    /// What is out of order, each with what to do.
    faults: Vec<String>,
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
    faults.extend(doubts::about(&config));
    let names =
        |reports: Vec<&twofa::admin::UserReport>| reports.into_iter().map(|r| r.user.clone()).collect();
    let enrolled = |report: &&twofa::admin::UserReport| !report.apps.is_empty();
    let few = accounts.iter().filter(enrolled).filter(|report| report.recovery_codes_left < 3).collect();
    let locked = accounts.iter().filter(|report| report.locked || report.locked_addresses > 0).collect();
    let status = Status {
        policy: context.conf.display().to_string(),
        mode: config.policy.mode.name(),
        methods: config.policy.methods.iter().map(|method| method.name()).collect(),
        services: config.policy.services.clone(),
        store: config.store.database.display().to_string(),
        accounts: accounts.len(),
        enrolled: accounts.iter().filter(enrolled).count(),
        without_factor: without_factor(&accounts)?,
        locked: names(locked),
        few_recovery_codes: names(few),
        faults,
    };
    let refuses = config.policy.mode == Mode::Enforce && !status.without_factor.is_empty();
    let found = refuses || !status.faults.is_empty();
    context.report(&status, text)?;
    Ok(if found { Outcome::Found } else { Outcome::Done })
}

fn text(status: &Status) -> String {
    let mode = match status.mode {
        "enforce" => "enforce: a login without a second factor is refused",
        "observe" => "observe: nobody is refused",
        _ => "off: nobody is asked for a second factor",
    };
    let names = |names: &[String]| if names.is_empty() { "nobody".into() } else { names.join(", ") };
    let without: Vec<String> = status.without_factor.iter().map(|user| user.user.clone()).collect();
    let mut lines = vec![
        format!("Policy:              {}", status.policy),
        format!("Mode:                {mode}"),
        format!("Methods:             {}", status.methods.join(", ")),
        format!("Services:            {}", status.services.join(", ")),
        format!("Store:               {}", status.store),
        format!("Enrolled:            {} of {} accounts", status.enrolled, status.accounts),
        format!("No second factor:    {}", names(&without)),
        format!("Locked:              {}", names(&status.locked)),
        format!("Few recovery codes:  {}", names(&status.few_recovery_codes)),
    ];
    lines.extend(status.faults.iter().map(|fault| format!("Out of order:        {fault}")));
    table::printable_lines(&lines)
}
