//! Files of another module, or of another system: read whole, once, and only if nobody else made them what they are.

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, fstat, fstatat, lstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use twofa::trusted;
use zeroize::Zeroizing;

/// Why a file, or a line of it, cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first one is 1; 0 for the file itself.
    pub(crate) line: usize,
    pub(crate) why: String,
}

impl Fault {
    pub(crate) fn at(line: usize, why: impl Into<String>) -> Self {
        Self { line, why: why.into() }
    }

    /// As it is told, of a file with this name.
    pub(crate) fn of(&self, name: &str) -> String {
        match self.line {
            0 => format!("{name} {}", self.why),
            line => format!("{name}:{line}: this line {}", self.why),
        }
    }

    pub(crate) fn of_file(why: impl Into<String>) -> Self {
        Self::at(0, why)
    }
}

/// Whose file it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Root's, or of who runs this by sudo, or this user's: an administrator named it.
    Trusted(Option<u32>),
    /// This user's own, in a folder where the user can put anything: also another name of somebody else's file.
    Only(u32),
}

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) whose: trusted::Owner,
    seen: Seen,
}

/// What tells whether a file is still the same. When it was changed, not when it was written: that can be set.
type Seen = (u64, u64, i64, i64, i64);

fn seen(stat: &FileStat) -> Seen {
    (stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec, stat.st_size)
}

pub(super) const CHANGED: &str = "was changed meanwhile";

impl Source {
    /// A missing file is `None`.
    pub(crate) fn read(path: &Path, owner: Owner, limit: u64) -> Result<Option<Self>, Fault> {
        // It may be in a folder of the user's: no link is followed, and no FIFO waited for.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
                return Err(Fault::of_file("is a symbolic link"));
            }
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => {
                return Err(Fault::of_file("is not a regular file"));
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        refuse_unsafe(&metadata, owner)?;
        let seen = fstat(&file).map(|stat| seen(&stat)).map_err(|error| unreadable(&error.into()))?;
        let bytes = read_whole(file, metadata.len(), limit)?;
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
        Ok(Some(Self { path: path.into(), bytes, whose: trusted::Owner { uid, gid, mode }, seen }))
    }

    /// Whether nobody has changed it, or put another one in its place.
    pub(crate) fn is_as_read(&self) -> bool {
        lstat(&self.path).is_ok_and(|stat| seen(&stat) == self.seen)
    }

    /// Removes it, if it is as read.
    pub(crate) fn remove(&self) -> Result<(), String> {
        let error = |error: io::Error| format!("cannot be removed: {error}");
        let path = std::path::absolute(&self.path).map_err(error)?;
        let (folder, name) = path.parent().zip(path.file_name()).ok_or(CHANGED)?;
        // The way there may be the user's: one folder for the look and the removal, whatever its name means by then.
        let folder = File::open(folder).map_err(error)?;
        let found = fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if !found.is_ok_and(|stat| seen(&stat) == self.seen) {
            return Err(CHANGED.into());
        }
        unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| error(errno.into()))
    }
}

fn unreadable(error: &io::Error) -> Fault {
    Fault::of_file(format!("cannot be read: {error}"))
}

fn refuse_unsafe(metadata: &Metadata, owner: Owner) -> Result<(), Fault> {
    if !metadata.is_file() {
        return Err(Fault::of_file("is not a regular file"));
    }
    let uid = metadata.uid();
    let is_fine = match owner {
        Owner::Only(user) => uid == user,
        Owner::Trusted(user) => {
            let sudoer = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
            uid == 0 || uid == nix::unistd::geteuid().as_raw() || [user, sudoer].contains(&Some(uid))
        }
    };
    if !is_fine {
        return Err(Fault::of_file(format!("belongs to uid {uid}")));
    }
    if matches!(owner, Owner::Only(_)) && metadata.nlink() != 1 {
        return Err(Fault::of_file("has another name elsewhere (a hard link)"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Fault::of_file("can be changed by others"));
    }
    Ok(())
}

/// All of it, if it is no longer than `limit`.
pub(crate) fn read_whole(from: impl Read, length: u64, limit: u64) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let too_long = || Fault::of_file(format!("is longer than {limit} bytes"));
    if length > limit {
        return Err(too_long());
    }
    // Room for all of it from the start: what a growing list leaves behind is not wiped.
    let room = usize::try_from(length).unwrap_or(0).saturating_add(4096);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// The text of a file, if it is one: UTF-8, without a byte that a line of it could not have.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Fault::at(1, "begins with a byte order mark; save it as plain text"));
    }
    let line_of = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
    let is_odd = |byte: &u8| byte.is_ascii_control() && !b"\n\t".contains(byte);
    if let Some(at) = bytes.iter().position(is_odd) {
        let why = match bytes.get(at) {
            Some(b'\r') => "ends like a line of Windows; convert it with dos2unix",
            _ => "has a control character",
        };
        return Err(Fault::at(line_of(at), why));
    }
    str::from_utf8(bytes).map_err(|error| Fault::at(line_of(error.valid_up_to()), "is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_plain() {
        assert_eq!(text(b"a\tb\nc"), Ok("a\tb\nc"));
        assert_eq!(text("\u{e9}\n".as_bytes()), Ok("\u{e9}\n"));
        let odd: [(&[u8], usize); 6] = [
            (b"\xef\xbb\xbfa", 1),
            (b"a\nb\0", 2),
            (b"a\nb\n\x1b[2J", 3),
            (b"a\r\n", 1),
            (b"a\n\n\xff\n", 3),
            (b"a\n\x7f", 2),
        ];
        for (bytes, line) in odd {
            assert_eq!(text(bytes).unwrap_err().line, line, "{bytes:?}");
        }
    }

    #[test]
    fn nothing_long_is_read() {
        let bytes = [b'a'; 10];
        assert_eq!(read_whole(&bytes[..], 10, 10).unwrap().len(), 10);
        // Whatever it says about its length.
        for length in [0, 10, 11, 1 << 40] {
            assert!(read_whole(&bytes[..], length, 9).is_err(), "{length}");
        }
    }
}
