//! CTAPHID (CTAP 2.1, section 11.2): messages to packets, and packets to messages.

use crate::assertion::MAX_ANSWER;
use std::fmt;

pub(crate) const PACKET: usize = 64;
pub(crate) const BROADCAST: [u8; 4] = [0xff; 4];

pub(crate) const MSG: u8 = 0x83;
pub(crate) const INIT: u8 = 0x86;
pub(crate) const CANCEL: u8 = 0x91;
const KEEPALIVE: u8 = 0xbb;
const ERROR: u8 = 0xbf;
/// Set in the first packet of a message, not in the sequence numbers of the others.
const FIRST: u8 = 0x80;

/// Of INIT's answer.
pub(crate) const CAPABLE_OF_CBOR: u8 = 0x04;
pub(crate) const NOT_CAPABLE_OF_MSG: u8 = 0x08;

/// The packets of a message, each behind the report number that hidraw wants first.
pub(crate) fn packets(channel: [u8; 4], command: u8, data: &[u8]) -> Vec<[u8; 1 + PACKET]> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    let (first, mut rest) = data.split_at_checked(PACKET - 7).unwrap_or((data, &[]));
    let mut packets = vec![packet(&[&[0], &channel, &[command], &length, first])];
    for sequence in 0..FIRST {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at_checked(PACKET - 5).unwrap_or((rest, &[]));
        packets.push(packet(&[&[0], &channel, &[sequence], part]));
        rest = after;
    }
    packets
}

fn packet(parts: &[&[u8]]) -> [u8; 1 + PACKET] {
    let mut packet = [0; 1 + PACKET];
    for (to, from) in packet.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    packet
}

/// What a packet has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Another program's, or a part of ours.
    Nothing,
    KeepAlive,
    /// CTAPHID_ERROR and its code.
    Error(u8),
    Message(Vec<u8>),
}

/// A packet on our channel that has no place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Length,
    Sequence,
    Command,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "it sent a message of an impossible length",
            Self::Sequence => "it sent packets out of sequence",
            Self::Command => "it answered another command",
        })
    }
}

/// A message that is being received: the answer to one command on one channel.
pub(crate) struct Reception {
    channel: [u8; 4],
    command: u8,
    begun: Option<Begun>,
}

struct Begun {
    length: usize,
    data: Vec<u8>,
    next: u8,
}

impl Reception {
    pub(crate) fn new(channel: [u8; 4], command: u8) -> Self {
        Self { channel, command, begun: None }
    }

    /// Takes a packet. What is short, or meant for another channel, is passed over: everybody who has the device
    /// open gets all packets.
    pub(crate) fn take(&mut self, packet: &[u8]) -> Result<Event, Fault> {
        let Some((channel, [kind, rest @ ..])) = packet.split_first_chunk::<4>() else {
            return Ok(Event::Nothing);
        };
        if packet.len() != PACKET || *channel != self.channel {
            return Ok(Event::Nothing);
        }
        match (kind & FIRST != 0, &mut self.begun) {
            (true, _) => self.begin(*kind, rest),
            (false, Some(begun)) if *kind == begun.next => {
                begun.next += 1;
                Ok(begun.add(rest))
            }
            (false, _) => Err(Fault::Sequence),
        }
    }

    fn begin(&mut self, command: u8, rest: &[u8]) -> Result<Event, Fault> {
        let Some(([high, low], data)) = rest.split_first_chunk() else { return Err(Fault::Length) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match command {
            KEEPALIVE | ERROR if length != 1 => Err(Fault::Length),
            KEEPALIVE => Ok(Event::KeepAlive),
            ERROR => Ok(Event::Error(data.first().copied().unwrap_or_default())),
            _ if command != self.command => Err(Fault::Command),
            _ if length > MAX_ANSWER => Err(Fault::Length),
            _ if self.begun.is_some() => Err(Fault::Sequence),
            _ => Ok(self.begun.insert(Begun { length, data: vec![], next: 0 }).add(data)),
        }
    }
}

impl Begun {
    fn add(&mut self, part: &[u8]) -> Event {
        let missing = self.length - self.data.len();
        self.data.extend(part.iter().take(missing));
        if self.data.len() < self.length {
            Event::Nothing
        } else {
            Event::Message(std::mem::take(&mut self.data))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 4] = [1, 2, 3, 4];

    /// As a key sends it: without the report number.
    fn sent(command: u8, data: &[u8]) -> Vec<Vec<u8>> {
        packets(OURS, command, data).iter().map(|packet| packet[1..].to_vec()).collect()
    }

    fn received(packets: &[Vec<u8>]) -> Result<Event, Fault> {
        let mut reception = Reception::new(OURS, MSG);
        let mut last = Event::Nothing;
        for packet in packets {
            last = reception.take(packet)?;
        }
        Ok(last)
    }

    #[test]
    fn messages_of_every_size_arrive_as_they_were_sent() {
        for length in [0, 1, 56, 57, 58, 115, 116, 117, 7608, 7609] {
            let data: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let packets = sent(MSG, &data);
            let expected = if length <= 57 { 1 } else { 1 + (length - 57usize).div_ceil(59) };
            assert_eq!(packets.len(), expected);
            for cut in 0..packets.len() {
                assert_eq!(received(&packets[..cut]), Ok(Event::Nothing), "{length}, {cut} packets");
            }
            assert_eq!(received(&packets), Ok(Event::Message(data)));
        }
    }

    #[test]
    fn the_bytes_of_a_packet() {
        let two = packets(OURS, MSG, &[9; 60]);
        assert_eq!(two[0][..9], [0, 1, 2, 3, 4, 0x83, 0, 60, 9]);
        assert_eq!(two[1][..10], [0, 1, 2, 3, 4, 0, 9, 9, 9, 0]);
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn packets_that_have_no_place() {
        let good = sent(MSG, &[7; 200]);
        let with = |at: usize, byte: usize, value: u8| {
            let mut packets = good.clone();
            packets[at][byte] = value;
            packets
        };
        let message = || Ok(Event::Message(vec![7; 200]));
        let between = |packet: Vec<u8>| [&good[..2], &[packet], &good[2..]].concat();
        let foreign = |mut packet: Vec<u8>| {
            packet[3] ^= 1;
            packet
        };
        let table = [
            ("as it should be", good.clone(), message()),
            ("wrong sequence", with(2, 4, 2), Err(Fault::Sequence)),
            ("a part twice", between(good[1].clone()), Err(Fault::Sequence)),
            ("begins in the middle", good[1..].to_vec(), Err(Fault::Sequence)),
            ("begins twice", between(good[0].clone()), Err(Fault::Sequence)),
            ("begins anew", [&good[..1], &good[..]].concat(), Err(Fault::Sequence)),
            ("another command", with(0, 4, 0x90), Err(Fault::Command)),
            ("a part for somebody else", with(2, 0, 9), Err(Fault::Sequence)),
            ("somebody else's between", between(foreign(good[0].clone())), message()),
            ("a keepalive between", between(sent(KEEPALIVE, &[2])[0].clone()), message()),
            ("an error", sent(ERROR, &[6]), Ok(Event::Error(6))),
            ("a keepalive", sent(KEEPALIVE, &[1]), Ok(Event::KeepAlive)),
            ("a long keepalive", sent(KEEPALIVE, &[1, 1]), Err(Fault::Length)),
            ("an empty error", sent(ERROR, &[]), Err(Fault::Length)),
            ("too long", with(0, 5, 0x1e), Err(Fault::Length)),
            ("a short packet", vec![good[0][..63].to_vec()], Ok(Event::Nothing)),
            ("a short packet with all of it", vec![sent(MSG, &[7; 9])[0][..16].to_vec()], Ok(Event::Nothing)),
            ("an empty packet", vec![vec![]], Ok(Event::Nothing)),
        ];
        for (what, packets, expected) in table {
            assert_eq!(received(&packets), expected, "{what}");
        }
    }
}
