//! `recovery`, and the recovery codes of an enrolment.

use crate::Outcome;
use crate::cli::RecoveryCommand;
use crate::context::Context;
use crate::error::Error;
use crate::terminal::Terminal;
use serde_json::json;
use twofa::account::{Account, State};
use twofa::code::{RECOVERY_BYTES, RECOVERY_CODES, RecoverySet, Secret, format_recovery};
use twofa::config::Config;
use twofa::message::Happening;
use twofa::{store, system};
use zeroize::Zeroizing;

/// New codes: as they are shown, and as they are kept.
pub(crate) struct Codes {
    shown: Vec<Zeroizing<String>>,
    set: RecoverySet,
}

impl Codes {
    pub(crate) fn make() -> Result<Self, Error> {
        let mut shown = Vec::with_capacity(RECOVERY_CODES);
        for _ in 0..RECOVERY_CODES {
            let random = Zeroizing::new(system::random::<RECOVERY_BYTES>()?);
            shown.push(format_recovery(&random));
        }
        let set = RecoverySet::new(Secret::new(system::random::<32>()?), &shown);
        Ok(Self { shown, set })
    }

    /// Puts them in place of the user's old ones.
    pub(crate) fn keep(&self, account: &mut Account, state: &mut State) {
        account.factors.recovery = Some(self.set.clone());
        state.renew_recovery();
    }

    pub(crate) fn shown(&self) -> Vec<&str> {
        self.shown.iter().map(|code| code.as_str()).collect()
    }

    /// Shows them, this once.
    pub(crate) fn show(&self, terminal: &mut Terminal) -> Result<(), Error> {
        terminal.say("\nRecovery codes: each opens one login when no other factor is at hand.")?;
        terminal.say("Keep them in a safe place. They are shown only now.\n")?;
        for code in &self.shown {
            terminal.say(&Zeroizing::new(format!("    {}", code.as_str())))?;
        }
        terminal.say("")
    }
}

/// Waits until the user has saved the codes. Nothing counts before.
pub(crate) fn wait_until_saved(terminal: &mut Terminal) -> Result<(), Error> {
    while terminal.ask("Type \"saved\" when you have saved the recovery codes: ")?.trim() != "saved" {
        terminal.note("Nothing is changed until you type: saved");
    }
    Ok(())
}

pub(crate) fn run(context: &mut Context, command: RecoveryCommand) -> Result<Outcome, Error> {
    let RecoveryCommand::New { user } = command;
    let (config, mut store) = context.open()?;
    let Some((before, _)) = store.account(&user)? else {
        return Err(store::Error::NoUser(user).into());
    };
    let codes = Codes::make()?;
    if context.json {
        keep(&mut store, &user, &codes)?;
        made(context, &config, &store, &before);
        context.report(&json!({ "user": user, "recovery_codes": codes.shown() }), |_| String::new())?;
    } else {
        codes.show(&mut context.terminal)?;
        wait_until_saved(&mut context.terminal)?;
        keep(&mut store, &user, &codes)?;
        made(context, &config, &store, &before);
        context
            .terminal
            .say(&format!("{user} has {RECOVERY_CODES} new recovery codes; the old ones are void."))?;
    }
    Ok(Outcome::Done)
}

fn made(context: &mut Context, config: &Config, store: &store::Store, before: &Account) {
    context.did(config, "recovery-codes-made", &before.user, "");
    context.tell(config, store, &before.user, Happening::RecoveryCodesMade, &before.factors);
}

fn keep(store: &mut store::Store, user: &str, codes: &Codes) -> Result<(), Error> {
    store.change(user, |account, state| {
        codes.keep(account, state);
        Ok(())
    })
}
