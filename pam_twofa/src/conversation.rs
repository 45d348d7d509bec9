//! The user, through the application's PAM conversation: one message a call, prompts without echo.

use pam::constants::{
    PAM_ERROR_MSG, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_SILENT, PAM_TEXT_INFO, PamFlag,
};
use pam::conv::Conv;
use pam::items::AuthTok;
use pam::module::PamHandle;
use twofa::code::{Answer, Secret};
use twofa::login::{Event, Notice, Prompt, Reply};
use twofa::policy::Method;
use twofa::{message, ports};

pub(crate) struct PamConversation<'a> {
    pamh: &'a PamHandle,
    support: Option<&'a str>,
    silent: bool,
}

impl<'a> PamConversation<'a> {
    pub(crate) fn new(pamh: &'a PamHandle, support: Option<&'a str>, flags: PamFlag) -> Self {
        Self { pamh, support, silent: flags & PAM_SILENT != 0 }
    }
}

impl ports::Conversation for PamConversation<'_> {
    fn tell(&mut self, notice: &Notice) {
        // Without these there is nothing to answer.
        let is_needed = matches!(notice, Notice::SetUp { .. } | Notice::App(_) | Notice::RecoveryCodes(_));
        if self.silent && !is_needed {
            return;
        }
        let style = match notice {
            Notice::RecoveryCodesLeft(_)
            | Notice::Trusted { .. }
            | Notice::NotYet { .. }
            | Notice::Grace { .. }
            | Notice::SetUp { .. }
            | Notice::App(_)
            | Notice::RecoveryCodes(_)
            | Notice::NotSaved
            | Notice::Enrolled(_)
            | Notice::BypassSpent
            | Notice::NothingTyped
            | Notice::NotOffered
            | Notice::TouchKey
            | Notice::TooSoon { .. } => PAM_TEXT_INFO,
            _ => PAM_ERROR_MSG,
        };
        let text = message::notice(notice, self.support);
        if let Ok(Some(talk)) = self.pamh.get_item::<Conv<'_>>() {
            // Some applications take no texts; the verdict stands without them.
            let _ = talk.send(style, &text);
        }
    }

    fn ask(&mut self, prompt: &Prompt) -> Event {
        let Ok(Some(talk)) = self.pamh.get_item::<Conv<'_>>() else {
            return Event::Gone;
        };
        let style = match prompt {
            Prompt::Trust { .. } | Prompt::NewPhone { .. } | Prompt::Saved => PAM_PROMPT_ECHO_ON,
            _ => PAM_PROMPT_ECHO_OFF,
        };
        match talk.send(style, &message::prompt(prompt)) {
            Ok(Some(answer)) if matches!(prompt, Prompt::Trust { .. }) => {
                Event::Confirmed(is_yes(answer.as_bytes()))
            }
            Ok(Some(answer)) => {
                // The first factor's token: an application that answers every prompt with it sends no codes.
                let password = self.pamh.get_item::<AuthTok<'_>>().ok().flatten();
                let password = password.as_ref().map(AuthTok::as_bytes);
                if prompt.is_of_enrolment() {
                    return Event::Replied(Reply::parse(answer.as_bytes(), password));
                }
                let answered = Answer::parse(answer.as_bytes(), password);
                match (prompt, answered) {
                    // A PIN may look like a code, and like a wish that is not offered.
                    (Prompt::Pin { or }, Answer::Word(word))
                        if or.is_none() || Method::wished(word) != *or =>
                    {
                        Event::Pin(Secret::new(answer.as_bytes()))
                    }
                    (Prompt::Pin { .. }, Answer::Code(_) | Answer::Malformed | Answer::Password) => {
                        Event::Pin(Secret::new(answer.as_bytes()))
                    }
                    (_, answered) => Event::Answer(answered),
                }
            }
            Ok(None) => Event::NoAnswer,
            Err(_) => Event::Gone,
        }
    }
}

/// `y` or `yes`; everything else is no.
fn is_yes(answer: &[u8]) -> bool {
    let answer = answer.trim_ascii();
    [&b"y"[..], b"yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y", "Y", "yes", "YES", "Yes", " y\r\n", "\tyes "] {
            assert!(is_yes(yes.as_bytes()), "{yes:?}");
        }
        let others = [
            "",
            " ",
            "n",
            "no",
            "N",
            "ye",
            "yess",
            "yy",
            "y y",
            "yes please",
            "123456",
            "\u{8}\n\r\u{7f}INCORRECT",
            "1",
            "ÿ",
        ];
        for other in others {
            assert!(!is_yes(other.as_bytes()), "{other:?}");
        }
        assert!(!is_yes(b"y\0") && !is_yes(&[0xff, b'y']));
    }
}
