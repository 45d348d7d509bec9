//! Who could not be sent a code: every user whom the policy asks for one, enrolled or not.

use crate::context::Context;
use crate::error::Error;
use crate::last_login::LastLogins;
use crate::{table, when};
use serde::Serialize;
use serde_json::json;
use twofa::admin::{self, LoginUser, UserReport};
use twofa::message::rfc3339;
use twofa::policy::{Decision, Method, Mode, Policy, Request, Waiver};
use twofa::system;

/// A user whom a method cannot reach.
#[derive(Debug, Serialize)]
pub(crate) struct Missing {
    pub(crate) user: String,
    uid: u32,
    /// What is missing: `phone` or `email`.
    pub(crate) what: &'static str,
    last_login: Option<String>,
}

/// The users who can log in and whom the policy, in force, asks for a second factor.
pub(crate) fn covered(policy: &Policy) -> Result<Vec<LoginUser>, Error> {
    let mut users = admin::login_users(&system::passwd()?);
    if policy.exemptions.is_empty() {
        return Ok(users);
    }
    let now = system::now();
    let asked = Policy { mode: Mode::Enforce, ..policy.clone() };
    let mut exempt = Vec::new();
    for user in &users {
        // As from a console: who is exempt from some networks only is asked elsewhere.
        let known = system::user(&user.user, policy.groups(None, now))?;
        let request = Request {
            service: policy.services.first().cloned().unwrap_or_default(),
            user: user.user.clone(),
            known,
            address: None,
            first_factor: false,
            local: false,
            ssh_keys: Vec::new(),
            claim: None,
            processes: Vec::new(),
            session: None,
            host: String::new(),
        };
        if let Decision::Waive(Waiver::Exempt(_)) = asked.decide(&request, now) {
            exempt.push(user.user.clone());
        }
    }
    users.retain(|user| !exempt.contains(&user.user));
    Ok(users)
}

/// Whom the policy's sent methods cannot reach.
pub(crate) fn find(policy: &Policy, accounts: &[UserReport], users: &[LoginUser]) -> Vec<Missing> {
    let sent = policy.methods.iter().copied().filter(|method| method.is_sent());
    let last = LastLogins::read();
    // An address that takes everybody's codes leaves nobody out.
    let common = policy.email.as_ref().is_some_and(|email| email.default_address.is_some());
    let sent = sent.filter(|method| !(common && *method == Method::Email));
    let of = |method: Method| {
        let missing = admin::without_method(users, accounts, method).into_iter();
        let what = if method == Method::Email { "email" } else { "phone" };
        let last = &last;
        missing.map(move |user| Missing {
            what,
            last_login: last.of(&user).map(rfc3339),
            uid: user.uid,
            user: user.user,
        })
    };
    sent.flat_map(of).collect()
}

/// What gives a user the first factor.
pub(crate) fn first_step(policy: &Policy, user: &str) -> String {
    match policy.methods.first() {
        Some(Method::Sms) => format!("twofa-admin enroll phone {user} NUMBER"),
        Some(Method::Email) => format!("twofa-admin enroll email {user} ADDRESS"),
        Some(Method::Key) if policy.concerns("sshd") => format!("twofa-admin enroll ssh-key {user} FILE"),
        Some(Method::Key) => format!("twofa-admin enroll key {user}"),
        Some(Method::App) | None => format!("twofa-admin enroll app {user}"),
    }
}

/// Tells whom nothing could be sent to, and that nothing was changed for that reason.
pub(crate) fn report(context: &mut Context, missing: &[Missing]) -> Result<(), Error> {
    let report = json!({ "changed": false, "missing": missing });
    context.report(&report, |_| {
        let row = |missing: &Missing| {
            let last = missing.last_login.as_deref().map_or_else(|| "not known".into(), when::local);
            [missing.user.clone(), missing.uid.to_string(), missing.what.into(), last]
        };
        let rows: Vec<_> = missing.iter().map(row).collect();
        format!(
            "{}\n\nThese users can log in, and a code cannot be sent to them. Nothing was changed.\n\
             Users whom the name service does not list (LDAP often does not) were not looked at.",
            table::render(["USER", "UID", "MISSING", "LAST LOGIN"], &rows)
        )
    })?;
    context.terminal.note(
        "Add what is missing with `twofa-admin user add` or `user set` (--phone, --email), or repeat with --force.",
    );
    Ok(())
}
