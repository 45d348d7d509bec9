//! The key as a whole: messages in, packets out, and the time until somebody touches it.

use std::time::Duration;

use crate::answer::{KEEPALIVE_CANCEL, OPERATION_DENIED, USER_ACTION_TIMEOUT};
use crate::ctap2::{Pending, Step};
use crate::link::{CBOR, Heard, KEEPALIVE, Link, MSG, PING};
use crate::mode::Mode;
use crate::packet::{self, Packet, cut, cut_as};
use crate::secrets::random;
use crate::token::Token;
use crate::u2f;

/// How often it asks for patience (CTAP 2.1, 11.2.9.2.1), and the status then: it needs a touch.
const KEEPALIVE_PAUSE: Duration = Duration::from_millis(100);
const UP_NEEDED: u8 = 2;
/// How long it waits for a touch.
const TOUCH: Duration = Duration::from_secs(30);
/// How long after the request the key is pulled out.
const VANISH: Duration = Duration::from_millis(300);
/// Random packets for each answer.
const GARBAGE: u8 = 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Packet(Packet),
    /// The key is pulled out.
    Vanish,
}

/// Times are counted from when it was plugged in.
pub(crate) struct Device {
    link: Link,
    token: Token,
    waiting: Option<Waiting>,
    /// When a U2F client asked for the touch first: it asks again and again.
    asked: Option<Duration>,
}

/// A client waits for the touch.
struct Waiting {
    channel: u32,
    pending: Pending,
    since: Duration,
    next: Duration,
}

impl Device {
    pub(crate) fn new(token: Token, u2f_only: bool) -> Self {
        Self { link: Link::new(u2f_only), token, waiting: None, asked: None }
    }

    /// A packet from the client.
    pub(crate) fn receive(&mut self, packet: &Packet, now: Duration, mode: &Mode) -> Vec<Output> {
        let busy = self.waiting.as_ref().map(|waiting| waiting.channel);
        let outputs = match self.link.receive(packet, now, busy) {
            Heard::Nothing => Vec::new(),
            Heard::Answer(packets) => outputs(packets),
            Heard::Reset(channel, packets) => {
                self.waiting.take_if(|waiting| waiting.channel == channel);
                outputs(packets)
            }
            Heard::Cancel(_) if *mode == Mode::KeepaliveForever => Vec::new(),
            Heard::Cancel(channel) => {
                let waiting = self.waiting.take_if(|waiting| waiting.channel == channel);
                waiting.map_or_else(Vec::new, |_| respond(channel, CBOR, &[KEEPALIVE_CANCEL], mode))
            }
            Heard::Message { channel, command, data } => self.obey(channel, command, &data, now, mode),
        };
        if *mode == Mode::Silent { Vec::new() } else { outputs }
    }

    /// When something happens without a packet.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let keepalive = self.waiting.as_ref().map(|waiting| waiting.next);
        self.link.next_tick().into_iter().chain(keepalive).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration, mode: &Mode) -> Vec<Output> {
        let mut outputs = outputs(self.link.tick(now));
        if self.waiting.as_ref().is_some_and(|waiting| waiting.next <= now) {
            outputs.extend(self.wait(now, mode));
        }
        if *mode == Mode::Silent { Vec::new() } else { outputs }
    }

    fn obey(&mut self, channel: u32, command: u8, data: &[u8], now: Duration, mode: &Mode) -> Vec<Output> {
        match command {
            PING => respond(channel, PING, data, mode),
            MSG => self.u2f(channel, data, now, mode),
            _ => match self.token.ctap2(data, mode.lie()) {
                Step::Answer(answer) => respond(channel, CBOR, &answer, mode),
                Step::Touch(pending) => {
                    self.waiting = Some(Waiting { channel, pending, since: now, next: now });
                    self.wait(now, mode)
                }
            },
        }
    }

    /// Answers when the key is touched, or never will be; else asks for patience.
    fn wait(&mut self, now: Duration, mode: &Mode) -> Vec<Output> {
        let Some(mut waiting) = self.waiting.take() else { return Vec::new() };
        let waited = now.saturating_sub(waiting.since);
        let channel = waiting.channel;
        let patience = match mode {
            Mode::Deny => return respond(channel, CBOR, &[OPERATION_DENIED], mode),
            Mode::Never if waited >= TOUCH => return respond(channel, CBOR, &[USER_ACTION_TIMEOUT], mode),
            Mode::Vanish if waited >= VANISH => return vec![Output::Vanish],
            Mode::Delay(delay) if waited < *delay => KEEPALIVE_PAUSE.min(*delay - waited),
            Mode::Never | Mode::Vanish | Mode::KeepaliveForever | Mode::Silent | Mode::Mute => {
                KEEPALIVE_PAUSE
            }
            _ => {
                let answer = self.token.perform(waiting.pending, true, mode.lie());
                return respond(channel, CBOR, &answer, mode);
            }
        };
        waiting.next = now + patience;
        self.waiting = Some(waiting);
        let says_so = !matches!(mode, Mode::Silent | Mode::Mute);
        outputs(if says_so { cut(channel, KEEPALIVE, &[UP_NEEDED]) } else { Vec::new() })
    }

    fn u2f(&mut self, channel: u32, message: &[u8], now: Duration, mode: &Mode) -> Vec<Output> {
        let touched = !u2f::asks_for_touch(message)
            || match mode {
                Mode::Deny | Mode::Never | Mode::KeepaliveForever | Mode::Silent => false,
                Mode::Mute => return Vec::new(),
                Mode::Vanish => return vec![Output::Vanish],
                Mode::Delay(delay) => {
                    let waited = now.saturating_sub(*self.asked.get_or_insert(now));
                    waited >= *delay && self.asked.take().is_some()
                }
                _ => true,
            };
        let answer = self.token.u2f(message, touched, mode.lie());
        respond(channel, MSG, &answer, mode)
    }
}

/// An answer, as the mode lets it reach the client.
fn respond(channel: u32, command: u8, answer: &[u8], mode: &Mode) -> Vec<Output> {
    outputs(match mode {
        Mode::Garbage => (0..GARBAGE).map(|number| garbage(channel, number)).collect(),
        Mode::WrongChannel => cut(channel ^ 0x0101_0101, command, answer),
        Mode::HugeFrame => {
            let mut answer = answer.to_vec();
            answer.resize(packet::MAX, 0);
            cut_as(channel, command, usize::from(u16::MAX), &answer)
        }
        _ => cut(channel, command, answer),
    })
}

/// Every other one is on the client's channel, so that it is not simply ignored.
fn garbage(channel: u32, number: u8) -> Packet {
    let mut packet = random();
    if number.is_multiple_of(2)
        && let Some(start) = packet.first_chunk_mut()
    {
        *start = channel.to_be_bytes();
    }
    packet
}

fn outputs(packets: Vec<Packet>) -> Vec<Output> {
    packets.into_iter().map(Output::Packet).collect()
}

#[cfg(test)]
mod tests {
    use std::env::temp_dir;
    use std::{fs, process};

    use super::*;
    use crate::ctap2::tests::{assertion_of, registered};
    use crate::link::{BROADCAST, CANCEL, INIT};
    use crate::packet::{Part, parse};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A key with an open channel, 1, and a request for an assertion.
    fn device(name: &str) -> (Device, Vec<Packet>) {
        let state = temp_dir().join(format!("softkey-device-{name}-{}", process::id()));
        let mut token = Token::open(&state);
        let (id, _) = registered(&mut token, -7);
        fs::remove_file(state).unwrap();
        let mut device = Device::new(token, false);
        send(&mut device, &cut(BROADCAST, INIT, &[0; 8]), ms(0), &Mode::Touch);
        (device, cut(1, CBOR, &assertion_of(&id)))
    }

    fn send(device: &mut Device, packets: &[Packet], now: Duration, mode: &Mode) -> Vec<Output> {
        packets.iter().flat_map(|packet| device.receive(packet, now, mode)).collect()
    }

    /// Command and first byte of the first packet.
    fn first(outputs: &[Output]) -> (u8, u8) {
        let Some(Output::Packet(packet)) = outputs.first() else { panic!("{outputs:?}") };
        let Part::Begin { command, data, .. } = parse(packet) else { panic!("{packet:?}") };
        (command, data[0])
    }

    #[test]
    fn a_touched_key_answers_and_a_denying_one_says_so() {
        let (mut device, request) = device("touch");
        assert_eq!(first(&send(&mut device, &request, ms(5), &Mode::Touch)), (CBOR, 0));
        assert_eq!(first(&send(&mut device, &request, ms(5), &Mode::Deny)), (CBOR, OPERATION_DENIED));
        assert_eq!(device.next_tick(), None);
    }

    #[test]
    fn an_untouched_key_asks_for_patience_for_30_s() {
        let (mut device, request) = device("never");
        assert_eq!(first(&send(&mut device, &request, ms(0), &Mode::Never)), (KEEPALIVE, UP_NEEDED));
        assert_eq!(device.next_tick(), Some(ms(100)));
        assert_eq!(first(&device.tick(ms(100), &Mode::Never)), (KEEPALIVE, UP_NEEDED));
        assert_eq!(first(&device.tick(ms(30_000), &Mode::Never)), (CBOR, USER_ACTION_TIMEOUT));
    }

    #[test]
    fn cancel_ends_the_wait_unless_it_is_for_ever() {
        let (mut device, request) = device("cancel");
        send(&mut device, &request, ms(0), &Mode::KeepaliveForever);
        let cancel = cut(1, CANCEL, &[]);
        assert_eq!(send(&mut device, &cancel, ms(1), &Mode::KeepaliveForever), []);
        assert_eq!(first(&device.tick(ms(99_000), &Mode::KeepaliveForever)), (KEEPALIVE, UP_NEEDED));
        assert_eq!(first(&send(&mut device, &cancel, ms(99_001), &Mode::Never)), (CBOR, KEEPALIVE_CANCEL));
        assert_eq!(device.next_tick(), None);
    }

    #[test]
    fn a_touch_may_come_later() {
        let (mut device, request) = device("delay");
        let delay = Mode::Delay(ms(150));
        assert_eq!(first(&send(&mut device, &request, ms(0), &delay)), (KEEPALIVE, UP_NEEDED));
        assert_eq!(first(&device.tick(ms(100), &delay)), (KEEPALIVE, UP_NEEDED));
        assert_eq!(device.next_tick(), Some(ms(150)));
        assert_eq!(first(&device.tick(ms(150), &delay)), (CBOR, 0));
    }

    #[test]
    fn a_u2f_client_asks_until_the_touch_comes() {
        let (mut device, _) = device("u2f");
        let register = cut(1, MSG, &[&[0, 1, 0, 0, 0, 0, 64][..], &[1; 64], &[0, 0]].concat());
        let delay = Mode::Delay(ms(150));
        assert_eq!(first(&send(&mut device, &register, ms(1000), &delay)), (MSG, 0x69));
        assert_eq!(first(&send(&mut device, &register, ms(1100), &delay)), (MSG, 0x69));
        assert_eq!(first(&send(&mut device, &register, ms(1150), &delay)), (MSG, 5));
        assert_eq!(first(&send(&mut device, &register, ms(1200), &delay)), (MSG, 0x69));
    }

    #[test]
    fn faults_of_the_wire() {
        let (mut device, request) = device("wire");
        assert_eq!(send(&mut device, &request, ms(0), &Mode::Vanish).len(), 1);
        assert_eq!(device.tick(ms(400), &Mode::Vanish), [Output::Vanish]);
        assert_eq!(send(&mut device, &request, ms(500), &Mode::Mute), []);
        assert_eq!(send(&mut device, &cut(1, CANCEL, &[]), ms(501), &Mode::Silent), []);
        assert_eq!(send(&mut device, &request, ms(600), &Mode::HugeFrame).len(), 129);
        assert_eq!(send(&mut device, &request, ms(700), &Mode::Garbage).len(), 20);
        let elsewhere = send(&mut device, &request, ms(800), &Mode::WrongChannel);
        assert!(elsewhere.iter().all(|output| matches!(output, Output::Packet([1, 1, 1, 0, ..]))));
    }
}
