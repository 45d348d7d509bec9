//! `explain`: what the module would do with a login now, and why. By the same machine; nothing is asked, sent or stored.

use crate::cli::ExplainArguments;
use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, missing, table, when};
use serde::Serialize;
use std::collections::HashSet;
use std::net::IpAddr;
use twofa::account::{Account, Change, Claim, Device, Proof, State};
use twofa::admin::{self, LoginUser, Standing, Standings};
use twofa::code::Seed;
use twofa::config::{self, Config};
use twofa::log;
use twofa::login::{self, Admission, Event, Login, Refusal, Step, Verdict};
use twofa::message::{self, rfc3339};
use twofa::policy::{Decision, Mode, Policy, Request, SSHD, Waiver, Who};
use twofa::sshkey::{self, SkKey};
use twofa::store::Store;
use twofa::system;
use twofa::trial::Trial;

#[derive(Serialize)]
struct Explained {
    user: String,
    service: String,
    /// `let-in`, `asked`, `refused` or `not-concerned`.
    outcome: &'static str,
    /// What happens, in words.
    what: String,
    /// What of the policy, or of the user's account, says so.
    rule: String,
    /// The same for a login that skips the auth phase, such as one by SSH key alone.
    without_auth_phase: Option<String>,
}

pub(crate) fn run(context: &mut Context, arguments: &ExplainArguments) -> Result<Outcome, Error> {
    match &arguments.user {
        Some(user) => one(context, user, arguments),
        None => all(context),
    }
}

/// The policy that the module goes by.
fn in_force(context: &mut Context) -> Result<Config, Error> {
    let mut config = match context.config() {
        Ok(config) => config,
        Err(fault) => {
            let loaded = config::load(&context.conf)?;
            context
                .terminal
                .note(&table::printable(&format!("twofa-admin: {fault}; the last valid copy is in force.")));
            loaded.config
        }
    };
    if let Ok(Some(trial)) = Trial::read(&config.store) {
        config.policy.mode = trial.mode(config.policy.mode, system::now());
    }
    Ok(config)
}

fn one(context: &mut Context, user: &str, arguments: &ExplainArguments) -> Result<Outcome, Error> {
    let config = in_force(context)?;
    let policy = &config.policy;
    let now = system::now();
    let mut request = request(policy, user, arguments, now)?;
    let uid = request.known.as_ref().map(|known| known.uid);
    let found = match policy.decide(&request, now) {
        Decision::Require => Store::open(&config.store)?.account_at_login(user, uid)?,
        // Where nothing is asked, the store may be what it likes.
        _ => None,
    };
    request.ssh_keys = ssh_keys(arguments, found.as_ref());
    let seed = Seed::new(system::random()?);
    let (outcome, what, rule) = decide(policy, &request, &seed, found.as_ref(), now);
    let explained = Explained {
        user: user.into(),
        service: request.service.clone(),
        outcome,
        what,
        rule,
        without_auth_phase: without_auth_phase(policy, &request, &seed, found.as_ref(), now),
    };
    context.report(&explained, text)?;
    Ok(Outcome::Done)
}

/// The login as the module would see it, but for the SSH keys.
fn request(policy: &Policy, user: &str, arguments: &ExplainArguments, now: u64) -> Result<Request, Error> {
    let ExplainArguments { service, key, .. } = arguments;
    let rhost = arguments.rhost.map(|address| address.to_canonical());
    let known = system::user(user, policy.groups(rhost, now))?;
    let hash = key.as_deref().map(fingerprint_of).transpose()?.filter(|_| service == SSHD);
    let claim = match (service == SSHD, rhost, policy.trust.duration) {
        (true, Some(address), Some(duration)) => claim(user, address, hash, duration),
        _ => None,
    };
    Ok(Request {
        service: service.clone(),
        user: user.into(),
        known,
        address: rhost,
        first_factor: true,
        local: service != SSHD && rhost.is_none(),
        ssh_keys: Vec::new(),
        claim,
        processes: Vec::new(),
        session: None,
        host: system::host(),
    })
}

/// Of the enrolled keys the one that was used. Nobody but sshd has keys to tell of.
fn ssh_keys(arguments: &ExplainArguments, found: Option<&(Account, State)>) -> Vec<SkKey> {
    let fingerprint = arguments.key.as_deref().filter(|_| arguments.service == SSHD);
    let keys = found.iter().flat_map(|(account, _)| &account.factors.ssh_keys);
    let keys = keys.map(|own| &own.key).filter(|key| Some(key.fingerprint().as_str()) == fingerprint);
    keys.cloned().collect()
}

fn fingerprint_of(key: &str) -> Result<[u8; 32], Error> {
    sshkey::parse_fingerprint(key).ok_or_else(|| {
        Error::Usage(
            format!("`{}` is no fingerprint", table::printable(key)),
            "`ssh-keygen -lf FILE` prints it: SHA256:...".into(),
        )
    })
}

/// As in the module, nobody is trusted where the host's own addresses are not known.
fn claim(user: &str, address: IpAddr, key: Option<[u8; 32]>, duration: u64) -> Option<Claim> {
    let device = Device::new(address, key, &system::own_addresses()?)?;
    Some(Claim { device, password: system::password_tag(user), duration })
}

fn decide(
    policy: &Policy,
    request: &Request,
    seed: &Seed,
    found: Option<&(Account, State)>,
    now: u64,
) -> (&'static str, String, String) {
    if let Some(rule) = rule(policy, request, now) {
        let (outcome, what) = match policy.decide(request, now) {
            Decision::NotConcerned => ("not-concerned", "not asked for anything by twofa"),
            _ => ("let-in", "let in without a second factor"),
        };
        return (outcome, what.into(), rule);
    }
    let mut login = Login::new(policy, request, seed);
    let mut step = login.next(Event::Begin, now);
    if step == Step::Read {
        step = login.next(Event::Account(found.cloned().map(Box::new), 0), now);
        step = behind_a_note(&mut login, step, policy, found, now);
    }
    // Nothing is sent where so much was that it has to end.
    let conflict = match (&step, found) {
        (Step::Commit(change @ Change::Send { .. }), Some((_, state))) => {
            state.apply(change, &policy.limits, now).err()
        }
        _ => None,
    };
    if let Some(conflict) = conflict {
        step = login.next(Event::Conflict(conflict), now);
    }
    let why = login.refuses_anyway();
    match (&step, why) {
        (Step::Ask { prompt, .. }, _) if prompt.is_of_enrolment() => (
            "let-in",
            "let in without a second factor for the time being, and offered to set one up".into(),
            "[rollout]".into(),
        ),
        (Step::Ask { prompt, .. }, Some(refusal)) => (
            "refused",
            format!("asked `{}` like anybody, and refused whatever is typed", message::prompt(prompt).trim()),
            reason(refusal),
        ),
        (Step::Ask { prompt, .. }, None) => {
            let prompt = message::prompt(prompt);
            ("asked", format!("asked `{}`", prompt.trim()), methods(policy))
        }
        (Step::Touch { .. }, Some(refusal)) => (
            "refused",
            "asked to touch a security key like anybody, and refused whatever is touched".into(),
            reason(refusal),
        ),
        (Step::Touch { .. }, None) => ("asked", "asked to touch a security key".into(), methods(policy)),
        (Step::Commit(Change::Send { .. }), Some(refusal)) => (
            "refused",
            "asked like anybody for a code, which is not sent, and refused whatever is typed".into(),
            reason(refusal),
        ),
        (Step::Commit(change), _) => committed(policy, change, now),
        (Step::Finish { verdict: Verdict::Admit(admission), .. }, _) => admitted(policy, admission),
        (Step::Finish { verdict: Verdict::Refuse(refusal), .. }, _) => {
            ("refused", "refused".into(), reason(*refusal))
        }
        _ => ("refused", "refused".into(), reason(Refusal::Unavailable)),
    }
}

/// What comes behind a step that only notes something down: the account of somebody new, or days that have begun or ended.
fn behind_a_note(
    login: &mut Login<'_>,
    step: Step,
    policy: &Policy,
    found: Option<&(Account, State)>,
    now: u64,
) -> Step {
    let before = found.map_or_else(State::default, |(_, state)| state.clone());
    let change = match &step {
        Step::Commit(change @ Change::Register) => change,
        Step::Commit(change @ Change::Grace) if before.has_grace_begun() => change,
        _ => return step,
    };
    let Ok(state) = before.apply(change, &policy.limits, now) else {
        return step;
    };
    match (login.next(Event::Committed(Box::new(state.clone())), now), found) {
        (Step::Read, Some((account, _))) => {
            login.next(Event::Account(Some(Box::new((account.clone(), state))), 0), now)
        }
        // Somebody new, whom a code can be sent to.
        (Step::Read, None) => step,
        (next, _) => next,
    }
}

/// What of the policy says that nothing is asked.
fn rule(policy: &Policy, request: &Request, now: u64) -> Option<String> {
    match policy.decide(request, now) {
        Decision::Require => None,
        Decision::NotConcerned => Some(format!("`{}` is not among `services`", request.service)),
        Decision::Waive(Waiver::Off) => Some("mode = \"off\"".into()),
        Decision::Waive(Waiver::Exempt(exemption)) => {
            let (kind, name) = match &exemption.who {
                Who::User(name) => ("user", name),
                Who::Group(name) => ("group", name),
            };
            let until = rfc3339(exemption.until);
            Some(format!("[[exempt]] {kind} = \"{name}\", until {until}: {}", exemption.reason))
        }
    }
}

fn methods(policy: &Policy) -> String {
    let names: Vec<_> = policy.methods.iter().map(|method| method.name()).collect();
    format!("methods = [\"{}\"]", names.join("\", \""))
}

/// What comes next once this is stored.
fn committed(policy: &Policy, change: &Change, now: u64) -> (&'static str, String, String) {
    match change {
        Change::Prove { proof: Proof::Trusted(claim), .. } => {
            let (network, _) = claim.device.describe();
            ("let-in", format!("let in without a code: {network} is a trusted device"), trust(policy))
        }
        Change::Prove { proof: Proof::SshKey, .. } => (
            "let-in",
            "let in without a code: the SSH key is an enrolled security key".into(),
            methods(policy),
        ),
        Change::Send { .. } => ("asked", "sent a code, and asked for it".into(), methods(policy)),
        Change::Register => (
            "asked",
            "given an account, sent a code, and asked for it".into(),
            "email.default_address".into(),
        ),
        Change::Grace => {
            let until = now.saturating_add(policy.rollout.grace);
            let days = policy.rollout.grace / 86_400;
            let what = format!(
                "let in without a second factor; the days of grace end {} at the latest",
                rfc3339(until)
            );
            ("let-in", what, format!("rollout.grace_days = {days}"))
        }
        Change::Observe => {
            ("let-in", "let in, and counted: enforcement would refuse".into(), "mode = \"observe\"".into())
        }
        _ => ("refused", "refused".into(), reason(Refusal::Unavailable)),
    }
}

fn trust(policy: &Policy) -> String {
    format!("trust.duration = \"{}\"", policy.trust.duration.map_or_else(String::new, message::span))
}

fn admitted(policy: &Policy, admission: &Admission) -> (&'static str, String, String) {
    match admission {
        Admission::NotYet { from } => (
            "let-in",
            format!("let in without a second factor until {}", rfc3339(*from)),
            "rollout.enforce_from".into(),
        ),
        Admission::Grace { until } => (
            "let-in",
            format!("let in without a second factor until {}", rfc3339(*until)),
            format!("rollout.grace_days = {}", policy.rollout.grace / 86_400),
        ),
        Admission::Observed(refusal) => (
            "let-in",
            format!("let in, though enforcement would refuse: {}", reason(*refusal)),
            "mode = \"observe\"".into(),
        ),
        _ => ("let-in", "let in".into(), String::new()),
    }
}

fn reason(refusal: Refusal) -> String {
    match refusal {
        Refusal::UnknownUser => "this host has no such user".into(),
        Refusal::NotEnrolled => "the user has no second factor that the policy takes".into(),
        Refusal::UidMismatch => "the account of that name or uid belongs to an earlier user".into(),
        Refusal::KeyNeeded => "only a security key counts, and there is none here".into(),
        Refusal::NoFactor => "such a login proves no second factor".into(),
        refusal => log::reason(refusal),
    }
}

fn without_auth_phase(
    policy: &Policy,
    request: &Request,
    seed: &Seed,
    found: Option<&(Account, State)>,
    now: u64,
) -> Option<String> {
    let step = login::account_phase(policy, request, false, now);
    let lookup = policy.bears_missing_factors() || policy.mode == Mode::Observe;
    let step = match &step {
        Step::Finish { verdict: Verdict::Refuse(Refusal::NoFactor), .. } if lookup => {
            let mut login = Login::of_account_phase(policy, request, seed);
            login.next(Event::Begin, now);
            let step = login.next(Event::Account(found.cloned().map(Box::new), 0), now);
            behind_a_note(&mut login, step, policy, found, now)
        }
        _ => step,
    };
    match step {
        Step::Finish { verdict: Verdict::NotConcerned, .. } => None,
        Step::Finish { verdict: Verdict::Refuse(refusal), .. } => {
            Some(format!("refused, as {}", reason(refusal)))
        }
        Step::Finish { verdict: Verdict::Admit(_), .. } => Some("let in".into()),
        Step::Commit(Change::Grace | Change::Observe) => Some("let in".into()),
        _ => Some("refused".into()),
    }
}

fn text(explained: &Explained) -> String {
    let Explained { user, service, what, rule, without_auth_phase, .. } = explained;
    let mut lines = vec![format!("{user} at {service} is {what}.")];
    let how = if service == SSHD { "With an SSH key only:" } else { "Without password:" };
    let mut add = |name: &str, what: &str| lines.push(format!("{name:<22}{what}"));
    if !rule.is_empty() {
        add("Because:", rule);
    }
    if let Some(alone) = without_auth_phase.as_ref().filter(|_| Policy::is_entry(service)) {
        add(how, alone);
    }
    when::local(&table::printable_lines(&lines))
}

#[derive(Serialize)]
struct Row {
    user: String,
    uid: u32,
    ways: Vec<String>,
}

/// Who could log in how.
fn all(context: &mut Context) -> Result<Outcome, Error> {
    let config = in_force(context)?;
    let policy = &config.policy;
    let now = system::now();
    let (accounts, faults) = crate::context::accounts(&config, &Store::open(&config.store)?)?;
    let standings = Standings::new(policy, &accounts, now);
    let covered: HashSet<String> = missing::covered(policy)?.into_iter().map(|user| user.user).collect();
    let row = |user: LoginUser| {
        let is_exempt = !covered.contains(&user.user);
        let ways = if is_exempt { vec!["exempt".into()] } else { ways(policy, &standings, &user) };
        Row { user: user.user, uid: user.uid, ways }
    };
    let rows: Vec<Row> = admin::login_users(&system::passwd()?).into_iter().map(row).collect();
    context.report(&rows, |rows| {
        let cells: Vec<_> =
            rows.iter().map(|row| [row.user.clone(), when::local(&row.ways.join(", "))]).collect();
        let mode = match policy.mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe: nobody is refused yet",
            Mode::Off => "off: nobody is asked",
        };
        format!(
            "{}\n\nThe mode is {mode}; what counts is `{}`.",
            table::render(["USER", "LOGS IN WITH"], &cells),
            methods(policy)
        )
    })?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

fn ways(policy: &Policy, standings: &Standings<'_>, user: &LoginUser) -> Vec<String> {
    let account = standings.account(user);
    let mut ways: Vec<String> = match standings.of(user) {
        Standing::Enrolled => {
            let default = policy.methods_of(&twofa::account::Factors::default());
            let default = default.into_iter().map(|method| method.name());
            account
                .map_or_else(|| default.collect(), |account| account.methods.clone())
                .into_iter()
                .map(Into::into)
                .collect()
        }
        Standing::NotYet { enforced_from } => vec![format!("nothing until {enforced_from}")],
        Standing::Grace { grace_until } => vec![format!("nothing until {grace_until}")],
        Standing::GraceToCome { grace_days } => vec![format!("nothing for {grace_days} days")],
        Standing::Refused => vec!["NOTHING: refused".into()],
    };
    if let Some(account) = account {
        if account.recovery_codes_left > 0 {
            let plural = if account.recovery_codes_left == 1 { "" } else { "s" };
            ways.push(format!("{} recovery code{plural}", account.recovery_codes_left));
        }
        if account.locked {
            ways.push("LOCKED but for recovery codes".into());
        }
        if let Some(open) = &account.bypass {
            ways.push(format!("BYPASS until {}", open.until));
        }
    }
    ways
}
