//! `enroll key` and `enroll ssh-key`: security keys, plugged into this host or into the user's own.

use crate::context::Context;
use crate::enroll::free_label;
use crate::error::Error;
use crate::recovery::{Codes, wait_until_saved};
use crate::{Outcome, table, users};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use twofa::account::{Account, Key, MAX_KEYS, SshKey, State};
use twofa::code::Secret;
use twofa::config::Config;
use twofa::helper::{self, Registered, Registration};
use twofa::message::Happening;
use twofa::policy::Method;
use twofa::sshkey::{Line, SkKey};
use twofa::store::Store;
use twofa::token::Credential;
use twofa::{admin, system};

/// Seconds that a touch is waited for.
const TOUCH_TIME: u8 = 30;
/// How often a wrong PIN may be typed; a key blocks itself after eight.
const TRIES: usize = 3;
/// Longest file of keys that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// `enroll key`.
pub(crate) fn enroll(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    user: &str,
    label: Option<String>,
    pin: bool,
) -> Result<Outcome, Error> {
    refuse_json(context)?;
    let (seen, state) = users::seen(store, user)?;
    let label = free_label(&seen, label, "key")?;
    refuse_full(seen.factors.keys.len(), user)?;
    let verify = pin || config.policy.key.pin;
    let mut registration = Registration {
        rp_id: config.policy.key.rp_id.clone(),
        user: user.into(),
        challenge: system::random()?,
        exclude: seen.factors.keys.iter().map(|key| key.credential.clone()).collect(),
        pin: None,
        time: TOUCH_TIME,
    };
    if verify {
        registration.pin = Some(ask_pin(context)?);
    }
    let credential = register(context, config, registration)?;
    // A key with a PIN proves it now; whether it is asked for at logins, the administrator says.
    let has_pin = credential.verify;
    let credential = Credential { verify, ..credential };
    let codes = new_codes(context, &seen, &state)?;
    users::change(store, &seen, |account, state| {
        let taken = |id: &u8| account.factors.keys.iter().any(|key| key.id == *id);
        let id = (0..MAX_KEYS as u8).find(|id| !taken(id)).unwrap_or_default();
        // Whatever it counts from, the first login shows more.
        state.set_counter(id, 0);
        let added = system::now();
        account.factors.keys.push(Key { id, label: label.clone(), credential, has_pin, added });
        codes.iter().for_each(|codes| codes.keep(account, state));
        Ok::<_, Error>(())
    })?;
    context.did(config, "enrolled", user, &format!("security key {label}"));
    context.tell(config, store, user, Happening::Added(format!("security key `{label}`")), &seen.factors);
    context
        .terminal
        .say(&format!("{user} can log in with the security key `{label}` now, at this host's console."))?;
    remind(context, config);
    Ok(Outcome::Done)
}

/// Makes a credential, with the user at the key.
fn register(
    context: &mut Context,
    config: &Config,
    mut registration: Registration,
) -> Result<Credential, Error> {
    for left in (0..TRIES).rev() {
        context.terminal.note("Plug the security key in, if it is not, and touch it; it asks twice.");
        let registered = helper::register(&config.policy.helper, &registration)
            .map_err(|error| Error::refused(error.to_string(), error.hint()))?;
        let (what, hint) = match registered {
            Registered::Credential(credential) => return Ok(credential),
            Registered::PinRequired | Registered::WrongPin { .. } if left > 0 => {
                if let Registered::WrongPin { left } = registered {
                    let left = left.map_or_else(String::new, |left| format!(" The key takes {left} more."));
                    context.terminal.note(&format!("Wrong PIN.{left}"));
                }
                registration.pin = Some(ask_pin(context)?);
                registration.challenge = system::random()?;
                continue;
            }
            Registered::PinRequired => ("the key asks for a PIN", "Type the PIN of the key when asked."),
            Registered::WrongPin { .. } => {
                ("no PIN was right", "Find out the PIN; the key blocks itself after eight.")
            }
            Registered::PinPaused => (
                "too many PINs in a row were wrong",
                "Unplug the key and plug it in again; after eight wrong ones it blocks itself for good.",
            ),
            Registered::PinBlocked => {
                ("the PIN of the key is blocked", "Reset the key with its maker's tool.")
            }
            Registered::NoKey => ("no security key is plugged in", "Plug it into this host, then try again."),
            Registered::SeveralKeys => {
                ("several security keys are plugged in", "Leave only the one to enroll.")
            }
            Registered::AlreadyRegistered => {
                ("this key is enrolled already", "`twofa-admin user show` lists the keys.")
            }
            Registered::Denied => ("the key refused", "Try again, and touch it when it blinks."),
            Registered::TimedOut => ("the key was not touched", "Try again, and touch it when it blinks."),
            Registered::Gone => ("the key was unplugged", "Leave it plugged in, and try again."),
            Registered::Lied(why) | Registered::Failed(why) => {
                let why = format!("the key cannot be enrolled: {}", table::printable(&why));
                return Err(Error::refused(why, "Nothing was changed. Try another key or port."));
            }
        };
        return Err(Error::refused(format!("{what}; nothing was changed"), hint));
    }
    Err(Error::Stopped)
}

fn ask_pin(context: &mut Context) -> Result<Secret, Error> {
    let typed = context.terminal.ask_secretly("PIN of the security key: ")?;
    Ok(Secret::new(typed.trim_end_matches(['\n', '\r']).as_bytes()))
}

/// `enroll ssh-key`: from a file, or from the user's own `authorized_keys`.
pub(crate) fn enroll_ssh(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    user: &str,
    file: Option<PathBuf>,
    label: Option<String>,
) -> Result<Outcome, Error> {
    refuse_json(context)?;
    let by_name = file.is_some();
    let path = match file {
        Some(file) => file,
        None => home(user)?.join(".ssh/authorized_keys"),
    };
    let line = pick(context, &path, candidates(&path)?, by_name)?;
    let (seen, state) = users::seen(store, user)?;
    refuse_full(seen.factors.ssh_keys.len(), user)?;
    if let Some(known) = seen.factors.ssh_keys.iter().find(|known| known.key == line.key) {
        return Err(Error::refused(
            format!("this key is enrolled already, as `{}`", table::printable(&known.label)),
            format!("`twofa-admin user show {user}` lists the keys."),
        ));
    }
    refuse_shared(store, user, &line.key)?;
    let usual = own_label(&line.comment).unwrap_or("ssh-key");
    let label = free_label(&seen, label, usual)?;
    let codes = new_codes(context, &seen, &state)?;
    users::change(store, &seen, |account, state| {
        let key = SshKey { label: label.clone(), key: line.key.clone(), added: system::now() };
        account.factors.ssh_keys.push(key);
        codes.iter().for_each(|codes| codes.keep(account, state));
        Ok::<_, Error>(())
    })?;
    let key = |label: &str| format!("SSH key {label} {}", line.key.fingerprint());
    context.did(config, "enrolled", user, &key(&label));
    context.tell(config, store, user, Happening::Added(key(&format!("`{label}`"))), &seen.factors);
    context
        .terminal
        .say(&format!("{user} can log in with the SSH key `{label}` now: {}", line.key.fingerprint()))?;
    if line.no_touch_required {
        context.terminal.note(
            "Its line says no-touch-required. Set `PubkeyAuthOptions touch-required` in sshd_config, which overrules it.",
        );
    } else {
        context
            .terminal
            .note("Set `PubkeyAuthOptions touch-required` in sshd_config, so that no user can do without.");
    }
    remind(context, config);
    Ok(Outcome::Done)
}

/// The lines of a file that have a key of a security key; what is wrong when there is none.
fn candidates(path: &Path) -> Result<Vec<Line>, Error> {
    // It may be in a folder of the user's: no link is followed, and no FIFO waited for.
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let cannot = |error: std::io::Error| {
        Error::refused(
            format!("{} cannot be read: {error}", path.display()),
            "Name a file: twofa-admin enroll ssh-key USER FILE",
        )
    };
    let file = file.map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(cannot(std::io::Error::other("it is not a regular file")));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(cannot)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed: Vec<_> = lines.map(Line::parse).collect();
    let faults: Vec<_> = parsed.iter().filter_map(|line| line.as_ref().err().copied()).collect();
    let keys: Vec<Line> = parsed.into_iter().filter_map(Result::ok).collect();
    if !keys.is_empty() {
        return Ok(keys);
    }
    let why = match faults.as_slice() {
        [] => "it has no key".to_string(),
        [fault] => format!("its line {fault}"),
        [fault, ..] => format!("none of its lines has a key of a security key; the first one {fault}"),
    };
    Err(Error::refused(
        format!("{}: {why}", path.display()),
        "Such a key is made with `ssh-keygen -t ed25519-sk`.",
    ))
}

/// Asks which one, when there are several, or when the file is one that its user can change and nobody named.
fn pick(context: &mut Context, path: &Path, mut lines: Vec<Line>, by_name: bool) -> Result<Line, Error> {
    if lines.len() > 1 {
        context.terminal.note(&format!("{} has several:", path.display()));
        for (number, line) in (1..).zip(&lines) {
            let text = format!("  {number}  {}  {}", line.key.fingerprint(), line.comment);
            context.terminal.note(&table::printable(&text));
        }
    }
    let at = match lines.as_slice() {
        [only] if !by_name => {
            let text = format!("{} has {} {}", path.display(), only.key.fingerprint(), only.comment);
            context.terminal.note(table::printable(&text).trim_end());
            if !context.terminal.confirm("Enroll it?")? {
                return Err(Error::Stopped);
            }
            0
        }
        [_] => 0,
        several => {
            let many = several.len();
            let answer = context.terminal.ask(&format!("Which one? [1-{many}] "))?;
            let number = answer.trim().parse::<usize>().ok().filter(|number| (1..=many).contains(number));
            number.ok_or(Error::Stopped)? - 1
        }
    };
    Ok(lines.swap_remove(at))
}

fn home(user: &str) -> Result<PathBuf, Error> {
    let found = nix::unistd::User::from_name(user).map_err(std::io::Error::from)?;
    found.map(|user| user.dir).ok_or_else(|| Error::NoSuchUser(user.into()))
}

/// A key that two users have proves neither.
fn refuse_shared(store: &Store, user: &str, key: &SkKey) -> Result<(), Error> {
    let mut others = Vec::new();
    store.for_each(|account| {
        if let Ok((account, _)) = account
            && account.user != user
            && account.factors.ssh_keys.iter().any(|known| known.key == *key)
        {
            others.push(account.user);
        }
    })?;
    match others.first() {
        None => Ok(()),
        Some(other) => Err(Error::refused(
            format!("{} has this key already", table::printable(other)),
            "Each user needs a key pair of their own; one security key can hold many.",
        )),
    }
}

/// The comment of a key, if it can be a label.
fn own_label(comment: &str) -> Option<&str> {
    let fine = !comment.is_empty() && comment.len() <= 32 && table::printable(comment) == comment;
    fine.then_some(comment)
}

/// Recovery codes, shown and saved, for who has none.
fn new_codes(context: &mut Context, seen: &Account, state: &State) -> Result<Option<Codes>, Error> {
    if admin::recovery_left(seen, state) > 0 {
        return Ok(None);
    }
    let codes = Codes::make()?;
    codes.show(&mut context.terminal)?;
    wait_until_saved(&mut context.terminal)?;
    Ok(Some(codes))
}

fn refuse_full(has: usize, user: &str) -> Result<(), Error> {
    if has < MAX_KEYS {
        return Ok(());
    }
    Err(Error::refused(
        format!("{user} has {MAX_KEYS} of these, which is the most there can be"),
        "Remove one with `twofa-admin user forget`.",
    ))
}

fn refuse_json(context: &Context) -> Result<(), Error> {
    if context.json {
        return Err(Error::Usage(
            "an enrolment is a dialogue, not a report".into(),
            "Leave out --json.".into(),
        ));
    }
    Ok(())
}

fn remind(context: &mut Context, config: &Config) {
    if !config.policy.methods.contains(&Method::Key) {
        context.terminal.note("The policy's methods do not have `key` among them.");
    }
}
