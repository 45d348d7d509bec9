//! `user bypass`: an administrator opens a user's login for a time, by one code, loudly.

use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, table, users, when};
use serde_json::json;
use twofa::account::{Bypass, MAX_REASON};
use twofa::code::{RECOVERY_BYTES, RecoverySet, Secret, format_recovery};
use twofa::message::rfc3339;
use twofa::store;
use twofa::system;
use zeroize::Zeroizing;

pub(crate) fn open(context: &mut Context, user: &str, seconds: u64, reason: &str) -> Result<Outcome, Error> {
    let fine = !reason.trim().is_empty() && reason.len() <= MAX_REASON && table::printable(reason) == reason;
    if !fine {
        return Err(Error::Usage(
            format!("a reason has 1 to {MAX_REASON} bytes of printable text"),
            "For example: --reason \"lost phone, ticket 4711\"".into(),
        ));
    }
    let (config, mut store) = context.open()?;
    let (seen, _) = users::seen(&store, user)?;
    let random = Zeroizing::new(system::random::<RECOVERY_BYTES>()?);
    let code = format_recovery(&random);
    let set = RecoverySet::new(Secret::new(system::random::<32>()?), std::slice::from_ref(&code));
    let until = system::now().saturating_add(seconds);
    let bypass = Bypass { code: set, until, reason: reason.into() };
    users::change(&mut store, &seen, |_, state| {
        state.set_bypass(Some(bypass));
        Ok(())
    })?;
    context.did(&config, "bypass-opened", user, &format!("until {}: {reason}", rfc3339(until)));
    let report = json!({ "user": user, "code": code.as_str(), "until": rfc3339(until), "reason": reason });
    context.report(&report, |_| {
        format!(
            "{user} can log in once before {} with this code, at the prompt for a verification code:\n\n    {}\n\n\
             It is shown only now. To take it back: twofa-admin user bypass {user} --revoke",
            when::local(&rfc3339(until)),
            code.as_str()
        )
    })?;
    Ok(Outcome::Done)
}

pub(crate) fn revoke(context: &mut Context, user: &str) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let (_, state) = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    if state.bypass(system::now()).is_none() {
        context.terminal.say(&format!("{user} has no bypass."))?;
        return Ok(Outcome::Done);
    }
    store.change(user, |_, state| {
        state.set_bypass(None);
        Ok::<_, Error>(())
    })?;
    context.did(&config, "bypass-closed", user, "");
    context.terminal.say(&format!("The bypass of {user} is closed."))?;
    Ok(Outcome::Done)
}
