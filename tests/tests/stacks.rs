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

/// Lines of one file; some of them lead to the files behind it.
fn lines(numbers: &mut Numbers, deeper: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..=numbers.below(5) {
        let dash = numbers.one(&["", "", "", "-"]);
        let line = match numbers.below(8) {
            0 if !deeper.is_empty() => format!("auth include {}", numbers.one(deeper)),
            1 if !deeper.is_empty() => format!("auth substack {}", numbers.one(deeper)),
            2 if !deeper.is_empty() => format!("@include {}", numbers.one(deeper)),
            3 => match numbers.below(4) {
                0 => format!("{dash}auth {} pam_none_such.so", numbers.one(&CONTROLS)),
                1 => "auth include /nowhere".into(),
                2 => "session required pam_debug.so".into(),
                _ => format!("auth {}", numbers.one(&CONTROLS)),
            },
            _ => {
                let control = numbers.one(&CONTROLS);
                let end = numbers.one(&["", " # a comment", " \\\n  debug"]);
                format!("{dash}auth {control} pam_debug.so auth={}{end}", numbers.one(&ANSWERS))
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Whether libpam lets `nobody` in.
fn admits(folder: &Path) -> bool {
    let start = Start {
        confdir: folder.as_os_str().as_bytes(),
        service: b"sshd",
        user: Some(b"nobody"),
        talks: true,
        answers: VecDeque::new(),
        gate: || {},
    };
    // Files that cannot be read are an error of the start, or of the first call.
    Transaction::start(start).is_ok_and(|mut transaction| transaction.call("authenticate", 0) == Some(0))
}

fn predicts(folder: &Path) -> bool {
    let read = |path: &Path| {
        let name = path.strip_prefix("/etc/pam.d").ok().map(|name| folder.join(name));
        fs::read_to_string(name.unwrap_or_else(|| path.into())).ok()
    };
    let service = Service::load(&read, true, "sshd");
    let exists = |module: &str| module == "pam_debug.so" || module == "pam_deny.so";
    // Nothing in these stacks is ours: a success is one that leads past us.
    service.abort.is_none() && !ways::auth(&service.auth, &exists).skipped.is_empty()
}

#[test]
fn the_doctor_follows_stacks_as_libpam_does() {
    let folder: PathBuf = std::env::temp_dir().join(format!("twofa-stacks-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("other"), "auth required pam_deny.so\n").unwrap();
    let mut numbers = Numbers(1);
    // Whole paths: libpam looks for other names in /etc/pam.d, whatever folder it was given.
    let [inner, middle] = ["inner", "middle"].map(|name| folder.join(name).display().to_string());
    let (mut admitted, mut wrong) = (0, Vec::new());
    for _ in 0..4000 {
        let texts = [
            ("inner", lines(&mut numbers, &[])),
            ("middle", lines(&mut numbers, &[&inner])),
            ("sshd", lines(&mut numbers, &[&middle, &inner])),
        ];
        for (name, text) in &texts {
            fs::write(folder.join(name), text).unwrap();
        }
        let real = admits(&folder);
        admitted += usize::from(real);
        if predicts(&folder) != real {
            wrong.push(format!("libpam says {real}: {texts:#?}"));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    wrong.sort_by_key(String::len);
    let shortest: Vec<String> = wrong.iter().take(5).cloned().collect();
    assert!(wrong.is_empty(), "{} of 4000 otherwise; the shortest:\n{}", wrong.len(), shortest.join("\n"));
    // Neither all nor none.
    assert!((400..3600).contains(&admitted), "{admitted}");
}
