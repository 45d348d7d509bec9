//! `policy edit`: an editor on a copy, which replaces the policy once it is valid.

use super::put_in_force;
use crate::context::Context;
use crate::error::Error;
use crate::file::Original;
use crate::{Outcome, table};
use std::fs;
use std::path::Path;
use twofa::trial::Trial;
use twofa::{config, system, trusted};

/// What is there on every Debian, and what POSIX has.
const EDITORS: [&str; 2] = ["/usr/bin/editor", "vi"];

pub(super) fn run(context: &mut Context, force: bool) -> Result<Outcome, Error> {
    let old = Original::read(&context.conf)?;
    // In the policy's own folder, which is root's; its end is for editors that know TOML.
    let draft = context.conf.with_extension(format!("edit-{}.toml", std::process::id()));
    trusted::replace(&draft, old.text.as_bytes(), 0o600)?;
    let outcome = edit(context, &draft, &old, force);
    let unused =
        !matches!(outcome, Ok(Outcome::Done)) && fs::read(&draft).is_ok_and(|new| new != old.text.as_bytes());
    if unused {
        context.terminal.note(&format!("What you wrote is in {}.", draft.display()));
    } else {
        let _ = fs::remove_file(&draft);
    }
    outcome
}

fn edit(context: &mut Context, draft: &Path, old: &Original, force: bool) -> Result<Outcome, Error> {
    let (after, new) = loop {
        open_editor(draft)?;
        let new = fs::read_to_string(draft).map_err(|error| {
            Error::refused(format!("{}: {error}; nothing was changed", draft.display()), "Edit it again.")
        })?;
        if new == old.text {
            context.terminal.say("Nothing was changed.")?;
            return Ok(Outcome::Done);
        }
        match config::parse(&context.conf, &new) {
            Ok(after) => break (after, new),
            Err(fault) => context.terminal.note(&table::printable(&fault.to_string())),
        }
        if !context.terminal.confirm("Edit it again?")? {
            return Err(Error::Stopped);
        }
    };
    context.terminal.note(&difference(&old.text, &new));
    if !context.terminal.confirm("Put this in force?")? {
        return Err(Error::Stopped);
    }
    let outcome = put_in_force(context, old, &after, &new, "edited", force)?;
    // What an administrator sets by hand is no trial.
    let before = config::parse(&context.conf, &old.text);
    let same_mode = before.is_ok_and(|before| before.policy.mode == after.policy.mode);
    if outcome == Outcome::Done && !same_mode {
        Trial::end(&after.store)?;
    }
    Ok(outcome)
}

fn open_editor(file: &Path) -> Result<(), Error> {
    let chosen = ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok());
    let mut chosen = chosen.filter(|editor| !editor.trim().is_empty());
    let usual = || EDITORS.into_iter().find(|editor| !editor.starts_with('/') || Path::new(editor).exists());
    let editor = chosen.next().or_else(|| usual().map(Into::into)).unwrap_or_else(|| "vi".into());
    if system::edit(&editor, file)? {
        return Ok(());
    }
    Err(Error::refused(
        format!("the editor `{}` failed; nothing was changed", table::printable(&editor)),
        "Set EDITOR to the one you use.",
    ))
}

/// The lines that differ, between what both begin and end with.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = (old.len().min(new.len())).saturating_sub(before);
    let after = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
    let middle = |lines: &[&str], sign: &str| -> Vec<String> {
        let end = lines.len().saturating_sub(after);
        let changed = lines.get(before..end).unwrap_or_default();
        changed.iter().map(|line| format!("{sign} {}", table::printable(line))).collect()
    };
    [middle(&old, "-"), middle(&new, "+")].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn only_what_differs_is_shown() {
        let table = [
            ("a\nb\nc\n", "a\nx\nc\n", "- b\n+ x"),
            ("a\nb\n", "a\nb\nc\n", "+ c"),
            ("a\na\n", "a\n", "- a"),
            ("", "a\n", "+ a"),
            ("a\n", "a", ""),
        ];
        for (old, new, expected) in table {
            assert_eq!(difference(old, new), expected, "{old:?} {new:?}");
        }
    }
}
