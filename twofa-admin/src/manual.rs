//! `manual`: the page twofa-admin(8), made from the command line itself, in mdoc(7).

use crate::Outcome;
use crate::cli::Cli;
use crate::error::Error;
use clap::{Arg, ArgAction, Command, CommandFactory};
use std::fmt::Write as _;
use std::io::Write as _;

const HEAD: &str = include_str!("manual/head.mdoc");
const TAIL: &str = include_str!("manual/tail.mdoc");

pub(crate) fn run() -> Result<Outcome, Error> {
    std::io::stdout().write_all(page().as_bytes())?;
    Ok(Outcome::Done)
}

fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut page = HEAD.to_string();
    let _ = writeln!(page, ".Ss Options of every command\n.Bl -tag -width Ds");
    cli.get_arguments().filter(|argument| is_shown(argument)).for_each(|argument| item(&mut page, argument));
    page.push_str(".El\n");
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        let _ = writeln!(page, ".Ss {}", escape(command.get_name()));
        section(&mut page, "", command);
    }
    page.push_str(TAIL);
    page
}

/// A command with its arguments, or those below it.
fn section(page: &mut String, above: &str, command: &Command) {
    let name = format!("{above}{}", command.get_name());
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .collect();
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| is_own(argument)).collect();
    // Of a command that only has others below it, what it is for is enough.
    let mut paragraphs = about(command).iter().map(|text| format!("{}.", escape(text))).collect::<Vec<_>>();
    if below.is_empty() || !arguments.is_empty() {
        paragraphs.insert(0, format!(".Nm Ic {}{}", escape(&name), synopsis(&arguments)));
    }
    if below.is_empty() || !arguments.is_empty() || above.is_empty() {
        // A section begins without a gap of its own.
        let gap = if above.is_empty() { "" } else { ".Pp\n" };
        let _ = writeln!(page, "{gap}{}", paragraphs.join("\n.Pp\n"));
    }
    let explained: Vec<_> = arguments.iter().filter(|argument| argument.get_help().is_some()).collect();
    if !explained.is_empty() {
        page.push_str(".Bl -tag -width Ds -compact\n");
        explained.iter().for_each(|argument| item(page, argument));
        page.push_str(".El\n");
    }
    below.iter().for_each(|below| section(page, &format!("{name} "), below));
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// Not one of those that every command has.
fn is_own(argument: &Arg) -> bool {
    is_shown(argument) && !argument.is_global_set()
}

/// What a command is for, in paragraphs without their full stops.
fn about(command: &Command) -> Vec<String> {
    let text = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    text.split("\n\n").map(|text| text.trim_end_matches('.').to_string()).collect()
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

fn value(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let name = names.first().map_or_else(|| argument.get_id().to_string(), ToString::to_string);
    name.to_lowercase().replace(' ', "-")
}

/// What follows the name of a command, as macros of one line.
fn synopsis(arguments: &[&Arg]) -> String {
    let mut text = String::new();
    for argument in arguments {
        let word = match argument.get_long() {
            Some(long) if takes_value(argument) => format!("Fl -{long} Ar {}", escape(&value(argument))),
            Some(long) => format!("Fl -{long}"),
            None => format!("Ar {}", escape(&value(argument))),
        };
        let _ = match argument.is_required_set() {
            true => write!(text, " {word}"),
            false => write!(text, " Oo {word} Oc"),
        };
    }
    text
}

fn item(page: &mut String, argument: &Arg) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let _ = match argument.get_long() {
        Some(long) if takes_value(argument) => {
            writeln!(page, ".It Fl -{long} Ar {}", escape(&value(argument)))
        }
        Some(long) => writeln!(page, ".It Fl -{long}"),
        None => writeln!(page, ".It Ar {}", escape(&value(argument))),
    };
    if !help.is_empty() {
        let _ = writeln!(page, "{}.", escape(help.trim_end_matches('.')));
    }
    if !takes_value(argument) {
        return;
    }
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
    if let [most @ .., last] = values.as_slice() {
        let _ = writeln!(page, "One of {} and {}.", escape(&most.join(", ")), escape(last));
    }
    if let [default] = argument.get_default_values() {
        let _ = writeln!(page, "{} when absent.", escape(&default.to_string_lossy()));
    }
}

/// Text that mdoc takes for nothing else: no macro at a line's begin, no escape.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('\n', " ");
    let text = text.replace('-', "\\-").replace(". ", ".\n");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_page() {
        let page = page();
        let mut cli = Cli::command();
        cli.build();
        let mut seen = 0;
        let mut left: Vec<&Command> =
            cli.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        while let Some(command) = left.pop() {
            assert!(page.contains(&escape(command.get_name())), "{}", command.get_name());
            for argument in command.get_arguments().filter(|argument| is_own(argument)) {
                seen += 1;
                let named = argument.get_long().map_or_else(|| value(argument), |long| format!("Fl -{long}"));
                assert!(
                    page.contains(&named) || page.contains(&escape(&named)),
                    "{} {named}",
                    command.get_name()
                );
                assert!(
                    argument.get_help().is_some() || argument.get_long().is_none(),
                    "{named} has no help"
                );
            }
            left.extend(command.get_subcommands().filter(|command| command.get_name() != "help"));
        }
        assert!(seen > 40);
    }
}
