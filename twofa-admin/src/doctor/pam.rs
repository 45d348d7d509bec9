//! PAM stacks as Linux-PAM reads them (pam.d(5), `pam_handlers.c`): the lines of one service in the order in which
//! they are asked, each with what follows from its answer. Pure: files come from a function.

use std::path::Path;

/// Where libpam looks for the file of a service, first one first.
pub(crate) const FOLDERS: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"];
/// Read only where there is no folder.
pub(crate) const SINGLE_FILE: &str = "/etc/pam.conf";
/// What stands in for a service without a file, and for a phase without lines.
pub(crate) const OTHER: &str = "other";
/// What is between words. A carriage return is not: it is a part of the last word.
const BLANKS: [char; 3] = [' ', '\t', '\n'];
/// libpam goes no deeper.
const MAX_DEPTH: usize = 16;
/// More than anybody has; includes of includes could make it grow without end.
const MAX_LINES: usize = 500;

/// The content of a file, or nothing when there is none.
pub(crate) type Read<'r> = &'r dyn Fn(&Path) -> Option<String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Auth,
    Account,
    /// Session and password, which decide about no login here.
    Another,
}

impl Phase {
    fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auth" => Some(Self::Auth),
            "account" => Some(Self::Account),
            "session" | "password" => Some(Self::Another),
            _ => None,
        }
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Ignore,
    Ok,
    Done,
    Bad,
    Die,
    Reset,
    /// Over so many modules.
    Jump(usize),
}

/// What follows from each answer of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    named: Vec<(String, Action)>,
    default: Action,
}

impl Control {
    fn new(named: &[(&str, Action)], default: Action) -> Self {
        Self { named: named.iter().map(|(code, action)| ((*code).into(), *action)).collect(), default }
    }

    /// Everything fails: what libpam makes of a control that it cannot read.
    fn broken() -> Self {
        Self::new(&[], Action::Bad)
    }

    fn parse(word: &str) -> Option<Self> {
        use Action::{Bad, Die, Done, Ignore, Ok};
        let plain = |success, default| {
            let named = [("success", success), ("new_authtok_reqd", success), ("ignore", Ignore)];
            Some(Self::new(&named, default))
        };
        match word.to_ascii_lowercase().as_str() {
            "required" => plain(Ok, Bad),
            "requisite" => plain(Ok, Die),
            "optional" => plain(Ok, Ignore),
            "sufficient" => plain(Done, Ignore),
            _ => Self::parse_pairs(word.strip_prefix('[')?.strip_suffix(']')?),
        }
    }

    /// `success=2 default=ignore`, with or without blanks around the equals signs.
    fn parse_pairs(text: &str) -> Option<Self> {
        let mut control = Self::broken();
        let spaced = text.replace('=', " = ");
        let mut words = spaced.split_whitespace();
        while let Some(code) = words.next() {
            let (Some("="), Some(action)) = (words.next(), words.next()) else {
                return None;
            };
            let action = match action {
                "ignore" => Action::Ignore,
                "ok" => Action::Ok,
                "done" => Action::Done,
                "bad" => Action::Bad,
                "die" => Action::Die,
                "reset" => Action::Reset,
                number => Action::Jump(number.parse().ok().filter(|jump| *jump > 0)?),
            };
            match code {
                "default" => control.default = action,
                code if CODES.contains(&code) => {
                    control.named.retain(|(named, _)| named != code);
                    control.named.push((code.into(), action));
                }
                _ => return None,
            }
        }
        Some(control)
    }

    pub(crate) fn action(&self, code: &str) -> Action {
        let named = self.named.iter().find(|(named, _)| named == code);
        named.map_or(self.default, |(_, action)| *action)
    }

    /// The answers it speaks of.
    pub(crate) fn codes(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(code, _)| code.as_str())
    }
}

/// The answers that a control may name (pam.d(5)).
const CODES: [&str; 32] = [
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Module {
        path: String,
        arguments: Vec<String>,
    },
    /// The lines behind it, one level deeper, are a stack of their own.
    Substack,
    /// Nothing is called, and that is a failure: why.
    Faulty(&'static str),
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) file: String,
    /// Nothing where it is of no account.
    pub(crate) number: Option<usize>,
    /// As written, blanks made one.
    pub(crate) text: String,
    /// How many substacks it is in.
    pub(crate) level: usize,
    pub(crate) kind: Kind,
    pub(crate) control: Control,
}

impl Line {
    /// `/etc/pam.d/sshd:3`.
    pub(crate) fn place(&self) -> String {
        self.number.map_or_else(|| self.file.clone(), |number| format!("{}:{number}", self.file))
    }

    /// The name of the module's file, without its folder.
    pub(crate) fn module(&self) -> Option<&str> {
        match &self.kind {
            Kind::Module { path, .. } => path.rsplit('/').next(),
            _ => None,
        }
    }

    pub(crate) fn arguments(&self) -> &[String] {
        match &self.kind {
            Kind::Module { arguments, .. } => arguments,
            _ => &[],
        }
    }
}

/// The stacks of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) auth: Vec<Line>,
    pub(crate) account: Vec<Line>,
    /// What makes libpam give up on the whole service.
    pub(crate) abort: Option<String>,
    /// Its own file.
    pub(crate) file: String,
    /// Whether its own file is there, and not only what stands in for it.
    pub(crate) is_own: bool,
}

impl Service {
    /// The stacks that libpam would use for `name`.
    pub(crate) fn load(read: Read<'_>, has_folder: bool, name: &str) -> Self {
        let own = Parser::parse(read, has_folder, name);
        let other = Parser::parse(read, has_folder, OTHER);
        let (Some(mut service), other) = (own, other.as_ref()) else {
            return Self { is_own: false, ..Parser::parse(read, has_folder, OTHER).unwrap_or_default() };
        };
        // A phase without a line is another's.
        if service.auth.is_empty() {
            service.auth = other.map(|other| other.auth.clone()).unwrap_or_default();
        }
        if service.account.is_empty() {
            service.account = other.map(|other| other.account.clone()).unwrap_or_default();
        }
        service
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.auth.iter().chain(&self.account)
    }
}

/// The file of a service: its name and content.
pub(crate) fn find(read: Read<'_>, name: &str) -> Option<(String, String)> {
    if name.starts_with('/') {
        return Some((name.into(), read(Path::new(name))?));
    }
    let paths = FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
    paths.into_iter().find_map(|path| read(Path::new(&path)).map(|text| (path, text)))
}

struct Parser<'r> {
    read: Read<'r>,
    service: Service,
}

/// What a line is read under.
#[derive(Clone, Copy)]
struct Inside {
    /// The phase whose lines are wanted; all of them when absent.
    wanted: Option<Phase>,
    level: usize,
    depth: usize,
}

impl<'r> Parser<'r> {
    fn parse(read: Read<'r>, has_folder: bool, name: &str) -> Option<Service> {
        // pam_start(3): case does not count.
        let name = name.to_ascii_lowercase();
        let (file, text) = match has_folder {
            true => find(read, &name)?,
            false => (SINGLE_FILE.into(), lines_of(&read(Path::new(SINGLE_FILE))?, &name)?),
        };
        let service = Service { file: file.clone(), is_own: true, ..Service::default() };
        let mut parser = Self { read, service };
        parser.file(&file, &text, Inside { wanted: None, level: 0, depth: 0 });
        Some(parser.service)
    }

    fn file(&mut self, file: &str, text: &str, inside: Inside) {
        for (number, line) in logical_lines(text) {
            if self.service.lines().count() > MAX_LINES {
                self.give_up(format!("{file} has too many lines, or includes itself"));
            }
            if line.ends_with('\n') {
                self.give_up(format!("{file}:{number} ends with a backslash, and no line follows"));
            }
            if self.service.abort.is_some() {
                return;
            }
            self.line(file, number, &line, inside);
        }
    }

    fn line(&mut self, file: &str, number: usize, text: &str, inside: Inside) {
        let words = words(text);
        let mut words = words.iter().map(String::as_str);
        let Some(first) = words.next() else {
            return;
        };
        // The dash only keeps libpam from logging that the module is missing.
        let first = first.strip_prefix('-').unwrap_or(first);
        if first.eq_ignore_ascii_case("@include") {
            return self.include_all(file, number, words.next(), inside);
        }
        let named = Phase::named(first);
        let phase = named.unwrap_or(inside.wanted.unwrap_or(Phase::Auth));
        if inside.wanted.is_some_and(|wanted| wanted != phase) {
            return;
        }
        let control = words.next().unwrap_or_default();
        let is_include = ["include", "substack"].iter().any(|word| control.eq_ignore_ascii_case(word));
        let mut line = Line {
            file: file.into(),
            number: Some(number),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            level: inside.level,
            kind: Kind::Faulty("is no line that libpam knows"),
            control: Control::parse(control).unwrap_or_else(Control::broken),
        };
        let module = words.next();
        if named.is_some() && is_include {
            return self.include(line, phase, control, module, inside);
        }
        if let (Some(module), Some(_)) = (module, named) {
            line.kind = Kind::Module {
                path: module.into(),
                arguments: words.map(unbracketed).map(Into::into).collect(),
            };
        }
        self.push(phase, line);
    }

    /// `@include NAME`: all lines of another file; without that file libpam gives up.
    fn include_all(&mut self, file: &str, number: usize, name: Option<&str>, inside: Inside) {
        let Some(name) = name else {
            // libpam looks for a file without a name, and takes sshd or login along when it crashes.
            return self.give_up(format!("{file}:{number} includes nothing"));
        };
        if inside.depth >= MAX_DEPTH {
            return self.give_up(format!("{file}:{number} includes too deeply"));
        }
        match find(self.read, name) {
            Some((path, text)) => self.file(&path, &text, Inside { depth: inside.depth + 1, ..inside }),
            None => self.give_up(format!("{file}:{number} includes `{name}`, which does not exist")),
        }
    }

    /// `auth include NAME`, `auth substack NAME`.
    fn include(&mut self, mut line: Line, phase: Phase, control: &str, name: Option<&str>, inside: Inside) {
        let substack = control.eq_ignore_ascii_case("substack");
        let found = name.filter(|_| inside.depth < MAX_DEPTH).and_then(|name| find(self.read, name));
        if substack {
            self.push(phase, Line { kind: Kind::Substack, ..line.clone() });
        }
        let why = match found {
            Some((path, text)) => {
                let level = inside.level + usize::from(substack);
                self.file(&path, &text, Inside { wanted: Some(phase), level, depth: inside.depth + 1 });
                // What makes libpam give up on a file is here a line that fails.
                self.service.abort.take().map(|_| "includes a file that libpam cannot read to its end")
            }
            None => Some("includes a file that does not exist"),
        };
        if let Some(why) = why {
            line.kind = Kind::Faulty(why);
            self.push(phase, line);
        }
    }

    fn push(&mut self, phase: Phase, line: Line) {
        match phase {
            Phase::Auth => self.service.auth.push(line),
            Phase::Account => self.service.account.push(line),
            Phase::Another => {}
        }
    }

    fn give_up(&mut self, why: String) {
        self.service.abort.get_or_insert(why);
    }
}

/// Those lines of pam.conf(5) that are about a service, without its name; the numbers of the lines stay.
fn lines_of(text: &str, service: &str) -> Option<String> {
    let is_its =
        |line: &str| line.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(service));
    text.lines().any(is_its).then(|| {
        let line = |line: &str| match is_its(line) {
            true => {
                line.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest).to_string()
            }
            false => String::new(),
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// Without comments and empty lines; a line that ends with a backslash goes on in the next one that is none of these. One
/// that never ends has a line break in it.
pub(crate) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (index, line) in text.split_terminator('\n').enumerate() {
        let (plain, is_commented) = match line.split_once('#') {
            Some((plain, _)) => (plain, true),
            None => (line, false),
        };
        if plain.trim_matches(BLANKS).is_empty() {
            continue;
        }
        let (number, mut whole) = begun.take().unwrap_or((index + 1, String::new()));
        match plain.trim_end().strip_suffix('\\').filter(|_| !is_commented) {
            Some(part) => {
                whole.push_str(part);
                whole.push(' ');
                begun = Some((number, whole));
            }
            None => {
                whole.push_str(plain);
                lines.push((number, whole));
            }
        }
    }
    lines.extend(begun.map(|(number, whole)| (number, whole + "\n")));
    lines
}

/// Words are between blanks, or between square brackets.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(BLANKS);
    while !rest.is_empty() {
        let end = match rest.starts_with('[') {
            true => closing(rest).map_or(rest.len(), |at| at + 1),
            false => rest.find(BLANKS).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        words.push(word.to_string());
        rest = after.trim_start_matches(BLANKS);
    }
    words
}

/// Of a bracket that was opened; `\]` closes nothing.
fn closing(text: &str) -> Option<usize> {
    text.match_indices(']').map(|(at, _)| at).find(|at| !text.get(..*at).unwrap_or_default().ends_with('\\'))
}

fn unbracketed(word: &str) -> &str {
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)], has_folder: bool, name: &str) -> Service {
        let read = |path: &Path| {
            let found = files.iter().find(|(file, _)| Path::new(file) == path);
            found.map(|(_, text)| (*text).to_string())
        };
        Service::load(&read, has_folder, name)
    }

    fn modules(lines: &[Line]) -> Vec<String> {
        let name = |line: &Line| line.module().map_or_else(|| format!("{:?}", line.kind), Into::into);
        lines.iter().map(|line| format!("{}{}", ">".repeat(line.level), name(line))).collect()
    }

    #[test]
    fn a_stack_is_read_as_libpam_reads_it() {
        let files = [
            (
                "/etc/pam.d/sshd",
                "# a comment\n\nauth [success=1   default=ignore] pam_twofa.so pubkey_is_first_factor # why\n\
                 @include common-auth\n-auth optional \\\n  pam_cap.so\nAUTH Required /opt/pam_x.so [a b]\n\
                 account substack inner\nsession required pam_none.so\n",
            ),
            ("/etc/pam.d/common-auth", "auth requisite pam_unix.so\naccount required pam_a.so\n"),
            ("/usr/lib/pam.d/inner", "auth required pam_no.so\naccount sufficient pam_b.so\n"),
        ];
        let service = load(&files, true, "SSHD");
        assert_eq!(modules(&service.auth), ["pam_twofa.so", "pam_unix.so", "pam_cap.so", "pam_x.so"]);
        assert_eq!(modules(&service.account), ["pam_a.so", "Substack", ">pam_b.so"]);
        assert_eq!(service.auth[0].place(), "/etc/pam.d/sshd:3");
        assert_eq!(service.auth[2].place(), "/etc/pam.d/sshd:5");
        assert_eq!(service.auth[1].place(), "/etc/pam.d/common-auth:1");
        assert_eq!(service.auth[3].arguments(), ["a b"]);
        assert!(service.is_own && service.abort.is_none());
    }

    #[test]
    fn controls_are_read_as_libpam_reads_them() {
        use Action::*;
        let table = [
            ("required", [Ok, Bad, Ignore, Bad]),
            ("Requisite", [Ok, Die, Ignore, Die]),
            ("optional", [Ok, Ignore, Ignore, Ignore]),
            ("sufficient", [Done, Ignore, Ignore, Ignore]),
            ("[success=1 default=ignore]", [Jump(1), Ignore, Ignore, Ignore]),
            ("[ success = ok ignore=ignore default = die ]", [Ok, Die, Ignore, Die]),
            ("[default=done success=bad]", [Bad, Done, Done, Done]),
            ("[success=ok user_unknown=reset]", [Ok, Bad, Bad, Reset]),
            ("[]", [Bad, Bad, Bad, Bad]),
        ];
        for (word, expected) in table {
            let control = Control::parse(word).unwrap();
            let found = ["success", "auth_err", "ignore", "user_unknown"].map(|code| control.action(code));
            assert_eq!(found, expected, "{word}");
        }
        for word in [
            "",
            "needed",
            "[success=0]",
            "[success]",
            "[sucess=1]",
            "[success=-1]",
            "[success=1",
            "[success=]",
        ] {
            assert_eq!(Control::parse(word), None, "{word}");
        }
    }

    #[test]
    fn what_libpam_cannot_read_fails() {
        let stack = |text: &str| load(&[("/etc/pam.d/sshd", text)], true, "sshd");
        for text in
            ["auth", "auth required", "auth include nowhere", "auth include", "authx required pam_permit.so"]
        {
            let service = stack(text);
            assert!(matches!(service.auth[0].kind, Kind::Faulty(_)), "{text}: {service:?}");
        }
        let service = stack("auth requird pam_permit.so");
        assert_eq!(service.auth[0].control, Control::broken());
        assert!(stack("@include nowhere").abort.unwrap().contains("/etc/pam.d/sshd:1 includes `nowhere`"));
        assert!(stack("@include sshd").abort.is_some());
        assert!(stack("auth required pam_permit.so\n@include").abort.unwrap().contains("includes nothing"));
        assert!(
            stack("auth required \\\n").abort.unwrap().contains("/etc/pam.d/sshd:1 ends with a backslash")
        );
        assert!(stack("auth required pam_env.so\n@include sshd\n@include sshd").abort.is_some());
    }

    #[test]
    fn other_stands_in() {
        let other = ("/etc/pam.d/other", "auth required pam_deny.so\naccount required pam_deny.so\n");
        let service = load(&[other], true, "sshd");
        assert!(!service.is_own);
        assert_eq!(modules(&service.auth), ["pam_deny.so"]);
        let service = load(&[other, ("/etc/pam.d/sshd", "auth required pam_unix.so")], true, "sshd");
        assert_eq!(
            (modules(&service.auth), modules(&service.account)),
            (vec!["pam_unix.so".into()], vec!["pam_deny.so".into()])
        );
        assert_eq!(load(&[], true, "sshd"), Service::default());
    }

    #[test]
    fn one_file_is_read_where_there_is_no_folder() {
        let text = "# all\nlogin auth required pam_unix.so\nsshd  auth required pam_twofa.so\n\
                    OTHER auth required pam_deny.so\n";
        let files = [("/etc/pam.conf", text)];
        let service = load(&files, false, "sshd");
        assert_eq!(modules(&service.auth), ["pam_twofa.so"]);
        assert_eq!(service.auth[0].place(), "/etc/pam.conf:3");
        assert_eq!(modules(&load(&files, false, "su").auth), ["pam_deny.so"]);
        assert_eq!(load(&files, true, "sshd"), Service::default());
    }
}
