//! What goes between `token`, which decides, and a `key`, which has touched a device and may say anything since.

use crate::assertion::Assertion;
use serde::{Deserialize, Serialize};
use twofa::code::Secret;
use twofa::helper::{Ask, MAX_TIME};
use twofa::token::Credential;

/// Of an answer, with its length in front; CTAPHID knows none longer than 7609 bytes.
const MAX_BYTES: usize = 16 * 1024;
const LENGTH: usize = 4;

/// What a `key` is to do.
#[derive(Deserialize)]
pub(crate) struct Task {
    /// Without the PIN.
    pub(crate) ask: Ask,
    /// A second challenge: for the proof that a new credential works.
    pub(crate) proof: [u8; 32],
    pub(crate) milliseconds: u32,
    pub(crate) has_pin: bool,
    pub(crate) pin: Option<Secret>,
}

/// A task as it is handed over.
#[derive(Serialize)]
pub(crate) struct Handed<'a> {
    ask: &'a Ask,
    proof: [u8; 32],
    milliseconds: u32,
    has_pin: bool,
    pin: Option<&'a Secret>,
}

impl Task {
    pub(crate) fn new(mut ask: Ask, proof: [u8; 32]) -> Self {
        let (pin, time) = match &mut ask {
            Ask::Touch(touch) => (touch.pin.take().map(|(pin, _)| pin), touch.time),
            Ask::Register(registration) => (registration.pin.take(), registration.time),
        };
        let milliseconds = u32::from(time.min(MAX_TIME)) * 1000;
        Self { ask, proof, milliseconds, has_pin: pin.is_some(), pin }
    }

    /// Over CTAP1 nobody needs the PIN, and any device may be at the other end.
    pub(crate) fn handed(&self, way: Way) -> Handed<'_> {
        let Self { ask, proof, milliseconds, has_pin, pin } = self;
        let pin = pin.as_ref().filter(|_| way == Way::Ctap2);
        Handed { ask, proof: *proof, milliseconds: *milliseconds, has_pin: *has_pin, pin }
    }
}

/// How a device is talked to; each in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// CTAP1, by `ctap1`: first, because every key speaks it or says that it does not.
    Ctap1,
    /// CTAP2, by a crate that knows neither time nor channels.
    Ctap2,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ctap1 => "ctap1",
            Self::Ctap2 => "ctap2",
        }
    }
}

/// What a `key` says has come of it. Its words are our own, and all the same not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Signed(Assertion),
    Made(Box<Made>),
    /// The rest is for CTAP2, which it speaks.
    Ctap2,
    NotEnrolled,
    AlreadyRegistered,
    Denied,
    TimedOut,
    PinRequired,
    WrongPin {
        left: Option<u8>,
    },
    PinPaused,
    PinBlocked,
    Gone,
    Lied(String),
    Failed(String),
}

/// A new credential, and the proof that it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) credential: Credential,
    pub(crate) proof: Assertion,
}

impl Answer {
    pub(crate) fn lied(why: &str) -> Self {
        Self::Lied(why.into())
    }

    pub(crate) fn failed(why: &str) -> Self {
        Self::Failed(why.into())
    }
}

/// An answer that is still coming in.
#[derive(Default)]
pub(crate) struct Inbox(Vec<u8>);

impl Inbox {
    /// Takes the next bytes of what `helper::send` sends; nothing until all are there.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<Answer> {
        let room = (LENGTH + MAX_BYTES).saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        let (length, rest) = self.0.split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_BYTES {
            return Some(Answer::failed(NONSENSE));
        }
        match postcard::take_from_bytes(rest.get(..length)?) {
            Ok((answer, [])) => Some(answer),
            _ => Some(Answer::failed(NONSENSE)),
        }
    }
}

const NONSENSE: &str = "the process that asked it says nonsense";

#[cfg(test)]
mod tests {
    use super::*;
    use twofa::helper::Touch;

    fn framed(answer: &Answer) -> Vec<u8> {
        let bytes = postcard::to_allocvec(answer).unwrap();
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
    }

    fn answers() -> [Answer; 4] {
        let assertion =
            Assertion { credential: Some(vec![1; 64]), data: vec![2; 37], signature: vec![3; 71] };
        [Answer::Signed(assertion), Answer::Ctap2, Answer::WrongPin { left: Some(7) }, Answer::lied("why")]
    }

    #[test]
    fn the_pin_goes_where_it_is_needed() {
        let touch = Touch {
            rp_id: "rp".into(),
            challenge: [1; 32],
            credentials: vec![],
            pin: Some((Secret::new(*b"73519284"), 0)),
            time: 200,
        };
        let task = Task::new(Ask::Touch(touch), [2; 32]);
        for (way, pin) in [(Way::Ctap1, None), (Way::Ctap2, Some(Secret::new(*b"73519284")))] {
            let bytes = postcard::to_allocvec(&task.handed(way)).unwrap();
            assert_eq!(bytes.windows(8).any(|some| some == b"73519284"), pin.is_some(), "{way:?}");
            let read: Task = postcard::from_bytes(&bytes).unwrap();
            assert_eq!((read.pin, read.has_pin, read.proof, read.milliseconds), (pin, true, [2; 32], 60_000));
            assert!(
                matches!(read.ask, Ask::Touch(touch) if touch.challenge == [1; 32] && touch.pin.is_none())
            );
        }
    }

    #[test]
    fn answers_arrive_in_pieces_of_any_size() {
        for answer in answers() {
            let bytes = framed(&answer);
            for size in 1..=bytes.len() {
                let mut inbox = Inbox::default();
                let pieces = bytes.chunks(size);
                let last = pieces.len() - 1;
                for (at, piece) in pieces.enumerate() {
                    assert_eq!(inbox.take(piece), (at == last).then(|| answer.clone()), "{size}");
                }
            }
        }
    }

    #[test]
    fn nonsense_is_known_as_such_and_none_of_it_kept() {
        let nonsense = Some(Answer::failed(NONSENSE));
        let [good, ..] = answers().map(|answer| framed(&answer));
        let mut longer = good.clone();
        longer[3] += 1;
        let mut shorter = good.clone();
        shorter[3] -= 1;
        let table = [
            (vec![0xff; 4], nonsense.clone()),
            (vec![0, 0, 0x40, 1], nonsense.clone()),
            (vec![0, 0, 0, 0], nonsense.clone()),
            (vec![0, 0, 0, 1, 99], nonsense.clone()),
            ([longer, vec![0]].concat(), nonsense.clone()),
            (shorter, nonsense),
            (vec![0, 0, 0x40, 0], None),
            ([vec![0, 0, 0x40, 0], vec![0xff; 16383]].concat(), None),
        ];
        for (bytes, expected) in table {
            let mut inbox = Inbox::default();
            assert_eq!(inbox.take(&bytes), expected, "{bytes:.20x?}");
        }
        let mut inbox = Inbox::default();
        inbox.take(&vec![0xff; 1 << 20]);
        assert!(inbox.0.len() <= 16 * 1024 + 4);
    }
}
