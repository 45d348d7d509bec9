//! Days to come in a world: logins through libpam, an sshd and twofa-admin whose clock stands where a test wants it.

use std::fs;
use std::path::PathBuf;

use crate::driver::code;
use crate::driver::pam::Answer;
use crate::driver::plan::Plan;
use crate::driver::site;
use crate::driver::transcript::Transcript;
use crate::world::{Ran, World};

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// Where the programs are inside that a clock needs.
const DRIVER: &str = "/usr/local/bin/driver";
const PRELOAD: &str = "/usr/local/lib/interpose.so";

/// A client's address. No machine has it: it is for documentation (RFC 5737).
const CLIENT: &str = "203.0.113.5";

/// A world at one second.
pub struct Moment<'w> {
    world: &'w World,
    pub second: i64,
}

/// How a login went.
#[derive(Debug)]
pub struct Seen {
    pub transcript: Transcript,
    /// Both phases let the user in.
    pub is_in: bool,
}

impl World {
    /// With the programs that [`World::at`] and [`World::sshd_at`] need.
    pub fn with_clocks(self) -> Self {
        for (from, to) in [(site::driver(), DRIVER), (site::preload(), PRELOAD)] {
            let to = self.path(to);
            fs::create_dir_all(to.parent().expect("an absolute path")).expect("a folder");
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        self
    }

    pub fn at(&self, second: i64) -> Moment<'_> {
        Moment { world: self, second }
    }

    /// Starts another sshd, at this port, for which it is always that second. [`World::start_sshd`] comes first, as it
    /// writes the configuration.
    pub fn sshd_at(&mut self, port: u16, second: i64) {
        let (clock, preload) = (format!("TWOFA_TEST_CLOCK=@{second}"), format!("LD_PRELOAD={PRELOAD}"));
        self.daemon(&["env", &clock, &preload, "/usr/sbin/sshd", "-D", "-p", &port.to_string()]);
        self.log.expect(&format!("port {port}."));
    }
}

impl Moment<'_> {
    /// Runs `twofa-admin`.
    pub fn admin(&self, arguments: &[&str]) -> Ran {
        let (clock, preload) =
            (format!("TWOFA_TEST_CLOCK=@{}", self.second), format!("LD_PRELOAD={PRELOAD}"));
        self.world.run(&[&["env", &clock, &preload, "twofa-admin"], arguments].concat())
    }

    /// A login by sshd, without answers and calls.
    pub fn plan(&self, user: &str) -> Plan {
        let connection = format!("SSH_CONNECTION={CLIENT} 50000 192.0.2.1 22");
        Plan::new(&PathBuf::from("/etc/pam.d"), "sshd")
            .with("user", user)
            .with("env", connection)
            .at(self.second)
    }

    pub fn run(&self, plan: &Plan) -> Seen {
        self.world.write("/root/plan", &plan.print());
        self.world.run(&[DRIVER, "/root/plan", "/root/transcript"]).ok();
        let text = fs::read_to_string(self.world.path("/root/transcript")).expect("a transcript");
        let transcript = Transcript::parse(&text);
        assert!(transcript.all("start").is_empty(), "{transcript:?}");
        let through = |call| transcript.codes(call).iter().all(|code| *code == 0);
        Seen { is_in: through("authenticate") && through("account"), transcript }
    }

    /// A login with the password and these answers, and none to what is asked besides.
    pub fn login(&self, user: &str, answers: &[Answer]) -> Seen {
        self.login_from(user, CLIENT, answers)
    }

    /// The same from this address.
    pub fn login_from(&self, user: &str, address: &str, answers: &[Answer]) -> Seen {
        let connection = format!("SSH_CONNECTION={address} 50000 192.0.2.1 22");
        let plan = self.plan(user).with("env", connection).say(format!("pw-{user}"));
        let plan = answers.iter().fold(plan, Plan::answer);
        let plan = [Answer::Null, Answer::Null, Answer::Null].iter().fold(plan, Plan::answer);
        self.run(&plan.authenticate().call("account"))
    }

    /// A login by SSH key alone: no auth phase.
    pub fn login_by_key(&self, user: &str) -> Seen {
        let accepted = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA";
        self.run(&self.plan(user).with("env", accepted).call("account"))
    }
}

/// `2027-01-15T00:00:00Z`, reckoned apart from the product.
pub fn rfc3339(second: i64) -> String {
    let clock = second.rem_euclid(DAY);
    format!("{}T{:02}:{:02}:{:02}Z", date(second), clock / 3600, clock / 60 % 60, clock % 60)
}

/// `2027-01-15 00:00 UTC`, as reports tell it where the host's zone is UTC.
pub fn to_the_minute(second: i64) -> String {
    let clock = second.rem_euclid(DAY);
    format!("{} {:02}:{:02} UTC", date(second), clock / 3600, clock / 60 % 60)
}

/// `2027-01-15`.
pub fn date(second: i64) -> String {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut day) = (1970, second.div_euclid(DAY));
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, day + 1)
}

/// The first second of the day so many days from today.
pub fn midnight_in(days: i64) -> i64 {
    let now = crate::driver::clock::real();
    now - now.rem_euclid(DAY) + days * DAY
}

/// What the app with this secret shows at that second.
pub fn code_at(secret: &str, second: i64) -> Answer {
    Answer::Text(code::at(secret, second, 0).into())
}

#[cfg(test)]
mod tests {
    /// Of date(1).
    #[test]
    fn dates() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (second, text) in table {
            assert_eq!(super::rfc3339(second), text);
        }
    }
}
