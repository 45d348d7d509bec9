//! What the PAM stacks of the policy's services make of a login, in words.

use super::finding::{Fate, Finding, Severity, Whom};
use super::pam::{Action, Kind, Line, Phase, Read, Service};
use super::ways::{self, Account, Auth, Exists, Locked, Role, role};
use std::path::Path;
use twofa::policy::{Policy, SSHD};

const CHECK: &str = "pam";
const AUTH_LINE: &str = "Add `auth required pam_twofa.so` below the lines that ask for the password.";
const ACCOUNT_LINE: &str = "Add `account required pam_twofa.so` as the first account line; `twofa-admin \
            init --yes` prints all lines.";
/// Modules that are content with some users and not with others: a line that leads those past us may be meant.
const CONDITIONS: [&str; 14] = [
    "pam_access.so",
    "pam_exec.so",
    "pam_group.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_rhosts.so",
    "pam_securetty.so",
    "pam_sepermit.so",
    "pam_shells.so",
    "pam_succeed_if.so",
    "pam_time.so",
    "pam_timestamp.so",
    "pam_usertype.so",
    "pam_wheel.so",
];
const BY_KEY: &str = "everybody who logs in with an SSH key";

/// The stacks of one service, and what they come to.
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) service: Service,
    pub(crate) auth: Auth,
    pub(crate) account: Account,
}

impl Judged {
    pub(crate) fn new(name: &str, read: Read<'_>, has_folder: bool, exists: Exists<'_>) -> Self {
        let service = Service::load(read, has_folder, name);
        let auth = ways::auth(&service.auth, exists);
        let account = ways::account(&service.account, exists);
        Self { name: name.into(), service, auth, account }
    }

    /// For a comparison with the stack that has a line more: the numbers of those behind it differ, and nothing else.
    pub(crate) fn without_numbers(mut self) -> Self {
        let lines = self.service.auth.iter_mut().chain(&mut self.service.account);
        lines.for_each(|line| line.number = None);
        self
    }

    /// Whether a login without a proof is refused in the end.
    pub(crate) fn holds(&self) -> bool {
        self.service.abort.is_some() || self.account.holds()
    }

    /// Whether a line of ours asks for a second factor.
    pub(crate) fn asks(&self) -> bool {
        self.service.auth.iter().any(|line| role(line, Phase::Auth) == Role::Ours)
    }

    /// All lines of ours.
    pub(crate) fn our_lines(&self) -> impl Iterator<Item = (&Line, Role)> {
        let of = |phase| move |line| (line, role(line, phase));
        let auth = self.service.auth.iter().map(of(Phase::Auth));
        let account = self.service.account.iter().map(of(Phase::Account));
        auth.chain(account).filter(|(_, role)| matches!(role, Role::Ours | Role::Key))
    }
}

/// What sshd lets people come with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Access {
    /// With a key, and nothing that asks PAM.
    pub(crate) key_alone: bool,
    /// With what PAM asks for, and no key.
    pub(crate) no_key: bool,
}

/// Looks at one service.
pub(crate) struct Examiner<'e> {
    pub(crate) judged: &'e Judged,
    pub(crate) exists: Exists<'e>,
    /// For sshd alone.
    pub(crate) access: Option<Access>,
}

impl Examiner<'_> {
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let service = &self.judged.service;
        if let Some(why) = &service.abort {
            let what = format!("libpam cannot read the service `{}`: {why}", self.judged.name);
            let advice = "Restore the file, or remove the line.";
            return vec![Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LockedOut)];
        }
        let mut findings = self.own_file();
        // Whoever mistyped a name has no program of that name; sshd is known to have one.
        if !findings.is_empty() && self.judged.name != SSHD {
            return findings;
        }
        findings.extend(self.skipped());
        findings.extend(self.ignored());
        findings.extend(self.order());
        findings.extend(self.locked());
        findings.extend(self.account());
        findings.extend(self.arguments());
        if self.judged.auth.endless || self.judged.account.endless {
            let what = format!("the PAM stack of `{}` has too many ways to follow", self.judged.name);
            findings.push(Finding::new(Severity::Unknown, CHECK, what, "Make it simpler."));
        }
        if findings.iter().all(|finding| finding.severity <= Severity::Note) {
            let what = format!(
                "{}: every way to a login leads through pam_twofa ({})",
                self.judged.name, service.file
            );
            findings.push(Finding::ok(CHECK, what));
        }
        findings
    }

    fn own_file(&self) -> Vec<Finding> {
        if self.judged.service.is_own {
            return Vec::new();
        }
        let what = format!(
            "this host has no PAM service `{}`: what is in `other` stands in for it",
            self.judged.name
        );
        let advice = "Correct the name under `services` in the policy, or restore the file of the service.";
        vec![Finding::warning(CHECK, what, advice)]
    }

    fn is_entry(&self) -> bool {
        Policy::is_entry(&self.judged.name)
    }

    fn auth_line(&self, at: usize) -> Option<&Line> {
        self.judged.service.auth.get(at)
    }

    /// Who is not asked: refused by the account line later on, or not refused at all.
    fn fate(&self) -> Fate {
        if self.is_entry() && self.judged.holds() { Fate::LockedOut } else { Fate::LetPast }
    }

    fn skipped(&self) -> Vec<Finding> {
        let auth = &self.judged.auth;
        let plain = auth.skipped.iter().map(|by| (*by, Whom::everybody()));
        let only_by_key = auth.skipped_by_key.iter().filter(|by| !auth.skipped.contains(by));
        let by_key =
            only_by_key.filter(|_| self.judged.name == SSHD).map(|by| (*by, Whom::All(BY_KEY.into())));
        plain.chain(by_key).map(|(by, whom)| self.skip(by, whom)).collect()
    }

    fn skip(&self, by: Option<usize>, whom: Whom) -> Finding {
        let fate = self.fate();
        let then = match fate {
            Fate::LockedOut => "the account line then refuses, as no second factor was proven",
            Fate::LetPast => "no second factor is asked for",
        };
        let Some(line) = by.and_then(|by| self.auth_line(by)) else {
            let what = format!("pam_twofa is not among the auth lines of `{}`: {then}", self.judged.name);
            return Finding::critical(CHECK, what, AUTH_LINE).meets(whom, fate);
        };
        let what = format!("{} leads past pam_twofa: {then}", shown(line));
        let is_condition = line.module().is_some_and(|module| CONDITIONS.contains(&module));
        let severity = if is_condition { Severity::Warning } else { Severity::Critical };
        let finding = Finding::new(severity, CHECK, what, self.way_back(by, line, is_condition));
        let whom =
            if is_condition { Whom::All("everybody whom that line is content with".into()) } else { whom };
        finding.meets(whom, fate)
    }

    /// What keeps a line from leading past ours.
    fn way_back(&self, at: Option<usize>, line: &Line, is_condition: bool) -> String {
        if is_condition {
            return "Remove the line; `twofa-admin exempt add` exempts users with a reason and an end."
                .into();
        }
        if let (Action::Jump(_), Some(right)) = (line.control.action("success"), self.right_jump(at)) {
            if role(line, Phase::Auth) == Role::Key {
                return format!("Write `success={right}`: so many auth lines are to be jumped over.");
            }
            return "Correct the number in `success=`: it has to end at or before the line of pam_twofa."
                .into();
        }
        if line.file != self.judged.service.file && line.level == 0 {
            let file = line.file.rsplit('/').next().unwrap_or(&line.file);
            return format!("Write `substack {file}` in place of `include {file}`, and pam_twofa behind it.");
        }
        "Write `requisite` in place of its control, so that the lines behind it are asked too.".into()
    }

    /// Over how many lines a line has to jump to come to the next one of ours.
    fn right_jump(&self, at: Option<usize>) -> Option<usize> {
        let lines = &self.judged.service.auth;
        let from = at?;
        let level = lines.get(from)?.level;
        let after = lines.iter().skip(from + 1).filter(|line| line.level <= level);
        let over = after.take_while(|line| role(line, Phase::Auth) != Role::Ours).count();
        Some(over)
    }

    fn ignored(&self) -> Vec<Finding> {
        let Some(line) = self.judged.auth.ignored.and_then(|at| self.auth_line(at)) else {
            return Vec::new();
        };
        let advice = "Write `required` in place of its control.";
        if self.is_entry() && self.judged.holds() {
            let what =
                format!("what {} refuses counts for nothing; only the account line holds", shown(line));
            return vec![Finding::warning(CHECK, what, advice)];
        }
        let what = format!("what {} refuses counts for nothing: any code will do", shown(line));
        vec![Finding::critical(CHECK, what, advice).meets(Whom::everybody(), Fate::LetPast)]
    }

    /// Whether the code comes after the password, and once.
    fn order(&self) -> Vec<Finding> {
        let auth = &self.judged.auth;
        let mut findings = Vec::new();
        let always_key = self.access.is_some_and(|access| !access.no_key);
        let bare = auth.bare.and_then(|at| self.auth_line(at)).filter(|_| !always_key);
        let early = auth.early.and_then(|at| self.auth_line(at)).filter(|_| !always_key);
        if let Some(line) = bare {
            let what =
                format!("a code alone opens `{}`, without a password: {}", self.judged.name, shown(line));
            let advice = "Put a line that asks for the password above it, with `requisite`.";
            findings.push(Finding::critical(CHECK, what, advice));
        } else if let Some(line) = early {
            let what = format!("{} asks who has not shown the password", shown(line));
            let advice = "Put it below the password's line, and write `requisite` there: \
                          else anybody who knows a name can try codes and lock the user out.";
            findings.push(Finding::warning(CHECK, what, advice));
        }
        if auth.twice {
            let what = format!("two lines of `{}` ask for a second factor in one login", self.judged.name);
            findings.push(Finding::warning(CHECK, what, "Remove one of the auth lines of pam_twofa."));
        }
        if auth.key_and_password && self.judged.name == SSHD {
            let right = self.key_line().and_then(|at| self.right_jump(Some(at)));
            let advice = format!(
                "Write `success={}`: so many auth lines are to be jumped over.",
                right.unwrap_or_default()
            );
            let what = "who logs in with an SSH key is asked for the password too; users without one \
            cannot log in";
            let finding = Finding::warning(CHECK, what, advice);
            findings.push(finding.meets(Whom::All("users without a password".into()), Fate::LockedOut));
        }
        findings
    }

    /// Over how many lines the line for SSH keys has to jump.
    pub(crate) fn key_jump(&self) -> Option<usize> {
        self.right_jump(self.key_line())
    }

    fn key_line(&self) -> Option<usize> {
        self.judged.service.auth.iter().position(|line| role(line, Phase::Auth) == Role::Key)
    }

    fn locked(&self) -> Vec<Finding> {
        let lines = &self.judged.service.auth;
        let auth = &self.judged.auth;
        let all = |locked: &Locked| locked.who.is_none() || auth.locked.len() > 1;
        let mut findings: Vec<Finding> = Vec::new();
        for locked in &auth.locked {
            let module = locked.who.and_then(|at| lines.get(at)).and_then(Line::module);
            let others = lines.iter().filter(|line| role(line, Phase::Auth) == Role::Password).count() > 1;
            let whom = match module {
                Some(module) if others && !all(locked) => {
                    Whom::All(format!("everybody whose password {module} takes"))
                }
                _ if locked.at.and_then(|at| lines.get(at)).is_some_and(ways::only_takes) => {
                    Whom::All("everybody who logs in with a password".into())
                }
                _ => Whom::everybody(),
            };
            let finding = self.refusal(lines, locked).meets(whom, Fate::LockedOut);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        if let (Some(locked), true, Some(at)) = (&auth.locked_by_key, findings.is_empty(), self.key_line())
            && self.judged.name == SSHD
        {
            let mut finding = self.refusal(lines, locked);
            if let Some(right) = self.right_jump(Some(at)) {
                finding.advice =
                    format!("Write `success={right}`: so many auth lines are to be jumped over.");
            }
            findings.push(finding.meets(Whom::All(BY_KEY.into()), Fate::LockedOut));
        }
        findings
    }

    /// Why nobody gets through.
    fn refusal(&self, lines: &[Line], locked: &Locked) -> Finding {
        let line = |at: Option<usize>| at.and_then(|at| lines.get(at));
        let name = &self.judged.name;
        let Some(at) = line(locked.at) else {
            let what = format!("the PAM stack of `{name}` admits nobody");
            return Finding::critical(CHECK, what, "Compare it with what `twofa-admin init --yes` prints.");
        };
        if let Kind::Faulty(why) = &at.kind {
            let what = format!("{} {why}: libpam refuses every login", shown(at));
            return Finding::critical(CHECK, what, "Correct or remove the line.");
        }
        if let Kind::Module { path, .. } = &at.kind
            && !(self.exists)(path)
        {
            let what = format!("{} names a module that is not there: every login is refused", shown(at));
            let advice = format!("Install {path} again, or remove the line. A dash before it does not help.");
            return Finding::critical(CHECK, what, advice);
        }
        if locked.who.is_none() && ways::only_takes(at) {
            let what = format!("{} waits for a password, and no line above it asks for one", shown(at));
            return Finding::critical(CHECK, what, "Write `try_first_pass` in place of `use_first_pass`.");
        }
        if let Some(from) = line(locked.from) {
            let target = if from == at { "too far".into() } else { format!("to {}", shown(at)) };
            let what = format!("{} jumps {target}, and that refuses", shown(from));
            let advice = "Correct the number in `success=`: a line was added or removed behind it.";
            return Finding::critical(CHECK, what, advice);
        }
        if ways::policy_of(at).is_none() && matches!(role(at, Phase::Auth), Role::Ours | Role::Key) {
            let what = format!("{} does not name a policy: the module refuses every login", shown(at));
            return Finding::critical(CHECK, what, "Write `conf=` with one absolute path, or leave it out.");
        }
        if role(at, Phase::Auth) == Role::Key {
            let what = format!("{} refuses every login without an SSH key", shown(at));
            return Finding::critical(CHECK, what, "Its control has to be `[success=N default=ignore]`.");
        }
        let what = format!("{} refuses every login to `{name}`", shown(at));
        Finding::critical(CHECK, what, "Correct its control, or remove the line.")
    }

    fn account(&self) -> Vec<Finding> {
        let account = &self.judged.account;
        let lines = &self.judged.service.account;
        if let Some(locked) = &account.locked {
            let auth_says_so = !self.judged.auth.locked.is_empty();
            let finding = self.refusal(lines, locked).meets(Whom::everybody(), Fate::LockedOut);
            return if auth_says_so { Vec::new() } else { vec![finding] };
        }
        // What su and sudo ask for, they ask for in auth.
        if !self.is_entry() {
            return Vec::new();
        }
        let open = account.open.first().map(|by| by.and_then(|at| lines.get(at)));
        let (what, advice) = match open {
            None => return Vec::new(),
            Some(None) => (
                format!("pam_twofa is not among the account lines of `{}`", self.judged.name),
                ACCOUNT_LINE.to_string(),
            ),
            Some(Some(line)) if role(line, Phase::Account) == Role::Ours => (
                format!("what {} refuses counts for nothing", shown(line)),
                "Write `required` in place of its control.".into(),
            ),
            Some(Some(line)) => (
                format!("{} ends the account lines before pam_twofa is asked", shown(line)),
                "Move `account required pam_twofa.so` above it, to be the first account line.".into(),
            ),
        };
        if self.access.is_some_and(|access| access.key_alone) {
            let what = format!("{what}: an SSH key alone opens this host");
            let whom = Whom::All(BY_KEY.into());
            return vec![Finding::critical(CHECK, what, advice).meets(whom, Fate::LetPast)];
        }
        let what = format!("{what}: a login that skips the auth lines is not refused");
        vec![Finding::warning(CHECK, what, advice)]
    }

    /// Words behind our module's name.
    fn arguments(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (line, role) in self.judged.our_lines() {
            for word in line.arguments() {
                let known = ["debug", "pubkey_is_first_factor"].contains(&word.as_str());
                if !known && !word.starts_with("conf=") {
                    let what = format!("{} has a word that the module does not know: `{word}`", shown(line));
                    findings.push(Finding::warning(CHECK, what, "Correct or remove it; it has no effect."));
                }
            }
            // In a file that sshd includes too, it is for sshd.
            let is_own = line.file == self.judged.service.file;
            if role == Role::Key && self.judged.name != SSHD && is_own {
                let what = format!("{} has no effect: only sshd takes SSH keys", shown(line));
                findings.push(Finding::note(CHECK, what, "Remove it."));
            }
        }
        findings
    }
}

/// Lines of ours in files that more services read than the policy lists.
pub(crate) fn shared(
    judged: &[Judged],
    services: &[String],
    names: &[String],
    read: Read<'_>,
) -> Vec<Finding> {
    let mut files: Vec<&str> = Vec::new();
    for (line, _) in judged.iter().flat_map(Judged::our_lines) {
        let is_own = judged.iter().any(|one| one.service.file == line.file);
        if !is_own && !files.contains(&line.file.as_str()) {
            files.push(&line.file);
        }
    }
    let reads =
        |name: &str, file: &str| Service::load(read, true, name).lines().any(|line| line.file == file);
    let of = |file: &str| {
        let others: Vec<&str> = names
            .iter()
            .filter(|name| {
                !services.contains(name) && !file.ends_with(&format!("/{name}")) && reads(name, file)
            })
            .map(String::as_str)
            .collect();
        let few = others.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        let what = format!("pam_twofa is in {file}, which other services read too: {few}");
        let advice = "It asks at those of the policy only. While neither the policy nor its last valid copy can be read, \
                      it refuses at all of them; lines in the files of the services themselves would not.";
        (!others.is_empty()).then(|| Finding::note(CHECK, what, advice))
    };
    files.into_iter().filter_map(of).collect()
}

/// Lines of ours that name a policy other than the one that is looked at.
pub(crate) fn other_policies(judged: &[Judged], conf: &Path) -> Vec<Finding> {
    let lines = judged.iter().flat_map(Judged::our_lines).map(|(line, _)| line);
    let other = |line: &Line| {
        let named = ways::policy_of(line).filter(|named| Path::new(named) != conf)?;
        let is_there = Path::new(named).exists();
        let what = format!("{} uses another policy than {}", shown(line), conf.display());
        let advice =
            format!("Remove `conf={named}`, or look at it with `twofa-admin --conf {named} doctor`.");
        Some(match is_there {
            true => Finding::warning(CHECK, what, advice),
            false => Finding::critical(
                CHECK,
                format!("{what}, and that does not exist: every login is refused"),
                advice,
            )
            .meets(Whom::everybody(), Fate::LockedOut),
        })
    };
    let mut findings: Vec<Finding> = lines.filter_map(other).collect();
    findings.dedup();
    findings
}

fn shown(line: &Line) -> String {
    format!("{} `{}`", line.place(), line.text)
}
