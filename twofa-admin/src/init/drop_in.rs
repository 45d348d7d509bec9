//! The settings of sshd, in a file of their own that is read before all others.

use crate::doctor::sshd::words;
use std::path::Path;
use twofa::policy::{Method, Policy};

pub(super) const CONFIG: &str = "/etc/ssh/sshd_config";
const FOLDER: &str = "/etc/ssh/sshd_config.d";
const NAME: &str = "00-twofa.conf";
pub(super) const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-twofa.conf";

const REMEDY: &str =
    "make `Include /etc/ssh/sshd_config.d/*.conf` its first line, and run `twofa-admin init` again";
const HEAD: &str = "# Written by `twofa-admin init`; `twofa-admin init --undo` takes it out again.";
const ALWAYS: [&str; 4] = [
    "UsePAM yes",
    "KbdInteractiveAuthentication yes",
    "PasswordAuthentication no",
    "AuthenticationMethods publickey,keyboard-interactive keyboard-interactive",
];
/// OpenSSH before 8.7 (Debian 11) has this beside KbdInteractiveAuthentication, and wants both.
const CHALLENGE: &str = "ChallengeResponseAuthentication yes";
const TOUCH: &str = "PubkeyAuthOptions touch-required";
const TOUCH_AND_PIN: &str = "PubkeyAuthOptions touch-required verify-required";

/// Before the folder is included, these would win: of a setting that is there twice, sshd takes the first one.
const MATTER: [&str; 8] = [
    "authenticationmethods",
    "challengeresponseauthentication",
    "kbdinteractiveauthentication",
    "match",
    "pamservicename",
    "passwordauthentication",
    "pubkeyauthoptions",
    "usepam",
];

/// What sshd has to be told, a setting each; `has_challenge` when it has that setting of its own.
pub(super) fn settings(policy: &Policy, has_challenge: bool) -> Vec<String> {
    let keys = policy.methods.contains(&Method::Key);
    let touch = match (keys, policy.key.pin) {
        (true, true) => Some(TOUCH_AND_PIN),
        (true, false) => Some(TOUCH),
        (false, _) => None,
    };
    let challenge = has_challenge.then_some(CHALLENGE);
    ALWAYS.into_iter().chain(challenge).chain(touch).map(str::to_string).collect()
}

pub(super) fn text(settings: &[String]) -> String {
    format!("{HEAD}\n{}\n", settings.join("\n"))
}

/// What is left of the file without what was written here: nothing when none of it was, an empty text when all.
pub(super) fn without_settings(text: &str) -> Option<String> {
    if !text.lines().any(|line| line == HEAD) {
        return None;
    }
    let is_ours = |line: &&str| {
        let line = line.trim_end_matches('\n');
        ALWAYS.contains(&line) || [HEAD, CHALLENGE, TOUCH, TOUCH_AND_PIN].contains(&line)
    };
    // What is in a `Match`, somebody else put there.
    let is_match = |line: &str| words(line).first().is_some_and(|word| word.eq_ignore_ascii_case("match"));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let end = lines.iter().position(|line| is_match(line)).unwrap_or(lines.len());
    let (general, matched) = lines.split_at(end);
    let left: String = general.iter().filter(|line| !is_ours(line)).chain(matched).copied().collect();
    Some(if left.trim().is_empty() { String::new() } else { left })
}

/// Whether sshd reads the folder before all that matters here.
///
/// # Errors
///
/// What stands in the way.
pub(super) fn check_included(config: &str) -> Result<(), String> {
    for (index, line) in config.lines().enumerate() {
        let words = words(line);
        let Some((first, patterns)) = words.split_first() else { continue };
        let first = first.to_ascii_lowercase();
        if first == "include" && patterns.iter().any(|pattern| covers(pattern)) {
            return Ok(());
        }
        if MATTER.contains(&first.as_str()) {
            return Err(format!(
                "line {} of {CONFIG} (`{}`) comes before {FOLDER} is read; {REMEDY}",
                index + 1,
                line.trim()
            ));
        }
    }
    Err(format!("{CONFIG} does not include {FOLDER}; {REMEDY}"))
}

/// Whether a pattern with at most one star stands for our file too.
fn covers(pattern: &str) -> bool {
    let pattern = Path::new("/etc/ssh").join(pattern);
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fits = match name.split_once('*') {
        Some((before, after)) => NAME.starts_with(before) && NAME.ends_with(after),
        None => name == NAME,
    };
    fits && pattern.parent() == Some(Path::new(FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_has_to_come_before_what_matters() {
        let include = "Include /etc/ssh/sshd_config.d/*.conf\n";
        let table = [
            (include.to_string(), true),
            ("# UsePAM no\n\nPort 22\nHostKey /x\n  include sshd_config.d/*\nUsePAM no\n".into(), true),
            ("Include=\"/etc/ssh/sshd_config.d/*.conf\" /etc/other\n".into(), true),
            (format!("Include /etc/crypto/*.conf\n{include}"), true),
            (format!("UsePAM yes\n{include}"), false),
            (format!("passwordauthentication=no\n{include}"), false),
            (format!("Match User bob\n{include}"), false),
            (format!("#{include}"), false),
            ("Include /etc/ssh/sshd_config.d/50-*.conf\n".into(), false),
            ("Include /etc/ssh/other.d/*.conf\n".into(), false),
            (String::new(), false),
        ];
        for (config, expected) in table {
            assert_eq!(check_included(&config).is_ok(), expected, "{config}");
        }
    }

    #[test]
    fn what_was_written_goes_and_the_rest_stays() {
        let all = format!("{HEAD}\n{}\n{CHALLENGE}\n{TOUCH}\n", ALWAYS.join("\n"));
        assert_eq!(without_settings(&all), Some(String::new()));
        assert_eq!(without_settings(&format!("{all}Port 2222\n")), Some("Port 2222\n".into()));
        assert_eq!(without_settings(&ALWAYS.join("\n")), None);
        let robots = "match User robot\nPasswordAuthentication no\n";
        assert_eq!(without_settings(&format!("{all}{robots}")), Some(robots.into()));
    }
}
