//! What the key does when it is asked, as a test says: one word in a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The behaviours. Those that are no [`Lie`] concern the touch or the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Touched at once.
    Touch,
    /// The request is denied; a U2F key, which cannot say so, waits for ever.
    Deny,
    /// Not touched: asks for patience until it is cancelled, or for 30 s. When the mode changes meanwhile, that counts.
    Never,
    /// Touched so much later.
    Delay(Duration),
    /// Asks for patience without end, even when cancelled.
    KeepaliveForever,
    /// Answers nothing at all.
    Silent,
    /// Answers nothing that needs a touch.
    Mute,
    /// Unplugged while it waits for the touch.
    Vanish,
    /// Random packets instead of answers, once a channel is open.
    Garbage,
    /// Answers on another channel.
    WrongChannel,
    /// Says that its answer has 65,535 bytes, and sends as many packets as there are sequence numbers.
    HugeFrame,
    /// Touched at once, and the answer is wrong.
    Lie(Lie),
}

/// What is wrong with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Signs for another relying party.
    WrongRpId,
    /// Says itself that nobody touched it.
    NoUp,
    /// A signature counter behind the last one, the same, or zero.
    CounterBack,
    CounterSame,
    CounterZero,
    /// Half of the CBOR, or of a U2F answer.
    Truncated,
    /// So many bytes of authenticator data, signed as they are.
    AuthData(usize),
    /// As many arrays in arrays as a message has bytes: 7,600.
    Nested,
    /// Authenticator data said to be of 2^31-1 bytes.
    Huge,
    /// Said to be of 65,535 bytes.
    HugeAuthData,
    /// Said to be the first of 2^31-1 credentials.
    Many,
    /// Members of the answer, and of getInfo, that no specification knows.
    UnknownMembers,
    /// A member that is there twice.
    Duplicate,
    /// The bytes of the assertion before.
    Replay,
    /// Signs with another private key.
    OtherKey,
}

impl Mode {
    /// What the file says; without one, a key that works.
    ///
    /// # Panics
    /// On a word that is none: a test that means another one would pass.
    pub(crate) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let word = text.trim();
        Self::parse(word).expect("a word of softkey's mode.rs in the mode file")
    }

    fn parse(word: &str) -> Option<Self> {
        let (word, number) = word.split_once(':').map_or((word, None), |(word, number)| (word, Some(number)));
        Some(match (word, number) {
            ("delay", Some(number)) => Self::Delay(Duration::from_millis(number.parse().ok()?)),
            ("authdata", Some(number)) => Self::Lie(Lie::AuthData(number.parse().ok()?)),
            (_, Some(_)) => return None,
            ("" | "ok", None) => Self::Touch,
            ("deny", None) => Self::Deny,
            ("never", None) => Self::Never,
            ("keepalive-forever", None) => Self::KeepaliveForever,
            ("silent", None) => Self::Silent,
            ("mute", None) => Self::Mute,
            ("vanish", None) => Self::Vanish,
            ("garbage", None) => Self::Garbage,
            ("wrong-channel", None) => Self::WrongChannel,
            ("huge-frame", None) => Self::HugeFrame,
            (word, None) => Self::Lie(Lie::parse(word)?),
        })
    }

    /// The lie, if it is one.
    pub(crate) fn lie(&self) -> Option<Lie> {
        if let Self::Lie(lie) = self { Some(*lie) } else { None }
    }
}

impl Lie {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "wrong-rpid" => Self::WrongRpId,
            "no-up" => Self::NoUp,
            "counter-back" => Self::CounterBack,
            "counter-same" => Self::CounterSame,
            "counter-zero" => Self::CounterZero,
            "truncated" => Self::Truncated,
            "nested" => Self::Nested,
            "huge" => Self::Huge,
            "huge-authdata" => Self::HugeAuthData,
            "many" => Self::Many,
            "unknown-members" => Self::UnknownMembers,
            "duplicate" => Self::Duplicate,
            "replay" => Self::Replay,
            "other-key" => Self::OtherKey,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_modes() {
        assert_eq!(Mode::parse("ok"), Some(Mode::Touch));
        assert_eq!(Mode::parse("delay:1500"), Some(Mode::Delay(Duration::from_millis(1500))));
        assert_eq!(Mode::parse("authdata:36"), Some(Mode::Lie(Lie::AuthData(36))));
        assert_eq!(Mode::parse("other-key").and_then(|mode| mode.lie()), Some(Lie::OtherKey));
        for wrong in ["okay", "delay", "delay:x", "ok:1", "OK"] {
            assert_eq!(Mode::parse(wrong), None, "{wrong}");
        }
    }
}
