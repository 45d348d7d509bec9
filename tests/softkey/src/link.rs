//! CTAPHID (CTAP 2.1, 11.2): channels, messages put together from packets, and the errors about them.

use std::time::Duration;

use crate::packet::{self, Packet, Part, cut};

/// Commands.
pub(crate) const PING: u8 = 0x01;
pub(crate) const MSG: u8 = 0x03;
pub(crate) const INIT: u8 = 0x06;
pub(crate) const CBOR: u8 = 0x10;
pub(crate) const CANCEL: u8 = 0x11;
pub(crate) const KEEPALIVE: u8 = 0x3b;
pub(crate) const ERROR: u8 = 0x3f;

/// Errors.
pub(crate) const INVALID_COMMAND: u8 = 0x01;
pub(crate) const INVALID_LENGTH: u8 = 0x03;
pub(crate) const INVALID_SEQUENCE: u8 = 0x04;
pub(crate) const TIMEOUT: u8 = 0x05;
pub(crate) const BUSY: u8 = 0x06;
pub(crate) const INVALID_CHANNEL: u8 = 0x0b;

/// Where a client asks for a channel of its own.
pub(crate) const BROADCAST: u32 = u32::MAX;
/// In the answer to INIT: it understands CBOR.
const CAN_CBOR: u8 = 0x04;
/// How long the packets of one message may take. Real keys give 500 ms; an emulated machine may stand still longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a packet amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not the end of a message.
    Nothing,
    /// Something that is answered here.
    Answer(Vec<Packet>),
    /// The client begins again: what it waited for on this channel is over.
    Reset(u32, Vec<Packet>),
    Cancel(u32),
    Message {
        channel: u32,
        command: u8,
        data: Vec<u8>,
    },
}

/// The key's end of the wire.
pub(crate) struct Link {
    u2f_only: bool,
    /// The last channel that was given away; they count from 1.
    last: u32,
    partial: Option<Partial>,
}

/// A message that is not complete.
struct Partial {
    channel: u32,
    command: u8,
    length: usize,
    data: Vec<u8>,
    sequence: u8,
    until: Duration,
}

impl Link {
    pub(crate) fn new(u2f_only: bool) -> Self {
        Self { u2f_only, last: 0, partial: None }
    }

    /// One packet, while a client waits on the channel `busy`.
    pub(crate) fn receive(&mut self, packet: &Packet, now: Duration, busy: Option<u32>) -> Heard {
        match packet::parse(packet) {
            Part::Continue { channel, sequence, data } => self.go_on(channel, sequence, data),
            Part::Begin { channel, command: INIT, length, data } => self.init(channel, length, data),
            Part::Begin { channel, .. } if channel == 0 || channel > self.last => {
                error(channel, INVALID_CHANNEL)
            }
            Part::Begin { channel, command: CANCEL, .. } => Heard::Cancel(channel),
            Part::Begin { channel, .. } if busy.is_some() => error(channel, BUSY),
            Part::Begin { channel, .. }
                if self.partial.as_ref().is_some_and(|other| other.channel != channel) =>
            {
                error(channel, BUSY)
            }
            Part::Begin { channel, .. } if self.partial.take().is_some() => error(channel, INVALID_SEQUENCE),
            Part::Begin { channel, length, .. } if length > packet::MAX => error(channel, INVALID_LENGTH),
            Part::Begin { channel, command, length, data } => {
                let data = data.to_vec();
                self.complete(Partial { channel, command, length, data, sequence: 0, until: now + PATIENCE })
            }
        }
    }

    /// When something happens without a packet.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        self.partial.as_ref().map(|partial| partial.until)
    }

    /// Gives up a message that is not completed in time.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Packet> {
        let late = self.partial.take_if(|partial| partial.until <= now);
        late.map_or_else(Vec::new, |partial| cut(partial.channel, ERROR, &[TIMEOUT]))
    }

    fn go_on(&mut self, channel: u32, sequence: u8, data: &[u8]) -> Heard {
        // What belongs to no message is ignored.
        let Some(mut partial) = self.partial.take_if(|partial| partial.channel == channel) else {
            return Heard::Nothing;
        };
        if partial.sequence != sequence {
            return error(channel, INVALID_SEQUENCE);
        }
        partial.sequence += 1;
        let missing = partial.length - partial.data.len();
        partial.data.extend(data.iter().take(missing));
        self.complete(partial)
    }

    fn complete(&mut self, partial: Partial) -> Heard {
        if partial.data.len() < partial.length {
            self.partial = Some(partial);
            return Heard::Nothing;
        }
        let Partial { channel, command, data, .. } = partial;
        let known = [PING, MSG].contains(&command) || (command == CBOR && !self.u2f_only);
        if known { Heard::Message { channel, command, data } } else { error(channel, INVALID_COMMAND) }
    }

    fn init(&mut self, channel: u32, length: usize, nonce: &[u8]) -> Heard {
        if channel != BROADCAST && (channel == 0 || channel > self.last) {
            return error(channel, INVALID_CHANNEL);
        }
        if length != 8 {
            return error(channel, INVALID_LENGTH);
        }
        let given = if channel == BROADCAST { self.last + 1 } else { channel };
        self.last = self.last.max(given);
        self.partial.take_if(|partial| partial.channel == given);
        let capabilities = if self.u2f_only { 0 } else { CAN_CBOR };
        // The protocol's version, then the device's: 1.0.0
        let answer = [nonce, &given.to_be_bytes(), &[2, 1, 0, 0, capabilities]].concat();
        Heard::Reset(given, cut(channel, INIT, &answer))
    }
}

fn error(channel: u32, code: u8) -> Heard {
    Heard::Answer(cut(channel, ERROR, &[code]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn hear(link: &mut Link, channel: u32, command: u8, data: &[u8]) -> Heard {
        let packets = cut(channel, command, data);
        let heard = packets.iter().map(|packet| link.receive(packet, NOW, None));
        heard.last().unwrap()
    }

    /// With two channels open.
    fn open() -> Link {
        let mut link = Link::new(false);
        for channel in [1, 2] {
            let answer = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, channel, 2, 1, 0, 0, 4];
            let expected = Heard::Reset(channel.into(), cut(BROADCAST, INIT, &answer));
            assert_eq!(hear(&mut link, BROADCAST, INIT, &[1, 2, 3, 4, 5, 6, 7, 8]), expected);
        }
        link
    }

    #[test]
    fn long_messages_arrive_whole() {
        let data: Vec<u8> = (0..200).collect();
        let expected = Heard::Message { channel: 2, command: PING, data: data.clone() };
        assert_eq!(hear(&mut open(), 2, PING, &data), expected);
    }

    #[test]
    fn errors_are_those_of_the_specification() {
        for (channel, command, data, code) in [
            (0, PING, &[0][..], INVALID_CHANNEL),
            (3, PING, &[0], INVALID_CHANNEL),
            (3, INIT, &[0; 8], INVALID_CHANNEL),
            (BROADCAST, PING, &[0], INVALID_CHANNEL),
            (BROADCAST, INIT, &[0; 7], INVALID_LENGTH),
            (1, 0x2a, &[0], INVALID_COMMAND),
        ] {
            assert_eq!(
                hear(&mut open(), channel, command, data),
                error(channel, code),
                "{channel} {command}"
            );
        }
        let mut link = Link::new(true);
        hear(&mut link, BROADCAST, INIT, &[0; 8]);
        assert_eq!(hear(&mut link, 1, CBOR, &[4]), error(1, INVALID_COMMAND));
    }

    #[test]
    fn packets_out_of_order_end_a_message() {
        let mut link = open();
        let packets = cut(1, PING, &[1; 200]);
        assert_eq!(link.receive(&packets[0], NOW, None), Heard::Nothing);
        assert_eq!(link.receive(&cut(2, PING, &[])[0], NOW, None), error(2, BUSY));
        assert_eq!(link.receive(&packets[2], NOW, None), error(1, INVALID_SEQUENCE));
        assert_eq!(link.receive(&packets[1], NOW, None), Heard::Nothing);
        assert_eq!(link.receive(&packets[0], NOW, None), Heard::Nothing);
        assert_eq!(link.receive(&packets[0], NOW, None), error(1, INVALID_SEQUENCE));
    }

    #[test]
    fn a_message_that_stops_is_given_up() {
        let mut link = open();
        link.receive(&cut(1, PING, &[1; 200])[0], NOW, None);
        let until = link.next_tick().unwrap();
        assert_eq!(link.tick(until - Duration::from_millis(1)), Vec::<Packet>::new());
        assert_eq!(link.tick(until), cut(1, ERROR, &[TIMEOUT]));
        assert_eq!(link.next_tick(), None);
    }

    #[test]
    fn while_one_waits_others_can_open_a_channel_only() {
        let mut link = open();
        assert_eq!(link.receive(&cut(2, PING, &[])[0], NOW, Some(1)), error(2, BUSY));
        assert_eq!(link.receive(&cut(1, CANCEL, &[])[0], NOW, Some(1)), Heard::Cancel(1));
        assert!(matches!(link.receive(&cut(BROADCAST, INIT, &[0; 8])[0], NOW, Some(1)), Heard::Reset(3, _)));
    }
}
