//! The modules of `twofa` in reading order: each uses only those above it, and only `system` reads the machine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::path::Path;
use std::{fs, iter};

/// Each module, and the modules it may use.
const LAYERS: [(&str, &[&str]); 20] = [
    ("code", &[]),
    ("contact", &[]),
    ("otpauth", &["code"]),
    ("qr", &[]),
    ("sshkey", &[]),
    ("token", &["code"]),
    ("account", &["code", "contact", "sshkey", "token"]),
    ("policy", &["account", "code", "contact", "sshkey", "token"]),
    ("login", &["account", "code", "contact", "policy", "token"]),
    ("message", &["account", "login", "otpauth", "policy", "qr"]),
    ("ports", &["account", "login", "token"]),
    ("drive", &["login", "ports"]),
    ("log", &["account", "login", "message", "token"]),
    ("system", &["account", "policy"]),
    ("trusted", &[]),
    ("helper", &["account", "code", "login", "message", "policy", "system", "token", "trusted"]),
    ("config", &["account", "code", "contact", "policy", "trusted"]),
    ("trial", &["config", "policy", "trusted"]),
    (
        "store",
        &["account", "config", "contact", "log", "login", "message", "policy", "ports", "system", "trusted"],
    ),
    ("admin", &["account", "config", "contact", "login", "message", "policy", "token"]),
];

/// Clock, waiting, randomness, users and groups: what only this module may name.
const READER_OF_THE_MACHINE: &str = "system";
const MACHINE: [&str; 14] = [
    "SystemTime",
    "Instant",
    "UtcDateTime",
    "now_utc",
    "now_local",
    "sleep",
    "getrandom",
    "RandomState",
    "unistd::User",
    "unistd::Group",
    "getgrouplist",
    "getpwnam",
    "getgrnam",
    "process::Command",
];

/// The words of Rust source text: names, `::`, and single signs; no comments, no literals.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = vec![];
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = &chars[at..];
        let starts = |with: &str| with.chars().zip(rest).filter(|(a, b)| a == *b).count() == with.len();
        at += if starts("//") {
            rest.iter().take_while(|c| **c != '\n').count()
        } else if starts("/*") {
            length_of_comment(rest)
        } else if let Some(length) = length_of_literal(rest) {
            length
        } else if starts("::") {
            words.push("::".into());
            2
        } else if c.is_alphanumeric() || c == '_' {
            let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            let length = word.chars().count();
            words.push(word);
            length
        } else {
            words.extend((!c.is_whitespace() && c != '#' || starts("#[") || starts("#!")).then(|| c.into()));
            1
        };
    }
    words
}

/// Comments of this form nest.
fn length_of_comment(text: &[char]) -> usize {
    let mut depth = 0;
    for at in 0..text.len() {
        match text[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 2;
        }
    }
    text.len()
}

/// A string in any form, or a character; a lifetime is none.
fn length_of_literal(text: &[char]) -> Option<usize> {
    let prefix = text.iter().take_while(|c| "bcr".contains(**c)).count();
    let raw = text[..prefix].contains(&'r');
    let hashes = text[prefix..].iter().take_while(|c| raw && **c == '#').count();
    let open = prefix + hashes;
    match text.get(open..)? {
        ['"', inside @ ..] => {
            let end: Vec<char> = iter::once('"').chain(iter::repeat_n('#', hashes)).collect();
            let mut at = 0;
            while at < inside.len() && !inside[at..].starts_with(&end) {
                at += if inside[at] == '\\' && !raw { 2 } else { 1 };
            }
            Some(open + 1 + at + end.len())
        }
        ['\'', '\\', _, inside @ ..] => Some(open + 4 + inside.iter().take_while(|c| **c != '\'').count()),
        ['\'', _, '\'', ..] => Some(open + 3),
        _ => None,
    }
}

/// Everything but what is compiled for tests only.
fn without_tests(words: &[String]) -> Vec<String> {
    let mut kept = vec![];
    let mut at = 0;
    while at < words.len() {
        if words[at..].iter().zip(["#", "[", "cfg", "(", "test", ")", "]"]).filter(|(a, b)| a == b).count()
            == 7
        {
            at += 7 + length_of_item(&words[at + 7..]);
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    kept
}

/// To the end of its block, or of its statement.
fn length_of_item(words: &[String]) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (word == "}" && words.get(at + 1).is_none_or(|next| next != ";") || word == ";") {
            return at + 1;
        }
    }
    words.len()
}

/// A path as written, and the module whose names it starts from.
struct Named {
    path: Vec<String>,
    within: Vec<String>,
}

/// All paths in the text of a module, groups of `use` taken apart.
fn named(module: &[&str], text: &str) -> Vec<Named> {
    let words = without_tests(&words(text));
    let mut within: Vec<String> = module.iter().map(ToString::to_string).collect();
    let mut blocks = vec![];
    let mut found = vec![];
    for (at, word) in words.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| words[at].as_str());
        match word.as_str() {
            "{" if before(2) == "mod" => {
                within.push(before(1).into());
                blocks.push(true);
            }
            "{" => blocks.push(false),
            "}" => within.truncate(within.len() - usize::from(blocks.pop() == Some(true))),
            // Inside a `use`, its groups are read with the path before them.
            _ if before(1) != "::" && is_name(word) => {
                let paths = paths(&words[at..], &[]).0;
                found.extend(paths.into_iter().map(|path| Named { path, within: within.clone() }));
            }
            _ => {}
        }
    }
    found
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The paths that begin with `words`, and how many words they are.
fn paths(words: &[String], before: &[String]) -> (Vec<Vec<String>>, usize) {
    match words.first().map_or("", String::as_str) {
        "{" => {
            let (mut all, mut at) = (vec![], 1);
            while at < words.len() && words[at] != "}" {
                let (paths, length) = paths(&words[at..], before);
                all.extend(paths);
                // What is left of the element: a comma, `as other`.
                at += length.max(1);
            }
            (all, at + 1)
        }
        word if is_name(word) || word == "*" => {
            let path = [before, &[word.to_string()]].concat();
            let goes_on = words.get(1).is_some_and(|next| next == "::")
                && words.get(2).is_some_and(|next| is_name(next) || next == "{" || next == "*");
            if !goes_on {
                return (vec![path], 1);
            }
            let (paths, length) = paths(&words[2..], &path);
            (paths, length + 2)
        }
        _ => (vec![], 0),
    }
}

/// The module of this crate that is named, if it is one; `*` for all of them.
fn own_module(named: &Named) -> Option<String> {
    let mut at = match named.path.first()?.as_str() {
        "crate" => vec![],
        "super" | "self" => named.within.clone(),
        _ => return None,
    };
    let from_crate = named.path[0] == "crate";
    for part in &named.path[usize::from(from_crate)..] {
        match part.as_str() {
            "self" => {}
            "super" => {
                at.pop();
            }
            part => at.push(part.into()),
        }
    }
    Some(at.first().cloned().unwrap_or_else(|| "*".into()))
}

/// What a module uses though it may not.
fn faults(module: &[&str], text: &str) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module[0]) else {
        return vec![format!("{} has no line in LAYERS", module[0])];
    };
    let mut faults = vec![];
    for named in named(module, text) {
        // `pub(crate)` and `pub(super)` name no module.
        let visibility = named.path == ["crate"] || named.path == ["super"] || named.path == ["self"];
        let path = named.path.join("::");
        match own_module(&named) {
            Some(used) if used == module[0] || allowed.contains(&used.as_str()) || visibility => {}
            Some(used) => faults.push(format!("{} uses {used}: {path}", module[0])),
            None if module[0] == READER_OF_THE_MACHINE => {}
            None => {
                let reads = |named: &&&str| format!("::{path}::").contains(&format!("::{named}::"));
                faults.extend(
                    MACHINE
                        .iter()
                        .find(reads)
                        .map(|named| format!("{} reads the machine: {named}", module[0])),
                );
            }
        }
    }
    // The whole crate under another name.
    let words = without_tests(&words(text));
    let renamed = |three: &[String]| three[0] == "use" && ["crate", "super", "self"].contains(&&*three[1]);
    let renamed = words.windows(3).any(|three| renamed(three) && three[2] != "::");
    if renamed || words.windows(2).any(|two| two == ["extern", "crate"]) {
        faults.push(format!("{} renames the crate", module[0]));
    }
    faults
}

/// The source files, each with its module's path.
fn sources(folder: &Path, module: &[String]) -> Vec<(Vec<String>, String)> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let inner = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            all.extend(sources(&path, &inner));
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let module = if name == "mod" { module.to_vec() } else { inner };
            all.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
    all
}

fn source_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn every_module_may_use_only_those_above_it() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        let above: Vec<&str> = LAYERS[..at].iter().map(|(name, _)| *name).collect();
        for used in *allowed {
            assert!(above.contains(used), "{module} may not use {used}");
        }
    }
}

#[test]
fn every_source_file_keeps_to_its_line() {
    let sources = sources(source_folder(), &[]);
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|(module, text)| faults(&module.iter().map(String::as_str).collect::<Vec<_>>(), text))
        .collect();
    assert_eq!(faults, [""; 0]);
    for (module, _) in LAYERS {
        assert!(sources.iter().any(|(path, _)| path == &[module]), "{module} has a line but no file");
    }
}

/// And nothing else is in it: what is there belongs to no module, so to no line.
#[test]
fn the_library_names_its_modules_in_this_order() {
    let words = words(&fs::read_to_string(source_folder().join("lib.rs")).unwrap());
    let rest = words.iter().skip_while(|word| *word != "]").skip(1).map(String::as_str);
    let modules: Vec<&str> = rest.filter(|word| !["pub", "mod", ";"].contains(word)).collect();
    assert_eq!(modules, LAYERS.map(|(module, _)| module));
}

#[test]
fn a_wrong_use_is_seen_in_every_spelling() {
    let table = [
        (&["account"][..], "use crate::login::Login;"),
        (&["account"], "use crate::login;"),
        (&["account"], "pub(crate) use crate::login::*;"),
        (&["account"], "use crate::{code, login};"),
        (&["account"], "use crate::{code::{self, Secret}, login::{Login, Step}};"),
        (&["account"], "use crate::code;\nuse crate :: { code , /* sic */ login as l };"),
        (&["account"], "use super::login::Login;"),
        (&["account"], "use super::{code::Secret, login::Login};"),
        (&["account"], "use self::super::login;"),
        (&["account"], "mod inner { use super::super::login; }"),
        (&["account"], "mod inner { fn f() {} } use super::login;"),
        (&["account"], "fn f() { let step = crate::login::Step::Read; }"),
        (&["account"], "fn f(step: &super::login::Step) {}"),
        (&["account"], "fn f() { if x { match y { _ => crate::login::f::<u8>(1) } } }"),
        (&["account"], "macro_rules! m { () => { $crate::login::f() } }"),
        (&["account"], "impl<'a> From<&'a crate::login::Step> for X<'a> {}"),
        (&["account"], "const C: char = '\"'; use crate::login; const D: char = '\"';"),
        (&["account"], "const R: &str = r#\"\"#; use crate::login; const S: &str = \"\\\"\";"),
        (&["account"], "#[cfg(test)] use crate::code; use crate::login;"),
        (&["account"], "#[cfg(test)] mod tests { fn f() {} }\nuse crate::login;"),
        (&["account"], "#[cfg(not(test))] use crate::login;"),
        (&["account"], "use crate::*;"),
        (&["account"], "use super::*;"),
        (&["account"], "use crate as all;"),
        (&["account"], "use super as all;"),
        (&["account"], "extern crate self as twofa;"),
        (&["store", "record"], "use super::super::admin;"),
        (&["store", "record"], "use super::{seal, super::admin};"),
        (&["store", "record", "inner"], "use super::super::super::admin;"),
        (&["store"], "mod inner { use super::super::admin::Report; }"),
        (&["account"], "fn f() -> u64 { std::time::SystemTime::now() }"),
        (&["account"], "use std::{fs, time::{Duration, Instant as I}};"),
        (&["account"], "use nix::unistd::{Uid, User};"),
        (&["account"], "use nix::unistd; fn f() { unistd::Group::from_name(\"x\"); }"),
        (&["account"], "fn f() { getrandom::fill(&mut bytes); }"),
        (&["account"], "fn f() { time::OffsetDateTime::now_utc(); }"),
        (&["account"], "fn f() { std::thread::sleep(second); }"),
        (&["nobody"], ""),
    ];
    for (module, text) in table {
        assert!(!faults(module, text).is_empty(), "{text}");
    }
}

#[test]
fn a_right_use_is_none() {
    let table = [
        (&["account"][..], "use crate::code::{self, Secret, Shape};"),
        (&["account"], "use super::code; use self::inner::x; pub(crate) fn f() {} pub(super) fn g() {}"),
        (&["account"], "mod inner { use super::Account; fn f() { super::code(); } }"),
        (&["account"], "// crate::login::Login\n/* crate::login /* nested */ crate::login */"),
        (&["account"], "/// See [`crate::login`].\nconst A: &str = \"crate::login\";"),
        (&["account"], "const A: &[u8] = br##\"crate::login\"# crate::login\"##;"),
        (&["account"], "#[cfg(test)]\nmod tests { use super::*; use crate::login::{Login, Step}; }"),
        (&["account"], "#[cfg(test)] use crate::{login::Login};"),
        (&["account"], "#[cfg(test)] fn f() -> [u8; 3] { crate::login::f() }"),
        (&["account"], "use std::time::Duration; use nix::unistd::Uid; enum Who { User, Group }"),
        (&["account"], "use other::login; fn f() { login::x(); }"),
        (&["store", "record"], "use super::{Error, seal::Sealer}; use crate::account::State;"),
        (&["system"], "use std::time::SystemTime; fn f() { SystemTime::now(); }"),
    ];
    for (module, text) in table {
        assert_eq!(faults(module, text), [""; 0], "{text}");
    }
}
