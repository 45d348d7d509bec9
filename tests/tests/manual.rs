//! The manual pages say what there is, all of it, and are mdoc(7) without a fault; and so is what --help says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test says so and stops"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use twofa_tests::driver::site::Site;
use twofa_tests::world::artifact;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of it")
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The page that the program makes, for which nobody has to be root.
fn made(folder: &Path) -> PathBuf {
    let output = Command::new(artifact("TWOFA_ADMIN", "twofa-admin")).arg("manual").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let path = folder.join("twofa-admin.8");
    fs::write(&path, output.stdout).unwrap();
    path
}

fn mandoc(arguments: &[&str], page: &Path) -> String {
    let output = Command::new("mandoc").args(arguments).arg(page).output().expect("mandoc (package mandoc)");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn every_page_is_mdoc_without_a_fault() {
    let site = Site::empty();
    let pages =
        [made(&site.path("")), repository().join("man/pam_twofa.8"), repository().join("man/twofa.toml.5")];
    for page in pages {
        let faults = mandoc(&["-T", "lint", "-W", "warning"], &page);
        assert_eq!(faults, "", "{}", page.display());
        let shown = mandoc(&["-T", "ascii", "-O", "width=80"], &page);
        // Bold is a letter, backspace, the letter.
        let plain: String = shown.lines().map(|line| without_overstrikes(line) + "\n").collect();
        // A word can be longer than a line; a fingerprint is.
        let wide: Vec<_> = plain.lines().filter(|line| line.chars().count() > 90).collect();
        assert_eq!(wide, [""; 0], "{}", page.display());
        for section in ["NAME", "FILES", "EXAMPLES", "SEE ALSO"] {
            let wanted = page.ends_with("twofa.toml.5") && section == "FILES";
            assert!(wanted || plain.contains(&format!("\n{section}\n")), "{} {section}", page.display());
        }
    }
}

fn without_overstrikes(line: &str) -> String {
    let mut plain = String::new();
    for c in line.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    plain
}

type Keys = BTreeSet<(String, String)>;

fn key(table: &str, name: &str) -> (String, String) {
    (table.to_owned(), name.to_owned())
}

/// Of twofa.toml.5: a section for each table, or for two, and an item for each key. A key of one table of two names it.
fn keys_of_the_page() -> Keys {
    let page = read("man/twofa.toml.5");
    let (mut tables, mut keys) = (Vec::new(), Keys::new());
    let lines: Vec<&str> = page.lines().collect();
    for (line, next) in lines.iter().zip(lines.iter().skip(1)) {
        if let Some(title) = line.strip_prefix(".Ss ") {
            let named = title.split('[').filter_map(|part| part.split_once(']')).map(|(name, _)| name);
            tables = named.filter(|name| !name.is_empty()).collect();
            if tables.is_empty() {
                tables.push("");
            }
        }
        let Some(names) = line.strip_prefix(".It Ic ") else { continue };
        let only = next.strip_prefix(".Pq ").filter(|_| tables.len() > 1);
        for name in names.split(" , ") {
            for table in tables.iter().filter(|table| only.is_none_or(|only| only == **table)) {
                assert!(keys.insert(key(table, name)), "{table}.{name} twice");
            }
        }
    }
    keys
}

/// Of the policy that is shipped: those that are commented out are there too.
fn keys_of_the_example() -> Keys {
    let mut table = "";
    let mut keys = Keys::new();
    let text = read("config/twofa.toml");
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        }
        // `user = ...   # or: group = ...`
        for part in line.split("# or: ") {
            let name = part.split_once(" = ").map_or("", |(name, _)| name);
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                keys.insert(key(table, name));
            }
        }
    }
    keys
}

/// Of `policy show`, where all that can be left out is there.
fn keys_of_the_report() -> Keys {
    let site = Site::sending_empty();
    let exempt = |who: &str| format!("[[exempt]]\n{who} = \"games\"\nreason = \"r\"\nuntil = 2100-01-01\n");
    let policy = site
        .sending_policy(&["app", "sms"])
        .replace("[app]", "[app]\nissuer = \"ACME\"")
        .replace("[sms]", "[sms]\ncountry = \"+48\"")
        .replace("[email]", "[email]\ndefault_address = \"root@example.org\"");
    let rollout = "[rollout]\nenforce_from = 2099-01-01\n";
    site.write_policy(&format!("{policy}{rollout}{}{}", exempt("user"), exempt("group")));
    let shown = site.admin_ok(&["policy", "show"], "");
    let mut keys = Keys::new();
    let mut table = "";
    for line in shown.lines() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.split_once(" = ") {
            keys.insert(key(table, name));
        }
    }
    keys
}

#[test]
fn the_page_of_the_policy_has_every_key_and_no_other() {
    let page = keys_of_the_page();
    assert!(page.len() > 45, "{page:?}");
    for (what, keys) in [("config/twofa.toml", keys_of_the_example()), ("policy show", keys_of_the_report())]
    {
        let missing: Vec<_> = keys.difference(&page).collect();
        let unknown: Vec<_> = page.difference(&keys).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{what}: not in the page {missing:?}, only there {unknown:?}"
        );
    }
}

/// The arguments are the byte strings of the module that reads them.
#[test]
fn the_page_of_the_module_has_every_argument_and_no_other() {
    let source = read("pam_twofa/src/arguments.rs");
    let literals = source.split("b\"").skip(1).filter_map(|rest| rest.split('"').next());
    let known: BTreeSet<&str> = literals.filter(|literal| literal.len() > 1).collect();
    assert!(known.contains("conf=") && known.len() >= 3, "{known:?}");
    let page = read("man/pam_twofa.8");
    let options = page.split(".Sh OPTIONS\n").nth(1).and_then(|rest| rest.split("\n.Sh ").next()).unwrap();
    let items = options.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let told: BTreeSet<&str> = items.filter_map(|item| item.split(' ').next()).collect();
    assert_eq!(told, known);
    let synopsis = page.split(".Sh SYNOPSIS\n").nth(1).and_then(|rest| rest.split(".Sh ").next()).unwrap();
    assert!(known.iter().all(|argument| synopsis.contains(&format!(".Op Cm {argument}"))), "{synopsis}");
}

// --help

/// Every command, from the top.
fn commands(site: &Site, above: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let words: Vec<&str> = above.iter().map(String::as_str).chain(["--help"]).collect();
    let help = site.admin_ok(&words, "");
    let below = help.split("Commands:\n").nth(1).map(|rest| rest.split("\n\n").next().unwrap_or_default());
    for line in below.into_iter().flat_map(str::lines) {
        // What a description goes on with is further in.
        let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        if let Some(name) = name.and_then(|line| line.split_whitespace().next()) {
            commands(site, &[above, &[name.to_owned()]].concat(), found);
        }
    }
    found.push((above.to_vec(), help));
}

#[test]
fn help_is_plain_text_for_every_command() {
    let site = Site::empty();
    let mut found = Vec::new();
    commands(&site, &[], &mut found);
    let names: Vec<String> = found.iter().map(|(words, _)| words.join(" ")).collect();
    assert!(names.len() > 40 && names.contains(&"audit verify".to_owned()), "{names:?}");
    assert!(!names.contains(&"manual".to_owned()), "it is for who packages this");
    for (words, help) in &found {
        assert!(!help.contains('\u{1b}'), "{words:?}");
        assert!(help.contains("Usage: twofa-admin"), "{words:?}: {help}");
        // One sentence, without its full stop.
        let first = help.lines().next().unwrap();
        assert!(first.starts_with(char::is_uppercase) && !first.ends_with('.'), "{words:?}: {first}");
        // Every option says what it is for.
        for line in help.lines().filter(|line| line.trim_start().starts_with("--")) {
            assert!(line.trim().contains("  ") || help_is_below(help, line), "{words:?}: {line}");
        }
    }
    let of = |name: &str| &found[names.iter().position(|known| known == name).unwrap()].1;
    for name in
        ["audit verify", "doctor", "status", "policy check", "policy set", "policy enable", "policy edit"]
    {
        assert!(of(name).contains("Exit status:\n  0  "), "{name}: {}", of(name));
    }
    for name in ["audit", "explain", "metrics", "completions", "user bypass", "exempt add", "trust revoke"] {
        assert!(of(name).contains("Example") && of(name).contains("  twofa-admin "), "{name}");
    }
    let nothing = site.admin(&[], "");
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
}

fn help_is_below(help: &str, option: &str) -> bool {
    let next = help.split_once(option).and_then(|(_, rest)| rest.trim_start_matches('\n').lines().next());
    next.is_some_and(|line| line.starts_with("          "))
}

/// On a terminal, with NO_COLOR and without.
#[test]
fn help_has_no_colour_where_none_is_wanted() {
    let program = artifact("TWOFA_ADMIN", "twofa-admin");
    let shown = |setting: &str| {
        let words = ["env", setting, "TERM=xterm-256color", program.to_str().unwrap(), "explain", "--help"];
        let mut terminal = twofa_tests::terminal::Terminal::outside(&words);
        terminal.expect_end(0);
        terminal.screen().to_owned()
    };
    assert!(!shown("NO_COLOR=1").contains('\u{1b}'));
    assert!(shown("NO_COLOR=").contains("Usage:"));
}

/// What people read first.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "packaging", "config/hooks"].map(|folder| repository().join(folder));
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_page = |path: &PathBuf| path.extension().is_some_and(|is| is == "md");
    let pages: Vec<PathBuf> = files.map(|file| file.path()).filter(is_page).collect();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = page.parent().unwrap().join(file);
            let target = if file.is_empty() { page.clone() } else { target };
            let there = fs::read_to_string(&target).unwrap_or_default();
            let has_part = there.lines().any(|line| {
                let title = line.trim_start_matches('#');
                title.len() < line.len() && title.trim().to_lowercase().replace(' ', "-") == part
            });
            assert!(target.exists() && (part.is_empty() || has_part), "{}: {link}", page.display());
        }
    }
}

/// A page that says what to type says nothing that there is not.
#[test]
fn every_command_that_is_told_is_there() {
    let knows = |words: &[&str]| {
        let mut command = Command::new(artifact("TWOFA_ADMIN", "twofa-admin"));
        let output = command.args(words).arg("--help").output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let mut told = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // Only where it is to be typed; prose has the name, too.
        for after in text
            .split(['`', '\n'])
            .filter_map(|part| part.trim_start_matches("# ").strip_prefix("twofa-admin "))
        {
            let words = after.split_whitespace().map(|word| word.trim_end_matches([',', '.', ':', ';']));
            let words: Vec<String> = words.map(str::to_string).take(2).collect();
            told.insert((words, page.clone()));
        }
    }
    assert!(told.len() > 50, "{}", told.len());
    for (words, page) in told {
        let [command, rest @ ..] = words.as_slice() else { continue };
        let names: Vec<&str> = command.split('|').collect();
        for name in names.into_iter().filter(|name| !name.starts_with('-')) {
            let (is_there, help) = knows(&[name]);
            assert!(is_there, "{}: twofa-admin {name}", page.display());
            let Some(second) = rest.first().filter(|_| help.contains("\nCommands:\n")) else { continue };
            for second in
                second.split('|').filter(|second| second.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            {
                let is_option = second.starts_with('-');
                assert!(
                    is_option || knows(&[name, second]).0,
                    "{}: twofa-admin {name} {second}",
                    page.display()
                );
            }
        }
    }
}
