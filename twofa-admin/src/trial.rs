//! `policy enable --confirm-within`: enforcement that ends by itself when no administrator gets in with a second factor.

use crate::context::accounts;
use crate::error::Error;
use crate::{missing, when};
use twofa::admin::{Standing, Standings};
use twofa::config::Config;
use twofa::message::rfc3339;
use twofa::policy::Mode;
use twofa::store::Store;
use twofa::system;
use twofa::trial::Trial;

/// Whose members administrate hosts, by custom of the distributions.
const GROUPS: [&str; 3] = ["sudo", "wheel", "admin"];

/// Who could confirm: administrators who have a second factor, with their uids.
pub(crate) fn administrators(config: &Config) -> Result<Vec<(String, u32)>, Error> {
    // A group that this host does not have is an error to look up.
    let has = |group: &&str| system::user("root", [*group].into_iter()).is_ok();
    let groups: Vec<&str> = GROUPS.into_iter().filter(has).collect();
    let store = Store::open(&config.store)?;
    let (accounts, _) = accounts(config, &store)?;
    let standings = Standings::new(&config.policy, &accounts, system::now());
    let mut found = Vec::new();
    for user in missing::covered(&config.policy)? {
        let enrolled = standings.of(&user) == Standing::Enrolled;
        let known = system::user(&user.user, groups.iter().copied())?;
        let administrates = user.uid == 0 || known.is_some_and(|known| !known.groups.is_empty());
        if enrolled && administrates {
            found.push((user.user, user.uid));
        }
    }
    Ok(found)
}

/// Begins a trial of enforcement; returns what to tell.
pub(crate) fn begin(config: &Config, seconds: u64) -> Result<String, Error> {
    let administrators = administrators(config)?;
    if administrators.is_empty() {
        return Err(Error::refused(
            "nobody could confirm it: neither root nor a member of sudo, wheel or admin has a second factor",
            "Enroll one of them first, or leave out --confirm-within.",
        ));
    }
    let now = system::now();
    let until = now.saturating_add(seconds);
    let uids = administrators.iter().map(|(_, uid)| *uid).collect();
    Trial { since: now, until, administrators: uids }.begin(&config.store)?;
    let names: Vec<String> = administrators.into_iter().map(|(name, _)| name).collect();
    Ok(format!(
        "Log in as {} with a second factor before {}, in another terminal. Else nobody is refused from then on.",
        names.join(" or "),
        when::local(&rfc3339(until))
    ))
}

/// Whether a trial is as somebody wants it: on, or given up; neither lapsed nor damaged.
pub(crate) fn is_in_order(config: &Config) -> bool {
    let holds = |trial: Trial| config.policy.mode != Mode::Enforce || !trial.has_lapsed(system::now());
    Trial::read(&config.store).is_ok_and(|trial| trial.is_some_and(holds))
}

/// What there is to say of a trial that is on, or that nobody confirmed.
pub(crate) fn doubt(config: &Config) -> Option<String> {
    match Trial::read(&config.store) {
        Ok(None) => None,
        Ok(Some(trial)) if config.policy.mode != Mode::Enforce => {
            Some(format!("Enforcement was tried until {}, and is not on.", rfc3339(trial.until)))
        }
        Ok(Some(trial)) if trial.has_lapsed(system::now()) => Some(format!(
            "NOBODY IS REFUSED: no administrator confirmed enforcement before {}. Run `twofa-admin policy enable`.",
            rfc3339(trial.until)
        )),
        Ok(Some(trial)) => Some(format!(
            "Enforcement is on trial: unless an administrator logs in with a second factor before {}, it ends.",
            rfc3339(trial.until)
        )),
        Err(error) => Some(format!("{error}. {}", error.hint())),
    }
}
