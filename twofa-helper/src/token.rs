//! `twofa-helper token`: takes one job from the module, has all security keys asked, and judges what they say.

use crate::answer::{Answer, Made, Task, Way};
use crate::party::{self, End, Turn};
use crate::{assertion, caller, devices, fresh};
use std::iter;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;
use twofa::helper::{self, Ask, Registered, Registration, Touch, Touched};
use twofa::system::{self, Deadline};
use twofa::token::{Credential, Device, is_rp_id};

/// For the job to come.
const PREPARATION: Duration = Duration::from_secs(5);
/// For the report to be taken.
const HANDOVER: Duration = Duration::from_secs(1);
/// Of what a `key` gives as its reason.
const MAX_REASON: usize = 120;

const NONSENSE: &str = "the process that asked it says nonsense";

/// Nothing when it was not the module that called.
pub(crate) fn run() -> Option<ExitCode> {
    let socket = caller::socket()?;
    let sent = fresh::start().ok().and_then(|()| {
        let fixed = caller::shut_off();
        let ask: Ask = helper::receive(&socket, Deadline::after(PREPARATION)).ok()?;
        let ready = fixed.and_then(|()| system::random().map_err(|error| error.to_string()));
        let only = match &ask {
            Ask::Touch(touch) => touch.pin.as_ref().map(|(_, device)| *device),
            Ask::Register(_) => None,
        };
        let task = Task::new(ask, ready.clone().unwrap_or_default());
        match &task.ask {
            Ask::Touch(touch) => {
                let report = ready
                    .map_or_else(|why| Some(Touched::Failed(why)), |_| touched(touch, only, &task, &socket));
                helper::send(&socket, &report?, Deadline::after(HANDOVER)).ok()
            }
            Ask::Register(registration) => {
                let report = ready.map_or_else(
                    |why| Some(Registered::Failed(why)),
                    |_| registered(registration, &task, &socket),
                );
                helper::send(&socket, &report?, Deadline::after(HANDOVER)).ok()
            }
        }
    });
    Some(if sent.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks all keys, or `only` the one whose PIN it is. Nothing when nobody wants to know any more.
fn touched(touch: &Touch, only: Option<Device>, task: &Task, module: &UnixStream) -> Option<Touched> {
    if !is_rp_id(&touch.rp_id) {
        return Some(Touched::Failed(IMPOSSIBLE_NAME.into()));
    }
    if touch.candidates().next().is_none() {
        return Some(Touched::NotEnrolled);
    }
    let mut best = Touched::NoKey;
    let mut devices = devices::plugged_in();
    devices.retain(|(device, _)| only.is_none_or(|only| only == *device));
    let end = party::run(devices, task, module, |device, answer| {
        let touched = match judge_touch(touch, device, answer) {
            Ok(touched) => touched,
            Err(way) => return Turn::Again(way),
        };
        let turn = match &touched {
            Touched::Signed { .. } => Turn::Decided,
            Touched::PinRequired(_) => Turn::Soon,
            _ => Turn::Over,
        };
        if matches!((&best, &touched), (Touched::PinRequired(_), Touched::PinRequired(_))) {
            best = Touched::SeveralKeys;
        } else if weight(&touched) > weight(&best) {
            best = touched;
        }
        turn
    });
    match end {
        Ok(End::Heard) => Some(best),
        Ok(End::TimedOut) if weight(&Touched::TimedOut) > weight(&best) => Some(Touched::TimedOut),
        Ok(End::TimedOut) => Some(best),
        Ok(End::Unwanted) => None,
        Err(error) => Some(Touched::Failed(error.to_string())),
    }
}

const IMPOSSIBLE_NAME: &str = "the relying party has an impossible name";

/// What an answer is worth, or how else the key is to be asked.
fn judge_touch(touch: &Touch, device: Device, answer: Answer) -> Result<Touched, Way> {
    Ok(match answer {
        Answer::Signed(signed) => {
            match assertion::verify(touch.candidates(), &touch.rp_id, &touch.challenge, &signed) {
                Ok(proof) => Touched::Signed { credential: proof.credential, counter: proof.counter },
                Err(fault) => Touched::Lied(fault.to_string()),
            }
        }
        Answer::Ctap2 => return Err(Way::Ctap2),
        Answer::NotEnrolled => Touched::NotEnrolled,
        Answer::Denied => Touched::Denied,
        Answer::TimedOut => Touched::TimedOut,
        Answer::PinRequired => Touched::PinRequired(device),
        Answer::PinPaused => Touched::PinPaused,
        Answer::WrongPin { left } => Touched::WrongPin { left },
        Answer::PinBlocked => Touched::PinBlocked,
        Answer::Gone => Touched::Gone,
        Answer::Lied(why) => Touched::Lied(tame(&why)),
        Answer::Failed(why) => Touched::Failed(tame(&why)),
        Answer::Made(_) | Answer::AlreadyRegistered => Touched::Failed(NONSENSE.into()),
    })
}

/// Of several keys, the one that the user has to hear about: the own one, most likely, and what can be done.
fn weight(touched: &Touched) -> u8 {
    match touched {
        Touched::NoKey => 0,
        Touched::NotEnrolled => 1,
        Touched::Failed(_) => 2,
        Touched::Lied(_) => 3,
        Touched::Gone => 4,
        Touched::TimedOut => 5,
        Touched::Denied => 6,
        Touched::PinRequired(_) => 7,
        Touched::SeveralKeys => 8,
        Touched::WrongPin { .. } => 9,
        Touched::PinPaused => 10,
        Touched::PinBlocked => 11,
        Touched::Signed { .. } => 12,
    }
}

/// Nothing when nobody wants to know any more.
fn registered(registration: &Registration, task: &Task, module: &UnixStream) -> Option<Registered> {
    if !is_rp_id(&registration.rp_id) {
        return Some(Registered::Failed(IMPOSSIBLE_NAME.into()));
    }
    let devices = devices::plugged_in();
    if devices.len() > 1 {
        return Some(Registered::SeveralKeys);
    }
    let mut registered = Registered::NoKey;
    let end =
        party::run(devices, task, module, |_, answer| match judge_registration(registration, task, answer) {
            Ok(judged) => {
                registered = judged;
                Turn::Over
            }
            Err(way) => Turn::Again(way),
        });
    match end {
        Ok(End::Heard) => Some(registered),
        Ok(End::TimedOut) => Some(Registered::TimedOut),
        Ok(End::Unwanted) => None,
        Err(error) => Some(Registered::Failed(error.to_string())),
    }
}

fn judge_registration(registration: &Registration, task: &Task, answer: Answer) -> Result<Registered, Way> {
    Ok(match answer {
        Answer::Made(made) => {
            let Made { credential, proof } = *made;
            let credential = Credential { verify: task.has_pin, ..credential };
            let known = |other: &Credential| other.id == credential.id;
            if credential.rp_id != registration.rp_id || !credential.is_valid() {
                return Ok(Registered::Lied("its new credential makes no sense".into()));
            }
            if registration.exclude.iter().any(known) {
                return Ok(Registered::AlreadyRegistered);
            }
            let new = iter::once((0, &credential));
            match assertion::verify(new, &registration.rp_id, &task.proof, &proof) {
                Ok(_) => Registered::Credential(credential),
                Err(fault) => Registered::Lied(fault.to_string()),
            }
        }
        Answer::Ctap2 => return Err(Way::Ctap2),
        Answer::AlreadyRegistered => Registered::AlreadyRegistered,
        Answer::Denied => Registered::Denied,
        Answer::TimedOut => Registered::TimedOut,
        Answer::PinRequired => Registered::PinRequired,
        Answer::WrongPin { left } => Registered::WrongPin { left },
        Answer::PinPaused => Registered::PinPaused,
        Answer::PinBlocked => Registered::PinBlocked,
        Answer::Gone => Registered::Gone,
        Answer::Lied(why) => Registered::Lied(tame(&why)),
        Answer::Failed(why) => Registered::Failed(tame(&why)),
        Answer::NotEnrolled => Registered::Lied("it does not know its own credential".into()),
        Answer::Signed(_) => Registered::Failed(NONSENSE.into()),
    })
}

/// A `key` that a device has taken over may say anything.
fn tame(why: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
    why.chars().filter(is_plain).take(MAX_REASON).collect()
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
