//! The ways through a PAM stack: every answer of every foreign module, and what libpam makes of it
//! (`_pam_dispatch_aux`). Says whether a success can be had without us, against us, or not at all.

use super::pam::{Action, Kind, Line, Phase};
use std::collections::HashSet;
use twofa::config;

/// A stack has some hundred states; this is for one made to have more.
const MAX_STATES: usize = 100_000;

const OURS: [&str; 2] = ["pam_twofa.so", "libpam_twofa.so"];
pub(crate) const KEY_ARGUMENT: &str = "pubkey_is_first_factor";

/// Modules that ask for a password, or for what stands in its place.
const PASSWORD: [&str; 14] = [
    "pam_unix.so",
    "pam_sss.so",
    "pam_ldap.so",
    "pam_krb5.so",
    "pam_winbind.so",
    "pam_systemd_home.so",
    "pam_himmelblau.so",
    "pam_userdb.so",
    "pam_radius_auth.so",
    "pam_tcb.so",
    "pam_aad.so",
    "pam_authd.so",
    "pam_pwdfile.so",
    "pam_ldapd.so",
];

/// Modules whose success says nothing of who somebody is. One that is neither here nor above may be a first factor.
const NO_PASSWORD: [&str; 46] = [
    "pam_access.so",
    "pam_cap.so",
    "pam_debug.so",
    "pam_deny.so",
    "pam_duo.so",
    "pam_echo.so",
    "pam_ecryptfs.so",
    "pam_env.so",
    "pam_exec.so",
    "pam_faildelay.so",
    "pam_faillock.so",
    "pam_ftp.so",
    "pam_gnome_keyring.so",
    "pam_google_authenticator.so",
    "pam_group.so",
    "pam_issue.so",
    "pam_keyinit.so",
    "pam_kwallet5.so",
    "pam_lastlog.so",
    "pam_limits.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_loginuid.so",
    "pam_mail.so",
    "pam_mount.so",
    "pam_motd.so",
    "pam_namespace.so",
    "pam_nologin.so",
    "pam_oath.so",
    "pam_permit.so",
    "pam_rhosts.so",
    "pam_rootok.so",
    "pam_securetty.so",
    "pam_selinux.so",
    "pam_sepermit.so",
    "pam_shells.so",
    "pam_succeed_if.so",
    "pam_systemd.so",
    "pam_tally2.so",
    "pam_time.so",
    "pam_timestamp.so",
    "pam_umask.so",
    "pam_usertype.so",
    "pam_warn.so",
    "pam_wheel.so",
    "pam_xauth.so",
];

/// Of those above: told so, they never ask, and refuse where nobody has asked before them.
const TAKES: [&str; 4] = ["pam_ldap.so", "pam_sss.so", "pam_unix.so", "pam_winbind.so"];
/// They may ask for a password, and leave it to those behind them.
const ALSO_ASKS: [&str; 6] = [
    "pam_ecryptfs.so",
    "pam_exec.so",
    "pam_gnome_keyring.so",
    "pam_google_authenticator.so",
    "pam_mount.so",
    "pam_oath.so",
];

/// What a line of a stack is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It asks for the second factor, or for its proof.
    Ours,
    /// It only says whether an SSH key was the first one.
    Key,
    Password,
    /// Nobody here knows what it asks for.
    Unknown,
    Another,
}

pub(crate) fn role(line: &Line, phase: Phase) -> Role {
    let Some(module) = line.module() else {
        return Role::Another;
    };
    let is_key_line = phase == Phase::Auth && line.arguments().iter().any(|word| word == KEY_ARGUMENT);
    match module {
        module if OURS.contains(&module) => {
            if is_key_line {
                Role::Key
            } else {
                Role::Ours
            }
        }
        module if PASSWORD.contains(&module) => Role::Password,
        module if NO_PASSWORD.contains(&module) => Role::Another,
        _ => Role::Unknown,
    }
}

/// Whether a line waits for a password that another one has asked for.
pub(crate) fn only_takes(line: &Line) -> bool {
    let module = line.module().unwrap_or_default();
    TAKES.contains(&module) && line.arguments().iter().any(|word| word == "use_first_pass")
}

/// The policy that a line of ours names, or nothing where the module refuses for what the line says.
pub(crate) fn policy_of(line: &Line) -> Option<&str> {
    let mut named = line.arguments().iter().filter_map(|word| word.strip_prefix("conf="));
    match (named.next(), named.next()) {
        (None, _) => Some(config::DEFAULT_PATH),
        (Some(path), None) => Some(path).filter(|path| path.starts_with('/')),
        (Some(_), Some(_)) => None,
    }
}

/// What a login brings along.
#[derive(Clone, Copy)]
struct Login {
    phase: Phase,
    /// Whether sshd took an SSH key before.
    key: bool,
    /// What the module says, where it can.
    ours: Ours,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ours {
    Admits,
    Refuses,
    Either,
}

/// What the lines of one phase come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Auth {
    /// A success without being asked: by these lines, which lead past ours. Nothing: no line of ours is there.
    pub(crate) skipped: Vec<Option<usize>>,
    /// The same for a login with an SSH key.
    pub(crate) skipped_by_key: Vec<Option<usize>>,
    /// A success although we refuse: the line whose answer counted for nothing.
    pub(crate) ignored: Option<usize>,
    /// A success with a code, and with neither password nor key: by this line of ours.
    pub(crate) bare: Option<usize>,
    /// A line of ours asks who has shown no password yet.
    pub(crate) early: Option<usize>,
    /// Two lines of ours ask on one way.
    pub(crate) twice: bool,
    /// Nobody gets in whose password this line takes, and where that fails.
    pub(crate) locked: Vec<Locked>,
    /// Nobody gets in with an SSH key.
    pub(crate) locked_by_key: Option<Locked>,
    /// Who came with a key is asked for the password too, although a line of ours is there to prevent it.
    pub(crate) key_and_password: bool,
    /// There are too many ways.
    pub(crate) endless: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locked {
    /// The line that takes the password; nothing where no way at all leads to success.
    pub(crate) who: Option<usize>,
    /// The line that spoils it.
    pub(crate) at: Option<usize>,
    /// The line that jumped to it, or too far.
    pub(crate) from: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// A login without a proof gets through: by these lines. Nothing in it: no line of ours is there.
    pub(crate) open: Vec<Option<usize>>,
    pub(crate) locked: Option<Locked>,
    pub(crate) endless: bool,
}

impl Account {
    /// Whether a login without a proof is refused.
    pub(crate) fn holds(&self) -> bool {
        self.open.is_empty() && !self.endless
    }
}

/// Whether the file of a module is where libpam looks for it.
pub(crate) type Exists<'e> = &'e dyn Fn(&str) -> bool;

pub(crate) fn auth(lines: &[Line], exists: Exists<'_>) -> Auth {
    let walk = |key, ours| Walk::new(lines, Login { phase: Phase::Auth, key, ours }, exists).go();
    let (plain, by_key) = (walk(false, Ours::Either), walk(true, Ours::Either));
    let (passing, passing_by_key) = (walk(false, Ours::Admits), walk(true, Ours::Admits));
    let ends = |walk: &Walk<'_>| walk.good.clone();
    let has_ours = lines.iter().any(|line| role(line, Phase::Auth) == Role::Ours);
    let has_key_line = lines.iter().any(|line| role(line, Phase::Auth) == Role::Key);
    let ignored = |walk: &Walk<'_>| {
        let through = |seen: &Seen| !seen.admitted && seen.calls > 0;
        ends(walk).into_iter().find(through).and_then(|seen| seen.refused)
    };
    let bare = ends(&plain).into_iter().find(|seen| seen.calls > 0 && seen.first.is_none());
    Auth {
        skipped: plain.past(),
        skipped_by_key: by_key.past(),
        ignored: ignored(&plain).or_else(|| ignored(&by_key)),
        bare: bare.and_then(|seen| seen.early),
        early: plain.early,
        twice: ends(&plain).iter().chain(&ends(&by_key)).any(|seen| seen.calls > 1),
        locked: if has_ours || plain.good.is_empty() { passing.locked() } else { Vec::new() },
        locked_by_key: if has_ours && passing_by_key.good.is_empty() {
            Some(passing_by_key.spoiled(None))
        } else {
            None
        },
        key_and_password: has_key_line
            && !passing_by_key.good.is_empty()
            && passing_by_key.good.iter().all(|seen| seen.password),
        endless: plain.endless || by_key.endless,
    }
}

pub(crate) fn account(lines: &[Line], exists: Exists<'_>) -> Account {
    let walk = |ours| Walk::new(lines, Login { phase: Phase::Account, key: false, ours }, exists).go();
    let (unproven, proven) = (walk(Ours::Refuses), walk(Ours::Admits));
    let mut open = unproven.past();
    open.extend(unproven.good.iter().filter(|seen| seen.calls > 0).map(|seen| seen.refused));
    open.sort_unstable();
    open.dedup();
    let locked = proven.good.is_empty().then(|| proven.spoiled(None));
    Account { open, locked, endless: unproven.endless }
}

/// libpam's judgement so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Impression {
    None,
    /// With success, or with another answer that somebody called good.
    Good(bool),
    Bad,
}

/// What happened on a way, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// How often we were asked: 0, 1, more.
    calls: u8,
    admitted: bool,
    /// Our line that refused first.
    refused: Option<usize>,
    /// The line that took the password.
    first: Option<usize>,
    /// Our line that asked before that.
    early: Option<usize>,
    /// A password was asked for.
    password: bool,
    /// The same, and by whomever: lines that only take one have it.
    typed: bool,
    /// The line that led past ours.
    past: Option<usize>,
    /// The line that made it a failure, and the last jump before it: from where to where.
    spoiled: Option<usize>,
    jumped: Option<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    at: usize,
    level: usize,
    impression: Impression,
    /// What the impression was when a substack was entered, for each of those it is in.
    saved: Vec<Impression>,
    seen: Seen,
}

struct Walk<'l> {
    lines: &'l [Line],
    login: Login,
    exists: Exists<'l>,
    visited: HashSet<State>,
    good: Vec<Seen>,
    bad: Vec<Seen>,
    early: Option<usize>,
    /// Lines that took a password while all was well.
    took: Vec<usize>,
    /// The first line that only takes a password, while all was well and nobody had asked for one.
    waits: Option<usize>,
    endless: bool,
}

impl<'l> Walk<'l> {
    fn new(lines: &'l [Line], login: Login, exists: Exists<'l>) -> Self {
        let visited = HashSet::new();
        Self {
            lines,
            login,
            exists,
            visited,
            good: Vec::new(),
            bad: Vec::new(),
            early: None,
            took: Vec::new(),
            waits: None,
            endless: false,
        }
    }

    fn go(mut self) -> Self {
        let start = State {
            at: 0,
            level: 0,
            impression: Impression::None,
            saved: vec![Impression::None],
            seen: Seen::default(),
        };
        let mut open = vec![start];
        while let Some(state) = open.pop() {
            if self.visited.len() > MAX_STATES {
                self.endless = true;
                return self;
            }
            if !self.visited.insert(state.clone()) {
                continue;
            }
            let Some(line) = self.lines.get(state.at) else {
                self.end(&state);
                continue;
            };
            // The last one pushed is the first one walked: success first.
            let mut answers = self.answers(line);
            if !state.seen.typed && only_takes(line) {
                answers.retain(|answer| answer != "success");
                if state.impression != Impression::Bad {
                    self.waits.get_or_insert(state.at);
                }
            }
            answers.reverse();
            for answer in answers {
                open.push(self.step(state.clone(), line, answer));
            }
        }
        self
    }

    fn end(&mut self, state: &State) {
        let ends = match state.impression {
            Impression::Good(true) => &mut self.good,
            _ => &mut self.bad,
        };
        if !ends.contains(&state.seen) {
            ends.push(state.seen);
        }
    }

    /// The answers that can be told apart.
    fn answers(&self, line: &Line) -> Vec<String> {
        let role = role(line, self.login.phase);
        let possible: Vec<&str> = match &line.kind {
            Kind::Substack => vec!["success"],
            Kind::Faulty(_) => vec!["perm_denied"],
            Kind::Module { path, .. } if !(self.exists)(path) => vec!["module_unknown"],
            Kind::Module { .. } => match (line.module().unwrap_or_default(), role) {
                (_, Role::Ours | Role::Key) if policy_of(line).is_none() => vec!["authinfo_unavail"],
                (_, Role::Key) => vec![if self.login.key { "success" } else { "auth_err" }],
                (_, Role::Ours) => self.our_answers(),
                ("pam_deny.so", _) => vec!["auth_err"],
                ("pam_permit.so", _) => vec!["success"],
                ("pam_faildelay.so", _) => vec!["ignore"],
                ("pam_debug.so", _) => vec![self.ordered(line)],
                // Who is root already may become anybody.
                ("pam_rootok.so", _) => vec!["auth_err"],
                _ => foreign_answers(line, role),
            },
        };
        let mut answers: Vec<String> = Vec::new();
        for code in possible {
            let same = |known: &String| {
                (known == "success") == (code == "success")
                    && line.control.action(known) == line.control.action(code)
            };
            if !answers.iter().any(same) {
                answers.push(code.into());
            }
        }
        answers
    }

    /// pam_debug(8) answers what its line says.
    fn ordered<'a>(&self, line: &'a Line) -> &'a str {
        let key = if self.login.phase == Phase::Account { "acct=" } else { "auth=" };
        line.arguments().iter().find_map(|word| word.strip_prefix(key)).unwrap_or("success")
    }

    fn our_answers(&self) -> Vec<&'static str> {
        let refusals: &[&str] = match self.login.phase {
            Phase::Account => &["perm_denied", "auth_err", "user_unknown", "authinfo_unavail", "conv_err"],
            _ => &["auth_err", "user_unknown", "maxtries", "conv_err", "authinfo_unavail", "system_err"],
        };
        let admits = &["success"][..];
        match self.login.ours {
            Ours::Admits => admits.to_vec(),
            Ours::Refuses => refusals.to_vec(),
            Ours::Either => [admits, refusals].concat(),
        }
    }

    fn step(&mut self, mut state: State, line: &Line, answer: String) -> State {
        if line.level > state.level {
            state.saved.resize(line.level + 1, state.impression);
            if let Some(saved) = state.saved.get_mut(line.level) {
                *saved = state.impression;
            }
        }
        state.level = line.level;
        if line.kind == Kind::Substack {
            state.at += 1;
            return state;
        }
        self.note(&mut state, line, &answer);
        let before = state.impression;
        let is_success = answer == "success";
        let action = line.control.action(&answer);
        let next = match action {
            Action::Ignore => state.at + 1,
            Action::Reset => {
                state.impression = state.saved.get(line.level).copied().unwrap_or(Impression::None);
                state.at + 1
            }
            Action::Ok | Action::Done => {
                if matches!(before, Impression::None | Impression::Good(true)) {
                    state.impression = Impression::Good(is_success);
                }
                let decided = action == Action::Done && state.impression != Impression::Bad;
                if decided { self.end_of_level(state.at) } else { state.at + 1 }
            }
            Action::Bad | Action::Die => {
                state.impression = Impression::Bad;
                if action == Action::Die { self.end_of_level(state.at) } else { state.at + 1 }
            }
            Action::Jump(over) => match self.jump(state.at, over) {
                Ok(next) => next,
                Err(next) => {
                    state.impression = Impression::Bad;
                    next
                }
            },
        };
        let at = state.at;
        self.move_on(&mut state, action, next);
        if state.impression == Impression::Bad && before != Impression::Bad {
            state.seen.spoiled = Some(at);
        }
        state
    }

    /// What a line's answer says of this way.
    fn note(&mut self, state: &mut State, line: &Line, answer: &str) {
        let (role, at, seen) = (role(line, self.login.phase), state.at, &mut state.seen);
        let is_success = answer == "success";
        match role {
            Role::Ours => {
                seen.calls = (seen.calls + 1).min(2);
                seen.admitted |= is_success;
                if !is_success {
                    seen.refused.get_or_insert(at);
                }
                if seen.first.is_none() && !self.login.key && answer != "module_unknown" {
                    seen.early.get_or_insert(at);
                    self.early.get_or_insert(at);
                }
            }
            Role::Password | Role::Unknown => {
                seen.password |= role == Role::Password;
                seen.typed |= !only_takes(line);
                if is_success && seen.first.is_none() {
                    seen.first = Some(at);
                    if role == Role::Password
                        && state.impression != Impression::Bad
                        && !self.took.contains(&at)
                    {
                        self.took.push(at);
                    }
                }
            }
            Role::Key => {}
            Role::Another => seen.typed |= line.module().is_some_and(|module| ALSO_ASKS.contains(&module)),
        }
    }

    /// Goes to the line at `next`, and sees whether that leads past ours.
    fn move_on(&self, state: &mut State, action: Action, next: usize) {
        if next > state.at + 1 {
            let mut skipped = self.lines.iter().take(next).skip(state.at + 1);
            if state.impression != Impression::Bad
                && skipped.any(|line| role(line, self.login.phase) == Role::Ours)
            {
                state.seen.past.get_or_insert(state.at);
            }
        }
        if let Action::Jump(_) = action
            && state.seen.spoiled.is_none()
        {
            state.seen.jumped = Some((state.at, next));
        }
        state.at = next;
    }

    /// The first line behind the stack or substack that `at` is in.
    fn end_of_level(&self, at: usize) -> usize {
        let level = self.lines.get(at).map_or(0, |line| line.level);
        let rest = self.lines.iter().enumerate().skip(at + 1);
        rest.filter(|(_, line)| line.level < level).map(|(next, _)| next).next().unwrap_or(self.lines.len())
    }

    /// The line behind `over` others; a substack is one. An error where there are not so many.
    fn jump(&self, at: usize, over: usize) -> Result<usize, usize> {
        let level = |at: usize| self.lines.get(at).map(|line| line.level);
        let own = level(at).unwrap_or(0);
        let (mut last, mut left) = (at, over);
        while left > 0 && level(last + 1).is_some_and(|next| next >= own) {
            last += 1;
            while level(last + 1).is_some_and(|next| next > own) {
                last += 1;
            }
            left -= 1;
        }
        if left == 0 { Ok(last + 1) } else { Err(last + 1) }
    }

    /// By which lines a success is had without us.
    fn past(&self) -> Vec<Option<usize>> {
        let without = self.good.iter().filter(|seen| seen.calls == 0);
        let mut lines: Vec<_> = without.map(|seen| seen.past).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Whose password opens nothing, although we admit.
    fn locked(&self) -> Vec<Locked> {
        if self.good.is_empty() && self.took.is_empty() {
            let waits = self.waits.map(|at| Locked { who: None, at: Some(at), from: None });
            return vec![waits.unwrap_or_else(|| self.spoiled(None))];
        }
        let opens = |line: &&usize| self.good.iter().any(|seen| seen.first == Some(**line));
        let shut = self.took.iter().filter(|line| !opens(line));
        shut.map(|line| self.spoiled(Some(*line))).collect()
    }

    /// Where the first of the ways fails on which the line `who` took the password.
    fn spoiled(&self, who: Option<usize>) -> Locked {
        let way = self.bad.iter().find(|seen| who.is_none() || seen.first == who);
        Locked {
            who,
            at: way.and_then(|seen| seen.spoiled),
            from: way.and_then(|seen| {
                let (from, to) = seen.jumped?;
                (seen.spoiled == Some(to) || seen.spoiled == Some(from)).then_some(from)
            }),
        }
    }
}

/// Of a module that is none of ours. Those that ask for a password always have an answer.
fn foreign_answers(line: &Line, role: Role) -> Vec<&str> {
    let usual = ["success", "auth_err", "user_unknown", "authinfo_unavail", "ignore"];
    let always = matches!(role, Role::Password | Role::Unknown);
    let named = line.control.codes().filter(|code| *code != "new_authtok_reqd");
    usual.into_iter().chain(named).filter(|code| !(always && *code == "ignore")).collect()
}

#[cfg(test)]
#[path = "ways_tests.rs"]
mod tests;
