//! A security key that says whatever the fuzzer says, as far as ctap-hid-fido2 asks for one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};

const INIT: u8 = 0x86;
const KEEPALIVE: u8 = 0xbb;
const CBOR: u8 = 0x90;
const CHANNEL: [u8; 4] = [1; 4];

thread_local! {
    /// The talk with the one device that there is.
    pub static TALK: RefCell<Talk> = RefCell::default();
}

#[derive(Default)]
pub struct Talk {
    /// One for each request to come, or all the packets after INIT, each as it is.
    pub answers: VecDeque<Vec<u8>>,
    pub is_raw: bool,
    /// Every request, and what it was answered.
    pub heard: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub request: Vec<u8>,
    pub missing: usize,
    pub packets: VecDeque<Vec<u8>>,
}

impl Talk {
    fn written(&mut self, packet: &[u8]) {
        let packet = &packet[1..];
        if packet[4] & 0x80 == 0 {
            self.more(&packet[5..]);
        } else if packet[4] == INIT {
            let nonce = &packet[7..15];
            self.packets.push_back([&[0xff; 4][..], &[INIT, 0, 17], nonce, &CHANNEL, &[0; 5]].concat());
        } else {
            self.request.clear();
            self.missing = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
            self.more(&packet[7..]);
        }
    }

    fn more(&mut self, part: &[u8]) {
        let part = &part[..part.len().min(self.missing)];
        self.missing -= part.len();
        self.request.extend(part);
        if self.missing > 0 {
            return;
        }
        let answer = if self.is_raw { None } else { self.answers.pop_front() };
        if let Some(answer) = &answer {
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let (first, rest) = answer.split_at(answer.len().min(57));
            self.packets.push_back([&CHANNEL[..], &[CBOR], &length, first].concat());
            self.packets.extend((0..).zip(rest.chunks(59)).map(|(sequence, part)| {
                let sequence: u8 = sequence;
                [&CHANNEL[..], &[sequence], part].concat()
            }));
        }
        self.heard.push((std::mem::take(&mut self.request), answer));
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        loop {
            let packet =
                self.packets.pop_front().or_else(|| self.answers.pop_front().filter(|_| self.is_raw))?;
            // They only make the crate sleep.
            if packet.get(4) != Some(&KEEPALIVE) {
                return Some(packet);
            }
        }
    }
}

#[derive(Debug)]
pub struct HidError;

pub struct HidApi;

impl HidApi {
    pub fn disable_device_discovery() {}

    pub fn new() -> Result<Self, HidError> {
        Ok(Self)
    }

    pub fn open_path(&self, _: &CStr) -> Result<HidDevice, HidError> {
        Ok(HidDevice)
    }

    pub fn device_list(&self) -> impl Iterator<Item = &DeviceInfo> {
        [].iter()
    }
}

pub struct HidDevice;

impl HidDevice {
    pub fn write(&self, packet: &[u8]) -> Result<usize, HidError> {
        TALK.with_borrow_mut(|talk| talk.written(packet));
        Ok(packet.len())
    }

    /// Whoever has nothing more to say is unplugged.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, HidError> {
        let packet = TALK.with_borrow_mut(Talk::read).ok_or(HidError)?;
        let count = packet.len().min(buffer.len());
        buffer[..count].copy_from_slice(&packet[..count]);
        Ok(count)
    }
}

/// Of nobody: no device is searched for.
pub struct DeviceInfo(CString);

impl DeviceInfo {
    pub fn path(&self) -> &CStr {
        &self.0
    }

    pub fn vendor_id(&self) -> u16 {
        0
    }

    pub fn product_id(&self) -> u16 {
        0
    }

    pub fn usage_page(&self) -> u16 {
        0
    }

    pub fn usage(&self) -> u16 {
        0
    }

    pub fn product_string(&self) -> Option<&str> {
        None
    }

    pub fn serial_number(&self) -> Option<&str> {
        None
    }
}
