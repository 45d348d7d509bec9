//! `trust`: which devices need no code each time, and an end to that.

use crate::cli::TrustCommand;
use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, table, terminal, when};
use serde::Serialize;
use std::net::IpAddr;
use twofa::account::{Claim, Device, TrustedDevice};
use twofa::message::rfc3339;
use twofa::store::{self, Store};
use twofa::system;

/// Of a fingerprint: `SHA256:` and enough to tell a user's keys apart.
const SHOWN: usize = 15;

/// A trusted device of somebody's.
#[derive(Serialize)]
struct Trusted {
    user: String,
    /// An address, or an IPv6 network.
    from: String,
    /// The SSH key that was used besides, if one was.
    key: Option<String>,
    since: String,
    until: String,
    /// It counts for nothing: the policy is stricter now, or the password another one.
    void: bool,
}

pub(crate) fn run(context: &mut Context, command: TrustCommand) -> Result<Outcome, Error> {
    match command {
        TrustCommand::List { user } => list(context, user.as_deref()),
        TrustCommand::Revoke { user: Some(user), from, .. } => revoke(context, &user, from),
        TrustCommand::Revoke { user: None, yes, .. } => revoke_all(context, yes),
    }
}

fn list(context: &mut Context, only: Option<&str>) -> Result<Outcome, Error> {
    let config = context.config()?;
    let now = system::now();
    let store = Store::open(&config.store)?;
    let (mut trusted, mut faults) = (Vec::new(), Vec::new());
    if let Some(user) = only {
        store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    }
    store.for_each(|account| match account {
        Ok((account, state)) if only.is_none_or(|only| only == account.user) => {
            let password = system::password_tag(&account.user);
            let counts = |device: &Device| {
                let duration = config.policy.trust.duration?;
                state.trusted(&Claim { device: device.clone(), password, duration }, now)
            };
            let new =
                |known: &TrustedDevice| Trusted::new(&account.user, known, counts(&known.device).is_some());
            trusted.extend(state.devices(now).map(new));
        }
        Ok(_) => {}
        Err(error) => faults.push(format!("{error}. {}", error.hint())),
    })?;
    let is_narrow = terminal::width().is_some();
    context.report(&trusted, |trusted| match trusted.is_empty() {
        true => "No device is trusted.".into(),
        false => {
            let rows = trusted.iter().map(|trusted| if is_narrow { short(trusted) } else { row(trusted) });
            table::render(["USER", "FROM", "SSH KEY", "SINCE", "UNTIL"], &rows.collect::<Vec<_>>())
        }
    })?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

impl Trusted {
    fn new(user: &str, trusted: &TrustedDevice, counts: bool) -> Self {
        let (from, key) = trusted.device.describe();
        Self {
            user: user.into(),
            from,
            key,
            since: rfc3339(trusted.since),
            until: rfc3339(trusted.until),
            void: !counts,
        }
    }
}

fn row(trusted: &Trusted) -> [String; 5] {
    let Trusted { user, from, key, since, until, void } = trusted;
    let until = if *void { "void: policy or password changed".into() } else { when::local(until) };
    let key = key.clone().unwrap_or_else(|| "none".into());
    [user.clone(), from.clone(), key, when::local(since), until]
}

/// For a screen: which key, and which day.
fn short(trusted: &Trusted) -> [String; 5] {
    let [user, from, key, _, until] = row(trusted);
    let key = match key.get(..SHOWN) {
        Some(begin) => format!("{begin}..."),
        None => key,
    };
    [user, from, key, when::day(&trusted.since), until]
}

fn revoke(context: &mut Context, user: &str, from: Option<IpAddr>) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let (ended, sessions) = store.change(user, |_, state| {
        let ended = state.distrust(|device| from.is_none_or(|from| device.is_from(from)));
        // A session has no address of its own.
        let sessions = from.is_none() && state.trusts_anything();
        if from.is_none() {
            state.distrust_all();
        }
        Ok::<_, Error>((ended, sessions))
    })?;
    context.did(&config, "trust-revoked", user, &format!("{ended} devices"));
    say(context, ended, &format!(" of {user}"), sessions)
}

fn revoke_all(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    context.terminal.insist("End the trust in every device of every user?", yes)?;
    let (mut users, mut faults) = (Vec::new(), Vec::new());
    store.for_each(|account| match account {
        Ok((account, state)) if state.trusts_anything() => users.push(account.user),
        Ok(_) => {}
        Err(error) => faults.push(format!("{error}. {}", error.hint())),
    })?;
    let (mut ended, mut sessions) = (0, false);
    let all = users.iter().try_for_each(|user| {
        let (devices, in_session) = store.change(user, |_, state| {
            let devices = state.distrust(|_| true);
            let in_session = state.trusts_anything();
            state.distrust_all();
            Ok::<_, Error>((devices, in_session))
        })?;
        ended += devices;
        sessions |= in_session;
        Ok::<_, Error>(())
    });
    // Of those before the one that failed, it is done.
    if all.is_ok() || ended > 0 || sessions {
        context.did(&config, "trust-revoked", "*", &format!("{ended} devices"));
    }
    all?;
    say(context, ended, "", sessions)?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

fn say(context: &mut Context, ended: usize, whose: &str, sessions: bool) -> Result<Outcome, Error> {
    let devices = match ended {
        0 => format!("No device{whose} was trusted."),
        1 => format!("1 device{whose} is trusted no longer."),
        ended => format!("{ended} devices{whose} are trusted no longer."),
    };
    let asks = if sessions { " In open sessions su and sudo ask again." } else { "" };
    context.terminal.say(&format!("{devices}{asks}"))?;
    Ok(Outcome::Done)
}
