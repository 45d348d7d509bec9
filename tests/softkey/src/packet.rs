//! CTAPHID packets (CTAP 2.1, 11.2.4): a message is cut into one packet that begins it and up to 128 that go on.

pub(crate) type Packet = [u8; 64];

/// In a packet that begins and in one that goes on.
const FIRST: usize = 57;
const NEXT: usize = 59;
/// The longest message.
pub(crate) const MAX: usize = FIRST + 128 * NEXT;
/// Set in the byte of the command; without it the byte is a sequence number.
const BEGINS: u8 = 0x80;

/// What a received packet says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'p> {
    Begin { channel: u32, command: u8, length: usize, data: &'p [u8] },
    Continue { channel: u32, sequence: u8, data: &'p [u8] },
}

/// What a packet says.
pub(crate) fn parse(packet: &Packet) -> Part<'_> {
    let [c0, c1, c2, c3, command, high, low, first @ ..] = packet;
    let [_, _, _, _, _, next @ ..] = packet;
    let channel = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
    if command & BEGINS == 0 {
        return Part::Continue { channel, sequence: *command, data: next };
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let data = first.get(..length).unwrap_or(first);
    Part::Begin { channel, command: command & !BEGINS, length, data }
}

/// The packets of a message.
pub(crate) fn cut(channel: u32, command: u8, message: &[u8]) -> Vec<Packet> {
    cut_as(channel, command, message.len(), message)
}

/// The same, with a length that may be a lie.
pub(crate) fn cut_as(channel: u32, command: u8, length: usize, message: &[u8]) -> Vec<Packet> {
    let channel = channel.to_be_bytes();
    let (first, rest) = message.split_at_checked(FIRST).unwrap_or((message, &[]));
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let begin = packet(&[&channel, &[command | BEGINS], &length, first]);
    let next = |(data, sequence)| packet(&[&channel, &[sequence], data]);
    let rest = rest.chunks(NEXT).zip(0..BEGINS).map(next);
    [begin].into_iter().chain(rest).collect()
}

fn packet(parts: &[&[u8]]) -> Packet {
    let mut bytes = parts.concat().into_iter();
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_is_one_packet() {
        let packets = cut(0x0102_0304, 0x10, &[9, 8]);
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0][..10], [1, 2, 3, 4, 0x90, 0, 2, 9, 8, 0]);
        let begin = Part::Begin { channel: 0x0102_0304, command: 0x10, length: 2, data: &[9, 8] };
        assert_eq!(parse(&packets[0]), begin);
    }

    #[test]
    fn the_longest_message_has_129_packets() {
        let packets = cut(1, 1, &[5; MAX]);
        assert_eq!(packets.len(), 129);
        assert_eq!(parse(&packets[128]), Part::Continue { channel: 1, sequence: 127, data: &[5; NEXT] });
        assert_eq!(cut(1, 1, &[5; FIRST]).len(), 1);
        assert_eq!(cut(1, 1, &[5; FIRST + 1]).len(), 2);
    }
}
