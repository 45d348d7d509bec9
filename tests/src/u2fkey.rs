//! A U2F key on a terminal (pty) instead of a USB port: to a process that reads and writes packets it is one, and it can
//! be as unfriendly as a device can be. What needs the kernel's HID, it cannot be: keys that speak CTAP2.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use twofa::token::{Credential, Protocol, PublicKey};

const CHANNEL: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
const HANDLE: [u8; 64] = [0x5a; 64];
const MSG: u8 = 0x83;
const INIT: u8 = 0x86;
const KEEPALIVE: u8 = 0xbb;
const ERROR: u8 = 0xbf;

/// What a key does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It is touched at once.
    Right,
    /// It is touched when it has been asked so often.
    TouchedAfter(u32),
    NeverTouched,
    /// It has none of the credentials.
    Stranger,
    /// It says that it speaks CTAP2.
    Ctap2,
    /// It says that it speaks nothing else.
    OnlyCtap2,
    /// Nothing, ever.
    Mute,
    /// Nothing after INIT.
    MuteLater,
    /// Keep-alives without end.
    KeepAlive,
    /// The same for others.
    Noise,
    /// It is unplugged when it is asked to sign.
    Vanish,
    /// It signs with another key.
    Forged,
    NotPresent,
    OtherParty,
    /// An answer that ends before the signature.
    Cut,
    /// No status at the end.
    Empty,
    Sequence,
    Huge,
    Status(u16),
    Error(u8),
    /// Busy at first.
    Busy,
    /// Somebody else's INIT is answered first.
    OtherNonce,
}

/// A key that is plugged in until it is dropped.
pub struct Key {
    /// Its device node, and the numbers that the kernel has for it.
    pub node: PathBuf,
    pub numbers: String,
    public: Vec<u8>,
    asked: Arc<AtomicU32>,
    end: Arc<AtomicBool>,
    served: Option<JoinHandle<()>>,
}

impl Key {
    pub fn plug_in(conduct: Conduct) -> Self {
        let port = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        unlockpt(&port).expect("a pty");
        let node: PathBuf = ptsname(&port, vec![]).expect("a pty").into_string().expect("a path").into();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let side = ioctl_tiocgptpeer(&port, flags).expect("a pty");
        let mut terminal = tcgetattr(&side).expect("a terminal");
        terminal.make_raw();
        // Readable is what is a packet.
        terminal.special_codes[SpecialCodeIndex::VMIN] = 64;
        tcsetattr(&side, OptionalActions::Now, &terminal).expect("a terminal");
        fcntl_setfl(&port, fcntl_getfl(&port).expect("flags") | OFlags::NONBLOCK).expect("flags");
        let rdev = std::fs::metadata(&node).expect("the node of the pty").rdev();
        let pair = pair();
        let public = pair.public_key().as_ref().to_vec();
        let (asked, end) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let device = Device {
            port: port.into(),
            conduct,
            pair,
            counter: 41,
            asked: asked.clone(),
            end: end.clone(),
            busy: true,
        };
        let served = thread::spawn(move || {
            let _side = side;
            device.serve();
        });
        let numbers = format!("{}:{}\n", libc::major(rdev), libc::minor(rdev));
        Self { node, numbers, public, asked, end, served: Some(served) }
    }

    pub fn credential(&self, rp_id: &str) -> Credential {
        Credential {
            rp_id: rp_id.into(),
            id: HANDLE.into(),
            public: PublicKey::Es256(self.public.clone()),
            protocol: Protocol::U2f,
            verify: false,
        }
    }

    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = self.served.take().map(JoinHandle::join);
    }
}

fn pair() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key pair");
    EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).expect("a key pair")
}

struct Device {
    port: File,
    conduct: Conduct,
    pair: EcdsaKeyPair,
    counter: u32,
    asked: Arc<AtomicU32>,
    end: Arc<AtomicBool>,
    busy: bool,
}

impl Device {
    fn serve(mut self) {
        while let Some((channel, command, data)) = self.receive() {
            match (command, self.conduct) {
                (_, Conduct::Mute) => {}
                (INIT, _) => self.init(channel, &data),
                (MSG, Conduct::MuteLater) => {}
                // ERR_INVALID_CMD
                (MSG, Conduct::OnlyCtap2) => self.send(CHANNEL, ERROR, &[1]),
                (MSG, Conduct::KeepAlive) => self.flood(CHANNEL, KEEPALIVE),
                (MSG, Conduct::Noise) => self.flood([9; 4], MSG),
                (MSG, Conduct::Vanish) if data.get(2) == Some(&3) => return,
                (MSG, Conduct::Error(code)) => self.send(CHANNEL, ERROR, &[code]),
                (MSG, Conduct::Busy) if self.busy => {
                    self.busy = false;
                    self.send(CHANNEL, ERROR, &[6]);
                }
                (MSG, _) => {
                    let answer = self.answer(&data);
                    self.send(CHANNEL, MSG, &answer);
                }
                _ => {}
            }
        }
    }

    fn init(&mut self, channel: [u8; 4], nonce: &[u8]) {
        let capabilities = match self.conduct {
            Conduct::Ctap2 => 0x04,
            Conduct::OnlyCtap2 => 0x0c,
            _ => 0,
        };
        let granted = [&CHANNEL[..], &[2, 1, 0, 0, capabilities]].concat();
        if self.conduct == Conduct::OtherNonce {
            self.send(channel, INIT, &[&[7; 8][..], &granted].concat());
        }
        self.send(channel, INIT, &[nonce, &granted].concat());
    }

    /// U2F raw messages: the header of an extended APDU has 7 bytes.
    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let [_, instruction, control, _, _, _, _, data @ ..] = request else { return vec![0x67, 0] };
        let (challenge, rest) = data.split_at(32);
        match (instruction, self.conduct) {
            (_, Conduct::Empty) => vec![],
            (_, Conduct::Status(status)) if *control != 7 => status.to_be_bytes().into(),
            (1, _) if !self.is_touched() => vec![0x69, 0x85],
            (1, _) => self.registered(),
            (2, Conduct::Stranger | Conduct::Ctap2) => vec![0x6a, 0x80],
            (2, _) if *control == 7 => vec![0x69, 0x85],
            (2, _) if !self.is_touched() => vec![0x69, 0x85],
            (2, _) => self.signed(challenge, &rest[..32]),
            _ => vec![0x6d, 0],
        }
    }

    fn is_touched(&mut self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        match self.conduct {
            Conduct::NeverTouched => false,
            Conduct::TouchedAfter(times) => asked > times,
            _ => true,
        }
    }

    fn registered(&self) -> Vec<u8> {
        let public = self.pair.public_key();
        [&[5][..], public.as_ref(), &[64], &HANDLE, b"a certificate and a signature", &[0x90, 0]].concat()
    }

    fn signed(&mut self, challenge: &[u8], party: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let present = u8::from(self.conduct != Conduct::NotPresent);
        let head = [&[present][..], &self.counter.to_be_bytes()].concat();
        let other = digest(&SHA256, b"another:party");
        let party = if self.conduct == Conduct::OtherParty { other.as_ref() } else { party };
        let forger = (self.conduct == Conduct::Forged).then(pair);
        let message = [party, &head, challenge].concat();
        let signature = forger.as_ref().unwrap_or(&self.pair).sign(&SystemRandom::new(), &message);
        match self.conduct {
            Conduct::Cut => [&head[..4], &[0x90, 0]].concat(),
            _ => [&head[..], signature.expect("a signature").as_ref(), &[0x90, 0]].concat(),
        }
    }

    /// The next message, its packets put together; nothing when this ends.
    fn receive(&mut self) -> Option<([u8; 4], u8, Vec<u8>)> {
        let first = self.packet()?;
        let [_, c0, c1, c2, c3, command, high, low, data @ ..] = &first[..] else { return None };
        let length = usize::from(*high) << 8 | usize::from(*low);
        let mut data = data.to_vec();
        while data.len() < length {
            data.extend(&self.packet()?[6..]);
        }
        data.truncate(length);
        Some(([*c0, *c1, *c2, *c3], *command, data))
    }

    fn packet(&mut self) -> Option<[u8; 65]> {
        let (mut packet, mut read) = ([0; 65], 0);
        while read < packet.len() {
            self.wait(PollFlags::IN)?;
            match self.port.read(&mut packet[read..]) {
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        Some(packet)
    }

    fn wait(&self, what: PollFlags) -> Option<()> {
        while !self.end.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(&self.port, what)];
            let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut fds, Some(&moment)).expect("poll") == 1 {
                return Some(());
            }
        }
        None
    }

    fn flood(&mut self, channel: [u8; 4], command: u8) {
        while !self.end.load(Ordering::SeqCst) {
            self.send(channel, command, &[2]);
        }
    }

    fn send(&mut self, channel: [u8; 4], command: u8, data: &[u8]) {
        let length = u16::try_from(data.len()).expect("a short message");
        let claimed = if self.conduct == Conduct::Huge && command == MSG { u16::MAX } else { length };
        let first = data.len().min(57);
        self.put(&[&channel[..], &[command], &claimed.to_be_bytes(), &data[..first]].concat());
        for (sequence, part) in data[first..].chunks(59).enumerate() {
            let sequence = u8::try_from(sequence).expect("a short message");
            let sequence = if self.conduct == Conduct::Sequence { sequence + 1 } else { sequence };
            self.put(&[&channel[..], &[sequence], part].concat());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let mut packet = [0; 64];
        packet[..bytes.len()].copy_from_slice(bytes);
        let mut written = 0;
        while written < packet.len() && self.wait(PollFlags::OUT).is_some() {
            match self.port.write(&packet[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
