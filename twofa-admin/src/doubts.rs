//! What a valid policy may still get wrong about this host: names that nobody has, an sshd that asks for less.

use crate::doctor::FOLDERS;
use crate::error::Error;
use crate::{sshd, trial};
use std::path::Path;
use twofa::config::Config;
use twofa::policy::{Channel, Method, Policy, Who};
use twofa::{system, trusted};

/// One sentence a doubt.
pub(crate) fn about(config: &Config) -> Vec<String> {
    let mut doubts = but_trial(config);
    doubts.extend(trial::doubt(config));
    doubts
}

/// The same, but for enforcement on trial.
pub(crate) fn but_trial(config: &Config) -> Vec<String> {
    let policy = &config.policy;
    let now = system::now();
    let has_file = |service: &&String| FOLDERS.iter().any(|folder| Path::new(folder).join(service).exists());
    let services = policy.services.iter().filter(|service| !has_file(service));
    let mut doubts: Vec<String> = services
        .map(|service| format!("This host has no PAM service `{service}`; check the name."))
        .collect();
    doubts.extend(
        unsendable(policy, &looked_at(policy))
            .into_iter()
            .map(|(what, hint)| format!("{}. {hint}", sentence(&what))),
    );
    doubts.extend(exemptions(policy, now).into_iter().map(|doubt| doubt.text()));
    doubts
        .extend(sshd::doubts(config).into_iter().map(|(what, hint)| format!("{}. {hint}", sentence(&what))));
    doubts
}

/// What is wrong with an exemption.
pub(crate) enum ExemptionDoubt {
    /// Nobody has this name.
    NoUser(String),
    /// It cannot be told who is in the group, so nobody gets in whom it could be about: the group, and why.
    NoGroup(String, String),
    Ended(String),
}

impl ExemptionDoubt {
    fn text(&self) -> String {
        match self {
            Self::NoUser(name) => format!("The exempted user `{name}` does not exist."),
            Self::NoGroup(_, error) => {
                format!("Every login that this exemption could be about is refused: {error}.")
            }
            Self::Ended(name) => format!("The exemption of `{name}` has ended; remove it."),
        }
    }
}

/// What is wrong with the policy's exemptions.
pub(crate) fn exemptions(policy: &Policy, now: u64) -> Vec<ExemptionDoubt> {
    let mut doubts = Vec::new();
    for exemption in policy.exemptions.iter().filter(|exemption| now < exemption.until) {
        match &exemption.who {
            Who::User(name) => {
                if let Ok(None) = system::user(name, [].into_iter()) {
                    doubts.push(ExemptionDoubt::NoUser(name.clone()));
                }
            }
            Who::Group(name) => {
                // Root is only somebody to ask about: what matters is whether the group can be looked up.
                if let Err(error) = system::user("root", [name.as_str()].into_iter()) {
                    doubts.push(ExemptionDoubt::NoGroup(name.clone(), error.to_string()));
                }
            }
        }
    }
    for exemption in policy.exemptions.iter().filter(|exemption| now >= exemption.until) {
        let (Who::User(name) | Who::Group(name)) = &exemption.who;
        doubts.push(ExemptionDoubt::Ended(name.clone()));
    }
    doubts
}

/// Sending may be set up before it is a method.
pub(crate) fn looked_at(policy: &Policy) -> Vec<Method> {
    let key = policy.methods.iter().copied().filter(|method| *method == Method::Key);
    [Method::Sms, Method::Email].into_iter().chain(key).collect()
}

/// With a capital letter, unless it begins with a program's name.
fn sentence(text: &str) -> String {
    if text.starts_with("sshd ") {
        return text.into();
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

/// Refuses a policy that could send nothing by `methods`: the first thing that is in the way.
pub(crate) fn refuse_unsendable(policy: &Policy, methods: &[Method]) -> Result<(), Error> {
    match unsendable(policy, methods).into_iter().next() {
        None => Ok(()),
        Some((what, hint)) => Err(Error::refused(what, hint)),
    }
}

/// What keeps the hooks of `methods` from being run, and what to do about it.
pub(crate) fn unsendable(policy: &Policy, methods: &[Method]) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let channels: Vec<(Method, &Channel)> =
        methods.iter().filter_map(|method| Some((*method, policy.channel(*method)?))).collect();
    let what = match (channels.is_empty(), methods.contains(&Method::Key)) {
        (true, false) => None,
        (true, true) => Some("no security key can be asked"),
        (false, false) => Some("no code can be sent"),
        (false, true) => Some("no code can be sent and no security key asked"),
    };
    if let Some(what) = what
        && let Err(error) = trusted::check_program(&policy.helper)
    {
        faults.push((format!("{what}: {error}"), error.hint()));
    }
    for (method, channel) in channels {
        if let Err(error) = trusted::check_program(&channel.hook) {
            faults.push((format!("the hook for {} cannot be used: {error}", method.spoken()), error.hint()));
        }
        let user = &channel.hook_user;
        match system::user(user, [].into_iter()) {
            Ok(Some(known)) if known.uid == 0 => faults.push((
                format!("the hook for {} would run as root: {user} has uid 0", method.spoken()),
                "Make a user for it.".into(),
            )),
            Ok(Some(_)) => {}
            Ok(None) => faults.push((
                format!("the hook for {} would run as {user}, and there is no such user", method.spoken()),
                format!("Make one: useradd --system --no-create-home --shell /usr/sbin/nologin {user}"),
            )),
            Err(error) => faults.push((error.to_string(), "Check the name service (nsswitch.conf).".into())),
        }
    }
    faults
}
