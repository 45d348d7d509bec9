//! What this module reads from a PAM handle, and the one thing that it leaves in it.

use crate::ffi;
use pam::items::{AuthTok, RHost, RUser, Service, Tty, User};
use pam::module::PamHandle;
use std::ffi::CStr;
use std::net::IpAddr;
use twofa::account::{Claim, Device, Enrolment};
use twofa::code;
use twofa::log::Who;
use twofa::login::{Admission, Verdict};
use twofa::policy::{Request, SSHD};
use twofa::sshkey::{self, SkKey};
use twofa::system;

/// The mark that this handle's auth phase admitted a user; the account phase refuses without it.
pub(crate) struct Proven {
    user: Option<String>,
    /// A factor was asked for and proven, and nothing else spared it.
    by_factor: bool,
    /// What was set up by the way, and is kept when the account phase comes.
    enrolment: Option<Enrolment>,
}

impl Proven {
    const KEY: &str = "twofa_proven";

    /// Whether the mark is stored.
    #[must_use]
    pub(crate) fn remember(pamh: &mut PamHandle, user: &str, verdict: Verdict) -> bool {
        let by_factor = matches!(&verdict, Verdict::Admit(admission) if admission.is_by_factor());
        let enrolment = match verdict {
            Verdict::Admit(Admission::SettingUp { enrolment, .. }) => Some(*enrolment),
            _ => None,
        };
        Self { user: Some(user.into()), by_factor, enrolment }.store(pamh)
    }

    fn store(self, pamh: &mut PamHandle) -> bool {
        pamh.set_data(Self::KEY, Box::new(self)).is_ok()
    }

    fn of<'a>(pamh: &'a PamHandle, user: &str) -> Option<&'a Self> {
        ffi::data::<Self>(pamh, Self::KEY).filter(|mark| mark.user.as_deref() == Some(user))
    }

    pub(crate) fn is_by_factor(pamh: &PamHandle, user: &str) -> bool {
        Self::of(pamh, user).is_some_and(|mark| mark.by_factor)
    }

    pub(crate) fn forget(pamh: &mut PamHandle) {
        if ffi::data::<Self>(pamh, Self::KEY).is_some() {
            let _ = Self { user: None, by_factor: false, enrolment: None }.store(pamh);
        }
    }

    /// What is to be kept of this user's, the first time that it is asked for.
    pub(crate) fn take_enrolment(pamh: &mut PamHandle, user: &str) -> Option<Enrolment> {
        let mark = Self::of(pamh, user)?;
        let (by_factor, enrolment) = (mark.by_factor, mark.enrolment.clone()?);
        Self { user: Some(user.into()), by_factor, enrolment: None }.store(pamh).then_some(enrolment)
    }

    pub(crate) fn is(pamh: &PamHandle, user: &str) -> bool {
        Self::of(pamh, user).is_some()
    }
}

pub(crate) fn service(pamh: &PamHandle) -> String {
    text(pamh.get_item::<Service<'_>>().ok().flatten().map(|item| item.0))
}

/// PAM_USER as it stands now.
pub(crate) fn user(pamh: &PamHandle) -> Option<String> {
    let user = pamh.get_item::<User<'_>>().ok()??;
    user.0.to_str().ok().map(Into::into)
}

/// The client's address, numeric: from sshd's own variable, as PAM_RHOST may be a name that the client's
/// DNS chose. A name is no address.
pub(crate) fn address(pamh: &PamHandle, service: &str) -> Option<IpAddr> {
    let connection = (service == SSHD).then(|| ffi::getenv(pamh, c"SSH_CONNECTION")).flatten();
    let from_sshd = connection.and_then(|value| parse_address(value.split(' ').next()?));
    from_sshd.or_else(|| parse_address(&rhost(pamh)))
}

/// A numeric address, without the zone of a link-local one (`fe80::1%eth0`).
fn parse_address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// Whether sshd says that a key was accepted in this login: a line `publickey TYPE BASE64`.
pub(crate) fn key_was_used(pamh: &PamHandle, service: &str) -> bool {
    if service != SSHD {
        return false;
    }
    sshkey::publickeys(&auth_info(pamh)).next().is_some()
}

/// What sshd says it accepted in this login.
fn auth_info(pamh: &PamHandle) -> String {
    ffi::getenv(pamh, c"SSH_AUTH_INFO_0").unwrap_or_default()
}

/// The keys of security keys that sshd accepted in this login. Only its own word counts, and only sshd's.
pub(crate) fn ssh_keys(pamh: &PamHandle, service: &str) -> Vec<SkKey> {
    if service != SSHD {
        return Vec::new();
    }
    SkKey::accepted(&auth_info(pamh))
}

/// The device of a login over SSH, where it can be known again. Names of clients count for nothing here.
pub(crate) fn claim(pamh: &PamHandle, service: &str, user: &str, duration: u64) -> Option<Claim> {
    if service != SSHD {
        return None;
    }
    let connection = ffi::getenv(pamh, c"SSH_CONNECTION")?;
    // A zone (`fe80::1%eth0`) is of a link-local address, which is none of a device.
    let address: IpAddr = connection.split(' ').next()?.parse().ok()?;
    let key = sshkey::last_accepted(&auth_info(pamh));
    let device = Device::new(address, key, &system::own_addresses()?)?;
    Some(Claim { device, password: system::password_tag(user), duration })
}

/// Whether the user sits at this host: a key plugged into it is asked for by nobody else. Neither an address nor a
/// name says so, nor any terminal that somebody from afar may have.
pub(crate) fn is_local(pamh: &PamHandle, service: &str) -> bool {
    service != SSHD
        && rhost(pamh).is_empty()
        && is_console(&text(pamh.get_item::<Tty<'_>>().ok().flatten().map(|item| item.0)))
}

/// A virtual or serial console. A display is none: who sees it, its name does not say.
fn is_console(tty: &str) -> bool {
    let tty = tty.strip_prefix("/dev/").unwrap_or(tty);
    let number = |prefix: &str| tty.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    tty == "console" || ["tty", "ttyS", "hvc"].iter().filter_map(|prefix| number(prefix)).any(is_number)
}

/// Whether a password or key was shown before this module's turn: not sshd's junk for a user whom it will refuse.
/// Whether it was right is for the stack to say, which must not get here when it was not.
pub(crate) fn first_factor(pamh: &PamHandle, service: &str) -> bool {
    let password = pamh.get_item::<AuthTok<'_>>().ok().flatten();
    let typed = |token: &AuthTok<'_>| !token.as_bytes().is_empty() && !code::is_fake(token.as_bytes());
    password.as_ref().is_some_and(typed) || key_was_used(pamh, service)
}

/// Who is logging in, for the log.
pub(crate) fn who<'a>(pamh: &'a PamHandle, request: &'a Request) -> Who<'a> {
    Who {
        user: &request.user,
        address: request.address,
        rhost: borrowed(pamh.get_item::<RHost<'_>>().ok().flatten().map(|item| item.0)),
        tty: borrowed(pamh.get_item::<Tty<'_>>().ok().flatten().map(|item| item.0)),
        ruser: borrowed(pamh.get_item::<RUser<'_>>().ok().flatten().map(|item| item.0)),
        ..Who::of_process()
    }
}

fn rhost(pamh: &PamHandle) -> String {
    text(pamh.get_item::<RHost<'_>>().ok().flatten().map(|item| item.0))
}

fn text(item: Option<&CStr>) -> String {
    item.map(|item| item.to_string_lossy().into_owned()).unwrap_or_default()
}

fn borrowed(item: Option<&CStr>) -> &str {
    item.and_then(|item| item.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{is_console, parse_address};

    #[test]
    fn addresses_are_numeric() {
        let table = [
            ("192.0.2.7", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("UNKNOWN", None),
            ("localhost", None),
            ("999.1.1.1", None),
            ("1.2.3", None),
            ("0x7f.1", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_address(text), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_a_terminal_of_this_host_is_local() {
        for tty in ["/dev/tty1", "tty12", "/dev/ttyS0", "console", "/dev/console", "hvc0"] {
            assert!(is_console(tty), "{tty}");
        }
        for tty in [
            "",
            "/dev/pts/0",
            "pts/1",
            "ssh",
            "tty",
            "ttyS",
            "/dev/tty1x",
            "localhost:10.0",
            ":0",
            ":0.0",
            ":",
            "/tty1",
        ] {
            assert!(!is_console(tty), "{tty}");
        }
    }
}
