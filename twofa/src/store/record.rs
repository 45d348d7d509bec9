//! The state of one user on disk: `state/UID`, two slots of 4096 bytes.
//!
//! A change overwrites the older slot in place, then one `fdatasync`: a kill or power cut at any point
//! leaves the old or the new state. Nothing is allocated, so it works on a full disk. A slot:
//!
//! ```text
//! magic 8 | sequence 8 | generation 8 | nonce 24 | sealed state, padded | tag 16      (little endian)
//! ```
//!
//! The slot with the highest sequence among those of the account's generation counts. So an administrator's
//! change writes the state of the next generation first and the database after: until the database names
//! it, logins go by the slot of the generation before.

use super::Error;
use super::seal::{NONCE_BYTES, Sealer, TAG_BYTES};
use crate::account::State;
use crate::system;
use crate::trusted::{self, Readers};
use nix::sys::resource::{Resource, getrlimit};
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A block of its own for each slot: the disk never rewrites one for the other's sake.
pub const SLOT_BYTES: usize = 4096;
pub const RECORD_BYTES: usize = 2 * SLOT_BYTES;
const MAGIC: &[u8; 8] = b"twofa st";
const HEADER_BYTES: usize = 24;
/// What is written of a slot; the rest is room for what a state may hold one day.
const WRITTEN_BYTES: usize = 3072;
/// What was written of it before a state could hold as much.
const WRITTEN_BEFORE: usize = 2048;
/// The state as bytes has to fit this.
const TEXT_BYTES: usize = WRITTEN_BYTES - HEADER_BYTES - NONCE_BYTES - TAG_BYTES;
/// The encoding of `State` inside; a newer one is refused.
const ENCODING: u8 = 1;

/// How long a login waits for another one of the same user, which needs a few milliseconds.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Whose record it is, and which generation of the account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) generation: u64,
}

/// An open record. Locked ones are unlocked when dropped, or when the process dies.
pub(super) struct Record<'a> {
    file: File,
    path: PathBuf,
    uid: u32,
    sealer: &'a Sealer,
}

/// A state, and where it stands.
pub(super) struct Slot {
    pub(super) state: State,
    sequence: u64,
    index: u64,
}

impl<'a> Record<'a> {
    /// Opens the record of `uid`, to be read only.
    pub(super) fn open(folder: &Path, uid: u32, sealer: &'a Sealer) -> Result<Self, Error> {
        Self::open_for(folder, uid, sealer, false)
    }

    /// Opens the record of `uid` and waits until nobody else holds it.
    pub(super) fn lock(folder: &Path, uid: u32, sealer: &'a Sealer) -> Result<Self, Error> {
        let record = Self::open_for(folder, uid, sealer, true)?;
        wait_for(&record.file, &record.path, LOCK_WAIT)?;
        Ok(record)
    }

    fn open_for(folder: &Path, uid: u32, sealer: &'a Sealer, write: bool) -> Result<Self, Error> {
        let path = path(folder, uid);
        let file = trusted::open(&path, Readers::Owner, write).map_err(|error| match error {
            error if error.is_missing() => Error::NoRecord(path.clone()),
            error => Error::File(error),
        })?;
        Ok(Self { file, path, uid, sealer })
    }

    /// The slot that counts for `generation`.
    pub(super) fn read(&self, generation: u64) -> Result<Slot, Error> {
        // No crash of ours changes the size. What is cut off could be the newest state; the older one would
        // admit a code again.
        let length = self.file.metadata().map_err(|error| self.io(error))?.len();
        if length != RECORD_BYTES as u64 {
            return Err(Error::BrokenRecord(self.path.clone()));
        }
        let mut bytes = Zeroizing::new([0; RECORD_BYTES]);
        self.file.read_exact_at(&mut bytes[..], 0).map_err(|error| self.io(error))?;
        let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
        let owner = Owner { uid: self.uid, generation };
        let open = |(index, slot): (u64, &[u8; SLOT_BYTES])| {
            let (sequence, state) = decode(owner, slot, self.sealer)?;
            Some(Slot { state, sequence, index })
        };
        // The one that says it is newer is tried first; its seal tells whether that is true.
        let mut newest_first: Vec<_> = (0u64..).zip(slots).collect();
        newest_first.sort_by_key(|(_, slot)| std::cmp::Reverse(claimed_sequence(*slot)));
        newest_first.into_iter().find_map(open).ok_or_else(|| Error::BrokenRecord(self.path.clone()))
    }

    /// Overwrites the other slot, durably, with the state of `generation`. The caller holds the lock, and has
    /// read `current` under it.
    pub(super) fn write(&self, current: &Slot, generation: u64, state: &State) -> Result<(), Error> {
        self.write_unsynced(current, generation, state)?;
        self.file.sync_data().map_err(|error| self.io(error))
    }

    /// [`Record::write`] for many at once; whoever calls it synchronises the file system before it counts.
    pub(super) fn write_unsynced(&self, current: &Slot, generation: u64, state: &State) -> Result<(), Error> {
        let owner = Owner { uid: self.uid, generation };
        let slot = encode(owner, current.sequence.saturating_add(1), state, self.sealer)?;
        let offset = (1 - current.index) * SLOT_BYTES as u64;
        refuse_beyond_limit(offset + SLOT_BYTES as u64).map_err(|error| self.io(error))?;
        self.file.write_all_at(&slot, offset).map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> Error {
        Error::File(trusted::Error::Io(self.path.clone(), error))
    }
}

/// Locks an open file for this process, which waits until nobody else holds it.
pub(super) fn wait_for(file: &File, path: &Path, wait: Duration) -> Result<(), Error> {
    let began = system::uptime();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < wait => system::pause(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(path.into())),
            Err(TryLockError::Error(error)) => return Err(trusted::Error::Io(path.into(), error).into()),
        }
    }
}

/// Beyond the caller's limit the kernel would kill it (SIGXFSZ); it may be a user's own limit, at su.
pub(super) fn refuse_beyond_limit(end: u64) -> io::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if limit < end { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

pub(super) fn path(folder: &Path, uid: u32) -> PathBuf {
    folder.join(uid.to_string())
}

/// The two slots of a new record: the state twice, so that every byte is allocated.
pub(super) fn new(owner: Owner, state: &State, sealer: &Sealer) -> Result<Vec<u8>, Error> {
    let mut record = vec![0; RECORD_BYTES];
    for (sequence, slot) in (1..).zip(record.chunks_exact_mut(SLOT_BYTES)) {
        let written = encode(owner, sequence, state, sealer)?;
        slot.iter_mut().zip(written).for_each(|(byte, new)| *byte = new);
    }
    Ok(record)
}

fn encode(owner: Owner, sequence: u64, state: &State, sealer: &Sealer) -> Result<Vec<u8>, Error> {
    let mut text = Zeroizing::new(vec![ENCODING]);
    text.extend(postcard::to_allocvec(state).map_err(|_| Error::TooLarge)?);
    if text.len() > TEXT_BYTES {
        return Err(Error::TooLarge);
    }
    text.resize(TEXT_BYTES, 0);
    let header = header(owner.generation, sequence);
    let sealed = sealer.seal(&place(owner, &header), &text).ok_or(Error::NoRandom)?;
    Ok([&header[..], &sealed].concat())
}

/// The state in `slot`, if it is whole and belongs to `owner`.
fn decode(owner: Owner, slot: &[u8], sealer: &Sealer) -> Option<(u64, State)> {
    [WRITTEN_BYTES, WRITTEN_BEFORE].into_iter().find_map(|written| open(owner, slot.get(..written)?, sealer))
}

fn open(owner: Owner, written: &[u8], sealer: &Sealer) -> Option<(u64, State)> {
    let (header, sealed) = written.split_first_chunk::<HEADER_BYTES>()?;
    let sequence = claimed_sequence(header)?;
    // What the header says is believed only as far as the seal confirms it.
    if *header != self::header(owner.generation, sequence) {
        return None;
    }
    let text = sealer.open(&place(owner, header), sealed)?;
    let (encoding, text) = text.split_first()?;
    (*encoding == ENCODING).then_some(())?;
    // A full state of an earlier version has no room for the zeros that mean none of what came later.
    let padded = Zeroizing::new([text, &[0; 16]].concat());
    let (state, _padding) = postcard::take_from_bytes(&padded).ok()?;
    Some((sequence, state))
}

fn claimed_sequence(slot: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*slot.get(8..)?.first_chunk()?))
}

fn header(generation: u64, sequence: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let fields = [*MAGIC, sequence.to_le_bytes(), generation.to_le_bytes()];
    header.copy_from_slice(fields.as_flattened());
    header
}

fn place(owner: Owner, header: &[u8; HEADER_BYTES]) -> Vec<u8> {
    [&b"state"[..], &owner.uid.to_le_bytes(), header].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::maximal;

    const OWNER: Owner = Owner { uid: 1001, generation: 7 };

    fn sealer() -> Sealer {
        Sealer::new(&[9; 32]).unwrap()
    }

    #[test]
    fn the_largest_state_fits_its_slot() {
        let text = postcard::to_allocvec(&maximal()).unwrap();
        // One byte more says how it is encoded.
        assert!(text.len() < TEXT_BYTES, "{} of {TEXT_BYTES}", text.len());
        for state in [State::default(), maximal()] {
            let slot = encode(OWNER, u64::MAX, &state, &sealer()).unwrap();
            assert_eq!(slot.len(), WRITTEN_BYTES);
            assert_eq!(decode(OWNER, &slot, &sealer()), Some((u64::MAX, state)));
        }
    }

    #[test]
    fn a_slot_is_read_where_it_belongs_and_whole() {
        let slot = encode(OWNER, 3, &State::default(), &sealer()).unwrap();
        let others = [Owner { uid: 1002, ..OWNER }, Owner { generation: 8, ..OWNER }];
        for other in others {
            assert_eq!(decode(other, &slot, &sealer()), None);
        }
        assert_eq!(decode(OWNER, &slot, &Sealer::new(&[8; 32]).unwrap()), None);
        assert_eq!(decode(OWNER, &slot[..WRITTEN_BYTES - 1], &sealer()), None);
        for at in 0..WRITTEN_BYTES {
            let mut damaged = slot.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(OWNER, &damaged, &sealer()), None, "byte {at}");
        }
        assert_eq!(decode(OWNER, &[0; WRITTEN_BYTES], &sealer()), None);
    }

    #[test]
    fn another_encoding_is_not_guessed() {
        let mut text = postcard::to_allocvec(&State::default()).unwrap();
        text.insert(0, ENCODING + 1);
        text.resize(TEXT_BYTES, 0);
        let header = header(OWNER.generation, 1);
        let sealed = sealer().seal(&place(OWNER, &header), &text).unwrap();
        assert_eq!(decode(OWNER, &[&header[..], &sealed].concat(), &sealer()), None);
    }
}
