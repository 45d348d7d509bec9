//! Messages that an administrator sends: to test a gateway, and to confirm a number or address.

use crate::cli::TestCommand;
use crate::context::Context;
use crate::error::Error;
use crate::recovery::{Codes, wait_until_saved};
use crate::{Outcome, contacts, doubts, table, users};
use serde_json::json;
use twofa::account::{Account, MAX_ADDRESSES};
use twofa::code::{Answer, Seed, SentCode};
use twofa::config::Config;
use twofa::contact::{Address, Confirmable};
use twofa::helper::{self, Job, Kind, Outcome as Sending, Report};
use twofa::login::Delivery;
use twofa::message::Happening;
use twofa::policy::{Method, Recipient, Request};
use twofa::store::Store;
use twofa::system;

/// How often a wrong code may be typed back.
const TRIES: usize = 3;

/// A message that the gateway took, and how long it was told to be valid for.
pub(crate) struct Sent {
    pub(crate) code: SentCode,
    until: u64,
    report: Report,
}

pub(crate) fn run(context: &mut Context, command: TestCommand) -> Result<Outcome, Error> {
    let config = context.config()?;
    let (method, to) = match command {
        TestCommand::Sms { to } => {
            (Method::Sms, Recipient::Phone(contacts::number(&mut context.terminal, &config, &to)?))
        }
        TestCommand::Email { to } => (Method::Email, Recipient::Mail(vec![contacts::address(&to)?])),
    };
    let sent = send(context, &config, method, Kind::Test, &to, "root")?;
    let answer = table::printable(&sent.report.answer);
    let report = json!({
        "sent": true, "method": method.name(), "to": to.masked(), "code": sent.code.expose(), "answer": answer,
    });
    context.report(&report, |_| {
        let answer = if answer.is_empty() { "nothing".into() } else { answer.clone() };
        format!(
            "The gateway took a message to {}.\nIts answer:          {answer}\nCode in the message: {}",
            to.masked(),
            sent.code.expose()
        )
    })?;
    Ok(Outcome::Done)
}

/// Hands a message with a new code to the policy's hook.
pub(crate) fn send(
    context: &Context,
    config: &Config,
    method: Method,
    kind: Kind,
    to: &Recipient,
    user: &str,
) -> Result<Sent, Error> {
    let Some(channel) = config.policy.channel(method) else {
        return Err(Error::refused(
            format!("the policy does not say how codes by {} are sent", method.spoken()),
            format!("Add a table [{}] with `hook` to the policy.", method.name()),
        ));
    };
    doubts::refuse_unsendable(&config.policy, &[method])?;
    let seed = Seed::new(system::random()?);
    let delivery = Delivery {
        method,
        to: to.clone(),
        code: seed.sent_code(0),
        enrolls: kind == Kind::Enroll,
        until: system::now().saturating_add(channel.valid_for),
        id: seed.message_id(0),
    };
    let request = Request {
        service: "twofa-admin".into(),
        user: user.into(),
        known: None,
        address: None,
        first_factor: true,
        local: true,
        ssh_keys: Vec::new(),
        claim: None,
        processes: Vec::new(),
        session: None,
        host: system::host(),
    };
    let job = Job::new(channel, kind, &delivery, &request);
    let delivered = helper::deliver(&config.policy.helper, &job, delivery.code.expose());
    let is_sent = delivered.as_ref().is_ok_and(|report| report.outcome == Sending::Sent);
    let what = format!("{} message by {} to {}", kind.name(), method.name(), to.masked());
    context.did(config, if is_sent { "sent" } else { "not-sent" }, user, &what);
    let report = delivered.map_err(|error| Error::refused(error.to_string(), error.hint()))?;
    match report.outcome {
        Sending::Sent => Ok(Sent { code: delivery.code, until: delivery.until, report }),
        outcome => Err(Error::refused(
            format!("the message to {} was not sent: {outcome}", to.masked()),
            match table::printable(&report.complaint) {
                said if said.is_empty() => format!("Try the hook by hand: {}", channel.hook.display()),
                said => format!("{} said: {said}", channel.hook.display()),
            },
        )),
    }
}

/// Asks for the code that was sent, which the user reads out of the message.
pub(crate) fn prove(context: &mut Context, sent: &Sent) -> Result<(), Error> {
    for left in (0..TRIES).rev() {
        let typed = context.terminal.ask("Code in the message: ")?;
        let typed = typed.trim_end_matches(['\n', '\r']);
        let right = match Answer::parse(typed.as_bytes(), None) {
            Answer::Code(digits) => *digits == sent.code.expose(),
            _ => false,
        };
        if system::now() >= sent.until {
            return Err(Error::refused("the code has expired; nothing was changed", "Begin again."));
        }
        if right {
            return Ok(());
        }
        if left > 0 {
            context.terminal.note("That is not the code in the message. Look at the newest one.");
        }
    }
    Err(Error::refused(
        "no code was right; nothing was changed",
        "Check the number or address, then try again.",
    ))
}

/// `enroll phone` and `enroll email`: what a code came back from is confirmed, and stored only then.
pub(crate) fn enroll(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    user: &str,
    to: &Recipient,
    shared_ok: bool,
) -> Result<Outcome, Error> {
    if context.json {
        return Err(Error::Usage(
            "an enrolment is a dialogue, not a report".into(),
            "Leave out --json.".into(),
        ));
    }
    let method = match to {
        Recipient::Phone(_) => Method::Sms,
        Recipient::Mail(_) => Method::Email,
    };
    let (seen, state) = users::seen(store, user)?;
    match to {
        Recipient::Phone(number) => contacts::refuse_shared(store, user, number, shared_ok)?,
        Recipient::Mail(addresses) => refuse_too_many(&seen, addresses)?,
    }
    let sent = send(context, config, method, Kind::Enroll, to, user)?;
    context.terminal.say(&format!("A message is on its way to {}.", to.masked()))?;
    prove(context, &sent)?;
    let codes = if twofa::admin::recovery_left(&seen, &state) == 0 { Some(Codes::make()?) } else { None };
    if let Some(codes) = &codes {
        codes.show(&mut context.terminal)?;
        wait_until_saved(&mut context.terminal)?;
    }
    let confirmed = Some(system::now());
    users::change(store, &seen, |account, state| {
        let factors = &mut account.factors;
        match to {
            Recipient::Phone(number) => factors.phone = Some(Confirmable { to: number.clone(), confirmed }),
            Recipient::Mail(addresses) => {
                for address in addresses {
                    factors.addresses.retain(|known| known.to != *address);
                    factors.addresses.push(Confirmable { to: address.clone(), confirmed });
                }
            }
        }
        codes.iter().for_each(|codes| codes.keep(account, state));
        Ok(())
    })?;
    context.did(config, "enrolled", user, &to.masked());
    context.tell(config, store, user, Happening::Added(to.masked()), &seen.factors);
    context.terminal.say(&format!("{} of {user} is confirmed.", to.masked()))?;
    if !config.policy.methods.contains(&method) {
        context.terminal.note(&format!("The policy's methods do not have {} among them.", method.name()));
    }
    Ok(Outcome::Done)
}

fn refuse_too_many(account: &Account, new: &[Address]) -> Result<(), Error> {
    let known = &account.factors.addresses;
    let added = new.iter().filter(|new| known.iter().all(|known| known.to != **new)).count();
    if known.len() + added <= MAX_ADDRESSES {
        return Ok(());
    }
    Err(Error::refused(
        format!("{} has {} e-mail addresses, which is the most there can be", account.user, known.len()),
        "Set them anew with `twofa-admin user set --email`, or use a list or alias.",
    ))
}
