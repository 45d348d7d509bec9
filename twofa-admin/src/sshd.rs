//! Whether this host's sshd insists on the touch of a security key. The module cannot see that a key was touched:
//! sshd says only which one it took.

use crate::table;
use std::path::Path;
use std::time::Duration;
use twofa::config::Config;
use twofa::policy::Method;
use twofa::store::{self, Store};
use twofa::system::{self, Deadline};
use twofa::trusted;

pub(crate) const SSHD: &str = "/usr/sbin/sshd";
/// As PAM knows it.
const SERVICE: &str = "sshd";
/// For all of its answers; one takes some milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// For so many users it is asked what holds for them.
pub(crate) const MAX_USERS: usize = 100;
/// Stands for all whom no `Match` is about. Without a name sshd does not say what a `Match User *` means, and without
/// a port it fails at a `Match LocalPort`.
pub(crate) const ANYBODY: &str = "nobody";

const REMEDY: &str = "Set `PubkeyAuthOptions touch-required` in sshd_config: without it a user may switch the touch off \
                    in ~/.ssh/authorized_keys (no-touch-required).";

/// What, and what to do.
pub(crate) fn doubts(config: &Config) -> Vec<(String, String)> {
    if !is_concerned(config) {
        return Vec::new();
    }
    let users = match users_with_ssh_keys(config) {
        Ok(users) => users,
        Err(error) => return vec![unseen(&error.to_string())],
    };
    match users_without_touch(&users) {
        Ok(Untouched::Nobody) => Vec::new(),
        Ok(Untouched::Everybody) => {
            vec![("sshd does not insist on the touch of a security key".into(), REMEDY.into())]
        }
        Ok(Untouched::Some(users)) => {
            let what = format!("for {} sshd does not insist on the touch of a security key", list(&users));
            vec![(what, REMEDY.into())]
        }
        Err(why) => vec![unseen(&why)],
    }
}

/// What was not looked at, and is no doubt.
pub(crate) fn notice(config: &Config) -> Option<String> {
    let users = if is_concerned(config) { users_with_ssh_keys(config).ok()?.len() } else { 0 };
    (users > MAX_USERS).then(|| {
        format!(
            "{users} users have SSH keys of security keys; what sshd asks of them was looked at for the first \
             {MAX_USERS} (Match User, Match Group)."
        )
    })
}

/// Whether an SSH key may be the second factor.
fn is_concerned(config: &Config) -> bool {
    let policy = &config.policy;
    policy.methods.contains(&Method::Key) && policy.services.iter().any(|service| service == SERVICE)
}

fn users_with_ssh_keys(config: &Config) -> Result<Vec<String>, store::Error> {
    let mut users = Vec::new();
    Store::open(&config.store)?.for_each(|account| {
        if let Ok((account, _)) = account
            && !account.factors.ssh_keys.is_empty()
        {
            users.push(account.user);
        }
    })?;
    Ok(users)
}

/// For whom no touch is insisted on.
enum Untouched {
    Nobody,
    Everybody,
    Some(Vec<String>),
}

fn users_without_touch(users: &[String]) -> Result<Untouched, String> {
    trusted::check_program(Path::new(SSHD)).map_err(|error| error.to_string())?;
    let deadline = Deadline::after(PATIENCE);
    if !insists(ANYBODY, deadline)? {
        return Ok(Untouched::Everybody);
    }
    let mut without = Vec::new();
    for user in users.iter().take(MAX_USERS) {
        if !insists(user, deadline)? {
            without.push(user.clone());
        }
    }
    Ok(if without.is_empty() { Untouched::Nobody } else { Untouched::Some(without) })
}

/// What sshd's configuration says for `user`: `Match` may say otherwise of some.
fn insists(user: &str, deadline: Deadline) -> Result<bool, String> {
    // The commas are sshd's own.
    if user.contains(',') {
        return Err("sshd cannot be asked about a name with a comma".into());
    }
    // Where users come from nobody knows; what is left out here would make a Match on it an error.
    let login = format!("user={user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22");
    settings(&login, deadline).map(|said| insists_on_touch(&said))
}

/// The configuration in force for a login, as sshd itself tells it.
pub(crate) fn settings(login: &str, deadline: Deadline) -> Result<String, String> {
    let said = system::output(Path::new(SSHD), &["-T", "-C", login], deadline);
    said.map_err(|error| format!("`{SSHD} -T` does not say: {error}"))
}

/// The configuration in force, one setting a line. With `verify-required` each login takes a PIN or a finger.
fn insists_on_touch(configuration: &str) -> bool {
    let options = configuration.lines().filter_map(|line| line.strip_prefix("pubkeyauthoptions "));
    let mut options = options.flat_map(str::split_whitespace);
    options.any(|option| option == "touch-required" || option == "verify-required")
}

fn unseen(why: &str) -> (String, String) {
    (
        format!("whether sshd insists on the touch of a security key could not be looked at: {why}"),
        "See to it that `PubkeyAuthOptions touch-required` is set in sshd_config, and that `sshd -t` finds no fault."
            .into(),
    )
}

/// The first few names.
fn list(users: &[String]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = users.iter().take(SHOWN).map(|user| table::printable(user)).collect();
    let more = match users.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_insists_or_does_not() {
        let table = [
            ("pubkeyauthoptions touch-required", true),
            ("pubkeyauthoptions verify-required", true),
            ("pubkeyauthoptions touch-required verify-required", true),
            ("port 22\npubkeyauthoptions touch-required\nusepam yes\n", true),
            ("pubkeyauthoptions none", false),
            ("pubkeyauthoptions", false),
            ("pubkeyauthoptions touch-required-not", false),
            ("banner pubkeyauthoptions touch-required", false),
            ("xpubkeyauthoptions touch-required", false),
            ("banner /etc/touch-required\npubkeyauthoptions none", false),
            // Of an sshd that knows no security keys.
            ("port 22\nusepam yes\n", false),
            ("", false),
        ];
        for (text, expected) in table {
            assert_eq!(insists_on_touch(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_with_a_comma_is_no_other_user() {
        assert!(insists("x,user=alice", Deadline::after(PATIENCE)).unwrap_err().contains("comma"));
    }

    #[test]
    fn few_names_are_listed() {
        let users: Vec<String> = ["a", "b", "c\x1b", "d", "e", "f", "g"].map(Into::into).to_vec();
        assert_eq!(list(&users[..1]), "a");
        assert_eq!(list(&users[..2]), "a, b");
        assert!(list(&users).ends_with(", d, e and 2 more") && !list(&users).contains('\x1b'));
    }
}
