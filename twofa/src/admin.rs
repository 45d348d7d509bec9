//! Reports for administrators, from plain data: what `twofa-admin` prints as text or as JSON.

use crate::account::{Account, Limits, State};
use crate::config::Config;
use crate::message::rfc3339;
use crate::policy::{Exemption, Who};
use serde::Serialize;

/// A user's factors and standing. No secret in it.
#[derive(Clone, Debug, Serialize)]
pub struct UserReport {
    pub user: String,
    pub uid: u32,
    pub apps: Vec<AppReport>,
    pub recovery_codes_left: usize,
    /// Failures that count towards the hard stop.
    pub failures: u16,
    /// Whether only a recovery code is accepted.
    pub locked: bool,
    /// Addresses that are locked now.
    pub locked_addresses: usize,
    /// Until when the last of them is.
    pub addresses_locked_until: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppReport {
    pub label: String,
    pub algorithm: &'static str,
    pub digits: u8,
    pub step: u8,
    pub enrolled: String,
}

impl UserReport {
    pub fn new(account: &Account, state: &State, limits: &Limits, now: u64) -> Self {
        let app = |app: &crate::account::App| AppReport {
            label: app.label.clone(),
            algorithm: app.shape.algorithm.name(),
            digits: app.shape.digits,
            step: app.shape.step,
            enrolled: rfc3339(app.added),
        };
        let addresses = state.address_locks(limits, now);
        let failures = state.failures_in_all(now);
        Self {
            user: account.user.clone(),
            uid: account.uid,
            apps: account.factors.apps.iter().map(app).collect(),
            recovery_codes_left: recovery_left(account, state),
            failures,
            locked: failures >= limits.total,
            locked_addresses: addresses.map_or(0, |(count, _)| count),
            addresses_locked_until: addresses.map(|(_, until)| rfc3339(until)),
        }
    }
}

/// How many recovery codes a user has left.
pub fn recovery_left(account: &Account, state: &State) -> usize {
    account.factors.recovery.as_ref().map_or(0, |set| state.recovery_left(set.len()))
}

/// The policy in force, every value spelled out.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    version: u8,
    mode: &'static str,
    methods: Vec<&'static str>,
    services: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support: Option<String>,
    app: AppRulesReport,
    limits: LimitsReport,
    store: StoreReport,
    exempt: Vec<ExemptReport>,
}

#[derive(Clone, Debug, Serialize)]
struct AppRulesReport {
    digits: u8,
    step: u8,
    skew: u8,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct LimitsReport {
    prompts: u8,
    failures: u8,
    window: String,
    total: u16,
}

#[derive(Clone, Debug, Serialize)]
struct StoreReport {
    path: String,
    key: String,
}

#[derive(Clone, Debug, Serialize)]
struct ExemptReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    from: Vec<String>,
    reason: String,
    until: String,
}

impl PolicyReport {
    pub fn new(config: &Config) -> Self {
        let policy = &config.policy;
        Self {
            version: 1,
            mode: policy.mode.name(),
            methods: policy.methods.iter().map(|method| method.name()).collect(),
            services: policy.services.clone(),
            support: policy.support.clone(),
            app: AppRulesReport {
                digits: policy.app.shape.digits,
                step: policy.app.shape.step,
                skew: policy.app.skew,
                algorithm: policy.app.shape.algorithm.name(),
                issuer: policy.app.issuer.clone(),
            },
            limits: LimitsReport {
                prompts: policy.limits.prompts,
                failures: policy.limits.failures,
                window: format!("{}s", policy.limits.window),
                total: policy.limits.total,
            },
            store: StoreReport {
                path: config.store.database.display().to_string(),
                key: config.store.key.display().to_string(),
            },
            exempt: policy.exemptions.iter().map(ExemptReport::new).collect(),
        }
    }
}

impl ExemptReport {
    fn new(exemption: &Exemption) -> Self {
        let (user, group) = match &exemption.who {
            Who::User(name) => (Some(name.clone()), None),
            Who::Group(name) => (None, Some(name.clone())),
        };
        let from = exemption.from.iter().map(ToString::to_string).collect();
        Self { user, group, from, reason: exemption.reason.clone(), until: rfc3339(exemption.until) }
    }
}

/// A user of the host who could log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginUser {
    pub user: String,
    pub uid: u32,
}

/// Those of `users` who have no factor to answer with: enforcement refuses them.
pub fn without_factor(users: &[LoginUser], accounts: &[UserReport]) -> Vec<LoginUser> {
    let has_factor = |user: &LoginUser| {
        let mut own = accounts.iter().filter(|account| account.user == user.user && account.uid == user.uid);
        own.any(|account| !account.apps.is_empty())
    };
    users.iter().filter(|user| !has_factor(user)).cloned().collect()
}

/// The users in the text of `getent passwd` whose shell lets them log in.
pub fn login_users(passwd: &str) -> Vec<LoginUser> {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields.as_slice() else {
            return None;
        };
        // passwd(5): an empty shell is /bin/sh.
        let program = shell.rsplit('/').next().unwrap_or_default();
        let refuses = ["nologin", "false", "sync", "shutdown", "halt"].contains(&program);
        (!refuses).then_some(LoginUser { user: (*name).into(), uid: uid.parse().ok()? })
    };
    passwd.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_with_a_shell_can_log_in() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n\
                      sync:x:4:65534::/bin:/bin/sync\nalice:x:1001:1001:Alice,,,:/home/alice:\nbroken:x\n";
        let names = |users: Vec<LoginUser>| users.into_iter().map(|user| user.user).collect::<Vec<_>>();
        assert_eq!(names(login_users(passwd)), ["root", "alice"]);
    }
}
