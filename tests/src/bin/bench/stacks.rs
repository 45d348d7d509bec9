//! The modules that are compared, each with so many enrolled users.

use crate::{Effort, surroundings};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use twofa::account::{App, Factors};
use twofa::code::{Algorithm, Secret, Shape};
use twofa::config::Paths;
use twofa::store::Store;
use twofa_tests::driver::code;
use twofa_tests::driver::site::{module, write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// libpam itself and a module that does nothing.
    Permit,
    Twofa,
    Google,
    Oath,
}

/// One PAM service, and who is enrolled in what it asks.
pub(crate) struct Stack {
    pub(crate) kind: Kind,
    pub(crate) users: usize,
    pub(crate) confdir: PathBuf,
    pub(crate) service: String,
    /// How often each of its users has logged in so far.
    pub(crate) passes: std::cell::Cell<i64>,
}

impl Stack {
    pub(crate) fn name(&self) -> String {
        let name = match self.kind {
            Kind::Permit => return "pam_permit".into(),
            Kind::Twofa => "pam_twofa",
            Kind::Google => "pam_google_authenticator",
            Kind::Oath => "pam_oath",
        };
        format!("{name}, {}", thousands(self.users))
    }
}

pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// One secret for all: the codes of a moment are computed once. Each module keeps it for each user.
pub(crate) fn secret() -> String {
    code::secret(1)
}

pub(crate) fn user(number: usize) -> String {
    format!("t{number:06}")
}

/// Writes the stores of all stacks.
pub(crate) fn prepare(folder: &Path, effort: &Effort) -> Vec<Stack> {
    let confdir = folder.join("pam.d");
    fs::create_dir(&confdir).expect("a folder");
    let stack = |kind, users, lines: String| {
        let service = format!("{kind:?}-{users}").to_lowercase();
        write(&confdir.join(&service), 0o644, lines.as_bytes());
        Stack { kind, users, confdir: confdir.clone(), service, passes: 0.into() }
    };
    let mut stacks = vec![stack(Kind::Permit, 0, "auth required pam_permit.so\n".into())];
    for &users in &effort.users {
        let own = folder.join(users.to_string());
        fs::create_dir(&own).expect("a folder");
        let begin = Instant::now();
        stacks.push(stack(Kind::Twofa, users, twofa(&own, users)));
        println!("# {} users of pam_twofa made in {:.1} s", thousands(users), begin.elapsed().as_secs_f64());
        stacks.push(stack(Kind::Google, users, google(&own, users)));
        stacks.push(stack(Kind::Oath, users, oath(&own, users)));
    }
    // What was written to make the users shall not be waited for by the logins.
    // SAFETY: sync has no preconditions.
    unsafe { libc::sync() };
    stacks
}

fn twofa(folder: &Path, users: usize) -> String {
    let paths = Paths { database: folder.join("twofa.db"), key: folder.join("store.key") };
    let mut store = Store::create(&paths).expect("a store");
    let shape = Shape { algorithm: Algorithm::Sha1, digits: 6, step: 30 };
    let app =
        App { id: 0, label: "app".into(), secret: Secret::new(code::base32(&secret())), shape, added: 0 };
    let names: Vec<String> = (0..users).map(user).collect();
    let factors = || Factors { apps: vec![app.clone()], ..Factors::default() };
    // The numbers that `interpose` gives to these names.
    let entries = names.iter().zip(700_000..).map(|(name, uid)| (name.as_str(), uid, factors()));
    assert_eq!(store.add_all(entries).expect("users"), users);
    let policy = format!(
        "version = 1\nmode = \"enforce\"\nmethods = [\"app\"]\nservices = [\"twofa-{users}\"]\n\
         [store]\npath = \"{}\"\nkey = \"{}\"\n",
        paths.database.display(),
        paths.key.display()
    );
    let conf = folder.join("twofa.toml");
    write(&conf, 0o644, policy.as_bytes());
    format!("auth required {} conf={}\n", module().display(), conf.display())
}

/// A state file for each user, as `google-authenticator` writes it.
fn google(folder: &Path, users: usize) -> String {
    let folder = folder.join("google");
    fs::create_dir(&folder).expect("a folder");
    let state = format!(
        "{}\n\" RATE_LIMIT 3 30\n\" WINDOW_SIZE 3\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n\
         12345678\n23456789\n34567890\n45678901\n56789012\n",
        secret()
    );
    (0..users).for_each(|number| write(&folder.join(user(number)), 0o600, state.as_bytes()));
    let module = surroundings::peer("pam_google_authenticator.so");
    format!("auth required {} secret={}/${{USER}} user=root\n", module.display(), folder.display())
}

/// One file for all users.
fn oath(folder: &Path, users: usize) -> String {
    let file = folder.join("users.oath");
    let hex: String = code::base32(&secret()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = String::new();
    for number in 0..users {
        writeln!(lines, "HOTP/T30\t{}\t-\t{hex}", user(number)).expect("a string takes it");
    }
    write(&file, 0o600, lines.as_bytes());
    let module = surroundings::peer("pam_oath.so");
    format!("auth required {} usersfile={} window=1 digits=6\n", module.display(), file.display())
}
