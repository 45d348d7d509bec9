//! `rollout status`: how far every user of the host is on the way to a second factor.

use crate::cli::RolloutCommand;
use crate::context::{Context, accounts};
use crate::error::Error;
use crate::last_login::LastLogins;
use crate::{Outcome, missing, table, when};
use serde::Serialize;
use std::collections::HashSet;
use twofa::admin::{self, LoginUser, Standing, Standings};
use twofa::message::rfc3339;
use twofa::policy::{Mode, Policy};
use twofa::store::Store;
use twofa::system;

#[derive(Serialize)]
struct Row {
    user: String,
    uid: u32,
    #[serde(flatten)]
    standing: Progress,
    last_login: Option<String>,
    /// Logins that observe mode let in and enforcement would have refused.
    would_be_refused: u32,
    last_would_be_refused: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Progress {
    Covered(Standing),
    Exempt { standing: &'static str },
}

pub(crate) fn run(context: &mut Context, command: &RolloutCommand) -> Result<Outcome, Error> {
    match command {
        RolloutCommand::Status => status(context),
    }
}

fn status(context: &mut Context) -> Result<Outcome, Error> {
    let config = context.config()?;
    let policy = &config.policy;
    let (accounts, faults) = accounts(&config, &Store::open(&config.store)?)?;
    let standings = Standings::new(policy, &accounts, system::now());
    let covered: HashSet<String> = missing::covered(policy)?.into_iter().map(|user| user.user).collect();
    let last = LastLogins::read();
    let row = |user: LoginUser| {
        let account = standings.account(&user);
        let standing = match covered.contains(&user.user) {
            false => Progress::Exempt { standing: "exempt" },
            true => Progress::Covered(standings.of(&user)),
        };
        Row {
            last_login: last.of(&user).map(rfc3339),
            would_be_refused: account.map_or(0, |account| account.would_be_refused),
            last_would_be_refused: account.and_then(|account| account.last_would_be_refused.clone()),
            user: user.user,
            uid: user.uid,
            standing,
        }
    };
    let rows: Vec<Row> = admin::login_users(&system::passwd()?).into_iter().map(row).collect();
    context.report(&rows, |rows| text(policy, rows))?;
    faults.iter().for_each(|fault| context.terminal.note(&format!("twofa-admin: {fault}")));
    let refused = rows.iter().any(|row| matches!(row.standing, Progress::Covered(Standing::Refused)));
    Ok(if refused || !faults.is_empty() { Outcome::Found } else { Outcome::Done })
}

fn text(policy: &Policy, rows: &[Row]) -> String {
    let observes = policy.mode == Mode::Observe || rows.iter().any(|row| row.would_be_refused > 0);
    let cells = |row: &Row| {
        let standing = match &row.standing {
            Progress::Covered(Standing::Enrolled) => "enrolled".into(),
            Progress::Covered(Standing::NotYet { enforced_from }) => {
                format!("let in until {}", when::local(enforced_from))
            }
            Progress::Covered(Standing::Grace { grace_until }) => {
                format!("in grace until {}", when::local(grace_until))
            }
            Progress::Covered(Standing::GraceToCome { grace_days }) => {
                format!("{grace_days} days from next login")
            }
            Progress::Covered(Standing::Refused) => "REFUSED: no factor".into(),
            Progress::Exempt { .. } => "exempt".into(),
        };
        let last = row.last_login.as_deref().map_or_else(|| "not known".into(), when::day);
        let observed = match &row.last_would_be_refused {
            None => "-".into(),
            Some(at) => format!("{} times, last {}", row.would_be_refused, when::day(at)),
        };
        [row.user.clone(), standing, last, observed]
    };
    let cells: Vec<[String; 4]> = rows.iter().map(cells).collect();
    let rendered = if observes {
        table::render(["USER", "STANDING", "LAST LOGIN", "WOULD HAVE BEEN REFUSED"], &cells)
    } else {
        let three: Vec<_> =
            cells.into_iter().map(|[user, standing, last, _]| [user, standing, last]).collect();
        table::render(["USER", "STANDING", "LAST LOGIN"], &three)
    };
    let count = |is: fn(&Standing) -> bool| {
        rows.iter().filter(|row| matches!(&row.standing, Progress::Covered(of) if is(of))).count()
    };
    let enrolled = count(|of| *of == Standing::Enrolled);
    let refused = count(|of| *of == Standing::Refused);
    let covered = count(|_| true);
    let mode = match policy.mode {
        Mode::Enforce => "",
        Mode::Observe => " The mode is observe: nobody is refused yet.",
        Mode::Off => " The mode is off: nobody is asked for anything yet.",
    };
    let verb = if policy.mode == Mode::Enforce { "are" } else { "would be" };
    format!(
        "{rendered}\n\n{enrolled} of {covered} users have a second factor; {refused} {verb} refused today.{mode}\n\
         Users whom the name service does not list (LDAP often does not) were not looked at."
    )
}
