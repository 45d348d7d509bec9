//! A file of the host that others own and read: replaced in one step, with a copy of what it was, and never through a
//! link.

use crate::error::Error;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use twofa::trusted::{self, Owner, Readers};

const MAX_FILE: u64 = 1024 * 1024;
/// So many other backups may be there.
const MAX_BACKUPS: usize = 100;

/// A file as it is now.
pub(crate) struct Original {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    owner: Owner,
    names: u64,
}

impl Original {
    /// # Errors
    ///
    /// Why it is not to be touched.
    pub(crate) fn read(path: &Path) -> Result<Self, trusted::Error> {
        let failed = |error: io::Error| trusted::Error::Io(path.into(), error);
        let file = trusted::open(path, Readers::All, false)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() > MAX_FILE {
            return Err(trusted::Error::Unsafe(path.into(), "is too long"));
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        let owner = Owner { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 };
        Ok(Self { path: path.into(), text, owner, names: metadata.nlink() })
    }

    /// # Errors
    ///
    /// When another name (a hard link) would go on with the old content.
    pub(crate) fn refuse_other_names(self) -> Result<Self, String> {
        match self.names {
            1 => Ok(self),
            _ => Err(format!("{} has another name too (a hard link)", self.path.display())),
        }
    }

    /// Puts `text` in its place, after keeping what it was. Returns the name of the backup.
    pub(crate) fn replace(&self, text: &str) -> Result<PathBuf, Error> {
        self.refuse_changed(&self.text)?;
        let backup = self.back_up()?;
        self.put(text).inspect_err(|_| {
            // A copy of what is there still is of no use.
            if self.refuse_changed(&self.text).is_ok() {
                tidy(&self.path, &self.text);
            }
        })?;
        Ok(backup)
    }

    /// Puts `text` in its place, without a copy of what it was.
    pub(crate) fn put(&self, text: &str) -> Result<(), Error> {
        self.refuse_changed(&self.text)?;
        Ok(trusted::replace_as(&self.path, text.as_bytes(), &self.owner)?)
    }

    /// Puts it back in the place of `text`.
    pub(crate) fn restore(&self, text: &str) -> Result<(), Error> {
        self.refuse_changed(text)?;
        Ok(trusted::replace_as(&self.path, self.text.as_bytes(), &self.owner)?)
    }

    /// Removes it, when it still is what it was.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        self.refuse_changed(&self.text)?;
        fs::remove_file(&self.path)?;
        Ok(trusted::sync_folder(&self.path)?)
    }

    /// Makes it again after [`Self::remove`].
    pub(crate) fn remake(&self) -> Result<(), Error> {
        Ok(trusted::create(&self.path, self.text.as_bytes(), self.owner.mode)?)
    }

    /// Somebody may have been at it while the question was open: changed it, its mode, or put a link in its place.
    fn refuse_changed(&self, expected: &str) -> Result<(), Error> {
        match Self::read(&self.path) {
            Ok(now) if now.text == expected && now.owner == self.owner => Ok(()),
            _ => {
                let what = format!("{} was changed by somebody else meanwhile", self.path.display());
                Err(Error::refused(what, "Look at it, and run the command again."))
            }
        }
    }

    /// Keeps a copy under a name that nothing else has; one that is the same is enough.
    fn back_up(&self) -> Result<PathBuf, Error> {
        for backup in backups(&self.path) {
            match fs::symlink_metadata(&backup) {
                Ok(_) if is_copy(&backup, &self.text) => return Ok(backup),
                Ok(_) => {}
                Err(_) => {
                    trusted::create_as(&backup, self.text.as_bytes(), &self.owner)?;
                    return Ok(backup);
                }
            }
        }
        let what = format!("{} has {MAX_BACKUPS} backups already", self.path.display());
        Err(Error::refused(what, "Remove those that you do not need."))
    }
}

/// Removes the backups that say what the file says again; returns those that say something else.
pub(crate) fn tidy(path: &Path, text: &str) -> Vec<PathBuf> {
    let there = backups(path).into_iter().filter(|backup| backup.exists());
    let (same, others): (Vec<_>, Vec<_>) = there.partition(|backup| is_copy(backup, text));
    let left = same.into_iter().filter(|backup| fs::remove_file(backup).is_err());
    left.collect::<Vec<_>>().into_iter().chain(others).collect()
}

/// `sshd.twofa-backup`, `sshd.twofa-backup.2` and so on.
fn backups(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = (2..=MAX_BACKUPS).map(|number| format!("{name}.twofa-backup.{number}"));
    let names = std::iter::once(format!("{name}.twofa-backup")).chain(numbered);
    names.map(|name| path.with_file_name(name)).collect()
}

fn is_copy(backup: &Path, text: &str) -> bool {
    trusted::read(backup, Readers::All, MAX_FILE).is_ok_and(|copy| copy == text.as_bytes())
}

/// What becomes of a file, with a line around each place; lines are only added, or only removed.
pub(crate) fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let (sign, longer, shorter) = if new.len() >= old.len() { ('+', new, old) } else { ('-', old, new) };
    let mut rest = shorter.iter().peekable();
    let marked: Vec<(bool, &str)> =
        longer.into_iter().map(|line| (rest.next_if(|same| **same == line).is_none(), line)).collect();
    let is_near = |index: usize| {
        let around = index.saturating_sub(1)..=index + 1;
        around.into_iter().any(|index| marked.get(index).is_some_and(|(changed, _)| *changed))
    };
    let mut shown = Vec::new();
    let mut last = None;
    for (index, (changed, line)) in marked.iter().enumerate().filter(|(index, _)| is_near(*index)) {
        if last.is_some_and(|last| last + 1 < index) {
            shown.push("      ...".to_string());
        }
        last = Some(index);
        let sign = if *changed { sign } else { ' ' };
        shown.push(format!("{:>4} {sign} {line}", index + 1).trim_end().to_string());
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_or_removed_is_shown_with_what_is_around_it() {
        let old = "a\nb\nc\nd\ne\nf\n";
        let new = "a\nX\nb\nc\nd\ne\nY\nf\n";
        assert_eq!(
            difference(old, new),
            "   1   a\n   2 + X\n   3   b\n      ...\n   6   e\n   7 + Y\n   8   f"
        );
        assert_eq!(difference("a\nX\nb\n", "a\nb\n"), "   1   a\n   2 - X\n   3   b");
        assert_eq!(difference("a\n", "a\na\n"), "   1   a\n   2 + a");
    }
}
