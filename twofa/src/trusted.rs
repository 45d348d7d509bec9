//! Files whose content decides who gets in: only root, or the very user this process runs as, may be able
//! to change them. Checked on the open file, never by name first.

use nix::unistd::Uid;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// Who may read a file besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    All,
    /// A secret: nobody else.
    Owner,
}

/// Whose a file is, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

const OTHERS_READ: &str = "can be read by others";
const NOT_EXECUTABLE: &str = "is not executable";
const NO_PROGRAM: &str = "does not exist";

/// Why a file is not used.
#[derive(Debug)]
pub enum Error {
    Io(PathBuf, io::Error),
    /// What is wrong, in words that follow the path: `is a symbolic link`.
    Unsafe(PathBuf, &'static str),
}

impl Error {
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(_, error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// What an administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Io(path, _) if self.is_missing() => {
                format!("Restore {} or run `twofa-admin init`.", path.display())
            }
            Self::Io(path, _) => format!("Check {} and the disk it is on.", path.display()),
            Self::Unsafe(path, OTHERS_READ) => {
                format!("It holds a secret: `chown root:root {0}; chmod go= {0}`.", path.display())
            }
            Self::Unsafe(_, NO_PROGRAM) => "Install it, or correct its path in the policy.".into(),
            Self::Unsafe(path, NOT_EXECUTABLE) => {
                format!("Make it a program: `chmod a+rx {}`.", path.display())
            }
            Self::Unsafe(path, _) => format!(
                "Only root may be able to change it: `chown root:root {0}; chmod go-w {0}`.",
                path.display()
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unsafe(path, what) => write!(f, "{} {what}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
///
/// See [`open`]; a longer file is `Unsafe`.
pub fn read(path: &Path, readers: Readers, limit: u64) -> Result<Vec<u8>, Error> {
    read_dated(path, readers, limit).map(|(content, _)| content)
}

/// [`read`], and when the file was last written, in seconds since 1970.
///
/// # Errors
///
/// As [`read`].
pub fn read_dated(path: &Path, readers: Readers, limit: u64) -> Result<(Vec<u8>, u64), Error> {
    let file = open(path, readers, false)?;
    let metadata = file.metadata().map_err(|error| Error::Io(path.into(), error))?;
    let written = u64::try_from(metadata.mtime()).unwrap_or(0);
    // The length is only a hint for how much to read at once.
    let length = metadata.len().min(limit);
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| Error::Io(path.into(), error))?;
    if content.len() as u64 > limit {
        return Err(Error::Unsafe(path.into(), "is too long"));
    }
    Ok((content, written))
}

/// Opens a regular file, for writing too when asked, if nobody else could have changed it.
///
/// # Errors
///
/// `Io` when it cannot be opened, `Unsafe` when it, or a folder above it, is somebody else's to change.
pub fn open(path: &Path, readers: Readers, write: bool) -> Result<File, Error> {
    check_folders(path)?;
    // Not through a link, and not waiting for the other end of a FIFO.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Error::Unsafe(path.into(), "is a symbolic link"),
        Some(libc::ENXIO) => Error::Unsafe(path.into(), "is not a regular file"),
        _ => Error::Io(path.into(), error),
    })?;
    let file = above_stdio(file).map_err(|error| Error::Io(path.into(), error))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|error| Error::Io(path.into(), error))?;
    check_file(path, &metadata, readers)?;
    Ok(file)
}

/// Checks a file that another library will open by name (the database), and the folders above it. That library
/// also opens files of its own beside it, so the folder is not to be shared at all, sticky or not.
///
/// # Errors
///
/// As [`open`].
pub fn check(path: &Path, readers: Readers) -> Result<(), Error> {
    check_folders(path)?;
    let folder = path.parent().unwrap_or(path);
    let metadata = fs::metadata(folder).map_err(|error| Error::Io(folder.into(), error))?;
    if metadata.mode() & 0o022 != 0 {
        return Err(Error::Unsafe(folder.into(), "can be written by others"));
    }
    let metadata = fs::symlink_metadata(path).map_err(|error| Error::Io(path.into(), error))?;
    check_file(path, &metadata, readers)
}

/// Checks a program that is to be started by name: nobody else could have put another one in its place.
///
/// # Errors
///
/// As [`open`]; `Unsafe` too when its owner could not start it.
pub fn check_program(path: &Path) -> Result<(), Error> {
    let no_program =
        |error: Error| if error.is_missing() { Error::Unsafe(path.into(), NO_PROGRAM) } else { error };
    check_folders(path).map_err(no_program)?;
    let metadata = fs::symlink_metadata(path).map_err(|error| no_program(Error::Io(path.into(), error)))?;
    check_file(path, &metadata, Readers::All)?;
    if metadata.mode() & 0o100 == 0 { Err(Error::Unsafe(path.into(), NOT_EXECUTABLE)) } else { Ok(()) }
}

/// Puts a file in place in one step: whoever reads it sees the old or the new one, whole, and a power cut
/// leaves one of them.
///
/// # Errors
///
/// When the folder is somebody else's to change, or the disk does not take it; then nothing changed.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    replace_with(path, content, mode, true)
}

/// [`replace`] for many files at once; [`sync_file_system`] then makes them outlast a power cut.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_unsynced(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    replace_with(path, content, mode, false)
}

/// [`replace`] for a file that stays whose it was.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_as(path: &Path, content: &[u8], owner: &Owner) -> Result<(), Error> {
    replace_by(path, |new| write_as(new, content, owner), true)
}

/// [`create`] for a file that is somebody's.
///
/// # Errors
///
/// As [`create`].
pub fn create_as(path: &Path, content: &[u8], owner: &Owner) -> Result<(), Error> {
    create_by(path, |new| write_as(new, content, owner))
}

fn write_as(new: &Path, content: &[u8], owner: &Owner) -> Result<(), Error> {
    write_new(new, content, 0o600, false)?;
    let error = |error| Error::Io(new.into(), error);
    std::os::unix::fs::lchown(new, Some(owner.uid), Some(owner.gid)).map_err(error)?;
    fs::set_permissions(new, fs::Permissions::from_mode(owner.mode)).map_err(error)?;
    File::open(new).and_then(|file| file.sync_all()).map_err(error)
}

fn replace_with(path: &Path, content: &[u8], mode: u32, sync: bool) -> Result<(), Error> {
    replace_by(path, |new| write_new(new, content, mode, sync), sync)
}

fn replace_by(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>, sync: bool) -> Result<(), Error> {
    check_folders(path)?;
    let new = scratch(path);
    // Left by a killed predecessor of the same number; nobody else can have put it there.
    let _ = fs::remove_file(&new);
    let written = write(&new).and_then(|()| {
        fs::rename(&new, path).map_err(|error| Error::Io(path.into(), error))?;
        if sync { sync_folder(path) } else { Ok(()) }
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Makes a new file in one step, on disk before this returns.
///
/// # Errors
///
/// When it exists, or the disk does not take it.
pub fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    create_by(path, |new| write_new(new, content, mode, true))
}

fn create_by(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    check_folders(path)?;
    let new = scratch(path);
    let _ = fs::remove_file(&new);
    let written = write(&new);
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    publish(&new, path)
}

/// Gives a finished file its name, unless something has that name.
///
/// # Errors
///
/// When something has, or the disk does not take it; the file is gone then.
pub fn publish(new: &Path, path: &Path) -> Result<(), Error> {
    let linked = fs::hard_link(new, path).map_err(|error| Error::Io(path.into(), error));
    let _ = fs::remove_file(new);
    linked?;
    sync_folder(path)
}

/// The name of a file that is not finished; two commands at once do not write the same one.
pub fn scratch(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8], mode: u32, sync: bool) -> Result<(), Error> {
    let error = |error| Error::Io(path.into(), error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(error)?;
    // The caller's umask may have taken bits away, or the file system added some.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(error)?;
    file.write_all(content).map_err(error)?;
    if sync { file.sync_all().map_err(error) } else { Ok(()) }
}

/// Makes everything written so far to the file system of `path` outlast a power cut.
///
/// # Errors
///
/// When the disk does not take it.
pub fn sync_file_system(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| Ok(nix::unistd::syncfs(&file)?));
    synced.map_err(|error| Error::Io(path.into(), error))
}

/// Makes what was created, renamed or removed in the folder of `path` outlast a power cut.
///
/// # Errors
///
/// When the disk does not take it.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::Io(folder.into(), error))
}

fn check_file(path: &Path, metadata: &Metadata, readers: Readers) -> Result<(), Error> {
    let fault = if metadata.is_symlink() {
        Some("is a symbolic link")
    } else if !metadata.is_file() {
        Some("is not a regular file")
    } else if !is_ours(metadata) {
        Some("is not owned by root")
    } else if metadata.mode() & 0o022 != 0 {
        Some("can be changed by others")
    } else if readers == Readers::Owner && metadata.mode() & 0o077 != 0 {
        Some(OTHERS_READ)
    } else {
        None
    };
    fault.map_or(Ok(()), |fault| Err(Error::Unsafe(path.into(), fault)))
}

/// Whoever can write a folder can replace what is in it; a sticky folder (/tmp) protects what is ours.
fn check_folders(path: &Path) -> Result<(), Error> {
    if !path.is_absolute() {
        return Err(Error::Unsafe(path.into(), "is not an absolute path"));
    }
    check_way(path, MAX_LINKS)
}

/// As many links as the kernel follows, and then some.
const MAX_LINKS: usize = 40;

/// Root may make a link of a folder, say /var/lib: where it leads has to be as safe as the way there.
fn check_way(path: &Path, links: usize) -> Result<(), Error> {
    for folder in path.ancestors().skip(1) {
        let metadata = fs::symlink_metadata(folder).map_err(|error| Error::Io(folder.into(), error))?;
        let shared = metadata.is_dir() && metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0;
        if !is_ours(&metadata) {
            return Err(Error::Unsafe(folder.into(), "is not owned by root"));
        }
        if shared {
            return Err(Error::Unsafe(folder.into(), "can be changed by others"));
        }
        if metadata.is_symlink() {
            if links == 0 {
                return Err(Error::Unsafe(folder.into(), "is a link that leads nowhere"));
            }
            let target = fs::read_link(folder).map_err(|error| Error::Io(folder.into(), error))?;
            let target = folder.parent().unwrap_or(folder).join(target);
            check_way(&target.join("file"), links - 1)?;
        }
    }
    Ok(())
}

fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == Uid::effective().as_raw()
}

/// A host that closed its standard streams hands out 0, 1 and 2 to the next files opened; whatever it
/// prints afterwards must not land in ours. The standard library duplicates to 3 and above.
pub(crate) fn above_stdio(fd: impl Into<OwnedFd>) -> io::Result<OwnedFd> {
    let fd = fd.into();
    if fd.as_raw_fd() > 2 { Ok(fd) } else { fd.try_clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fault(path: &Path, readers: Readers) -> String {
        match read(path, readers, 100) {
            Err(Error::Unsafe(_, fault)) => fault.into(),
            Err(error) if error.is_missing() => "missing".into(),
            Err(error) => error.to_string(),
            Ok(_) => "ok".into(),
        }
    }

    #[test]
    fn only_what_others_cannot_change_is_read() {
        let dir = std::env::temp_dir().join(format!("twofa-trusted-{}", std::process::id()));
        fs::create_dir_all(dir.join("open")).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&dir.join("open"), 0o777);
        for name in ["plain", "secret", "shared", "long", "open/plain"] {
            fs::write(dir.join(name), if name == "long" { "x".repeat(101) } else { "x".into() }).unwrap();
            mode(
                &dir.join(name),
                match name {
                    "secret" => 0o400,
                    "shared" => 0o664,
                    _ => 0o644,
                },
            );
        }
        symlink(dir.join("plain"), dir.join("link")).unwrap();
        symlink(dir.join("open"), dir.join("way")).unwrap();
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let table = [
            ("plain", Readers::All, "ok"),
            ("plain", Readers::Owner, "can be read by others"),
            ("secret", Readers::Owner, "ok"),
            ("shared", Readers::All, "can be changed by others"),
            ("long", Readers::All, "is too long"),
            ("link", Readers::All, "is a symbolic link"),
            ("fifo", Readers::All, "is not a regular file"),
            ("open", Readers::All, "is not a regular file"),
            ("open/plain", Readers::All, "can be changed by others"),
            ("way/plain", Readers::All, "can be changed by others"),
            ("absent", Readers::All, "missing"),
        ];
        for (name, readers, expected) in table {
            assert_eq!(fault(&dir.join(name), readers), expected, "{name}");
        }
        assert_eq!(fault(Path::new("plain"), Readers::All), "is not an absolute path");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_a_program_that_others_cannot_change_is_started() {
        let dir = std::env::temp_dir().join(format!("twofa-program-{}", std::process::id()));
        fs::create_dir_all(dir.join("open")).unwrap();
        for (name, mode) in [("good", 0o755), ("data", 0o644), ("others", 0o675), ("open/good", 0o755)] {
            fs::write(dir.join(name), "#!/bin/true\n").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(dir.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        symlink(dir.join("good"), dir.join("link")).unwrap();
        let fault = |path: &Path| match check_program(path) {
            Err(Error::Unsafe(_, fault)) => fault,
            Err(_) => "?",
            Ok(()) => "ok",
        };
        let table = [
            ("good", "ok"),
            ("data", "is not executable"),
            ("others", "can be changed by others"),
            ("link", "is a symbolic link"),
            ("open", "is not a regular file"),
            ("open/good", "can be changed by others"),
            ("gone", "does not exist"),
            ("gone/good", "does not exist"),
        ];
        for (name, expected) in table {
            assert_eq!(fault(&dir.join(name)), expected, "{name}");
        }
        assert_eq!(fault(Path::new("good")), "is not an absolute path");
        fs::remove_dir_all(&dir).unwrap();
    }
}
