//! The kernel's side: a HID device made by /dev/uhid (`linux/uhid.h`), gone as soon as its file is closed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::packet::Packet;

/// Event types.
const OUTPUT: u32 = 6;
const GET_REPORT: u32 = 9;
const GET_REPORT_REPLY: u32 = 10;
const CREATE2: u32 = 11;
const INPUT2: u32 = 12;
const SET_REPORT: u32 = 13;
const SET_REPORT_REPLY: u32 = 14;
/// The error of a report that a FIDO device does not have.
const EIO: u16 = 5;
const BUS_USB: u16 = 3;
/// Nobody's: libfido2 and browsers look at the usage page only.
const VENDOR: u32 = 0xf1d0;
const PRODUCT: u32 = 0x50f7;
/// The longest report that the kernel handles.
const DATA: usize = 4096;
/// `struct uhid_event`: the type, then `struct uhid_create2_req`, the longest of the union.
const EVENT: usize = 4 + 128 + 64 + 64 + 2 + 2 + 4 * 4 + DATA;

/// The report descriptor of CTAP 2.1, 11.2.8.1: usage page FIDO, 64 bytes in, 64 bytes out, no report ids.
const DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95,
    0x40, 0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];

/// A key that is plugged in, until this is dropped.
pub(crate) struct Uhid {
    file: File,
}

impl Uhid {
    /// Makes the device. What programs send to it arrives at the receiver.
    pub(crate) fn plug_in(name: &str) -> io::Result<(Self, Receiver<Packet>)> {
        let file = File::options().read(true).write(true).open("/dev/uhid")?;
        let uhid = Self { file: file.try_clone()? };
        (&uhid.file).write_all(&create(name))?;
        let (sender, receiver) = channel();
        // Ends with the program, or when nobody listens any more.
        thread::spawn(move || {
            let mut event = [0; EVENT];
            while let Ok(length) = (&file).read(&mut event) {
                if let Some(reply) = refusal(&event) {
                    let _ = (&file).write_all(&reply);
                }
                if let Some(packet) = event.get(..length).and_then(output)
                    && sender.send(packet).is_err()
                {
                    return;
                }
            }
        });
        Ok((uhid, receiver))
    }

    /// One report to whoever reads.
    pub(crate) fn send(&self, packet: &Packet) -> io::Result<()> {
        let length = u16::try_from(packet.len()).unwrap_or(0);
        let event = [&INPUT2.to_ne_bytes()[..], &length.to_ne_bytes(), packet].concat();
        (&self.file).write_all(&event)
    }
}

/// `struct uhid_create2_req`; the structures are packed.
fn create(name: &str) -> Vec<u8> {
    let text = |text: &str, length: usize| {
        // The last byte stays zero.
        let mut field: Vec<u8> = text.bytes().take(length - 1).collect();
        field.resize(length, 0);
        field
    };
    let size = u16::try_from(DESCRIPTOR.len()).unwrap_or(0);
    let mut descriptor = DESCRIPTOR.to_vec();
    descriptor.resize(DATA, 0);
    [
        CREATE2.to_ne_bytes().to_vec(),
        text(&format!("softkey {name}"), 128),
        text("", 64),
        text(name, 64),
        size.to_ne_bytes().to_vec(),
        BUS_USB.to_ne_bytes().to_vec(),
        VENDOR.to_ne_bytes().to_vec(),
        PRODUCT.to_ne_bytes().to_vec(),
        vec![0; 8], // version and country
        descriptor,
    ]
    .concat()
}

/// The packet in an event; hidraw's writers put the report's number, 0, before it.
fn output(event: &[u8]) -> Option<Packet> {
    let (kind, rest) = event.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(DATA)?;
    let size = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
    let is_output = u32::from_ne_bytes(*kind) == OUTPUT;
    is_output.then(|| data.get(1..size)?.try_into().ok()).flatten()
}

/// The answer to a request for a report by number: there are none, and the kernel waits 5 s for it.
fn refusal(event: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = event.split_first_chunk::<4>()?;
    let id = rest.first_chunk::<4>()?;
    match u32::from_ne_bytes(*kind) {
        GET_REPORT => Some([&GET_REPORT_REPLY.to_ne_bytes()[..], id, &EIO.to_ne_bytes(), &[0; 2]].concat()),
        SET_REPORT => Some([&SET_REPORT_REPLY.to_ne_bytes()[..], id, &EIO.to_ne_bytes()].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_event_is_a_packet() {
        let mut event = vec![0; EVENT];
        event[0] = 6;
        event[5..69].fill(7);
        event[4 + DATA] = 65;
        assert_eq!(output(&event), Some([7; 64]));
        event[4 + DATA] = 64;
        assert_eq!(output(&event), None);
        event[0] = 4;
        assert_eq!(output(&event), None);
    }

    #[test]
    fn the_device_is_made_of_as_many_bytes_as_the_kernel_reads() {
        assert_eq!(create("blue").len(), EVENT);
        assert!(create("blue")[4..].starts_with(b"softkey blue\0"));
    }
}
