//! What sshd's configuration makes of a login: whether it asks PAM at all, and whether what it wants can be had. sshd
//! itself is asked (`sshd -T -C`), for everybody, for each user, and for each `Match`.

use super::finding::{Fate, Finding, Severity, Whom};
use super::stacks::Access;
use super::text_of;
use crate::sshd::{ANYBODY, MAX_USERS, PATIENCE, SSHD, settings};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use twofa::admin::LoginUser;
use twofa::policy::{self, Policy};
use twofa::system::{self, Deadline};

const CHECK: &str = "sshd";
const CONFIG: &str = "/etc/ssh/sshd_config";
const METHODS: &str = "AuthenticationMethods publickey,keyboard-interactive keyboard-interactive";
const GETENT: &str = "/usr/bin/getent";
const KEYBOARD: &str = "keyboard-interactive";
/// Before OpenSSH 8.7 a setting of its own, and both are wanted.
const CHALLENGE: &str = "challengeresponseauthentication";
/// Of one configuration.
const MAX_MATCHES: usize = 30;
/// Shorter, and a code that is sent comes too late.
const GRACE: u64 = 60;

/// What sshd says, or why it says nothing.
pub(crate) struct Sshd {
    base: Result<Settings, Finding>,
}

/// The configuration in force for one login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(HashMap<String, String>);

impl Settings {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Self(pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_string())).collect())
    }

    fn value(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn is(&self, key: &str) -> bool {
        self.value(key) == "yes"
    }

    /// Whether sshd offers a method, named as in `AuthenticationMethods`.
    fn offers(&self, method: &str) -> bool {
        match method.split(':').next().unwrap_or_default() {
            "publickey" => self.is("pubkeyauthentication"),
            "password" => self.is("passwordauthentication"),
            KEYBOARD => self.is("kbdinteractiveauthentication") && self.value(CHALLENGE) != "no",
            "hostbased" => self.is("hostbasedauthentication"),
            "gssapi-with-mic" => self.is("gssapiauthentication"),
            _ => false,
        }
    }

    /// What opens a login: alternatives, each of which takes all of its methods.
    fn ways(&self) -> Vec<Vec<String>> {
        let written = self.value("authenticationmethods");
        let ways: Vec<Vec<String>> = if written.is_empty() || written == "any" {
            let all = ["publickey", KEYBOARD, "password", "hostbased", "gssapi-with-mic"];
            all.iter().map(|method| vec![(*method).to_string()]).collect()
        } else {
            written.split_whitespace().map(|way| way.split(',').map(Into::into).collect()).collect()
        };
        ways.into_iter().filter(|way| way.iter().all(|method| self.offers(method))).collect()
    }

    pub(crate) fn access(&self) -> Access {
        let ways = self.ways();
        Access {
            key_alone: ways.iter().any(|way| !asks_pam(way)),
            no_key: ways.iter().any(|way| asks_pam(way) && !way.iter().any(|method| method == "publickey")),
        }
    }
}

/// Whether the auth lines of PAM are asked on this way.
fn asks_pam(way: &[String]) -> bool {
    way.iter().any(|method| method.starts_with(KEYBOARD) || method == "password")
}

/// What the policy and the stack have to do with it.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) policy: &'a Policy,
    /// Whether the account line refuses who comes without a proof.
    pub(crate) account_holds: bool,
    /// Whether an auth line asks for a code at all.
    pub(crate) asks: bool,
}

impl Sshd {
    pub(crate) fn ask() -> Self {
        Self { base: base() }
    }

    pub(crate) fn access(&self) -> Option<Access> {
        self.base.as_ref().ok().map(Settings::access)
    }

    /// `users` are those whom the policy covers.
    pub(crate) fn findings(&self, around: Around<'_>, users: &[LoginUser]) -> Vec<Finding> {
        let base = match &self.base {
            Ok(base) => base,
            Err(finding) => return vec![finding.clone()],
        };
        let deadline = Deadline::after(PATIENCE);
        let mut findings = judge(base, around);
        if findings.iter().all(|finding| finding.severity <= Severity::Note) {
            findings.push(Finding::ok(CHECK, "sshd asks PAM at every login that it admits"));
        }
        let known: Vec<Finding> = findings.clone();
        let mut unseen: Option<String> = None;
        for user in users.iter().take(MAX_USERS).filter(|user| !user.user.contains(',')) {
            match settings(&login(&user.user, &Criteria::default()), deadline) {
                Ok(said) => {
                    let theirs = Settings::parse(&said);
                    for finding in others(judge(&theirs, around), &known) {
                        add_user(&mut findings, finding, &user.user);
                    }
                    if user.uid == 0 && around.asks {
                        findings.extend(root(&theirs));
                    }
                }
                Err(why) => unseen = unseen.or(Some(why)),
            }
        }
        findings.extend(matches(around, users, &known, &findings, deadline));
        findings.extend(not_reloaded(base));
        let unseen = unseen.map(|why| Finding::new(Severity::Unknown, CHECK, why, "Try again."));
        findings.extend(unseen);
        if users.len() > MAX_USERS {
            let what = format!("of {} users, sshd was asked about the first {MAX_USERS}", users.len());
            findings.push(Finding::note(CHECK, what, "`sshd -T -C user=NAME` asks about one."));
        }
        findings
    }
}

/// Whether `sshd -t` finds no fault with the configuration.
///
/// # Errors
///
/// What it says, in a line.
pub(crate) fn test() -> Result<(), String> {
    let tried = try_out(Deadline::after(PATIENCE));
    match tried.trim_end().ends_with("ok") {
        true => Ok(()),
        false if tried.is_empty() => Err("`sshd -t` does not answer".into()),
        false => Err(tried.lines().next().unwrap_or_default().trim().to_string()),
    }
}

/// Those of these settings (`usepam yes`) that are not in force for somebody whom no `Match` names.
///
/// # Errors
///
/// Why sshd does not say.
pub(crate) fn not_in_force(wanted: &[String]) -> Result<Vec<String>, String> {
    let said = settings(&login(ANYBODY, &Criteria::default()), Deadline::after(PATIENCE))?;
    let said = Settings::parse(&said);
    let differs = |line: &&String| {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        said.value(&key.to_ascii_lowercase()) != value
    };
    Ok(wanted.iter().filter(differs).cloned().collect())
}

/// Whether this sshd tells ChallengeResponseAuthentication and KbdInteractiveAuthentication apart.
pub(crate) fn has_challenge() -> bool {
    let said = settings(&login(ANYBODY, &Criteria::default()), Deadline::after(PATIENCE));
    said.is_ok_and(|said| !Settings::parse(&said).value(CHALLENGE).is_empty())
}

/// What becomes of root's own logins where PAM is asked at every one.
pub(crate) fn of_root() -> Option<Finding> {
    let said = settings(&login("root", &Criteria::default()), Deadline::after(PATIENCE)).ok()?;
    root(&Settings::parse(&said)).filter(|finding| finding.severity > Severity::Note)
}

/// What alone opens this host with the recommended ways in, as long as no code is asked for, and does not without them.
pub(crate) fn newly_enough() -> Option<&'static str> {
    let ways = base().ok()?.ways();
    let (by_key, without): (Vec<_>, Vec<_>) =
        ways.iter().partition(|way| way.iter().any(|method| method.starts_with("publickey")));
    let key = !by_key.is_empty() && by_key.iter().all(|way| way.len() > 1);
    match (without.is_empty(), key) {
        (true, true) => Some("a password or an SSH key"),
        (true, false) => Some("a password"),
        (false, true) => Some("an SSH key"),
        (false, false) => None,
    }
}

/// What `sshd -t` says, and then `ok` or `failed`.
fn try_out(deadline: Deadline) -> String {
    let script = format!("if {SSHD} -t 2>&1; then echo ok; else echo failed; fi");
    system::output(Path::new("/bin/sh"), &["-c", &script], deadline).unwrap_or_default()
}

/// The settings for somebody whom no `Match` names.
fn base() -> Result<Settings, Finding> {
    if !Path::new(SSHD).exists() {
        let what = format!("{SSHD} does not exist, and the policy covers sshd");
        return Err(Finding::warning(CHECK, what, "Install it, or remove sshd from `services`."));
    }
    let deadline = Deadline::after(PATIENCE);
    let tried = try_out(deadline);
    let said = settings(&login(ANYBODY, &Criteria::default()), deadline);
    match said {
        Ok(said) if tried.trim_end().ends_with("ok") => Ok(Settings::parse(&said)),
        _ if tried.trim_end().ends_with("failed") => {
            let why = tried.lines().next().unwrap_or_default().trim().trim_end_matches('.');
            // Made when the service starts; where a socket starts it, not before the first login.
            if why.contains("privilege separation directory") {
                let what = format!("sshd cannot be asked while it is not running: {why}");
                return Err(Finding::new(
                    Severity::Unknown,
                    CHECK,
                    what,
                    "Start it, or `mkdir -p /run/sshd`.",
                ));
            }
            let what = format!("`sshd -t` fails, so sshd will not start again: {why}");
            let advice = format!("Correct {CONFIG} until `sshd -t` says nothing, before sshd is reloaded.");
            Err(Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LockedOut))
        }
        Ok(_) => Err(Finding::new(Severity::Unknown, CHECK, "`sshd -t` does not answer", "Try it by hand.")),
        Err(why) => Err(Finding::new(Severity::Unknown, CHECK, why, "Try `sshd -T` by hand.")),
    }
}

/// What is to be said of one configuration.
fn judge(settings: &Settings, around: Around<'_>) -> Vec<Finding> {
    if !settings.is("usepam") {
        let what = "sshd asks PAM for nothing (UsePAM no): an SSH key alone opens this host";
        let advice = "Set `UsePAM yes` in sshd_config, then `sshd -t && systemctl reload ssh`.";
        return vec![Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LetPast)];
    }
    let mut findings = ways_in(settings, around);
    // Since OpenSSH 9.8. The module takes keys for a first factor from the service `sshd` only.
    let service = settings.value("pamservicename");
    if !service.is_empty() && service != policy::SSHD {
        let what = format!("sshd asks PAM for the service `{service}` (PAMServiceName), and not for `sshd`");
        let finding = Finding::critical(CHECK, what, "Set `PAMServiceName sshd` in sshd_config.");
        findings.push(match around.policy.concerns(service) {
            true => finding,
            false => finding.meets(Whom::everybody(), Fate::LetPast),
        });
    }
    let number = |key: &str| settings.value(key).parse::<u64>().ok();
    if let Some(grace) = number("logingracetime").filter(|grace| (1..GRACE).contains(grace)) {
        let what = format!("sshd ends a login that takes more than {grace} s (LoginGraceTime)");
        findings.push(Finding::warning(CHECK, what, "Set `LoginGraceTime 120` in sshd_config."));
    }
    let prompts = u64::from(around.policy.limits.prompts);
    if let Some(tries) = number("maxauthtries").filter(|tries| *tries < prompts) {
        let what = format!(
            "sshd allows {tries} tries (MaxAuthTries), and the policy {prompts}; each SSH \
            key is one"
        );
        findings.push(Finding::warning(CHECK, what, "Set `MaxAuthTries 6` in sshd_config."));
    }
    if settings.is("usedns") {
        let what = "sshd looks names of clients up (UseDNS yes); exemptions and trust go by \
            address all the same";
        findings.push(Finding::note(CHECK, what, "Set `UseDNS no`, unless you need the names."));
    }
    findings
}

/// Whether each way in leads through the module, and whether there is one.
fn ways_in(settings: &Settings, around: Around<'_>) -> Vec<Finding> {
    let ways = settings.ways();
    let reload = "then `sshd -t && systemctl reload ssh`.";
    if ways.is_empty() {
        let what = format!(
            "sshd offers nothing that satisfies `AuthenticationMethods {}`",
            settings.value("authenticationmethods")
        );
        let advice =
            format!("Set `KbdInteractiveAuthentication yes` and `{METHODS}` in sshd_config, {reload}");
        return vec![Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LockedOut)];
    }
    let mut findings = Vec::new();
    let by_keyboard = ways.iter().any(|way| way.iter().any(|method| method.starts_with(KEYBOARD)));
    let alone: Vec<String> = ways.iter().filter(|way| !asks_pam(way)).map(|way| way.join(",")).collect();
    if !alone.is_empty() {
        let alone = alone.join(" or ");
        let advice =
            format!("Set `KbdInteractiveAuthentication yes` and `{METHODS}` in sshd_config, {reload}");
        let whom = match by_keyboard {
            true => Whom::All(format!("everybody who logs in by {alone}")),
            false => Whom::everybody(),
        };
        let (what, fate) = match around.account_holds {
            false => (format!("{alone} alone opens this host, without a second factor"), Fate::LetPast),
            true => (
                format!(
                    "sshd asks for no second factor after {alone}, and the account line refuses without one"
                ),
                Fate::LockedOut,
            ),
        };
        findings.push(Finding::critical(CHECK, what, advice).meets(whom, fate));
    }
    let by_password = ways.iter().any(|way| way.iter().any(|method| method == "password"));
    if by_password {
        let what = "sshd answers every prompt with the password (PasswordAuthentication yes)";
        let advice =
            format!("Set `PasswordAuthentication no` and `KbdInteractiveAuthentication yes`, {reload}");
        findings.push(match by_keyboard || !around.asks {
            true => Finding::warning(CHECK, what, advice),
            false => {
                let what = format!("{what}: no code can be typed");
                let whom = Whom::All("everybody who logs in with a password".into());
                Finding::critical(CHECK, what, advice).meets(whom, Fate::LockedOut)
            }
        });
    } else if settings.is("passwordauthentication") {
        let what = "PasswordAuthentication is on, and no way in uses it";
        findings.push(Finding::note(CHECK, what, "Set `PasswordAuthentication no`."));
    }
    findings
}

/// Root is answered for with junk unless root may log in by password.
fn root(settings: &Settings) -> Option<Finding> {
    let permit = settings.value("permitrootlogin");
    if permit == "yes" || permit == "no" || permit.is_empty() {
        return None;
    }
    let keys = text_of(Path::new("/root/.ssh/authorized_keys")).unwrap_or_default();
    let has_key = keys.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let what = format!("sshd refuses root's codes whatever they are (PermitRootLogin {permit})");
    let advice = "Log in as somebody else and become root, or set `PermitRootLogin yes`: with the ways in that are \
                  recommended it still takes a key or password, and a code.";
    // Without a key root has no way in over SSH, with and without us.
    Some(match has_key {
        true => {
            Finding::warning(CHECK, what, advice).meets(Whom::Users(vec!["root".into()]), Fate::LockedOut)
        }
        false => Finding::note(CHECK, what, advice),
    })
}

/// Those of `found` that are not said of everybody.
fn others(found: Vec<Finding>, known: &[Finding]) -> Vec<Finding> {
    found.into_iter().filter(|finding| !known.contains(finding)).collect()
}

/// One finding for all users whom it is about.
fn add_user(findings: &mut Vec<Finding>, finding: Finding, user: &str) {
    let is_same =
        |known: &&mut Finding| known.what == finding.what && matches!(known.affected, Some(Whom::Users(_)));
    match findings.iter_mut().find(is_same) {
        Some(Finding { affected: Some(Whom::Users(users)), .. }) => users.push(user.into()),
        _ => findings.push(finding.of(vec![user.into()])),
    }
}

/// What a `Match` speaks of, one value for each kind; of users and groups the patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Criteria {
    user: Option<String>,
    group: Option<String>,
    host: Option<String>,
    address: Option<String>,
    port: Option<String>,
    local: Option<String>,
    domain: Option<String>,
    /// It speaks of something that is not understood here.
    is_odd: bool,
    /// As written.
    text: String,
}

/// For `-C`. What is left out would make a Match on it an error.
fn login(user: &str, criteria: &Criteria) -> String {
    let or = |value: &Option<String>, usual: &str| value.clone().unwrap_or_else(|| usual.into());
    let domain = criteria.domain.iter().map(|domain| format!(",rdomain={domain}"));
    format!(
        "user={user},host={},addr={},laddr={},lport={}{}",
        or(&criteria.host, "localhost"),
        or(&criteria.address, "127.0.0.1"),
        or(&criteria.local, "127.0.0.1"),
        or(&criteria.port, "22"),
        domain.collect::<String>(),
    )
}

/// What holds where a `Match` applies, when it is other than what holds for everybody.
fn matches(
    around: Around<'_>,
    users: &[LoginUser],
    known: &[Finding],
    told: &[Finding],
    deadline: Deadline,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let (mut text, mut unseen) = (String::new(), Vec::new());
    read_config(Path::new(CONFIG), &mut text, &mut Vec::new(), 0);
    for (number, criteria) in text.lines().filter_map(criteria).enumerate() {
        let Some(user) = somebody(&criteria, users) else {
            continue;
        };
        let said = settings(&login(&user, &criteria), deadline);
        let (Ok(said), false) = (said, criteria.is_odd || number >= MAX_MATCHES) else {
            unseen.push(criteria.text);
            continue;
        };
        for mut finding in others(judge(&Settings::parse(&said), around), known) {
            let is_said = |other: &Finding| other.what == finding.what;
            if told.iter().any(is_said) || findings.iter().any(is_said) {
                continue;
            }
            finding.affected = Some(Whom::All(format!("everybody whom `{}` is about", criteria.text)));
            finding.advice =
                format!("Correct the block `{}` in sshd_config. {}", criteria.text, finding.advice);
            findings.push(finding);
        }
    }
    if let Some(first) = unseen.first() {
        let what = format!("what holds for `{first}` could not be asked of sshd");
        let more = if unseen.len() > 1 { format!(" (and {} more)", unseen.len() - 1) } else { String::new() };
        let advice = "Look at that block of sshd_config by hand.";
        findings.push(Finding::new(Severity::Unknown, CHECK, what + &more, advice));
    }
    findings
}

/// Somebody covered whom a `Match` may be about: who is exempt may come as they like, and system users do not come.
fn somebody(criteria: &Criteria, users: &[LoginUser]) -> Option<String> {
    match (criteria.user.as_deref(), criteria.group.as_deref()) {
        (None | Some("*"), None) => Some(ANYBODY.into()),
        (Some(patterns), _) => {
            users.iter().find(|user| is_among(&user.user, patterns)).map(|user| user.user.clone())
        }
        (None, Some(groups)) => groups.split(',').find_map(|group| member(group, users)),
    }
}

/// A member of a group: of those that the name service lists, as it takes long to ask after each of many users.
fn member(group: &str, users: &[LoginUser]) -> Option<String> {
    let listed = system::output(Path::new(GETENT), &["group", "--", group], Deadline::after(PATIENCE));
    let listed = listed.unwrap_or_default();
    let mut fields = listed.trim_end().split(':').skip(2);
    let (gid, members) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let passwd = system::passwd().unwrap_or_default();
    let by_gid = passwd.lines().filter(|line| !gid.is_empty() && line.split(':').nth(3) == Some(gid));
    let by_gid = by_gid.filter_map(|line| line.split(':').next());
    let names: HashSet<&str> = members.split(',').chain(by_gid).collect();
    let found = users.iter().find(|user| names.contains(user.user.as_str()));
    // Some name services list nobody.
    let found = found.or_else(|| users.iter().take(MAX_USERS).find(|user| is_in(&user.user, group)));
    found.map(|user| user.user.clone())
}

/// Whether a list of patterns is about a name: one of them, and none of those with an exclamation mark.
fn is_among(name: &str, patterns: &str) -> bool {
    let (not, so): (Vec<&str>, Vec<&str>) = patterns.split(',').partition(|pattern| pattern.starts_with('!'));
    let is_like = |pattern: &&str| is_like(name.as_bytes(), pattern.trim_start_matches('!').as_bytes());
    so.iter().any(is_like) && !not.iter().any(is_like)
}

fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    match (name, pattern) {
        (_, [b'*', rest @ ..]) => {
            (0..=name.len()).any(|at| is_like(name.get(at..).unwrap_or_default(), rest))
        }
        ([_, name @ ..], [b'?', rest @ ..]) => is_like(name, rest),
        ([first, name @ ..], [second, rest @ ..]) => first == second && is_like(name, rest),
        (name, pattern) => name.is_empty() && pattern.is_empty(),
    }
}

fn is_in(user: &str, group: &str) -> bool {
    matches!(system::user(user, [group].into_iter()), Ok(Some(known)) if !known.groups.is_empty())
}

/// What was written after sshd read it, or taken away: its pid file is written anew whenever it does, at a reload too.
/// Nothing where there is no such file, as where a socket starts an sshd for each connection: of a reload nothing else
/// tells.
fn not_reloaded(settings: &Settings) -> Option<Finding> {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let pid_file = Path::new(settings.value("pidfile"));
    let read_at = modified(pid_file)?;
    let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    // It may be left over.
    if fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() != "sshd" {
        return None;
    }
    // The clock may have been set since: by the clock of now, what is older than the process was read by it, and of
    // what is from days to come nothing is known.
    let now = UNIX_EPOCH + Duration::from_secs(system::now());
    let started = now.checked_sub(system::age(pid)?)?;
    let to_come = now + Duration::from_secs(1);
    let mut files = Vec::new();
    read_config(Path::new(CONFIG), &mut String::new(), &mut files, 0);
    let is_newer =
        |file: &PathBuf| modified(file).is_some_and(|at| at > read_at && at > started && at < to_come);
    let advice = format!("`sshd -t && systemctl reload ssh`, or `kill -HUP {pid}`. Open connections stay.");
    let of_file = |file: &PathBuf| {
        let what =
            format!("sshd runs with older settings: {} was written after it read them", file.display());
        Finding::warning(CHECK, what, advice.as_str())
    };
    let of_folder = |folder: &PathBuf| {
        let what = format!(
            "sshd may run with older settings: since it read them, something was put into {}, renamed there or \
            taken out",
            folder.display()
        );
        // It may have been no more than this: a copy that somebody keeps there, by a name that sshd does not read.
        let copy = entries(folder).into_iter().find(|entry| !files.contains(entry) && is_newer(entry));
        match copy {
            Some(copy) => {
                Finding::note(CHECK, format!("{what}, perhaps only {}", copy.display()), advice.as_str())
            }
            None => Finding::warning(CHECK, what, advice.as_str()),
        }
    };
    let newer = files.iter().filter(|file| is_newer(file));
    let found = newer.map(|file| if file.is_dir() { of_folder(file) } else { of_file(file) });
    // The first of the worst.
    found.min_by_key(|finding| std::cmp::Reverse(finding.severity))
}

/// A file and those that it includes, in order; and behind them the folders where sshd looks for such.
fn read_config(path: &Path, text: &mut String, files: &mut Vec<PathBuf>, depth: usize) {
    files.push(path.into());
    for line in text_of(path).unwrap_or_default().lines() {
        let mut words = words(line).into_iter();
        let is_include = words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"));
        if !is_include || depth >= 16 {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        for pattern in words {
            let pattern = Path::new("/etc/ssh").join(pattern);
            for file in expand(&pattern) {
                read_config(&file, text, files, depth + 1);
            }
            let folder = pattern.parent().filter(|_| pattern.to_string_lossy().contains('*'));
            files.extend(folder.map(Into::into));
        }
    }
}

/// The files that a pattern with at most one star, in its last part, stands for.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else {
        return vec![pattern.into()];
    };
    let mut files = pattern.parent().map(entries).unwrap_or_default();
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(before) && name.ends_with(after) && !name.starts_with('.')
    });
    files.sort();
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

pub(crate) fn words(line: &str) -> Vec<String> {
    let plain = line.trim().replacen('=', " ", 1);
    let words = plain.split_whitespace().take_while(|word| !word.starts_with('#'));
    words.map(|word| word.trim_matches('"').to_string()).collect()
}

/// Of a `Match` line; nothing for other lines and for `Match all`.
fn criteria(line: &str) -> Option<Criteria> {
    let words = words(line);
    let (first, rest) = words.split_first()?;
    let is_all = matches!(rest, [all] if all.eq_ignore_ascii_case("all"));
    if !first.eq_ignore_ascii_case("match") || is_all {
        return None;
    }
    let mut criteria = Criteria { text: format!("Match {}", rest.join(" ")), ..Criteria::default() };
    for pair in rest.chunks(2) {
        let (kind, patterns) = (pair.first()?, pair.get(1).map_or("", String::as_str));
        // The first that is no negation; a star stands for one letter here.
        let Some(pattern) = patterns.split(',').find(|pattern| !pattern.starts_with('!')) else {
            // sshd never takes that for a match.
            return None;
        };
        let value = Some(pattern.replace(['*', '?'], "x"));
        match kind.to_ascii_lowercase().as_str() {
            "user" => criteria.user = Some(patterns.into()),
            "group" => criteria.group = Some(patterns.into()),
            "host" => criteria.host = value,
            "address" => criteria.address = Some(address(pattern)),
            "localaddress" => criteria.local = Some(address(pattern)),
            "localport" => criteria.port = value,
            "rdomain" => criteria.domain = value,
            // About users whom the host does not have.
            "invalid-user" => return None,
            _ => criteria.is_odd = true,
        }
    }
    Some(criteria)
}

/// One that a pattern is about: a network's own, or with all parts where stars leave some out.
fn address(pattern: &str) -> String {
    let address = pattern.split('/').next().unwrap_or_default();
    if address == "*" {
        // Of a network that is nobody's (RFC 5737): where something is said of all but a few.
        return "192.0.2.1".into();
    }
    if !address.contains('*') || address.contains(':') {
        return address.replace('*', "1");
    }
    let parts = address.split('.').chain(["1", "1", "1"]).take(4);
    parts.map(|part| part.replace('*', "1")).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use twofa::config;

    fn policy() -> Policy {
        let text = "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\"]\n";
        config::parse(&PathBuf::from("x"), text).unwrap().policy
    }

    const GOOD: &str = "usepam yes\npubkeyauthentication yes\nkbdinteractiveauthentication yes\n\
                        passwordauthentication no\nlogingracetime 120\nmaxauthtries 6\nusedns no\n";

    fn told(settings: &str, account_holds: bool) -> Vec<(Severity, Option<Fate>, String)> {
        // The first of equal settings wins, here as there.
        let mut lines: Vec<String> = Vec::new();
        for line in format!("{settings}\n{GOOD}").lines() {
            let key = line.split(' ').next().unwrap_or_default().to_string() + " ";
            if !lines.iter().any(|known| known.starts_with(&key)) {
                lines.push(line.to_string());
            }
        }
        let policy = policy();
        let found =
            judge(&Settings::parse(&lines.join("\n")), Around { policy: &policy, account_holds, asks: true });
        found.into_iter().map(|finding| (finding.severity, finding.outcome, finding.what)).collect()
    }

    #[test]
    fn what_sshd_asks_for_is_understood() {
        use Fate::{LetPast, LockedOut};
        use Severity::{Critical, Note, Warning};
        let both = "authenticationmethods publickey,keyboard-interactive keyboard-interactive";
        let table = [
            (both, true, vec![]),
            (both, false, vec![]),
            ("authenticationmethods publickey,keyboard-interactive:pam", true, vec![]),
            ("authenticationmethods any", true, vec![(Critical, Some(LockedOut), "publickey")]),
            ("authenticationmethods any", false, vec![(Critical, Some(LetPast), "publickey alone")]),
            ("authenticationmethods publickey", false, vec![(Critical, Some(LetPast), "publickey alone")]),
            (
                "authenticationmethods publickey,publickey",
                true,
                vec![(Critical, Some(LockedOut), "publickey,publickey")],
            ),
            (
                "hostbasedauthentication yes\nauthenticationmethods hostbased",
                false,
                vec![(Critical, Some(LetPast), "hostbased alone")],
            ),
            (
                "gssapiauthentication yes\n\
            authenticationmethods gssapi-with-mic publickey,keyboard-interactive",
                true,
                vec![(Critical, Some(LockedOut), "gssapi-with-mic")],
            ),
            (
                "authenticationmethods hostbased",
                false,
                vec![(Critical, Some(LockedOut), "nothing that satisfies")],
            ),
            (
                "kbdinteractiveauthentication no\nauthenticationmethods publickey,keyboard-interactive",
                true,
                vec![(Critical, Some(LockedOut), "nothing that satisfies")],
            ),
            (
                "challengeresponseauthentication no\nauthenticationmethods publickey,keyboard-interactive",
                true,
                vec![(Critical, Some(LockedOut), "nothing that satisfies")],
            ),
            ("usepam no", true, vec![(Critical, Some(LetPast), "UsePAM no")]),
            (
                "passwordauthentication yes\nkbdinteractiveauthentication no\n\
            authenticationmethods publickey,password",
                true,
                vec![(Critical, Some(LockedOut), "no code can be typed")],
            ),
            (
                "passwordauthentication yes\nauthenticationmethods password keyboard-interactive",
                true,
                vec![(Warning, None, "answers every prompt")],
            ),
            (
                "passwordauthentication yes\nauthenticationmethods publickey,keyboard-interactive",
                true,
                vec![(Note, None, "no way in uses it")],
            ),
            (
                "logingracetime 30\nauthenticationmethods keyboard-interactive",
                true,
                vec![(Warning, None, "30 s")],
            ),
            ("logingracetime 0\nauthenticationmethods keyboard-interactive", true, vec![]),
            (
                "maxauthtries 2\nauthenticationmethods keyboard-interactive",
                true,
                vec![(Warning, None, "2 tries")],
            ),
            (
                "pamservicename ssh2\nauthenticationmethods keyboard-interactive",
                true,
                vec![(Critical, Some(LetPast), "`ssh2`")],
            ),
            ("pamservicename sshd\nauthenticationmethods keyboard-interactive", true, vec![]),
            ("usedns yes\nauthenticationmethods keyboard-interactive", true, vec![(Note, None, "UseDNS")]),
        ];
        for (settings, holds, expected) in table {
            let told = told(settings, holds);
            assert_eq!(told.len(), expected.len(), "{settings}: {told:?}");
            for (found, (severity, fate, part)) in told.iter().zip(expected) {
                assert!(
                    found.0 == severity && found.1 == fate && found.2.contains(part),
                    "{settings}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_match_is_tried_with_somebody_whom_it_is_about() {
        let users = ["alice", "backup", "bob"].map(|user| LoginUser { user: user.into(), uid: 1 });
        let of = |line: &str| {
            let criteria = criteria(line)?;
            somebody(&criteria, &users).map(|user| login(&user, &criteria))
        };
        let usual = "host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22";
        let table = [
            ("Match User backup,!root", Some(format!("user=backup,{usual}"))),
            ("match user *", Some(format!("user=nobody,{usual}"))),
            ("Match User !a*,b*,carol # who backs up", Some(format!("user=backup,{usual}"))),
            ("Match User carol,b?b", Some(format!("user=bob,{usual}"))),
            ("Match User carol", None),
            ("Match User !alice", None),
            (
                "Match Address *,!198.51.100.0/24",
                Some("user=nobody,host=localhost,addr=192.0.2.1,laddr=127.0.0.1,lport=22".into()),
            ),
            (
                "Match Address !10.1.*,10.*",
                Some("user=nobody,host=localhost,addr=10.1.1.1,laddr=127.0.0.1,lport=22".into()),
            ),
            ("Match RDomain vrf1", Some(format!("user=nobody,{usual},rdomain=vrf1"))),
            (
                "  Match Address 192.0.2.0/24,10.* User bob",
                Some("user=bob,host=localhost,addr=192.0.2.0,laddr=127.0.0.1,lport=22".into()),
            ),
            (
                "Match LocalPort 2222 Host \"*.example.org\"",
                Some("user=nobody,host=x.example.org,addr=127.0.0.1,laddr=127.0.0.1,lport=2222".into()),
            ),
            ("Match all", None),
            ("# Match User backup", None),
            ("PermitRootLogin yes", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(of(line), expected, "{line}");
        }
    }
}
