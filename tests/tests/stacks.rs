//! Whether the doctor reads PAM stacks as libpam does: thousands of stacks of pam_debug, which answers what its line says,
//! are followed by the doctor and by libpam itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a broken test says so and stops; not all of the doctor is used here"
)]

/// The doctor's own sources: twofa-admin is a program, and no library.
#[path = "../../twofa-admin/src/doctor"]
mod doctor {
    pub(crate) mod pam;
    pub(crate) mod ways;
}

use std::collections::VecDeque;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use doctor::pam::Service;
use doctor::ways;
use twofa_tests::driver::pam::{Start, Transaction};

/// The same numbers in every run (Knuth, MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const CONTROLS: [&str; 18] = [
    "required",
    "requisite",
    "optional",
    "sufficient",
    "[success=1 default=ignore]",
    "[success=2 default=ignore]",
    "[success=1 default=bad]",
    "[success=3 default=die]",
    "[success=ok ignore=ignore default=die]",
    "[success=done new_authtok_reqd=done default=ignore]",
    "[default=reset success=ok]",
    "[success=reset default=ok]",
    "[default=1 ignore=ignore success=ok]",
    "[default=done]",
    "[success=ok user_unknown=ignore auth_err=2 default=bad]",
    "[success=0]",
    "required_not",
    "[ success = ok  default = ignore ]",
];
const ANSWERS: [&str; 7] =
    ["success", "success", "success", "auth_err", "user_unknown", "ignore", "perm_denied"];

const BLANKS: [&str; 8] = [" ", " ", " ", " ", " \t ", "\t", " \\\n ", "\r"];
/// The first one needs a line behind it, which the innermost file has to have: what libpam makes of the lack, in an
/// `@include` of an `include`, is its own.
const ENDS: [&str; 15] = [
    " \\ ",
    "",
    "",
    "",
    "",
    "",
    "",
    " # a comment",
    " # a comment \\",
    " \\\n  debug",
    " \\\n# a comment\n debug",
    " \\\n\n debug",
    " [a b] [c\\]d]",
    " [a b",
    " debug\r",
];
/// Whole lines, or what follows a phase.
const ODD: [&str; 8] =
    ["", "\r", " # auth", "authx required pam_debug.so", " required", "\t", "auth\\x", "[ ]"];

/// Lines of one file; some of them lead to the files behind it.
fn lines(numbers: &mut Numbers, deeper: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..=numbers.below(5) {
        let dash = numbers.one(&["", "", "", "-"]);
        let phase = numbers.one(&["auth", "auth", "auth", "account", "account", "Auth", "ACCOUNT"]);
        let line = match numbers.below(8) {
            0 if !deeper.is_empty() => format!("{phase} include {}", numbers.one(deeper)),
            1 if !deeper.is_empty() => format!("{phase} substack {}", numbers.one(deeper)),
            2 if !deeper.is_empty() => format!("@include {}", numbers.one(deeper)),
            3 => match numbers.below(8) {
                0 | 1 => format!("{dash}{phase} {} pam_none_such.so", numbers.one(&CONTROLS)),
                2 => format!("{phase} include /nowhere"),
                3 => "session required pam_debug.so".into(),
                4 => numbers.one(&ODD).into(),
                5 => format!("{phase}{}", numbers.one(&ODD)),
                _ => format!("{phase} {}", numbers.one(&CONTROLS)),
            },
            _ => {
                let control = numbers.one(&CONTROLS);
                let ends = if deeper.is_empty() { &ENDS[1..] } else { &ENDS };
                let (blank, end) = (numbers.one(&BLANKS), numbers.one(ends));
                let answer = numbers.one(&ANSWERS);
                format!("{dash}{phase}{blank}{control}{blank}pam_debug.so auth={answer} acct={answer}{end}")
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Whether libpam lets `nobody` in.
fn admits(folder: &Path, phase: &str) -> bool {
    let start = Start {
        confdir: folder.as_os_str().as_bytes(),
        service: b"sshd",
        user: Some(b"nobody"),
        talks: true,
        answers: VecDeque::new(),
        gate: || {},
    };
    // Files that cannot be read are an error of the start, or of the first call.
    Transaction::start(start).is_ok_and(|mut transaction| transaction.call(phase, 0) == Some(0))
}

fn predicts(folder: &Path) -> [bool; 2] {
    let read = |path: &Path| {
        let name = path.strip_prefix("/etc/pam.d").ok().map(|name| folder.join(name));
        fs::read_to_string(name.unwrap_or_else(|| path.into())).ok()
    };
    let service = Service::load(&read, true, "sshd");
    let exists = |module: &str| module == "pam_debug.so" || module == "pam_deny.so";
    // Nothing in these stacks is ours: a success is one that leads past us.
    let auth = !ways::auth(&service.auth, &exists).skipped.is_empty();
    let account = !ways::account(&service.account, &exists).open.is_empty();
    [auth, account].map(|admits| admits && service.abort.is_none())
}

#[test]
fn the_doctor_follows_stacks_as_libpam_does() {
    let folder: PathBuf = std::env::temp_dir().join(format!("twofa-stacks-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("other"), "auth required pam_deny.so\naccount required pam_deny.so\n").unwrap();
    let mut numbers = Numbers(1);
    // Whole paths: libpam looks for other names in /etc/pam.d, whatever folder it was given.
    let [inner, middle] = ["inner", "middle"].map(|name| folder.join(name).display().to_string());
    let (mut admitted, mut wrong) = ([0, 0], Vec::new());
    for _ in 0..4000 {
        let texts = [
            ("inner", lines(&mut numbers, &[])),
            ("middle", lines(&mut numbers, &[&inner])),
            ("sshd", lines(&mut numbers, &[&middle, &inner])),
        ];
        for (name, text) in &texts {
            fs::write(folder.join(name), text).unwrap();
        }
        let real = ["authenticate", "account"].map(|phase| admits(&folder, phase));
        admitted = [0, 1].map(|phase| admitted[phase] + usize::from(real[phase]));
        if predicts(&folder) != real {
            wrong.push(format!("libpam says {real:?}: {texts:#?}"));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    wrong.sort_by_key(String::len);
    let shortest: Vec<String> = wrong.iter().take(5).cloned().collect();
    assert!(wrong.is_empty(), "{} of 4000 otherwise; the shortest:\n{}", wrong.len(), shortest.join("\n"));
    // Neither all nor none.
    assert!(admitted.iter().all(|admitted| (400..3600).contains(admitted)), "{admitted:?}");
}
