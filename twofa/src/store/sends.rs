//! The messages of the last day, of all users together: a ring in `state/sends`, so that the caps for a number and
//! for the host hold across users, kills and reboots.
//!
//! A file of fixed size and not a table: sending works on a full disk, takes one write and one `fdatasync`, and a
//! login goes on only reading the database. An entry is never torn, as no sector has a part of one:
//!
//! ```text
//! sequence 8 | time 8 | tag of the number 16      (little endian; sequence 0: never used)
//! ```

use super::{Error, record};
use crate::account::{Cap, Conflict, MAX_HOST_SENDS, SendLimits, clock, was_sent_within};
use crate::trusted::{self, Readers};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ENTRY_BYTES: usize = 32;
/// A day of what a host may send at most, and not less.
const ENTRIES: usize = 24 * MAX_HOST_SENDS as usize + 576;
const RING_BYTES: usize = ENTRIES * ENTRY_BYTES;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A number as it is known here: an HMAC under the host's key.
pub(super) type NumberTag = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    at: u64,
    tag: NumberTag,
}

/// Makes the ring, if there is none.
pub(super) fn create(folder: &Path) -> Result<(), Error> {
    match trusted::check(&path(folder), Readers::Owner) {
        Ok(()) => Ok(()),
        Err(error) if error.is_missing() => Ok(trusted::replace(&path(folder), &vec![0; RING_BYTES], 0o600)?),
        Err(error) => Err(error.into()),
    }
}

/// Counts one more message, durably, or says why there may be none. `tag` is nothing for what has no number.
pub(super) fn count(
    folder: &Path,
    tag: Option<NumberTag>,
    limits: &SendLimits,
    now: u64,
) -> Result<Result<(), Conflict>, Error> {
    let path = path(folder);
    let file = trusted::open(&path, Readers::Owner, true).map_err(|error| match error {
        error if error.is_missing() => Error::NoRing(path.clone()),
        error => Error::File(error),
    })?;
    record::wait_for(&file, &path, record::LOCK_WAIT)?;
    let io = |error| Error::File(trusted::Error::Io(path.clone(), error));
    let length = file.metadata().map_err(io)?.len();
    if length != RING_BYTES as u64 {
        return Err(Error::NoRing(path));
    }
    let mut ring = vec![0; RING_BYTES];
    file.read_exact_at(&mut ring, 0).map_err(io)?;
    let entry = match judge(&ring, tag, limits, now) {
        Ok(entry) => entry,
        Err(conflict) => return Ok(Err(conflict)),
    };
    if entry.sequence == 0 {
        // Noise on the disk: no count of ours gets here.
        return Err(Error::NoRing(path));
    }
    record::refuse_beyond_limit(entry.place() + ENTRY_BYTES as u64).map_err(io)?;
    file.write_all_at(&entry.encode(), entry.place()).map_err(io)?;
    file.sync_data().map_err(io)?;
    Ok(Ok(()))
}

/// The entry to add, if the caps allow for one.
fn judge(ring: &[u8], tag: Option<NumberTag>, limits: &SendLimits, now: u64) -> Result<Entry, Conflict> {
    let (slots, _) = ring.as_chunks::<ENTRY_BYTES>();
    // What stands in a place that is not its own is no entry.
    let is_in_place = |(index, entry): &(usize, Entry)| entry.sequence > 0 && entry.index() == *index;
    let entries = || slots.iter().map(Entry::decode).enumerate().filter(is_in_place).map(|(_, entry)| entry);
    let seen = entries().map(|entry| entry.at).max().unwrap_or(0);
    let now = clock(now, seen);
    let within = |span, entry: &Entry| was_sent_within(entry.at, span, now);
    if entries().filter(|entry| within(HOUR, entry)).count() >= limits.host.into() {
        return Err(Conflict::Capped(Cap::Host));
    }
    if let Some(tag) = tag {
        let to_number = |span| entries().filter(|entry| entry.tag == tag && within(span, entry)).count();
        if to_number(HOUR) >= limits.hour.into() || to_number(DAY) >= limits.day.into() {
            return Err(Conflict::Capped(Cap::Number));
        }
    }
    let last = entries().map(|entry| entry.sequence).max().unwrap_or(0);
    Ok(Entry { sequence: last.wrapping_add(1), at: now, tag: tag.unwrap_or_default() })
}

impl Entry {
    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let (numbers, tag) = bytes.split_at(16);
        let number = |at: usize| numbers.get(at..).and_then(|n| n.first_chunk()).copied().unwrap_or_default();
        Self {
            sequence: u64::from_le_bytes(number(0)),
            at: u64::from_le_bytes(number(8)),
            tag: tag.first_chunk().copied().unwrap_or_default(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.sequence.to_le_bytes()[..], &self.at.to_le_bytes(), &self.tag].concat()
    }

    fn index(&self) -> usize {
        usize::try_from(self.sequence % ENTRIES as u64).unwrap_or(0)
    }

    fn place(&self) -> u64 {
        self.index() as u64 * ENTRY_BYTES as u64
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("sends")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_298_625;
    const LIMITS: SendLimits = SendLimits { pause: 60, login: 3, hour: 5, day: 10, host: 100 };

    /// The ring after one more message, or why there is none.
    fn send(ring: &mut [u8], tag: Option<NumberTag>, now: u64) -> Result<(), Conflict> {
        let entry = judge(ring, tag, &LIMITS, now)?;
        let at = usize::try_from(entry.place()).unwrap();
        ring[at..at + ENTRY_BYTES].copy_from_slice(&entry.encode());
        Ok(())
    }

    #[test]
    fn a_number_has_caps_of_its_own() {
        let mut ring = vec![0; RING_BYTES];
        for n in 0..5 {
            assert_eq!(send(&mut ring, Some([1; 16]), NOW + n), Ok(()));
        }
        assert_eq!(send(&mut ring, Some([1; 16]), NOW + 5), Err(Conflict::Capped(Cap::Number)));
        assert_eq!(send(&mut ring, Some([2; 16]), NOW + 5), Ok(()));
        assert_eq!(send(&mut ring, None, NOW + 5), Ok(()), "mail has no number");
        for n in 0..5 {
            assert_eq!(send(&mut ring, Some([1; 16]), NOW + 3600 * (n + 1) + 5), Ok(()));
        }
        assert_eq!(send(&mut ring, Some([1; 16]), NOW + 24 * 3600 - 1), Err(Conflict::Capped(Cap::Number)));
        assert_eq!(send(&mut ring, Some([1; 16]), NOW + 24 * 3600), Ok(()));
    }

    #[test]
    fn a_host_has_a_cap_that_outlasts_clocks() {
        let mut ring = vec![0; RING_BYTES];
        for n in 0..100u8 {
            assert_eq!(send(&mut ring, Some([n; 16]), NOW), Ok(()));
        }
        for back in [0, 60, 600, 3600] {
            assert_eq!(send(&mut ring, None, NOW - back), Err(Conflict::Capped(Cap::Host)), "{back}");
        }
        assert_eq!(send(&mut ring, None, NOW + 3599), Err(Conflict::Capped(Cap::Host)));
        assert_eq!(send(&mut ring, None, NOW + 3600), Ok(()));
        let mut ahead = vec![0; RING_BYTES];
        for _ in 0..100 {
            assert_eq!(send(&mut ahead, None, NOW + 365 * DAY), Ok(()));
        }
        assert_eq!(send(&mut ahead, None, NOW), Ok(()), "a clock that ran ahead stops nothing for good");
    }

    /// The ring turns, and keeps a whole day of the most there can be.
    #[test]
    fn the_oldest_make_room() {
        let mut ring = vec![0; RING_BYTES];
        let last = Entry { sequence: ENTRIES as u64 - 1, at: NOW - 2 * DAY, tag: [9; 16] };
        let at = usize::try_from(last.place()).unwrap();
        ring[at..at + ENTRY_BYTES].copy_from_slice(&last.encode());
        for n in 0..3 {
            assert_eq!(send(&mut ring, Some([1; 16]), NOW + n), Ok(()));
        }
        let entry = |index: usize| Entry::decode(ring[index * ENTRY_BYTES..].first_chunk().unwrap());
        assert_eq!((entry(0).sequence, entry(2).sequence), (ENTRIES as u64, ENTRIES as u64 + 2));
        assert!(ENTRIES >= 24 * usize::from(MAX_HOST_SENDS));
    }

    #[test]
    fn what_is_out_of_place_is_no_entry() {
        let mut ring = vec![0; RING_BYTES];
        let stray = Entry { sequence: u64::MAX, at: NOW, tag: [1; 16] };
        assert_ne!(stray.index(), 7);
        ring[7 * ENTRY_BYTES..8 * ENTRY_BYTES].copy_from_slice(&stray.encode());
        let entry = judge(&ring, None, &LIMITS, NOW).unwrap();
        assert_eq!((entry.sequence, entry.place()), (1, 32));
    }
}
