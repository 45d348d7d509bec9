//! CTAP1 (FIDO U2F raw message formats 1.2): REGISTER, AUTHENTICATE, VERSION.

use crate::certificate;
use crate::mode::Lie;
use crate::secrets::{Algorithm, Hash};
use crate::token::{Token, said, sign, signing_key, uncompressed};

/// Instructions, and what AUTHENTICATE does.
const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
const VERSION: u8 = 0x03;
const CHECK_ONLY: u8 = 0x07;
const ENFORCE: u8 = 0x03;
const DO_NOT_ENFORCE: u8 = 0x08;

/// Status words.
const NO_ERROR: [u8; 2] = [0x90, 0x00];
const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];
/// "Touch me", or "I know this key handle"
const CONDITIONS_NOT_SATISFIED: [u8; 2] = [0x69, 0x85];
const WRONG_DATA: [u8; 2] = [0x6a, 0x80];
const INS_NOT_SUPPORTED: [u8; 2] = [0x6d, 0x00];
const CLA_NOT_SUPPORTED: [u8; 2] = [0x6e, 0x00];

/// A command of ISO 7816-4.
struct Command<'m> {
    class: u8,
    instruction: u8,
    control: u8,
    data: &'m [u8],
}

/// Whether the client wants the user to touch the key.
pub(crate) fn asks_for_touch(message: &[u8]) -> bool {
    parse(message).is_some_and(|command| {
        matches!((command.instruction, command.control), (REGISTER, _) | (AUTHENTICATE, ENFORCE))
    })
}

impl Token {
    /// The answer to a message.
    pub(crate) fn u2f(&mut self, message: &[u8], touched: bool, lie: Option<Lie>) -> Vec<u8> {
        let answer = match parse(message) {
            None => Err(WRONG_LENGTH),
            Some(Command { class: 1.., .. }) => Err(CLA_NOT_SUPPORTED),
            Some(Command { instruction: VERSION, data: [], .. }) => Ok(b"U2F_V2".to_vec()),
            Some(Command { instruction: VERSION, .. }) => Err(WRONG_LENGTH),
            Some(Command { instruction: REGISTER, data, .. }) => self.register(data, touched, lie),
            Some(Command { instruction: AUTHENTICATE, control, data, .. }) => {
                self.authenticate(control, data, touched, lie)
            }
            Some(_) => Err(INS_NOT_SUPPORTED),
        };
        match answer {
            Ok(mut data) => {
                data.truncate(if lie == Some(Lie::Truncated) { data.len() / 2 } else { data.len() });
                data.extend(NO_ERROR);
                data
            }
            Err(status) => status.to_vec(),
        }
    }

    fn register(&mut self, data: &[u8], touched: bool, lie: Option<Lie>) -> Result<Vec<u8>, [u8; 2]> {
        let Some((challenge, application, [])) = two_hashes(data) else { return Err(WRONG_LENGTH) };
        if !touched {
            return Err(CONDITIONS_NOT_SATISFIED);
        }
        let handle = self.secrets.new_id(application, Algorithm::Es256);
        let public = uncompressed(&signing_key(&self.private_key(&handle, None)).verifying_key().into());
        let signed = [&[0], &said(application, lie)[..], challenge, &handle, &public].concat();
        let attestation = self.secrets.attestation_key();
        let signature = sign(&attestation, Algorithm::Es256, &signed);
        let certificate = certificate::self_signed(&signing_key(&attestation));
        let length = u8::try_from(handle.len()).unwrap_or(0);
        Ok([&[5][..], &public, &[length], &handle, &certificate, &signature].concat())
    }

    fn authenticate(
        &mut self,
        control: u8,
        data: &[u8],
        touched: bool,
        lie: Option<Lie>,
    ) -> Result<Vec<u8>, [u8; 2]> {
        let Some((challenge, application, [length, handle @ ..])) = two_hashes(data) else {
            return Err(WRONG_LENGTH);
        };
        if handle.len() != usize::from(*length) {
            return Err(WRONG_LENGTH);
        }
        if self.secrets.algorithm_of(handle, application) != Some(Algorithm::Es256) {
            return Err(WRONG_DATA);
        }
        let present = match control {
            CHECK_ONLY => return Err(CONDITIONS_NOT_SATISFIED),
            ENFORCE if !touched => return Err(CONDITIONS_NOT_SATISFIED),
            ENFORCE => lie != Some(Lie::NoUp),
            DO_NOT_ENFORCE => false,
            _ => return Err(WRONG_DATA),
        };
        if let (Some(Lie::Replay), Some(last)) = (lie, &self.last_u2f) {
            return Ok(last.clone());
        }
        let counter = self.count(lie).to_be_bytes();
        let signed = [&said(application, lie)[..], &[present.into()], &counter, challenge].concat();
        let signature = sign(&self.private_key(handle, lie), Algorithm::Es256, &signed);
        let answer = [&[present.into()], &counter[..], &signature].concat();
        self.last_u2f = Some(answer.clone());
        Ok(answer)
    }
}

/// The challenge, the application, and what follows.
fn two_hashes(data: &[u8]) -> Option<(&Hash, &Hash, &[u8])> {
    let (challenge, rest) = data.split_first_chunk()?;
    let (application, rest) = rest.split_first_chunk()?;
    Some((challenge, application, rest))
}

/// With a length of one byte, or of three that begin with 0. The length of the answer that is wanted is of no concern.
fn parse(message: &[u8]) -> Option<Command<'_>> {
    let ([class, instruction, control, _], rest) = message.split_first_chunk::<4>()?;
    let data = match rest {
        [0, high, low, rest @ ..] => rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?,
        [] | [_] => &[],
        [length, rest @ ..] => rest.get(..usize::from(*length))?,
    };
    Some(Command { class: *class, instruction: *instruction, control: *control, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctap2::tests::{Plugged, verify};

    const APPLICATION: [u8; 32] = [0xaa; 32];
    const CHALLENGE: [u8; 32] = [0xcc; 32];

    fn message(instruction: u8, control: u8, data: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[0, instruction, control, 0, 0, high, low], data, &[0, 0]].concat()
    }

    fn registered(token: &mut Token) -> (Vec<u8>, Vec<u8>) {
        let answer = token.u2f(&message(REGISTER, 0, &[CHALLENGE, APPLICATION].concat()), true, None);
        assert!(answer.ends_with(&NO_ERROR));
        assert_eq!((answer[0], answer[66]), (5, 64));
        (answer[1..66].to_vec(), answer[67..67 + 64].to_vec())
    }

    fn asks(handle: &[u8]) -> Vec<u8> {
        [&CHALLENGE[..], &APPLICATION, &[u8::try_from(handle.len()).unwrap()], handle].concat()
    }

    #[test]
    fn what_was_registered_authenticates() {
        let mut token = Plugged::new();
        let (public, handle) = registered(&mut token);
        let answer = token.u2f(&message(AUTHENTICATE, ENFORCE, &asks(&handle)), true, None);
        let (data, signature) = answer[..answer.len() - 2].split_at(5);
        assert_eq!(data[0], 1);
        verify(&public, &[&APPLICATION, data, &CHALLENGE].concat(), signature).unwrap();

        let without_touch = token.u2f(&message(AUTHENTICATE, DO_NOT_ENFORCE, &asks(&handle)), false, None);
        assert_eq!(without_touch[0], 0);
        let again = token.u2f(&message(AUTHENTICATE, ENFORCE, &asks(&handle)), true, Some(Lie::OtherKey));
        let (data, signature) = again[..again.len() - 2].split_at(5);
        verify(&public, &[&APPLICATION, data, &CHALLENGE].concat(), signature).unwrap_err();
    }

    #[test]
    fn status_words_are_those_of_the_specification() {
        let mut token = Plugged::new();
        let (_, handle) = registered(&mut token);
        let mut foreign = handle.clone();
        foreign[0] ^= 1;
        for (message, status) in [
            (message(VERSION, 0, &[]), NO_ERROR),
            (message(VERSION, 0, &[1]), WRONG_LENGTH),
            (message(REGISTER, 0, &[0; 64]), CONDITIONS_NOT_SATISFIED),
            (message(REGISTER, 0, &[0; 63]), WRONG_LENGTH),
            (message(AUTHENTICATE, CHECK_ONLY, &asks(&handle)), CONDITIONS_NOT_SATISFIED),
            (message(AUTHENTICATE, CHECK_ONLY, &asks(&foreign)), WRONG_DATA),
            (message(AUTHENTICATE, ENFORCE, &asks(&handle)), CONDITIONS_NOT_SATISFIED),
            (message(AUTHENTICATE, 9, &asks(&handle)), WRONG_DATA),
            (message(0x77, 0, &[]), INS_NOT_SUPPORTED),
            (vec![0x80, 3, 0, 0], CLA_NOT_SUPPORTED),
            (vec![0, 3], WRONG_LENGTH),
        ] {
            assert_eq!(token.u2f(&message, false, None)[..].last_chunk(), Some(&status), "{message:x?}");
        }
        assert!(asks_for_touch(&message(REGISTER, 0, &[])));
        assert!(!asks_for_touch(&message(AUTHENTICATE, CHECK_ONLY, &[])));
    }
}
