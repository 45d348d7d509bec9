//! Telephone numbers and e-mail addresses of users: checked before anything is stored or sent.

use crate::cli::ContactArguments;
use crate::context::Context;
use crate::error::Error;
use crate::terminal::Terminal;
use crate::{Outcome, missing, table, users};
use twofa::account::{Account, MAX_ADDRESSES};
use twofa::admin;
use twofa::config::Config;
use twofa::contact::{Address, Confirmable, Number, Prefix};
use twofa::message::Happening;
use twofa::policy::Method;
use twofa::store::{self, Store};

/// What is to be stored.
pub(crate) struct Contacts {
    phone: Option<Number>,
    addresses: Vec<Address>,
}

impl Contacts {
    pub(crate) fn parse(
        terminal: &mut Terminal,
        config: &Config,
        arguments: &ContactArguments,
    ) -> Result<Self, Error> {
        let phone = arguments.phone.as_deref().map(|typed| number(terminal, config, typed)).transpose()?;
        let addresses = arguments.email.iter().map(|typed| address(typed)).collect::<Result<Vec<_>, _>>()?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(Error::Usage(
                format!("{} addresses are more than a user can have", addresses.len()),
                format!("A user has at most {MAX_ADDRESSES}; a list or alias takes more."),
            ));
        }
        Ok(Self { phone, addresses })
    }

    /// Those of a list, where nothing is said of each; no number is an empty one.
    pub(crate) fn read(config: &Config, phone: &str, emails: &[String]) -> Result<Self, Error> {
        let phone = if phone.is_empty() { None } else { Some(read_number(config, phone)?) };
        let addresses = emails.iter().map(|typed| address(typed)).collect::<Result<Vec<_>, _>>()?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(Error::refused(format!("{MAX_ADDRESSES} addresses are the most"), ""));
        }
        Ok(Self { phone, addresses })
    }

    pub(crate) fn number(&self) -> Option<&Number> {
        self.phone.as_ref()
    }

    /// A new account has what the policy's methods need.
    pub(crate) fn refuse_missing(&self, config: &Config, user: &str) -> Result<(), Error> {
        let policy = &config.policy;
        if policy.methods.contains(&Method::Sms) && self.phone.is_none() {
            return Err(Error::Usage(
                "codes are sent by SMS here, so a new account needs a telephone number".into(),
                format!(
                    "For example: twofa-admin user add {} --phone \"+48 600 000 123\"",
                    table::printable(user)
                ),
            ));
        }
        let default = policy.email.as_ref().and_then(|email| email.default_address.as_ref());
        if policy.methods.contains(&Method::Email) && self.addresses.is_empty() && default.is_none() {
            return Err(Error::Usage(
                "codes are sent by e-mail here, so a new account needs an address".into(),
                format!(
                    "For example: twofa-admin user add {} --email alice@example.org",
                    table::printable(user)
                ),
            ));
        }
        Ok(())
    }

    /// Puts them in place of what the account had. What stays the same stays confirmed.
    pub(crate) fn keep(&self, account: &mut Account) {
        let factors = &mut account.factors;
        if let Some(number) = &self.phone {
            let known = factors.phone.take().filter(|known| known.to == *number);
            factors.phone = known.or(Some(Confirmable { to: number.clone(), confirmed: None }));
        }
        if !self.addresses.is_empty() {
            let known = std::mem::take(&mut factors.addresses);
            for address in &self.addresses {
                let confirmed =
                    known.iter().find(|known| known.to == *address).and_then(|known| known.confirmed);
                if factors.addresses.iter().all(|other| other.to != *address) {
                    factors.addresses.push(Confirmable { to: address.clone(), confirmed });
                }
            }
        }
    }

    pub(crate) fn refuse_shared(&self, store: &Store, user: &str, shared_ok: bool) -> Result<(), Error> {
        match &self.phone {
            Some(number) => refuse_shared(store, user, number, shared_ok),
            None => Ok(()),
        }
    }
}

/// A number that the policy lets codes be sent to. What was read into one without a country code is said.
pub(crate) fn number(terminal: &mut Terminal, config: &Config, typed: &str) -> Result<Number, Error> {
    let number = parse_number(config, typed)?;
    if !["+", "00"].iter().any(|start| typed.trim().starts_with(start)) {
        terminal.note(&format!("Read as {}.", number.as_str()));
    }
    refuse_prefix(config, &number)?;
    Ok(number)
}

fn read_number(config: &Config, typed: &str) -> Result<Number, Error> {
    let number = parse_number(config, typed)?;
    refuse_prefix(config, &number)?;
    Ok(number)
}

fn parse_number(config: &Config, typed: &str) -> Result<Number, Error> {
    let sms = config.policy.sms.as_ref();
    Number::parse(typed, sms.and_then(|sms| sms.country.as_ref())).map_err(|fault| {
        Error::refused(
            format!("`{}` {fault}", table::printable(typed)),
            "Write a number with its country code, as in \"+48 600 000 123\".",
        )
    })
}

fn refuse_prefix(config: &Config, number: &Number) -> Result<(), Error> {
    match config.policy.sms.as_ref() {
        Some(sms) if !number.starts_with_any(&sms.prefixes) => {
            let allowed: Vec<_> = sms.prefixes.iter().map(Prefix::as_str).collect();
            Err(Error::refused(
                format!(
                    "no code may be sent to {}: the policy allows {}",
                    number.masked(),
                    allowed.join(", ")
                ),
                "If it should, add the country to sms.prefixes with `twofa-admin policy set`.",
            ))
        }
        _ => Ok(()),
    }
}

pub(crate) fn address(typed: &str) -> Result<Address, Error> {
    Address::parse(typed).map_err(|fault| {
        Error::refused(
            format!("`{}` {fault}", table::printable(typed)),
            "Letters, digits and . _ + - = ' ~ may stand before the @.",
        )
    })
}

/// Two people with one telephone are one person to a gateway, and share its caps: that is to be meant.
pub(crate) fn refuse_shared(
    store: &Store,
    user: &str,
    number: &Number,
    shared_ok: bool,
) -> Result<(), Error> {
    let mut others = Vec::new();
    store.for_each(|account| {
        if let Ok((account, _)) = account
            && account.user != user
            && account.factors.phone.is_some_and(|phone| phone.to == *number)
        {
            others.push(account.user);
        }
    })?;
    match others.first() {
        Some(other) if !shared_ok => Err(Error::refused(
            format!("{} is the number of {} already", number.masked(), table::printable(other)),
            "If they share a telephone, repeat with --shared-ok.",
        )),
        _ => Ok(()),
    }
}

/// `user set`.
pub(crate) fn set(
    context: &mut Context,
    user: &str,
    arguments: &ContactArguments,
    no_phone: bool,
    no_email: bool,
) -> Result<Outcome, Error> {
    let nothing = arguments.phone.is_none() && arguments.email.is_empty() && !no_phone && !no_email;
    if nothing {
        return Err(Error::Usage(
            "there is nothing to set".into(),
            "For example: twofa-admin user set alice --phone \"+48 600 000 123\"".into(),
        ));
    }
    let (config, mut store) = context.open()?;
    let contacts = Contacts::parse(&mut context.terminal, &config, arguments)?;
    users::known(user)?;
    let found = store.account(user)?.ok_or_else(|| store::Error::NoUser(user.into()))?;
    let codes_left = admin::recovery_left(&found.0, &found.1);
    contacts.refuse_shared(&store, user, arguments.shared_ok)?;
    let (methods, is_changed) = store.change(user, |account, _| {
        let before = account.factors.clone();
        contacts.keep(account);
        if no_phone {
            account.factors.phone = None;
        }
        if no_email {
            account.factors.addresses.clear();
        }
        Ok::<_, Error>((config.policy.methods_of(&account.factors), account.factors != before))
    })?;
    context.did(&config, "contact-changed", user, "");
    if is_changed {
        context.tell(&config, &store, user, Happening::ContactsChanged, &found.0.factors);
    }
    context.terminal.say(&format!("{user} is changed."))?;
    remind(context, &config, user, &contacts, methods.is_empty(), codes_left);
    Ok(Outcome::Done)
}

/// What is left to do for the user.
pub(crate) fn remind(
    context: &mut Context,
    config: &Config,
    user: &str,
    contacts: &Contacts,
    cannot_log_in: bool,
    codes_left: usize,
) {
    if contacts.phone.is_some() {
        context
            .terminal
            .note(&format!("Nothing proves yet that the number is right: twofa-admin enroll phone {user}"));
    }
    if cannot_log_in {
        let step = missing::first_step(&config.policy, user);
        context.terminal.note(&format!("{user} has no second factor yet: {step}"));
    } else if codes_left == 0 {
        context.terminal.note(&format!(
            "{user} has no recovery codes for a day without it: twofa-admin recovery new {user}"
        ));
    }
}
