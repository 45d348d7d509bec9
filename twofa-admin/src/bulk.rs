//! `user import` and `user export`: users with their numbers and addresses, many at once.

use crate::cli::{How, ListFormat};
use crate::contacts::Contacts;
use crate::context::{Context, ascii_json, reachable};
use crate::csv;
use crate::error::Error;
use crate::import::{Fault, Owner, Source, Verdict, people, read_whole, refuse_json_dialogue};
use crate::progress::Progress;
use crate::{Outcome, table, users};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use twofa::account::{Account, Factors};
use twofa::config::Config;
use twofa::message::Happening;
use twofa::store::{Changed, Store};
use zeroize::Zeroizing;

/// A hundred thousand users and more.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A user of the list, as written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Of a table; of JSON, the place in the array.
    line: usize,
    user: String,
    phone: String,
    emails: Vec<String>,
}

#[derive(Deserialize)]
struct JsonLine {
    user: String,
    phone: Option<String>,
    #[serde(default)]
    email: Emails,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Emails {
    Several(Vec<String>),
    One(String),
    None(()),
}

impl Default for Emails {
    fn default() -> Self {
        Self::None(())
    }
}

/// What becomes of a line.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    line: usize,
    phone: Option<String>,
    email: usize,
    result: Verdict,
    why: String,
}

/// A user as the store will have it.
struct Draft {
    account: Account,
    /// What the user has now.
    before: Factors,
    row: usize,
    seen: Option<u64>,
}

#[derive(Default)]
struct Plan {
    rows: Vec<Row>,
    drafts: Vec<Draft>,
}

/// `user import`.
pub(crate) fn import(
    context: &mut Context,
    file: &Path,
    format: Option<ListFormat>,
    shared_ok: bool,
    how: &How,
) -> Result<Outcome, Error> {
    refuse_json_dialogue(context, how)?;
    let is_stdin = file == Path::new("-");
    if is_stdin && !how.yes && !how.dry_run {
        return Err(Error::Usage(
            "the list comes from stdin, where the answer to the question would".into(),
            "Add --dry-run to look first, or --yes.".into(),
        ));
    }
    let (config, mut store) = context.open()?;
    let lines = read(context, file, format, is_stdin)?;
    let plan = Plan::new(&lines, &config, &store, shared_ok)?;
    let nothing = plan.drafts.is_empty();
    if !context.json || how.dry_run || nothing {
        report(context, &plan, false)?;
    }
    if how.dry_run || nothing {
        context.terminal.note(if nothing { "There is nothing to change." } else { "Nothing was changed." });
        return Ok(plan.outcome());
    }
    let new = plan.drafts.iter().filter(|draft| draft.seen.is_none()).count();
    let old = plan.drafts.len() - new;
    let question = match (new, old) {
        (new, 0) => format!("Add {}?", people(new)),
        (0, old) => format!("Change {}?", people(old)),
        (new, old) => format!("Add {} and change {}?", people(new), people(old)),
    };
    context.terminal.insist(&question, how.yes)?;
    keep(context, &config, &mut store, &plan)?;
    if context.json {
        report(context, &plan, true)?;
    } else {
        context.terminal.say(&format!("{} added, {} changed.", people(new), people(old)))?;
    }
    Ok(plan.outcome())
}

fn read(
    context: &mut Context,
    file: &Path,
    format: Option<ListFormat>,
    is_stdin: bool,
) -> Result<Vec<Line>, Error> {
    let name = if is_stdin { "stdin".to_string() } else { file.display().to_string() };
    let mut note = |what: String| context.terminal.note(&what);
    let lines = load(file, format, is_stdin).and_then(|(bytes, format)| parse(&bytes, format, &mut note));
    lines.map_err(|fault| {
        let hint = "Nothing was changed. `twofa-admin user import --help` says what a list is.";
        Error::refused(fault.of(&name), hint)
    })
}

fn load(
    file: &Path,
    format: Option<ListFormat>,
    is_stdin: bool,
) -> Result<(Zeroizing<Vec<u8>>, ListFormat), Fault> {
    let by_name = match file.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Some(ListFormat::Csv),
        Some("json") => Some(ListFormat::Json),
        _ => None,
    };
    let format = format.or(by_name);
    let format = format.ok_or_else(|| Fault::of_file("does not end in .csv or .json: say --format"))?;
    let bytes = if is_stdin {
        read_whole(std::io::stdin().lock(), 0, MAX_FILE)?
    } else {
        let source = Source::read(file, Owner::Trusted(None), MAX_FILE)?;
        source.ok_or_else(|| Fault::of_file("does not exist"))?.bytes
    };
    Ok((bytes, format))
}

/// The users of a list. Columns that mean nothing here are noted.
fn parse(bytes: &[u8], format: ListFormat, note: &mut dyn FnMut(String)) -> Result<Vec<Line>, Fault> {
    // Spreadsheets begin a table with it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line_of = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
    let text =
        str::from_utf8(bytes).map_err(|error| Fault::at(line_of(error.valid_up_to()), "is not UTF-8"))?;
    if let Some(at) = text.find('\0') {
        return Err(Fault::at(line_of(at), "has a byte that no text has"));
    }
    match format {
        ListFormat::Csv => from_csv(text, note),
        ListFormat::Json => from_json(text, note),
    }
}

fn from_csv(text: &str, note: &mut dyn FnMut(String)) -> Result<Vec<Line>, Fault> {
    let rows = csv::parse(text).map_err(|fault| Fault::at(fault.line, fault.why))?;
    let Some((header, rows)) = rows.split_first() else {
        return Err(Fault::of_file("is empty"));
    };
    let names: Vec<String> = header.cells.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let column = |wanted: &str| match names.iter().filter(|name| *name == wanted).count() {
        0 | 1 => Ok(names.iter().position(|name| name == wanted)),
        _ => Err(Fault::at(header.line, format!("has two columns `{wanted}`"))),
    };
    let (user, phone, email) = (column("user")?, column("phone")?, column("email")?);
    let Some(user) = user else {
        let why = "is no header with a column `user`, as in: user,phone,email";
        return Err(Fault::at(header.line, why));
    };
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !["user", "phone", "email", ""].contains(name))
        .collect();
    note_others(&others, note);
    let line = |row: &csv::Row| {
        if row.cells.len() != names.len() {
            let why = format!("has {} cells, and the header {}", row.cells.len(), names.len());
            return Err(Fault::at(row.line, why));
        }
        let cell =
            |column: Option<usize>| column.and_then(|at| row.cells.get(at)).map_or("", |cell| cell.trim());
        let emails = cell(email).split([';', ' ', ',']).filter(|address| !address.is_empty());
        Ok(Line {
            line: row.line,
            user: cell(Some(user)).into(),
            phone: cell(phone).into(),
            emails: emails.map(Into::into).collect(),
        })
    };
    rows.iter().map(line).collect()
}

fn note_others(others: &[&str], note: &mut dyn FnMut(String)) {
    if !others.is_empty() {
        note(format!("Columns that are passed over: {}", table::printable(&others.join(", "))));
    }
}

fn from_json(text: &str, note: &mut dyn FnMut(String)) -> Result<Vec<Line>, Fault> {
    let lines: Vec<JsonLine> = serde_json::from_str(text).map_err(|error| {
        Fault::at(
            error.line(),
            "is not as in [{\"user\": \"alice\", \"phone\": \"+48600000123\", \"email\": []}]",
        )
    })?;
    let others: BTreeSet<&str> =
        lines.iter().flat_map(|line| line.others.keys()).map(String::as_str).collect();
    note_others(&others.into_iter().collect::<Vec<_>>(), note);
    let line = |(line, read): (usize, JsonLine)| Line {
        line,
        user: read.user,
        phone: read.phone.unwrap_or_default(),
        emails: match read.email {
            Emails::Several(several) => several,
            Emails::One(one) => vec![one],
            Emails::None(()) => Vec::new(),
        },
    };
    Ok((1..).zip(lines).map(line).collect())
}

/// What is known before the first line is looked at.
struct Known<'a> {
    config: &'a Config,
    store: &'a Store,
    shared_ok: bool,
    /// Whom the list gives a number.
    numbers: HashMap<String, String>,
    /// The line of each user that was met.
    met: HashMap<&'a str, usize>,
    uids: HashMap<u32, &'a str>,
}

impl Plan {
    fn new(lines: &[Line], config: &Config, store: &Store, shared_ok: bool) -> Result<Self, Error> {
        let mut held = HashMap::new();
        store.for_each(|account| {
            if let Ok((account, _)) = account
                && let Some(phone) = account.factors.phone
            {
                held.insert(account.user, phone.to.as_str().to_string());
            }
        })?;
        let numbers = HashMap::new();
        let mut known =
            Known { config, store, shared_ok, numbers, met: HashMap::new(), uids: HashMap::new() };
        let mut plan = Self::default();
        let mut progress = Progress::new("Checking", lines.len());
        for line in lines {
            progress.step();
            let (phone, result, why) = match known.judge(line)? {
                Ok((mut draft, why)) => {
                    draft.row = plan.rows.len();
                    let phone = draft.account.factors.phone.as_ref().map(|phone| phone.to.masked());
                    let is_same = why.is_empty();
                    if !is_same {
                        plan.drafts.push(draft);
                    }
                    let why = if is_same { "nothing to change".into() } else { why };
                    (phone, if is_same { Verdict::Already } else { Verdict::Taken }, why)
                }
                Err(why) => (None, Verdict::Refused, why),
            };
            plan.rows.push(Row {
                user: line.user.clone(),
                line: line.line,
                phone,
                email: line.emails.len(),
                result,
                why,
            });
        }
        if !shared_ok {
            plan.refuse_held(&held);
        }
        Ok(plan)
    }

    /// Refuses numbers of users who keep theirs when all is done: whoever is refused one keeps the old one, too.
    fn refuse_held(&mut self, held: &HashMap<String, String>) {
        let number =
            |draft: &Draft| draft.account.factors.phone.as_ref().map(|phone| phone.to.as_str().to_string());
        let takes =
            |draft: &Draft| number(draft).filter(|number| held.get(&draft.account.user) != Some(number));
        let takers =
            self.drafts.iter().filter_map(|draft| Some((takes(draft)?, (draft.row, &draft.account.user))));
        let mut takers: HashMap<String, (usize, &String)> = takers.collect();
        let movers: BTreeSet<&String> = takers.values().map(|(_, user)| *user).collect();
        let mut keepers: Vec<&String> = held.keys().filter(|user| !movers.contains(user)).collect();
        let mut refused = BTreeSet::new();
        while let Some(keeper) = keepers.pop() {
            if let Some((row, taker)) = held.get(keeper).and_then(|number| takers.remove(number)) {
                keepers.push(taker);
                refused.insert(row);
                if let Some(row) = self.rows.get_mut(row) {
                    (row.phone, row.result, row.why) = (None, Verdict::Refused, number_of(keeper));
                }
            }
        }
        self.drafts.retain(|draft| !refused.contains(&draft.row));
    }
}

fn number_of(user: &str) -> String {
    format!("this is the number of {user}; --shared-ok if so")
}

impl Plan {
    fn outcome(&self) -> Outcome {
        let is_left = self.rows.iter().any(|row| row.result == Verdict::Refused);
        if is_left { Outcome::Found } else { Outcome::Done }
    }
}

impl<'a> Known<'a> {
    /// The user with what the line says, and what that is (nothing: all of it is so); or why it is refused.
    fn judge(&mut self, line: &'a Line) -> Result<Result<(Draft, String), String>, Error> {
        if let Some(before) = self.met.insert(&line.user, line.line) {
            return Ok(Err(format!("the user is in line {before} too")));
        }
        let (mut account, seen) = match users::listed(self.store, &line.user)? {
            Ok(listed) => listed,
            Err(why) => return Ok(Err(why)),
        };
        let contacts = match Contacts::read(self.config, &line.phone, &line.emails) {
            Ok(contacts) => contacts,
            Err(why) => return Ok(Err(why.to_string())),
        };
        if let Some(other) = self.uids.insert(account.uid, &line.user) {
            return Ok(Err(users::shared_uid(account.uid, other)));
        }
        if seen.is_none()
            && let Err(error) = contacts.refuse_missing(self.config, &line.user)
        {
            return Ok(Err(error.to_string()));
        }
        if let Some(number) = contacts.number() {
            if let Some(other) = self.numbers.get(number.as_str())
                && !self.shared_ok
            {
                return Ok(Err(number_of(other)));
            }
            self.numbers.insert(number.as_str().to_string(), line.user.clone());
        }
        let before = account.factors.clone();
        contacts.keep(&mut account);
        let why = match seen {
            None => "new".into(),
            Some(_) if account.factors == before => String::new(),
            Some(_) => said(&before, &account.factors),
        };
        Ok(Ok((Draft { account, before, row: 0, seen }, why)))
    }
}

fn said(before: &Factors, after: &Factors) -> String {
    match (before.phone != after.phone, before.addresses != after.addresses) {
        (true, true) => "number and addresses are set".into(),
        (true, false) => "the number is set".into(),
        _ => "the addresses are set".into(),
    }
}

fn keep(context: &mut Context, config: &Config, store: &mut Store, plan: &Plan) -> Result<(), Error> {
    let mut progress = Progress::new("Storing", plan.drafts.len());
    let changed = |draft: &Draft| (draft.account.user.clone(), draft.account.uid, draft.seen);
    let users: Vec<_> = plan.drafts.iter().map(changed).collect();
    let users: Vec<_> =
        users.iter().map(|(user, uid, seen)| Changed { user, uid: *uid, seen: *seen }).collect();
    store.change_all(&users, |place, account, _| {
        progress.step();
        if let Some(draft) = plan.drafts.get(place) {
            account.factors = draft.account.factors.clone();
        }
        Ok::<_, Error>(())
    })?;
    drop(progress);
    for draft in &plan.drafts {
        let event = if draft.seen.is_none() { "user-added" } else { "contact-changed" };
        context.did(config, event, &draft.account.user, "from a list");
    }
    // Who is new has nothing yet that could have been changed.
    let news = plan.drafts.iter().filter(|draft| draft.seen.is_some()).map(|draft| {
        let reachable = reachable(&draft.before, &draft.account.factors);
        (draft.account.user.clone(), Happening::ContactsChanged, reachable)
    });
    context.tell_all(config, news.collect());
    Ok(())
}

/// Rows of a table for people: more are not read.
const SHOWN: usize = 200;

fn report(context: &mut Context, plan: &Plan, changed: bool) -> Result<(), Error> {
    let report = json!({ "changed": changed, "rows": plan.rows });
    context.report(&report, |_| {
        if plan.rows.is_empty() {
            return "The list is empty.".into();
        }
        let cells = |row: &&Row| {
            let phone = row.phone.clone().unwrap_or_else(|| "-".into());
            let result = row.result.name().to_string();
            [row.user.clone(), row.line.to_string(), phone, row.email.to_string(), result, row.why.clone()]
        };
        // What is refused is what people look for.
        let (bad, good): (Vec<&Row>, Vec<&Row>) = plan.rows.iter().partition(|row| row.result == Verdict::Refused);
        let is_long = plan.rows.len() > SHOWN;
        let shown: Vec<&Row> = if is_long { bad.iter().copied().take(SHOWN).collect() } else { plan.rows.iter().collect() };
        let rows: Vec<_> = shown.iter().map(cells).collect();
        let table = table::render(["USER", "LINE", "PHONE", "E-MAIL", "RESULT", "WHY"], &rows);
        let taken = good.iter().filter(|row| row.result == Verdict::Taken).count();
        let counts = format!(
            "{taken} to take, {} already so, {} refused. Factors are not touched; an empty cell changes nothing.",
            good.len() - taken,
            bad.len()
        );
        let left_out = match is_long {
            true => format!(" Of {} rows only refused ones are shown; --json has all.", plan.rows.len()),
            false => String::new(),
        };
        if rows.is_empty() { format!("{counts}{left_out}") } else { format!("{table}\n\n{counts}{left_out}") }
    })
}

/// `user export`: what `user import` reads.
pub(crate) fn export(context: &mut Context, format: Option<ListFormat>) -> Result<Outcome, Error> {
    let config = context.config()?;
    let store = Store::open(&config.store)?;
    let (mut accounts, mut faults) = (Vec::new(), Vec::new());
    store.for_each(|account| match account {
        Ok((account, _)) => accounts.push(account),
        Err(error) => faults.push(format!("{error}. {}", error.hint())),
    })?;
    let as_json = context.json || format == Some(ListFormat::Json);
    if as_json && format == Some(ListFormat::Csv) {
        return Err(Error::Usage("it is CSV or JSON".into(), "Leave out --json.".into()));
    }
    // Before the first byte: a reader that goes away early has it all the same.
    context.did(&config, "users-exported", "", &people(accounts.len()));
    let phone = |account: &Account| account.factors.phone.as_ref().map(|phone| phone.to.as_str().to_string());
    let emails = |account: &Account| -> Vec<String> {
        account.factors.addresses.iter().map(|address| address.to.as_str().to_string()).collect()
    };
    if as_json {
        let rows: Vec<_> = accounts
            .iter()
            .map(|account| json!({ "user": account.user, "phone": phone(account), "email": emails(account) }))
            .collect();
        context.terminal.say(&ascii_json(&rows)?)?;
    } else {
        let row = |account: &Account| {
            csv::line(&[&account.user, &phone(account).unwrap_or_default(), &emails(account).join(" ")])
        };
        let rows: String = accounts.iter().map(row).collect();
        let text = format!("{}{rows}", csv::line(&["user", "phone", "email"]));
        context.terminal.say(text.strip_suffix('\n').unwrap_or(&text))?;
    }
    faults
        .iter()
        .for_each(|fault| context.terminal.note(&format!("twofa-admin: {}", table::printable(fault))));
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<Line>, Fault> {
        parse(text.as_bytes(), ListFormat::Csv, &mut drop)
    }

    fn line(line: usize, user: &str, phone: &str, emails: &[&str]) -> Line {
        let emails = emails.iter().map(|address| (*address).into()).collect();
        Line { line, user: user.into(), phone: phone.into(), emails }
    }

    #[test]
    fn lists_of_both_kinds_say_the_same() {
        let expected = [line(2, "alice", "+48600000123", &["a@b.c", "d@e.f"]), line(3, "bob", "", &[])];
        let tables = [
            "user,phone,email\nalice,+48600000123,a@b.c d@e.f\nbob,,\n",
            "\u{feff}USER,Phone,Email\r\nalice,\"'+48600000123\",\"a@b.c, d@e.f\"\r\nbob,,\r\n",
            "email,dept,user,phone\na@b.c;d@e.f,x,alice,+48600000123\n,y,bob,\n",
        ];
        for table in tables {
            assert_eq!(csv(table).unwrap(), expected, "{table:?}");
        }
        let json = r#"[{"user": "alice", "phone": "+48600000123", "email": ["a@b.c", "d@e.f"]},
            {"user": "bob", "phone": null, "email": null}, {"user": "carol", "email": "c@d.e"}]"#;
        let read = parse(json.as_bytes(), ListFormat::Json, &mut drop).unwrap();
        assert_eq!(
            read,
            [
                line(1, "alice", "+48600000123", &["a@b.c", "d@e.f"]),
                line(2, "bob", "", &[]),
                line(3, "carol", "", &["c@d.e"])
            ]
        );
    }

    #[test]
    fn what_means_nothing_here_is_noted() {
        for (text, format) in [
            ("user,phnoe\na,1\n", ListFormat::Csv),
            ("[{\"user\": \"a\"}, {\"user\": \"b\", \"phnoe\": 1}]", ListFormat::Json),
        ] {
            let mut notes = Vec::new();
            parse(text.as_bytes(), format, &mut |note| notes.push(note)).unwrap();
            assert_eq!(notes, ["Columns that are passed over: phnoe"], "{text}");
        }
    }

    #[test]
    fn a_list_that_is_none_says_where() {
        let table = [
            ("", 0),
            ("name,phone\nalice,1\n", 1),
            ("user;phone\nalice;1\n", 1),
            ("user,phone,user\n", 1),
            ("user,phone\nalice\n", 2),
            ("user,phone\nalice,1,2\n", 2),
            ("user,phone\nalice,\"1\n", 2),
            ("user,phone\nali\0ce,1\n", 2),
        ];
        for (text, line) in table {
            assert_eq!(csv(text).unwrap_err().line, line, "{text:?}");
        }
        for text in
            ["", "{}", "[{}]", "[{\"user\": 1}]", "[{\"user\": \"a\"}", "[{\"user\": \"a\", \"phone\": 1}]"]
        {
            assert!(parse(text.as_bytes(), ListFormat::Json, &mut drop).is_err(), "{text}");
        }
    }
}
