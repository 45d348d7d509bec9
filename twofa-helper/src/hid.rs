//! A channel to a security key over its hidraw node. Whatever waits here has an end.

use crate::answer::Answer;
use crate::frame::{self, BROADCAST, Event, INIT, MSG, PACKET, Reception};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;
use twofa::system::{self, Deadline};

/// For everything that needs no touch; U2F keys are asked for it again and again.
const ANSWER: Duration = Duration::from_secs(3);
/// Another program has the key's attention.
const BUSY: u8 = 0x06;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The answer to CTAPHID_INIT: nonce, channel, three numbers of versions, and capabilities.
const NONCE: usize = 8;

pub(crate) struct Channel {
    device: File,
    id: [u8; 4],
    pub(crate) capabilities: u8,
    deadline: Deadline,
}

impl Channel {
    /// Asks for a channel. `device` does not block.
    pub(crate) fn open(device: File, deadline: Deadline) -> Result<Self, Answer> {
        let nonce: [u8; NONCE] = system::random().map_err(|error| Answer::Failed(error.to_string()))?;
        let mut channel = Self { device, id: BROADCAST, capabilities: 0, deadline };
        channel.write(INIT, &nonce)?;
        let limit = channel.limit();
        loop {
            // Answers to others come on the same channel: neither they nor what is wrong with them is for us.
            let mut reception = Reception::new(BROADCAST, INIT);
            while let Ok(event) = reception.take(&channel.read(limit)?) {
                let Event::Message(answer) = event else { continue };
                if let Some((id, capabilities)) = granted(&nonce, &answer) {
                    return Ok(Self { id, capabilities, ..channel });
                }
                break;
            }
        }
    }

    /// Sends a CTAP1 message, and waits for its answer.
    pub(crate) fn message(&mut self, request: &[u8]) -> Result<Vec<u8>, Answer> {
        let limit = self.limit();
        self.write(MSG, request)?;
        let mut reception = Reception::new(self.id, MSG);
        loop {
            let packet = self.read(limit)?;
            match reception.take(&packet).map_err(|fault| Answer::Lied(fault.to_string()))? {
                Event::Nothing | Event::KeepAlive => {}
                Event::Message(answer) => return Ok(answer),
                Event::Error(BUSY) => {
                    pause(BUSY_PAUSE);
                    self.write(MSG, request)?;
                    reception = Reception::new(self.id, MSG);
                }
                Event::Error(code) => return Err(Answer::Failed(format!("CTAPHID error {code:#04x}"))),
            }
        }
    }

    fn limit(&self) -> Deadline {
        Deadline::after(self.deadline.left().unwrap_or_default().min(ANSWER))
    }

    fn write(&mut self, command: u8, data: &[u8]) -> Result<(), Answer> {
        for packet in frame::packets(self.id, command, data) {
            // A report is written as a whole, or not at all.
            self.device.write_all(&packet).map_err(|_| Answer::Gone)?;
        }
        Ok(())
    }

    /// The next packet, whoever it is for.
    fn read(&mut self, limit: Deadline) -> Result<Vec<u8>, Answer> {
        loop {
            let Some(left) = limit.left() else {
                return Err(match self.deadline.left() {
                    Some(_) => Answer::failed("it does not answer"),
                    None => Answer::TimedOut,
                });
            };
            let mut fds = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut fds, timeout);
            let mut packet = vec![0; PACKET];
            match self.device.read(&mut packet) {
                Ok(0) => return Err(Answer::Gone),
                Ok(count) => {
                    packet.truncate(count);
                    return Ok(packet);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return Err(Answer::Gone),
            }
        }
    }
}

/// The channel in the answer to our INIT, and the capabilities.
fn granted(nonce: &[u8; NONCE], answer: &[u8]) -> Option<([u8; 4], u8)> {
    let (echo, rest) = answer.split_first_chunk::<NONCE>()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let capabilities = rest.get(4)?;
    (echo == nonce && *id != BROADCAST && *id != [0; 4]).then_some((*id, *capabilities))
}

pub(crate) fn pause(duration: Duration) {
    let _ = poll(&mut [], PollTimeout::try_from(duration).unwrap_or(PollTimeout::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_init_grants_a_channel() {
        let nonce = [1, 2, 3, 4, 5, 6, 7, 8];
        let answer = |nonce: &[u8], id: [u8; 4]| [nonce, &id, &[2, 1, 0, 0, 0x0d]].concat();
        assert_eq!(granted(&nonce, &answer(&nonce, [9; 4])), Some(([9; 4], 0x0d)));
        assert_eq!(granted(&nonce, &answer(&[1; 8], [9; 4])), None, "somebody else's");
        assert_eq!(granted(&nonce, &answer(&nonce, BROADCAST)), None);
        assert_eq!(granted(&nonce, &answer(&nonce, [0; 4])), None);
        for length in 0..17 {
            assert_eq!(granted(&nonce, &answer(&nonce, [9; 4])[..length]), None, "{length}");
        }
    }
}
