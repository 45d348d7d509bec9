//! `twofa-admin`: manages enrollments and the policy. Root only; secrets come and go on stdin and stdout,
//! never in arguments.
#![forbid(unsafe_code)]

mod audit;
mod bulk;
mod bypass;
mod cli;
mod contacts;
mod context;

mod csv;

mod doctor;

mod doubts;
mod enroll;
mod error;
mod exempt;
mod explain;
mod file;
mod import;
mod init;
mod keys;
mod last_login;
mod manual;
mod metrics;
mod missing;
mod policy;
mod progress;
mod recovery;
mod rollout;
mod send;
mod sshd;
mod status;
mod table;
mod terminal;
mod trial;
mod trust;
mod users;
mod when;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use context::Context;
use error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What a command came to, besides an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The report found something.
    Found,
    /// What a monitoring plug-in ends with.
    Health(u8),
}

/// What monitoring takes for "unknown"; 2 would be an alarm.
const COULD_NOT_LOOK: u8 = 3;

/// Of a command line that makes no sense.
fn usage_code() -> u8 {
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        if word == "--conf" {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return if word == "doctor" { COULD_NOT_LOOK } else { 2 };
        }
    }
    2
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(usage_code()) };
        }
    };
    let is_doctor = matches!(cli.command, Command::Doctor);
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(3),
        Ok(Outcome::Health(code)) => ExitCode::from(code),
        Err(error) => {
            // Whoever reads has seen enough, as head does.
            let is_unread = matches!(&error, Error::Io(why) if why.kind() == std::io::ErrorKind::BrokenPipe);
            if !is_unread {
                // Names in it may be anything.
                let text = format!("twofa-admin: {error}\n{}", error.hint());
                let lines: Vec<String> = text.lines().map(table::printable).collect();
                let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
            }
            ExitCode::from(if is_doctor { COULD_NOT_LOOK } else { error.exit_code() })
        }
    }
}

fn run(cli: Cli) -> Result<Outcome, Error> {
    // Packages are built by somebody who is not root.
    match &cli.command {
        Command::Completions { shell } => return complete(*shell),
        Command::Manual => return manual::run(),
        _ => {}
    }
    let mut context = Context::new(cli.conf, cli.json)?;
    match cli.command {
        Command::Init(how) => init::run(&mut context, &how),
        Command::Status => status::run(&mut context),
        Command::Doctor => doctor::run(&mut context),
        Command::Policy { command } => policy::run(&mut context, command),
        Command::User { command } => users::run(&mut context, command),
        Command::Enroll { command } => enroll::run(&mut context, command),
        Command::Recovery { command } => recovery::run(&mut context, command),
        Command::Import { command } => import::run(&mut context, command),
        Command::Rollout { command } => rollout::run(&mut context, &command),
        Command::Exempt { command } => exempt::run(&mut context, command),
        Command::Trust { command } => trust::run(&mut context, command),
        Command::Audit { command, filter } => audit::run(&mut context, command.as_ref(), &filter),
        Command::Explain(arguments) => explain::run(&mut context, &arguments),
        Command::Metrics { textfile } => metrics::run(&mut context, textfile.as_deref()),
        Command::Completions { shell } => complete(shell),
        Command::Manual => manual::run(),
        Command::Test { command } => send::run(&mut context, command),
    }
}

/// In memory first: a reader that goes away is an error, and no panic.
fn complete(shell: clap_complete::Shell) -> Result<Outcome, Error> {
    let all = Cli::command();
    // The generators offer what is hidden too.
    let mut shown = clap::Command::new("twofa-admin")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "twofa-admin", &mut script);
    // For bash, clap_complete 4.6 writes the hyphen of our name in two ways, and would complete no subcommand.
    let script = String::from_utf8_lossy(&script).replace("twofa__subcmd__admin__", "twofa__admin__");
    std::io::stdout().write_all(script.as_bytes())?;
    Ok(Outcome::Done)
}
