//! When a user last logged in: from lastlog(8), or where there is none from wtmp(5). Both are optional, and both are
//! gone from newer distributions: nobody knows then.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use twofa::admin::LoginUser;

const LASTLOG: &str = "/var/log/lastlog";
const WTMP: &str = "/var/log/wtmp";

/// `struct lastlog`: the time, then line and host. One for each uid.
const LASTLOG_BYTES: u64 = 292;
/// `struct utmp`, the same on all 64-bit systems.
const UTMP_BYTES: usize = 384;
const UTMP_USER: std::ops::Range<usize> = 44..76;
const UTMP_TIME: usize = 340;
const USER_PROCESS: i16 = 7;

/// Last logins, in seconds since 1970, by name.
pub(crate) struct LastLogins {
    lastlog: Option<File>,
    wtmp: HashMap<String, u64>,
}

impl LastLogins {
    pub(crate) fn read() -> Self {
        let lastlog = File::open(LASTLOG).ok();
        let wtmp = if lastlog.is_some() { HashMap::new() } else { read_wtmp(Path::new(WTMP)) };
        Self { lastlog, wtmp }
    }

    pub(crate) fn of(&self, user: &LoginUser) -> Option<u64> {
        match &self.lastlog {
            Some(file) => {
                let mut time = [0; 4];
                file.read_exact_at(&mut time, u64::from(user.uid) * LASTLOG_BYTES).ok()?;
                Some(u64::from(u32::from_ne_bytes(time))).filter(|time| *time > 0)
            }
            None => self.wtmp.get(&user.user).copied(),
        }
    }
}

fn read_wtmp(path: &Path) -> HashMap<String, u64> {
    let mut last = HashMap::new();
    let Ok(file) = File::open(path) else {
        return last;
    };
    let mut reader = BufReader::new(file);
    let mut entry = [0; UTMP_BYTES];
    while reader.read_exact(&mut entry).is_ok() {
        if let Some((user, time)) = login(&entry) {
            last.insert(user, time);
        }
    }
    last
}

fn login(entry: &[u8; UTMP_BYTES]) -> Option<(String, u64)> {
    let kind = i16::from_ne_bytes(*entry.first_chunk()?);
    let name = entry.get(UTMP_USER)?.split(|byte| *byte == 0).next()?;
    let time = u32::from_ne_bytes(*entry.get(UTMP_TIME..)?.first_chunk()?);
    (kind == USER_PROCESS).then(|| Some((String::from_utf8(name.to_vec()).ok()?, time.into())))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_told_from_other_entries() {
        let mut entry = [0; UTMP_BYTES];
        entry[..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        entry[44..49].copy_from_slice(b"alice");
        entry[340..344].copy_from_slice(&1_795_298_625u32.to_ne_bytes());
        assert_eq!(login(&entry), Some(("alice".into(), 1_795_298_625)));
        entry[..2].copy_from_slice(&8i16.to_ne_bytes());
        assert_eq!(login(&entry), None);
    }
}
