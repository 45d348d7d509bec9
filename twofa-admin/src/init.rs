//! `init`: from nothing to a host that asks for a second factor, without locking anybody out on the way.

use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, enroll, policy, users};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use twofa::config::{self, Config};
use twofa::policy::Mode;
use twofa::store::Store;
use twofa::trusted;

/// The shipped policy, with a comment on every key.
const POLICY: &str = include_str!("../../config/twofa.toml");
const COMMON_AUTH: &str = "/etc/pam.d/common-auth";

pub(crate) fn run(context: &mut Context, yes: bool) -> Result<Outcome, Error> {
    make_policy(context)?;
    let config = context.config()?;
    let made = !config.store.database.exists();
    make_folder(&config.store.key, 0o755)?;
    make_folder(&config.store.database, 0o700)?;
    let mut store = Store::create(&config.store)?;
    let verb = if made { "made" } else { "found" };
    context.terminal.say(&format!("Store:   {verb} {}", config.store.database.display()))?;
    context.terminal.say(&format!(
        "Key:     {} (back it up: without it no factor can be read)",
        config.store.key.display()
    ))?;
    if !yes {
        first_user(context, &config, &mut store)?;
    }
    drop(store);
    show_lines(context, &config)?;
    if !yes && config.policy.mode != Mode::Enforce {
        return offer_enforcement(context);
    }
    context.terminal.note("Then: twofa-admin enroll app USER, and twofa-admin policy enable");
    Ok(Outcome::Done)
}

/// A new policy asks for nothing yet: PAM lines may be added before anybody is enrolled.
fn make_policy(context: &mut Context) -> Result<(), Error> {
    let found = context.conf.exists();
    if !found {
        make_folder(&context.conf, 0o755)?;
        let text = POLICY.replace("mode = \"enforce\"", "mode = \"off\"");
        config::parse(&context.conf, &text)?;
        trusted::create(&context.conf, text.as_bytes(), 0o644)?;
    }
    let verb = if found { "found" } else { "made" };
    context.terminal.say(&format!("Policy:  {verb} {}", context.conf.display()))
}

fn make_folder(file: &Path, mode: u32) -> Result<(), Error> {
    match file.parent() {
        Some(folder) if !folder.exists() => {
            fs::create_dir_all(folder)?;
            Ok(fs::set_permissions(folder, fs::Permissions::from_mode(mode))?)
        }
        _ => Ok(()),
    }
}

fn first_user(context: &mut Context, config: &Config, store: &mut Store) -> Result<(), Error> {
    let answer =
        context.terminal.ask("\nSet up an authenticator app for which user first? (Enter: none) ")?;
    let user = answer.trim();
    if user.is_empty() {
        return Ok(());
    }
    users::ensure(store, user)?;
    enroll::app(context, config, store, user, None, config.policy.app.shape).map(drop)
}

/// The lines to add. They are not added here: packages and administrators own these files.
fn show_lines(context: &mut Context, config: &Config) -> Result<(), Error> {
    let services = &config.policy.services;
    let files: Vec<String> = services.iter().map(|service| format!("/etc/pam.d/{service}")).collect();
    let mut text = format!(
        "\nAdd to {}:\n\n    \
         auth    required pam_twofa.so         below the line for common-auth (or pam_unix)\n    \
         account required pam_twofa.so         above the line for common-account\n",
        files.join(" and ")
    );
    if services.iter().any(|service| service == "sshd") {
        let lines = auth_lines(&fs::read_to_string(COMMON_AUTH).unwrap_or_default());
        text.push_str(&format!(
            "\nSo that an SSH key takes the place of the password, which users without a password need,\n\
             above common-auth in /etc/pam.d/sshd ({lines} is the number of auth lines in common-auth):\n\n    \
             auth    [success={lines} default=ignore] pam_twofa.so pubkey_is_first_factor\n\n\
             Write to /etc/ssh/sshd_config.d/00-twofa.conf, then `sshd -t && systemctl reload ssh`:\n\n    \
             UsePAM yes\n    KbdInteractiveAuthentication yes\n    PasswordAuthentication no\n    \
             AuthenticationMethods publickey,keyboard-interactive keyboard-interactive\n\n\
             Root logs in by SSH only with `PermitRootLogin yes` there: sshd refuses its codes otherwise.\n\
             Keep a root shell open until you have logged in anew.\n"
        ));
    }
    context.terminal.say(&text)
}

/// How many auth modules the included file has: that many lines are to be jumped over.
fn auth_lines(common_auth: &str) -> usize {
    let is_auth = |line: &&str| {
        let kind = line.split_whitespace().next().unwrap_or_default();
        matches!(kind, "auth" | "-auth")
    };
    common_auth.lines().filter(is_auth).count().max(1)
}

fn offer_enforcement(context: &mut Context) -> Result<Outcome, Error> {
    if !context.terminal.confirm("Switch enforcement on now?")? {
        context.terminal.note("Later: twofa-admin policy enable");
        return Ok(Outcome::Done);
    }
    policy::set(context, &["mode=enforce".into()], false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_is_valid_and_holds_the_defaults() {
        let path = Path::new("twofa.toml");
        let shipped = config::parse(path, POLICY).unwrap();
        let minimal = "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\", \"login\"]\n";
        assert_eq!(shipped, config::parse(path, minimal).unwrap());
        assert!(POLICY.contains("mode = \"enforce\""), "init replaces it");
    }

    #[test]
    fn included_auth_modules_are_counted() {
        let debian = "# comment\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n\
                      auth\trequisite\tpam_deny.so\nauth\trequired\tpam_permit.so\n\n-auth optional pam_cap.so\n";
        assert_eq!(auth_lines(debian), 4);
        assert_eq!(auth_lines(""), 1);
    }
}
