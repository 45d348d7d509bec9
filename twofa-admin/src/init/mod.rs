//! `init`: from nothing to a host that asks for a second factor, without locking anybody out on the way.

mod drop_in;
mod labels;
mod lines;
mod profiles;
mod undo;
mod write;

use crate::cli::InitArguments;
use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, contacts, doctor, doubts, enroll, keys, missing, policy, send, table, users};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use twofa::config::{self, Config};
use twofa::helper::Kind;
use twofa::policy::{Method, Mode, Recipient, SSHD};
use twofa::store::Store;
use twofa::trusted;
use write::Written;

/// The shipped policy, with a comment on every key.
const POLICY: &str = include_str!("../../../config/twofa.toml");
const COMMON_AUTH: &str = "/etc/pam.d/common-auth";

/// Where examples of hooks are installed.
const HOOKS: &str = "/usr/share/doc/twofa/examples/hooks";
const SMS_HOOK: &str = "/etc/twofa/hooks/sms";
const MAIL_HOOK: &str = "/etc/twofa/hooks/mail";

pub(crate) fn run(context: &mut Context, how: &InitArguments) -> Result<Outcome, Error> {
    let yes = how.yes;
    if how.undo {
        return undo::run(context, yes);
    }
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
    labels::restore(context)?;
    // While nothing is enforced, a method may still be chosen.
    let choose = !yes && config.policy.mode == Mode::Off;
    let config = if choose { choose_method(context, config, made).map_err(stopped)? } else { config };
    if !yes {
        first_user(context, &config, &mut store).map_err(stopped)?;
    }
    drop(store);
    if yes && !how.write {
        return show_what_is_missing(context, &config);
    }
    let written = write::run(context, &config, yes)?;
    show_lines(context, &config, written.lines_by_hand, written.settings_by_hand)?;
    if written.changed {
        context.terminal.note("\nWhat twofa-admin doctor says now:");
        doctor::run(context)?;
    }
    say_next(context, &config, &written)?;
    // Who runs this without a person wants to know that a person is needed.
    Ok(if yes && (written.lines_by_hand || written.settings_by_hand) {
        Outcome::Found
    } else {
        Outcome::Done
    })
}

/// Policy and store are there by then.
fn stopped(error: Error) -> Error {
    match error {
        Error::Stopped => Error::refused(
            "stopped; neither PAM nor sshd was touched",
            "Run `twofa-admin init` again when you are ready.",
        ),
        error => error,
    }
}

/// For who writes it with other tools.
fn show_what_is_missing(context: &mut Context, config: &Config) -> Result<Outcome, Error> {
    let (lines, settings) = write::missing(context, config);
    if !lines && !settings {
        context.terminal.say("All lines of PAM and settings of sshd are there.")?;
    }
    show_lines(context, config, lines, settings)?;
    if config.policy.mode != Mode::Enforce {
        let step = missing::first_step(&config.policy, "USER");
        context.terminal.note(&format!("Then: {step}, and twofa-admin policy enable"));
    }
    Ok(Outcome::Done)
}

/// The step that is left, and the ways back.
fn say_next(context: &mut Context, config: &Config, written: &Written) -> Result<(), Error> {
    let enforced = config.policy.mode == Mode::Enforce;
    let by_hand = written.lines_by_hand || written.settings_by_hand;
    let first = match (by_hand, written.reload_by_hand) {
        (true, _) => {
            "Add what is shown above, or run `twofa-admin init` again: until then a login\n     \
             may be asked for no code. Then log in anew in another terminal."
        }
        (false, true) => "Reload sshd, and keep this root shell open. Log in anew in another terminal.",
        (false, false) => "Keep this root shell open, and log in anew in another terminal.",
    };
    let mut text = match enforced {
        true => "\nThe policy is enforced.\n".to_string(),
        false => format!(
            "\nNothing is enforced yet: the mode is {}, and stays so. Next:\n\n  \
             1  {first}\n  \
             2  {} for every user; `twofa-admin status`\n     names who is left.\n  \
             3  twofa-admin policy enable --confirm-within 10m\n     \
             enforces it, and ends by itself unless an administrator gets in with a\n     second factor.\n",
            config.policy.mode.name(),
            missing::first_step(&config.policy, "USER")
        ),
    };
    text.push_str(
        "\nHow to get back in: a recovery code at any code prompt; or at the console, or\n\
         in this shell, `twofa-admin policy disable`. `twofa-admin init --undo` takes the\n\
         lines out again.",
    );
    if !written.backups.is_empty() {
        let names: Vec<String> = written.backups.iter().map(|path| path.display().to_string()).collect();
        text.push_str(&format!("\nAs it was before: {}", names.join(", ")));
    }
    context.terminal.say(&text)
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

/// The first method. One that is sent has to have reached somebody before it is chosen: a policy that nobody can
/// satisfy is worse than none.
fn choose_method(context: &mut Context, config: Config, is_new: bool) -> Result<Config, Error> {
    context.terminal.say(
        "\nHow do users prove who they are, besides the password?\n  \
         1  a code by SMS: needs a gateway, and a program that hands it a message\n  \
         2  a code of an authenticator app: needs nothing\n  \
         3  a code by e-mail\n  \
         4  a security key, plugged into this host or used as an SSH key (of type sk-)",
    )?;
    let first = config.policy.methods.first().copied().unwrap_or(Method::App);
    // Where nobody has chosen yet, and a gateway is at hand, users need nothing but the telephone that they have.
    let proposed = if is_new && Path::new(SMS_HOOK).exists() { Method::Sms } else { first };
    let number = match proposed {
        Method::Sms => 1,
        Method::App => 2,
        Method::Email => 3,
        Method::Key => 4,
    };
    let method = match context.terminal.ask(&format!("Method [{number}]: "))?.trim() {
        // With whatever else the policy says of it.
        "" if proposed == first => return Ok(config),
        "" | "1" | "sms" => Method::Sms,
        "2" | "app" => return put_method(context, config, Method::App),
        "3" | "email" | "e-mail" => Method::Email,
        "4" | "key" => return put_method(context, config, Method::Key),
        other => {
            context.terminal.note(&format!("`{}` is none of these.", table::printable(other)));
            return choose_method(context, config, is_new);
        }
    };
    loop {
        match try_sending(context, method) {
            Ok(chosen) => return Ok(chosen),
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => context.terminal.note(&format!("{error}\n{}", error.hint())),
        }
        if !context.terminal.confirm("Try again?")? {
            let name = first.name();
            context
                .terminal
                .note(&format!("So the method stays {name}. Later: run `twofa-admin init` again."));
            return Ok(config);
        }
    }
}

/// Of a method that nothing is sent by.
fn put_method(context: &mut Context, config: Config, method: Method) -> Result<Config, Error> {
    if config.policy.methods.first() == Some(&method) {
        return Ok(config);
    }
    let methods = format!("methods=[\"{}\"]", method.name());
    let (_, draft) = policy::with(&context.conf, std::slice::from_ref(&methods))?;
    let config = draft.replace(&context.conf, |_| Ok(()))?;
    context.did(&config, "policy-changed", "*", &methods);
    context.terminal.say(&format!("Method:  {}", method.name()))?;
    Ok(config)
}

/// Asks for the hook, and sends a message with it that somebody has to have received.
fn try_sending(context: &mut Context, method: Method) -> Result<Config, Error> {
    let terminal = &mut context.terminal;
    terminal.note(&format!("There are examples in {HOOKS}; copy one and fill in what it needs."));
    let name = method.name();
    let usual = if method == Method::Sms { SMS_HOOK } else { MAIL_HOOK };
    let typed = terminal.ask(&format!("Program that sends a message [{usual}]: "))?;
    let hook = if typed.trim().is_empty() { usual } else { typed.trim() };
    trusted::check_program(Path::new(hook))?;
    let mut values = vec![format!("methods=[\"{name}\"]"), format!("{name}.hook={}", quoted(hook))];
    if method == Method::Sms {
        let typed = terminal.ask("Numbers it may send to begin with, as in +48 (several with commas): ")?;
        let prefixes: Vec<String> =
            typed.trim().split([',', ' ']).filter(|prefix| !prefix.is_empty()).map(quoted).collect();
        if let [country] = prefixes.as_slice() {
            values.push(format!("sms.country={country}"));
        }
        values.push(format!("sms.prefixes=[{}]", prefixes.join(", ")));
    }
    let (config, draft) = policy::with(&context.conf, &values)?;
    doubts::refuse_unsendable(&config.policy, &[method])?;
    let terminal = &mut context.terminal;
    let to = match method {
        Method::Email => {
            Recipient::Mail(vec![contacts::address(&terminal.ask("Your e-mail address, for a test: ")?)?])
        }
        _ => {
            let typed = terminal.ask("Your number, for a test: ")?;
            Recipient::Phone(contacts::number(terminal, &config, &typed)?)
        }
    };
    let sent = send::send(context, &config, method, Kind::Test, &to, "root")?;
    context.terminal.say(&format!("The gateway took a message to {}.", to.masked()))?;
    send::prove(context, &sent)?;
    let config = draft.replace(&context.conf, |_| Ok(()))?;
    context.did(&config, "policy-changed", "*", &values.join(" "));
    context.terminal.say(&format!("Method:  {name}, by {hook}"))?;
    Ok(config)
}

/// As a TOML string, whatever was typed.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
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

/// A name or number that was mistyped is no reason to begin anew.
fn first_user(context: &mut Context, config: &Config, store: &mut Store) -> Result<(), Error> {
    loop {
        match set_up_user(context, config, store) {
            Ok(()) => return Ok(()),
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                context.terminal.note(&table::printable_lines(&[error.to_string(), error.hint()]));
            }
        }
    }
}

fn set_up_user(context: &mut Context, config: &Config, store: &mut Store) -> Result<(), Error> {
    let method = config.policy.methods.first().copied().unwrap_or(Method::App);
    let what = match method {
        Method::App => "an authenticator app",
        Method::Key => "a security key",
        Method::Sms => "a telephone number",
        Method::Email => "an e-mail address",
    };
    let answer = context.terminal.ask(&format!("\nSet up {what} for which user first? (Enter: none) "))?;
    let user = answer.trim();
    if user.is_empty() {
        return Ok(());
    }
    users::known(user)?;
    let to = match method {
        Method::App => {
            return enroll::app(context, config, store, user, None, config.policy.app.shape).map(drop);
        }
        Method::Key => {
            let question =
                format!("File with the SSH key of {user} (Enter: a key that is plugged in here): ");
            let typed = context.terminal.ask(&question)?;
            return match typed.trim() {
                "" => keys::enroll(context, config, store, user, None, config.policy.key.pin).map(drop),
                file => keys::enroll_ssh(context, config, store, user, Some(file.into()), None).map(drop),
            };
        }
        Method::Sms => {
            let typed = context.terminal.ask(&format!("Number of {user}: "))?;
            Recipient::Phone(contacts::number(&mut context.terminal, config, &typed)?)
        }
        Method::Email => {
            let typed = context.terminal.ask(&format!("Address of {user}: "))?;
            Recipient::Mail(vec![contacts::address(&typed)?])
        }
    };
    send::enroll(context, config, store, user, &to, false).map(drop)
}

/// The lines to add, for who adds them by hand.
fn show_lines(context: &mut Context, config: &Config, lines: bool, settings: bool) -> Result<(), Error> {
    if !lines && !settings {
        return Ok(());
    }
    let services = &config.policy.services;
    let by_ssh = services.iter().any(|service| service == SSHD);
    let mut text = String::new();
    if lines {
        let files: Vec<String> = services.iter().map(|service| format!("/etc/pam.d/{service}")).collect();
        text.push_str(&format!(
            "\nAdd to {}:\n\n    \
             auth    required pam_twofa.so         below the line for common-auth (or pam_unix)\n    \
             account required pam_twofa.so         above the line for common-account\n",
            files.join(" and ")
        ));
    }
    if lines && by_ssh {
        let number = auth_lines(&fs::read_to_string(COMMON_AUTH).unwrap_or_default());
        text.push_str(&format!(
            "\nSo that an SSH key takes the place of the password, which users without a\n\
             password need, above common-auth in /etc/pam.d/sshd ({number} is the number of auth\n\
             lines in common-auth):\n\n    \
             auth    [success={number} default=ignore] pam_twofa.so pubkey_is_first_factor\n"
        ));
    }
    if settings && by_ssh {
        let settings = drop_in::settings(&config.policy, doctor::sshd::has_challenge()).join("\n    ");
        text.push_str(&format!(
            "\nWrite to {}, then `sshd -t && systemctl reload ssh`:\n\n    \
             {settings}\n\n\
             Root logs in by SSH only with `PermitRootLogin yes` there: sshd refuses its codes\n\
             otherwise.\n",
            drop_in::DROP_IN
        ));
    }
    text.push_str(
        "\nKeep a root shell open until you have logged in anew. `twofa-admin doctor` says\n\
         whom these lines lock out or let past, before anybody logs in.",
    );
    context.terminal.say(&text)
}

/// How many auth modules the included file has: that many lines are to be jumped over.
fn auth_lines(common_auth: &str) -> usize {
    let is_auth = |line: &&str| {
        let kind = line.split_whitespace().next().unwrap_or_default();
        matches!(kind, "auth" | "-auth") && !line.contains("pam_twofa.so")
    };
    common_auth.lines().filter(is_auth).count().max(1)
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
