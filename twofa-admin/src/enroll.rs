//! `enroll`: a factor for a user. Nothing counts until a code proved it and the recovery codes are saved;
//! then all of it counts at once.

use crate::Outcome;
use crate::cli::EnrollCommand;
use crate::context::Context;
use crate::error::Error;
use crate::recovery::{Codes, wait_until_saved};
use crate::{contacts, keys, send, table, users};
use serde_json::json;
use twofa::account::{Account, App, MAX_APPS};
use twofa::code::{self, Answer, MAX_SECRET_BYTES, MIN_SECRET_BYTES, NEW_SECRET_BYTES, Secret, Shape};
use twofa::config::Config;
use twofa::contact::{Address, Number};
use twofa::message::Happening;
use twofa::policy::Recipient;
use twofa::store::Store;
use twofa::{otpauth, qr, system};
use zeroize::Zeroizing;

/// How often a wrong code may be typed back.
const TRIES: usize = 3;

pub(crate) fn run(context: &mut Context, command: EnrollCommand) -> Result<Outcome, Error> {
    let (config, mut store) = context.open()?;
    let (user, label, secret_stdin, digits, step, algorithm) = match command {
        EnrollCommand::App { user, label, secret_stdin, digits, step, algorithm } => {
            (user, label, secret_stdin, digits, step, algorithm)
        }
        EnrollCommand::Key { user, label, pin } => {
            let label = label.map(checked_label).transpose()?;
            return keys::enroll(context, &config, &mut store, &user, label, pin);
        }
        EnrollCommand::SshKey { user, file, label } => {
            let label = label.map(checked_label).transpose()?;
            return keys::enroll_ssh(context, &config, &mut store, &user, file, label);
        }
        EnrollCommand::Phone { user, number, shared_ok } => {
            let number = match number {
                Some(typed) => contacts::number(&mut context.terminal, &config, &typed)?,
                None => known_number(&store, &user)?,
            };
            let to = Recipient::Phone(number);
            return send::enroll(context, &config, &mut store, &user, &to, shared_ok);
        }
        EnrollCommand::Email { user, address } => {
            let address = match address {
                Some(typed) => contacts::address(&typed)?,
                None => known_address(&store, &user)?,
            };
            let to = Recipient::Mail(vec![address]);
            return send::enroll(context, &config, &mut store, &user, &to, false);
        }
    };
    let default = config.policy.app.shape;
    let shape = Shape {
        algorithm: algorithm.map_or(default.algorithm, Into::into),
        digits: digits.unwrap_or(default.digits),
        step: step.unwrap_or(default.step),
    };
    let label = label.map(checked_label).transpose()?;
    if secret_stdin {
        import(context, &config, &mut store, &user, label, shape)
    } else {
        app(context, &config, &mut store, &user, label, shape)
    }
}

/// The number that an administrator gave the user.
fn known_number(store: &Store, user: &str) -> Result<Number, Error> {
    let account = store.account(user)?.map(|(account, _)| account);
    account.and_then(|account| account.factors.phone).map(|phone| phone.to).ok_or_else(|| {
        Error::Usage(
            format!("{} has no telephone number to confirm", table::printable(user)),
            "Name one: twofa-admin enroll phone USER \"+48 600 000 123\"".into(),
        )
    })
}

fn known_address(store: &Store, user: &str) -> Result<Address, Error> {
    let account = store.account(user)?.map(|(account, _)| account);
    let addresses = account.map(|account| account.factors.addresses).unwrap_or_default();
    match addresses.as_slice() {
        [address] => Ok(address.to.clone()),
        addresses => Err(Error::Usage(
            match addresses.len() {
                0 => format!("{} has no e-mail address to confirm", table::printable(user)),
                many => format!("{} has {many} e-mail addresses", table::printable(user)),
            },
            "Say which one: twofa-admin enroll email USER alice@example.org".into(),
        )),
    }
}

/// Sets an app up with the user at the terminal.
pub(crate) fn app(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    user: &str,
    label: Option<String>,
    shape: Shape,
) -> Result<Outcome, Error> {
    if context.json {
        return Err(Error::Usage(
            "an enrolment is a dialogue, not a report".into(),
            "Leave out --json, or bring a secret with --secret-stdin.".into(),
        ));
    }
    let (account, state) = users::seen(store, user)?;
    let label = free_label(&account, label, "app")?;
    let secret = Secret::new(system::random::<NEW_SECRET_BYTES>()?);
    let issuer = issuer(config);
    show_secret(context, &issuer, user, &secret, shape)?;
    let step = prove(context, &secret, shape, config.policy.app.skew)?;
    let codes = if twofa::admin::recovery_left(&account, &state) == 0 { Some(Codes::make()?) } else { None };
    if let Some(codes) = &codes {
        codes.show(&mut context.terminal)?;
        wait_until_saved(&mut context.terminal)?;
    }
    let app = App { id: 0, label, secret, shape, added: system::now() };
    let label = keep(store, &account, app, Some(step), codes.as_ref())?;
    context.did(config, "enrolled", user, &format!("app {label}"));
    context.tell(config, store, user, Happening::Added(format!("app `{label}`")), &account.factors);
    context.terminal.say(&format!("{user} can log in with the app `{label}` now."))?;
    Ok(Outcome::Done)
}

/// Takes an existing secret over. Who brings it has it in an app already, so no code is asked for.
fn import(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    user: &str,
    label: Option<String>,
    shape: Shape,
) -> Result<Outcome, Error> {
    let secret = parse_secret(&context.terminal.line()?)?;
    let (account, state) = users::seen(store, user)?;
    let label = free_label(&account, label, "app")?;
    let codes = if twofa::admin::recovery_left(&account, &state) == 0 { Some(Codes::make()?) } else { None };
    let app = App { id: 0, label, secret, shape, added: system::now() };
    let label = keep(store, &account, app, None, codes.as_ref())?;
    context.did(config, "enrolled", user, &format!("app {label}, with a secret from elsewhere"));
    context.tell(config, store, user, Happening::Added(format!("app `{label}`")), &account.factors);
    if context.json {
        let shown = codes.as_ref().map(Codes::shown).unwrap_or_default();
        let report = json!({ "user": user, "label": label, "recovery_codes": shown });
        context.report(&report, |_| String::new())?;
        return Ok(Outcome::Done);
    }
    context.terminal.say(&format!("{user} can log in with the app `{label}` now."))?;
    if let Some(codes) = &codes {
        codes.show(&mut context.terminal)?;
    }
    Ok(Outcome::Done)
}

/// Adds the app, and the codes if there are new ones, to the account as it was `seen`; returns the label.
fn keep(
    store: &mut Store,
    seen: &Account,
    app: App,
    proven: Option<u64>,
    codes: Option<&Codes>,
) -> Result<String, Error> {
    users::change(store, seen, |account, state| {
        refuse_twice(account, &app.secret)?;
        let id = free_id(account)?;
        state.forget_app(id);
        // The code that proved the app opens no login.
        proven.iter().for_each(|step| state.set_last_step(id, *step));
        codes.iter().for_each(|codes| codes.keep(account, state));
        let label = app.label.clone();
        account.factors.apps.push(App { id, ..app });
        Ok(label)
    })
}

fn show_secret(
    context: &mut Context,
    issuer: &str,
    user: &str,
    secret: &Secret,
    shape: Shape,
) -> Result<(), Error> {
    let uri = otpauth::uri(issuer, user, secret, shape);
    let terminal = &mut context.terminal;
    terminal
        .say(&Zeroizing::new(format!("Open this in the authenticator app of {user}: {}", uri.as_str())))?;
    terminal.say(&Zeroizing::new(format!("Or type it in: {}", otpauth::groups(secret).as_str())))?;
    terminal.say(&format!(
        "               time based, {} digits, every {} seconds, {}",
        shape.digits,
        shape.step,
        shape.algorithm.name()
    ))?;
    // Last, as a screen of 24 lines has just room for it. A code this long always fits; without it the secret does.
    match qr::render(&uri, terminal.has_colour()) {
        Some(qr) => terminal.say(&Zeroizing::new(format!("Or scan it:\n\n{}", qr.trim_end_matches('\n')))),
        None => Ok(()),
    }
}

/// Asks for a code that the new app shows; returns its time step.
fn prove(context: &mut Context, secret: &Secret, shape: Shape, skew: u8) -> Result<u64, Error> {
    for left in (0..TRIES).rev() {
        let typed = context.terminal.ask("Code that the app shows now: ")?;
        let typed = typed.trim_end_matches(['\n', '\r']);
        if let Answer::Code(digits) = Answer::parse(typed.as_bytes(), None)
            && let Some(step) = code::matching_step(secret, shape, &digits, system::now(), skew)
        {
            return Ok(step);
        }
        if left > 0 {
            context
                .terminal
                .note("That is not the code of now. Check the clock of phone and host, and try again.");
        }
    }
    Err(Error::refused(
        "no code of the app was right; nothing was changed",
        "Check that phone and host agree about the time, then enroll again.",
    ))
}

fn issuer(config: &Config) -> String {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    config.policy.app.issuer.clone().or_else(host).unwrap_or_else(|| "twofa".into())
}

fn checked_label(label: String) -> Result<String, Error> {
    let fine = !label.trim().is_empty() && label.len() <= 32 && table::printable(&label) == label;
    if fine {
        return Ok(label);
    }
    Err(Error::Usage("a label has 1 to 32 printable characters".into(), "For example: --label phone".into()))
}

/// The wanted label, or the first free of `app`, `app-2`, ... A label names one app or key of a user.
pub(crate) fn free_label(account: &Account, wanted: Option<String>, usual: &str) -> Result<String, Error> {
    let factors = &account.factors;
    let apps = factors.apps.iter().map(|app| app.label.as_str());
    let keys = factors.keys.iter().map(|key| key.label.as_str());
    let labels: Vec<&str> =
        apps.chain(keys).chain(factors.ssh_keys.iter().map(|key| key.label.as_str())).collect();
    match wanted {
        Some(label) if labels.contains(&label.as_str()) => Err(Error::refused(
            format!("{} has `{label}` already", account.user),
            "Choose another --label, or remove that one with `twofa-admin user forget`.",
        )),
        Some(label) => Ok(label),
        None if !labels.contains(&usual) => Ok(usual.into()),
        None => {
            let mut others = (2..).map(|n| format!("{usual}-{n}"));
            Ok(others.find(|label| !labels.contains(&label.as_str())).unwrap_or_default())
        }
    }
}

fn free_id(account: &Account) -> Result<u8, Error> {
    let taken = |id: &u8| account.factors.apps.iter().any(|app| app.id == *id);
    (0..MAX_APPS as u8).find(|id| !taken(id)).ok_or_else(|| {
        Error::refused(
            format!("{} has {MAX_APPS} apps, which is the most there can be", account.user),
            "Remove one with `twofa-admin user forget`.",
        )
    })
}

fn refuse_twice(account: &Account, secret: &Secret) -> Result<(), Error> {
    match account.factors.apps.iter().find(|app| app.secret == *secret) {
        None => Ok(()),
        Some(app) => Err(Error::refused(
            format!("this secret is enrolled already, as `{}`", app.label),
            "One app can be on several devices; another app needs a secret of its own.",
        )),
    }
}

/// A base32 secret as people copy it: with spaces and dashes, in any case, padded or not.
fn parse_secret(typed: &str) -> Result<Secret, Error> {
    let mut text = Zeroizing::new(String::with_capacity(typed.len()));
    for (position, c) in (1..).zip(typed.trim().chars()) {
        match c.to_ascii_uppercase() {
            ' ' | '-' | '=' | '\t' => {}
            c @ ('A'..='Z' | '2'..='7') => text.push(c),
            _ => {
                return Err(Error::refused(
                    format!("the secret has a character at position {position} that is not base32"),
                    "Base32 has the letters A to Z and the digits 2 to 7 only.",
                ));
            }
        }
    }
    let bytes = base32::decode(base32::Alphabet::Rfc4648 { padding: false }, &text).map(Secret::new);
    match bytes {
        Some(secret) if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.expose().len()) => Ok(secret),
        Some(secret) => Err(Error::refused(
            format!("the secret has {} bits", secret.expose().len() * 8),
            format!("A secret has {} to {} bits (RFC 4226).", MIN_SECRET_BYTES * 8, MAX_SECRET_BYTES * 8),
        )),
        None => Err(Error::refused("the secret is not base32", "Copy it again, whole.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_as_people_copy_them() {
        let plain = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for typed in [
            plain.into(),
            plain.to_lowercase(),
            format!(" {} \n", plain.replace("GEZD", "gezd ")),
            format!("{plain}==="),
        ] {
            assert_eq!(parse_secret(&typed).unwrap().expose(), b"12345678901234567890", "{typed}");
        }
        let fault = |typed: &str| parse_secret(typed).unwrap_err().to_string();
        assert_eq!(fault("GEZDGNBVGY3TQOJ"), "the secret has 72 bits");
        assert_eq!(fault("GEZD0NBV"), "the secret has a character at position 5 that is not base32");
        assert_eq!(fault(""), "the secret has 0 bits");
    }
}
