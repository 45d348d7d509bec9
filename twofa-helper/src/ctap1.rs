//! A `key` over CTAP1 (U2F): keys that know nothing else, and credentials that were made with it.

use crate::answer::{Answer, Made, Task};
use crate::assertion::Assertion;
use crate::frame::{CAPABLE_OF_CBOR, NOT_CAPABLE_OF_MSG};
use crate::hid::{Channel, pause};
use crate::u2f::{self, Status};
use std::fs::File;
use std::time::Duration;
use twofa::helper::{Ask, Registration, Touch};
use twofa::system::Deadline;
use twofa::token::{Credential, Protocol};

/// A key is asked again and again until it has been touched.
const AGAIN: Duration = Duration::from_millis(150);

const NO_SENSE: &str = "its answer makes no sense";

pub(crate) fn ask(device: File, task: &Task) -> Result<Answer, Answer> {
    let deadline = Deadline::after(Duration::from_millis(task.milliseconds.into()));
    let mut key = Key { channel: Channel::open(device, deadline)?, deadline };
    match &task.ask {
        Ask::Touch(touch) => key.touch(touch),
        Ask::Register(_) if key.is_capable_of_ctap2() => Ok(Answer::Ctap2),
        Ask::Register(_) if task.has_pin => Ok(Answer::failed("it is a U2F key and knows no PIN")),
        Ask::Register(registration) => key.register(registration, &task.proof),
    }
}

struct Key {
    channel: Channel,
    deadline: Deadline,
}

impl Key {
    fn is_capable_of_ctap2(&self) -> bool {
        self.channel.capabilities & CAPABLE_OF_CBOR != 0
    }

    fn is_capable_of_ctap1(&self) -> bool {
        self.channel.capabilities & NOT_CAPABLE_OF_MSG == 0
    }

    fn touch(&mut self, touch: &Touch) -> Result<Answer, Answer> {
        // Software that speaks CTAP2 keeps what a U2F key gave it as a credential of its own kind.
        let is_of_u2f = |credential: &&Credential| {
            credential.protocol == Protocol::U2f || !self.is_capable_of_ctap2() && credential.is_for_u2f()
        };
        let (old, new): (Vec<&Credential>, Vec<&Credential>) =
            touch.candidates().map(|(_, credential)| credential).partition(is_of_u2f);
        if self.is_capable_of_ctap1() {
            for credential in old {
                if self.has(&touch.rp_id, &touch.challenge, &credential.id)? {
                    return self.sign(&touch.rp_id, &touch.challenge, &credential.id).map(Answer::Signed);
                }
            }
        }
        let goes_on = self.is_capable_of_ctap2() && !new.is_empty();
        Ok(if goes_on { Answer::Ctap2 } else { Answer::NotEnrolled })
    }

    fn register(&mut self, registration: &Registration, proof: &[u8; 32]) -> Result<Answer, Answer> {
        let Registration { rp_id, challenge, exclude, .. } = registration;
        for credential in exclude.iter().filter(|credential| credential.rp_id == *rp_id) {
            // A longer one is no key handle.
            if credential.protocol == Protocol::U2f && self.has(rp_id, challenge, &credential.id)? {
                return Ok(Answer::AlreadyRegistered);
            }
        }
        let data = self.touched(&u2f::register(rp_id, challenge))?;
        let credential = u2f::registered(rp_id, &data).ok_or(Answer::lied(NO_SENSE))?;
        let proof = self.sign(rp_id, proof, &credential.id)?;
        Ok(Answer::Made(Box::new(Made { credential, proof })))
    }

    /// Asked without a touch. A key that says neither yes nor no does not have it.
    fn has(&mut self, rp_id: &str, challenge: &[u8; 32], handle: &[u8]) -> Result<bool, Answer> {
        let answer = self.channel.message(&u2f::check(rp_id, challenge, handle))?;
        Ok(matches!(u2f::status(&answer), Some((_, Status::NotTouched))))
    }

    fn sign(&mut self, rp_id: &str, challenge: &[u8; 32], handle: &[u8]) -> Result<Assertion, Answer> {
        let data = self.touched(&u2f::sign(rp_id, challenge, handle))?;
        u2f::signed(rp_id, handle, &data).ok_or(Answer::lied(NO_SENSE))
    }

    /// Sends a request until the key has been touched.
    fn touched(&mut self, request: &[u8]) -> Result<Vec<u8>, Answer> {
        while self.deadline.left().is_some() {
            let answer = self.channel.message(request)?;
            match u2f::status(&answer) {
                Some((data, Status::Done)) => return Ok(data.into()),
                Some((_, Status::NotTouched)) => pause(AGAIN),
                Some((_, Status::WrongData)) => {
                    return Err(Answer::failed("it does not know its own credential"));
                }
                Some((_, Status::Other(status))) => {
                    return Err(Answer::Failed(format!("U2F status {status:#06x}")));
                }
                None => return Err(Answer::lied(NO_SENSE)),
            }
        }
        Err(Answer::TimedOut)
    }
}
