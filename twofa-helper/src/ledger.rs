//! Which notices were sent lately, and how many are on their way: so that whatever goes on in a host, its users are not
//! flooded, nor it with processes.
//!
//! A file of a fixed size, one entry a place; another notice at the same place makes one forgotten, and no harm is done:
//!
//! ```text
//! time 8 | user and occasion, hashed 8      (little endian)
//! ```

use nix::fcntl::{FcntlArg, fcntl};
use ring::digest::{SHA256, digest};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use twofa::policy::Occasion;
use twofa::trusted::{self, Readers};

/// Processes at once; more are given up.
const SLOTS: libc::off_t = 8;
/// Behind the slots: the entries.
const ENTRIES_LOCK: libc::off_t = SLOTS;
/// Seconds between two notices of one kind to one user.
const PAUSE: u64 = 60;
const PLACES: u64 = 1024;
const ENTRY_BYTES: u64 = 16;

/// The file, and in it a slot that nobody else has until this is dropped.
pub(crate) struct Ledger(File);

impl Ledger {
    /// A slot; or why there is none.
    pub(crate) fn enter(path: &Path) -> Result<Self, String> {
        let file = open(path).map_err(|error| format!("cannot be counted: {error}"))?;
        let mut slots = 0..SLOTS;
        match slots.any(|slot| lock(&file, slot, false).is_ok()) {
            true => Ok(Self(file)),
            false => Err("too many notices are on their way".into()),
        }
    }

    /// Whether one of this kind may be sent to this user, which counts as sent then.
    pub(crate) fn allows(&self, user: &str, occasion: Occasion, now: u64) -> bool {
        if lock(&self.0, ENTRIES_LOCK, true).is_err() {
            return false;
        }
        let allowed = self.count(user, occasion, now);
        let _ = unlock(&self.0, ENTRIES_LOCK);
        allowed
    }

    fn count(&self, user: &str, occasion: Occasion, now: u64) -> bool {
        let hash = digest(&SHA256, format!("{}\0{user}", occasion.name()).as_bytes());
        let tag: [u8; 8] = hash.as_ref().first_chunk().copied().unwrap_or_default();
        let place = u64::from_le_bytes(tag) % PLACES * ENTRY_BYTES;
        let mut entry = [0; ENTRY_BYTES as usize];
        // What is not there yet is as good as zeros.
        let _ = self.0.read_exact_at(&mut entry, place);
        let (at, of) = entry.split_at(8);
        let at = at.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if of == tag && at.abs_diff(now) < PAUSE {
            return false;
        }
        let entry = [now.to_le_bytes(), tag].concat();
        // On a full disk there is a notice too many rather than none: the slots hold all the same.
        let _ = self.0.write_all_at(&entry, place);
        true
    }
}

fn open(path: &Path) -> io::Result<File> {
    if !path.exists() {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        // Another one may have been first.
        made.map(drop).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    }
    trusted::open(path, Readers::Owner, true).map_err(|error| io::Error::other(error.to_string()))
}

/// Of the open file, not of the process: the kernel gives it back with the last descriptor.
fn lock(file: &File, byte: libc::off_t, wait: bool) -> nix::Result<()> {
    let range = range(byte, libc::F_WRLCK);
    let how = if wait { FcntlArg::F_OFD_SETLKW(&range) } else { FcntlArg::F_OFD_SETLK(&range) };
    fcntl(file, how).map(drop)
}

fn unlock(file: &File, byte: libc::off_t) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range(byte, libc::F_UNLCK))).map(drop)
}

fn range(byte: libc::off_t, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        // OFD locks have no owner by number (fcntl(2)).
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("twofa-ledger-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("notices")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn eight_are_on_their_way_at_once_and_no_more() {
        let scratch = Scratch::new("slots");
        let mut held: Vec<Ledger> = (0..8).map(|_| Ledger::enter(&scratch.path()).unwrap()).collect();
        let refused = Ledger::enter(&scratch.path()).err();
        assert_eq!(refused.as_deref(), Some("too many notices are on their way"));
        held.remove(3);
        let ninth = Ledger::enter(&scratch.path()).unwrap();
        assert!(Ledger::enter(&scratch.path()).is_err());
        // Who counts holds up nobody who is in.
        assert!(
            ninth.allows("alice", Occasion::Reset, 100) && !held[0].allows("alice", Occasion::Reset, 100)
        );
    }

    #[test]
    fn one_of_a_kind_for_a_user_in_a_minute() {
        let scratch = Scratch::new("pause");
        let now = 1_795_298_580;
        let table = [
            ("alice", Occasion::Reset, now, true),
            ("alice", Occasion::Reset, now, false),
            ("alice", Occasion::Reset, now + 59, false),
            ("alice", Occasion::Bypass, now + 59, true),
            ("bob", Occasion::Reset, now + 59, true),
            ("alice", Occasion::Reset, now + 60, true),
            ("alice", Occasion::Reset, now + 61, false),
            // A clock that was set back a little, and one that was set back far.
            ("alice", Occasion::Reset, now + 1, false),
            ("alice", Occasion::Reset, now - 3600, true),
        ];
        for (user, occasion, at, expected) in table {
            // Each in a process of its own, as it were.
            let ledger = Ledger::enter(&scratch.path()).unwrap();
            assert_eq!(ledger.allows(user, occasion, at), expected, "{user} {occasion:?} {at}");
        }
        let size = fs::metadata(scratch.path()).unwrap().len();
        assert!(size <= PLACES * ENTRY_BYTES, "{size}");
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_not_used() {
        let scratch = Scratch::new("foreign");
        let refused = |what: &str| assert!(Ledger::enter(&scratch.path()).is_err(), "{what}");
        std::os::unix::fs::symlink("/etc/passwd", scratch.path()).unwrap();
        refused("a link");
        fs::remove_file(scratch.path()).unwrap();
        fs::create_dir(scratch.path()).unwrap();
        refused("a folder");
        assert!(Ledger::enter(Path::new("/nowhere/notices")).is_err());
    }
}
