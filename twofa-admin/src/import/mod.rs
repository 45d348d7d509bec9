//! `import`: factors that users have with another module, taken over as they are. A report says first what becomes of
//! each; then all that it says is taken is taken at once, or nothing is.

mod entry;
mod google;
mod oath;
mod source;
mod u2f;

use crate::cli::{How, ImportCommand};
use crate::context::{Context, reachable};
use crate::enroll::free_label;
use crate::error::Error;
use crate::progress::Progress;
use crate::{Outcome, table, users};
use nix::unistd::User;
use serde::Serialize;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use twofa::account::{Account, App, Key, MAX_APPS, MAX_KEYS, State};
use twofa::admin::login_users;
use twofa::code::{Secret, Shape};
use twofa::config::Config;
use twofa::message::Happening;
use twofa::policy::Policy;
use twofa::store::{Changed, Store};
use twofa::token::{Credential, is_rp_id};
use twofa::{system, trusted};
use zeroize::Zeroizing;

pub(crate) use entry::Verdict;
use entry::{Entry, Fate, Now};
use source::CHANGED;
pub(crate) use source::{Fault, Owner, Source, read_whole};

const STILL_OPEN: &str = "The other module still takes these factors: take its PAM lines out now, before a code opens one login here and one there.";

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    user: String,
    file: String,
    line: usize,
    what: String,
    result: Verdict,
    why: String,
    #[serde(skip)]
    is_factor: bool,
}

/// A file, and how it is rid of what was taken.
struct Read {
    source: Source,
    part: Part,
}

/// What of a file goes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// All of it is one user's.
    File,
    Line,
    /// All lines of a user: without the last one an earlier one would count again, perhaps with a lost key.
    User,
}

/// What was read.
#[derive(Default)]
struct Found {
    files: Vec<Read>,
    /// Each with the file that it is from.
    entries: Vec<(usize, Entry)>,
    /// Files that could not be read.
    unread: Vec<Row>,
}

/// A user's new factors.
struct Draft {
    account: Account,
    seen: Option<u64>,
    /// New apps, and what counts as used of them.
    apps: Vec<(u8, Option<u64>)>,
    keys: Vec<u8>,
    labels: Vec<String>,
}

/// What is going to be done.
#[derive(Default)]
struct Plan {
    rows: Vec<Row>,
    /// The file of each row; those that could not be read come after.
    files: Vec<usize>,
    drafts: Vec<Draft>,
    advice: Vec<String>,
}

pub(crate) fn run(context: &mut Context, command: ImportCommand) -> Result<Outcome, Error> {
    refuse_json_dialogue(context, command.how())?;
    let (config, mut store) = context.open()?;
    let how = command.how();
    let (mut order, mut plan) = look(&command, &store, &config.policy)?;
    let removable = order.remove && plan.rows.iter().any(Row::is_settled);
    let nothing = plan.drafts.is_empty() && !removable;
    if !context.json || how.dry_run || nothing {
        report(context, &plan, false)?;
    }
    if how.dry_run || nothing {
        let why = if nothing { "There is nothing to take over." } else { "Nothing was changed." };
        context.terminal.note(why);
        return Ok(plan.outcome());
    }
    let question = question(plan.taken(), plan.drafts.len(), removable);
    context.terminal.insist(&question, how.yes)?;
    if !how.yes {
        // The other module took codes until the answer came.
        let (now_order, now_plan) = look(&command, &store, &config.policy)?;
        if !now_plan.says_the_same(&plan) {
            let hint = "Nothing was changed. Run the command again.";
            return Err(Error::refused("the factors to take over changed before the answer came", hint));
        }
        (order, plan) = (now_order, now_plan);
    }
    keep(context, &config, &mut store, &plan, order.origin)?;
    if context.json {
        report(context, &plan, !plan.drafts.is_empty())?;
    } else if !plan.drafts.is_empty() {
        let done = format!("{} of {} taken over.", factors(plan.taken()), people(plan.drafts.len()));
        context.terminal.say(&done)?;
        context.terminal.note(STILL_OPEN);
    }
    if removable {
        remove_sources(context, &order.found, &plan);
    }
    Ok(plan.outcome())
}

/// What was asked for, once the files are read.
struct Order {
    found: Found,
    /// The other module.
    origin: &'static str,
    /// Whether what is taken goes from the files.
    remove: bool,
}

fn look(command: &ImportCommand, store: &Store, policy: &Policy) -> Result<(Order, Plan), Error> {
    let order = read(command, Now { time: system::now(), skew: policy.app.skew })?;
    let plan = Plan::new(&order.found, store, policy)?;
    Ok((order, plan))
}

fn read(command: &ImportCommand, now: Now) -> Result<Order, Error> {
    let (found, origin, removal) = match command {
        ImportCommand::GoogleAuthenticator { from, user, removal, .. } => {
            let found = match (&from.file, &from.dir, user) {
                (Some(file), _, Some(user)) => google_file(file, user, now)?,
                (_, Some(folder), _) => google_folder(folder, now)?,
                _ => google_homes(now)?,
            };
            (found, "google-authenticator", removal)
        }
        ImportCommand::Oath { file, removal, .. } => {
            let found = users_file(file, Part::Line, oath::MAX_FILE, |bytes| oath::parse(bytes, now))?;
            (found, "pam_oath", removal)
        }
        ImportCommand::U2f { file, origin, appid, removal, .. } => {
            let party = party(origin.clone(), appid.clone())?;
            let found = users_file(file, Part::User, u2f::MAX_FILE, |bytes| u2f::parse(bytes, &party))?;
            (found, "pam_u2f", removal)
        }
    };
    Ok(Order { found, origin, remove: removal.remove_source })
}

/// JSON is one report, of what was done.
pub(crate) fn refuse_json_dialogue(context: &Context, how: &How) -> Result<(), Error> {
    if context.json && !how.yes && !how.dry_run {
        return Err(Error::Usage(
            "a report as JSON is of what was done, and asks nothing".into(),
            "Add --dry-run to look first, or --yes.".into(),
        ));
    }
    Ok(())
}

fn factors(count: usize) -> String {
    if count == 1 { "1 factor".into() } else { format!("{count} factors") }
}

pub(crate) fn people(count: usize) -> String {
    if count == 1 { "1 user".into() } else { format!("{count} users") }
}

fn question(taken: usize, users: usize, remove: bool) -> String {
    match (taken, remove) {
        (0, _) => "Remove what was taken over before from where it is?".into(),
        (taken, false) => format!("Take over {} of {}?", factors(taken), people(users)),
        (taken, true) => {
            format!("Take over {} of {}, and remove them from where they are?", factors(taken), people(users))
        }
    }
}

/// Whom keys were made for, when nobody says: pam_u2f takes the host's name.
fn party(origin: Option<String>, appid: Option<String>) -> Result<u2f::Party, Error> {
    let host =
        || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let origin = origin.unwrap_or_else(|| format!("pam://{}", host()));
    let appid = appid.unwrap_or_else(|| origin.clone());
    if let Some(wrong) = [&origin, &appid].into_iter().find(|id| !is_rp_id(id)) {
        return Err(Error::Usage(
            format!("`{}` is no origin", table::printable(wrong)),
            "It is what pam_u2f's `origin=` said, or pam://HOSTNAME.".into(),
        ));
    }
    Ok(u2f::Party { origin, appid })
}

/// A fault of the one file that was named: then nothing is done.
fn malformed(path: &Path, fault: &Fault) -> Error {
    let hint = "Nothing was changed. Look at the file, then try again.";
    Error::refused(fault.of(&path.display().to_string()), hint)
}

fn missing(path: &Path) -> Error {
    Error::refused(format!("{} does not exist", path.display()), "Check the path.")
}

fn google_file(path: &Path, user: &str, now: Now) -> Result<Found, Error> {
    let known = users::known(user)?;
    let owner = Owner::Trusted(Some(known.uid));
    let source = Source::read(path, owner, google::MAX_FILE).map_err(|fault| malformed(path, &fault))?;
    let source = source.ok_or_else(|| missing(path))?;
    let entries = google::parse(&source.bytes, user, now).map_err(|fault| malformed(path, &fault))?;
    let mut found = Found::default();
    found.add(source, Part::File, entries);
    Ok(found)
}

fn users_file(
    path: &Path,
    part: Part,
    limit: u64,
    parse: impl FnOnce(&[u8]) -> Result<Vec<Entry>, Fault>,
) -> Result<Found, Error> {
    let owner = Owner::Trusted(None);
    let source = Source::read(path, owner, limit).map_err(|fault| malformed(path, &fault))?;
    let source = source.ok_or_else(|| missing(path))?;
    let entries = parse(&source.bytes).map_err(|fault| malformed(path, &fault))?;
    let mut found = Found::default();
    found.add(source, part, entries);
    Ok(found)
}

/// Files that are named after their users.
fn google_folder(folder: &Path, now: Now) -> Result<Found, Error> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.map_err(|error| {
        Error::refused(format!("{} cannot be read: {error}", folder.display()), "Check the path.")
    })?;
    let mut files: Vec<_> = listed.into_iter().map(|entry| (entry.file_name(), entry.path())).collect();
    files.sort();
    let mut progress = Progress::new("Reading", files.len());
    let mut found = Found::default();
    for (name, path) in files {
        progress.step();
        let user = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let known = match name.to_str() {
            Some(name) => system::user(name, [].into_iter())?,
            None => None,
        };
        match known {
            Some(known) => found.read(&path, &user, Owner::Trusted(Some(known.uid)), now),
            None => found.refuse(&path, &user, &Fault::of_file("this host has no such user")),
        }
    }
    Ok(found)
}

/// The files of all users in their homes. A user may have put anything there, which is not to keep others back.
fn google_homes(now: Now) -> Result<Found, Error> {
    let users = login_users(&system::passwd()?);
    let mut progress = Progress::new("Reading", users.len());
    let mut found = Found::default();
    for user in users {
        progress.step();
        let known = User::from_name(&user.user).map_err(std::io::Error::from)?;
        if let Some(known) = known {
            let path = known.dir.join(".google_authenticator");
            found.read(&path, &user.user, Owner::Only(known.uid.as_raw()), now);
        }
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, source: Source, part: Part, entries: Vec<Entry>) {
        let number = self.files.len();
        self.files.push(Read { source, part });
        self.entries.extend(entries.into_iter().map(|entry| (number, entry)));
    }

    /// One of many files: its faults are its own.
    fn read(&mut self, path: &Path, user: &str, owner: Owner, now: Now) {
        let source = match Source::read(path, owner, google::MAX_FILE) {
            Ok(Some(source)) => source,
            Ok(None) => return,
            Err(fault) => return self.refuse(path, user, &fault),
        };
        match google::parse(&source.bytes, user, now) {
            Ok(entries) => self.add(source, Part::File, entries),
            Err(fault) => self.refuse(path, user, &fault),
        }
    }

    fn refuse(&mut self, path: &Path, user: &str, fault: &Fault) {
        let why = if fault.line == 0 { fault.why.clone() } else { format!("the line {}", fault.why) };
        self.unread.push(Row {
            user: user.into(),
            file: path.display().to_string(),
            line: fault.line,
            what: google::LABEL.into(),
            result: Verdict::Refused,
            why,
            is_factor: true,
        });
    }
}

impl Row {
    /// Whether its factor is in the store when all is done.
    fn is_settled(&self) -> bool {
        self.is_factor && matches!(self.result, Verdict::Taken | Verdict::Already)
    }
}

impl Plan {
    fn new(found: &Found, store: &Store, policy: &Policy) -> Result<Self, Error> {
        let mut plan = Self::default();
        let mut progress = Progress::new("Comparing", found.entries.len());
        let mut at = HashMap::<&str, Result<usize, String>>::new();
        let mut uids = HashMap::<u32, &str>::new();
        let mut drafts: Vec<Draft> = Vec::new();
        for (number, entry) in &found.entries {
            progress.step();
            let user = entry.user.as_str();
            let place = match at.get(user) {
                Some(place) => place.clone(),
                None => {
                    let place = Draft::new(store, user)?.and_then(|draft| {
                        let uid = draft.account.uid;
                        if let Some(other) = uids.insert(uid, user) {
                            return Err(users::shared_uid(uid, other));
                        }
                        drafts.push(draft);
                        Ok(drafts.len() - 1)
                    });
                    at.insert(user, place.clone());
                    place
                }
            };
            let draft = place.map(|place| drafts.get_mut(place));
            let (what, result, why, advice) = match draft {
                Ok(Some(draft)) => draft.judge(entry, policy)?,
                Ok(None) => continue,
                Err(why) => (entry.what.clone(), Verdict::Refused, why, None),
            };
            let file = found.files.get(*number).map(|file| file.source.path.display().to_string());
            plan.files.push(*number);
            plan.rows.push(Row {
                user: user.into(),
                file: file.unwrap_or_default(),
                line: entry.line,
                what,
                result,
                why,
                is_factor: entry.is_factor,
            });
            if let Some(advice) = advice
                && !plan.advice.contains(&advice)
            {
                plan.advice.push(advice);
            }
        }
        plan.rows.extend(found.unread.iter().cloned());
        plan.drafts = drafts.into_iter().filter(|draft| !draft.labels.is_empty()).collect();
        Ok(plan)
    }

    /// Whether the same factors are taken; settings beside them change with every login elsewhere.
    fn says_the_same(&self, other: &Self) -> bool {
        let factors = |plan: &Self| plan.rows.iter().filter(|row| row.is_factor).cloned().collect::<Vec<_>>();
        factors(self) == factors(other)
    }

    /// How many factors are taken.
    fn taken(&self) -> usize {
        self.rows.iter().filter(|row| row.result == Verdict::Taken).count()
    }

    fn outcome(&self) -> Outcome {
        let is_left = |row: &Row| row.is_factor && row.result == Verdict::Refused;
        if self.rows.iter().any(is_left) { Outcome::Found } else { Outcome::Done }
    }
}

type Judged = (String, Verdict, String, Option<String>);

impl Draft {
    /// What the user has by now; why nothing can be added when that is so.
    fn new(store: &Store, user: &str) -> Result<Result<Self, String>, Error> {
        let new = |(account, seen)| Self { account, seen, apps: vec![], keys: vec![], labels: vec![] };
        Ok(users::listed(store, user)?.map(new))
    }

    fn judge(&mut self, entry: &Entry, policy: &Policy) -> Result<Judged, Error> {
        let what = entry.what.clone();
        match &entry.fate {
            Fate::Not { result, why, advice } => Ok((what, *result, why.clone(), advice.clone())),
            Fate::App { secret, shape, last, advice } => {
                self.add_app(what, secret, *shape, *last, advice.clone())
            }
            Fate::Key { credential, has_pin } => self.add_key(what, credential, *has_pin, policy),
        }
    }

    fn add_app(
        &mut self,
        what: String,
        secret: &Secret,
        shape: Shape,
        last: Option<u64>,
        advice: Option<String>,
    ) -> Result<Judged, Error> {
        let apps = &self.account.factors.apps;
        if let Some(known) = apps.iter().find(|app| app.secret == *secret) {
            // As a second app it would make two codes of one.
            if known.shape != shape {
                let why = format!("this secret is enrolled otherwise, as {}", known.label);
                return Ok((what, Verdict::Refused, why, None));
            }
            // Twice in the file: what was used by either line is used.
            let (id, label) = (known.id, known.label.clone());
            self.apps.iter_mut().filter(|(app, _)| *app == id).for_each(|(_, used)| *used = last.max(*used));
            return Ok((label, Verdict::Already, "this secret is enrolled".into(), None));
        }
        let Some(id) = (0..MAX_APPS as u8).find(|id| apps.iter().all(|app| app.id != *id)) else {
            return Ok((what, Verdict::Refused, format!("{MAX_APPS} apps are the most"), None));
        };
        let label = self.label(&what)?;
        let why = format!("{} digits, {} s, {}", shape.digits, shape.step, shape.algorithm.name());
        let app = App { id, label: label.clone(), secret: secret.clone(), shape, added: system::now() };
        self.account.factors.apps.push(app);
        self.apps.push((id, last));
        self.labels.push(format!("app {label}"));
        Ok((label, Verdict::Taken, why, advice))
    }

    fn add_key(
        &mut self,
        what: String,
        credential: &Credential,
        has_pin: bool,
        policy: &Policy,
    ) -> Result<Judged, Error> {
        let keys = &self.account.factors.keys;
        if let Some(known) = keys.iter().find(|key| key.credential.id == credential.id) {
            let there = &known.credential;
            if (&there.rp_id, &there.public) != (&credential.rp_id, &credential.public) {
                let why = format!("this key is enrolled otherwise, as {}", known.label);
                return Ok((what, Verdict::Refused, why, None));
            }
            return Ok((known.label.clone(), Verdict::Already, "this key is enrolled".into(), None));
        }
        if credential.rp_id != policy.key.rp_id {
            return Ok((
                what,
                Verdict::Refused,
                "made for another rp_id".into(),
                Some(other_party(credential, policy)),
            ));
        }
        if policy.key.pin && !has_pin {
            let advice =
                "The policy asks for a PIN (key.pin), which keys without +pin did not prove to have.";
            return Ok((what, Verdict::Refused, "made without a PIN".into(), Some(advice.into())));
        }
        let Some(id) = (0..MAX_KEYS as u8).find(|id| keys.iter().all(|key| key.id != *id)) else {
            return Ok((what, Verdict::Refused, format!("{MAX_KEYS} keys are the most"), None));
        };
        let label = self.label(&what)?;
        let why = if credential.verify { "with PIN" } else { "touched, without PIN" };
        let key =
            Key { id, label: label.clone(), credential: credential.clone(), has_pin, added: system::now() };
        self.account.factors.keys.push(key);
        self.keys.push(id);
        self.labels.push(format!("security key {label}"));
        Ok((label, Verdict::Taken, why.into(), None))
    }

    /// `google-authenticator` as it is; the others are numbered from the first.
    fn label(&self, usual: &str) -> Result<String, Error> {
        if usual == google::LABEL {
            return free_label(&self.account, None, usual);
        }
        let labels = (1..).map(|number| format!("{usual}-{number}"));
        let mut free = labels.filter_map(|label| free_label(&self.account, Some(label), usual).ok());
        Ok(free.next().unwrap_or_default())
    }

    fn keep(&self, account: &mut Account, state: &mut State) {
        account.factors = self.account.factors.clone();
        for (id, last) in &self.apps {
            state.forget_app(*id);
            last.iter().for_each(|step| state.set_last_step(*id, *step));
        }
        // Whatever they count from, the first login shows more.
        self.keys.iter().for_each(|id| state.set_counter(*id, 0));
    }
}

fn other_party(credential: &Credential, policy: &Policy) -> String {
    let theirs = &credential.rp_id;
    format!(
        "Keys made for {theirs} count after: twofa-admin policy set key.rp_id={theirs} (and keys enrolled here for {} no longer). \
         If they were made for another origin, say so with --origin.",
        policy.key.rp_id
    )
}

fn keep(
    context: &mut Context,
    config: &Config,
    store: &mut Store,
    plan: &Plan,
    origin: &str,
) -> Result<(), Error> {
    if plan.drafts.is_empty() {
        return Ok(());
    }
    let mut progress = Progress::new("Storing", plan.drafts.len());
    let changed = |draft: &Draft| (draft.account.user.clone(), draft.account.uid, draft.seen);
    let users: Vec<_> = plan.drafts.iter().map(changed).collect();
    let users: Vec<_> =
        users.iter().map(|(user, uid, seen)| Changed { user, uid: *uid, seen: *seen }).collect();
    store.change_all(&users, |place, account, state| {
        progress.step();
        plan.drafts.get(place).iter().for_each(|draft| draft.keep(account, state));
        Ok::<_, Error>(())
    })?;
    drop(progress);
    for draft in &plan.drafts {
        let what = format!("{} from {origin}", draft.labels.join(", "));
        context.did(config, "imported", &draft.account.user, &what);
    }
    let news = plan.drafts.iter().map(|draft| {
        let (account, what) = (&draft.account, Happening::Added(draft.labels.join(", ")));
        (account.user.clone(), what, reachable(&account.factors, &account.factors))
    });
    context.tell_all(config, news.collect());
    Ok(())
}

fn report(context: &mut Context, plan: &Plan, changed: bool) -> Result<(), Error> {
    let report = json!({ "changed": changed, "rows": plan.rows, "advice": plan.advice });
    context.report(&report, |_| {
        if plan.rows.is_empty() {
            return "Nothing was found.".into();
        }
        let line = |row: &Row| if row.line == 0 { "-".into() } else { row.line.to_string() };
        let cells = |row: &Row| {
            let result = match row.result {
                // Nobody misses it.
                Verdict::Refused if !row.is_factor => "skipped".into(),
                result => result.name().into(),
            };
            [row.user.clone(), line(row), row.what.clone(), result, row.why.clone()]
        };
        let rows: Vec<_> = plan.rows.iter().map(cells).collect();
        let table = table::render(["USER", "LINE", "WHAT", "RESULT", "WHY"], &rows);
        match plan.advice.is_empty() {
            true => table,
            false => format!("{table}\n\n{}", table::printable_lines(&plan.advice)),
        }
    })
}

/// Takes out of the files what is in the store now; what is not stays.
fn remove_sources(context: &mut Context, found: &Found, plan: &Plan) {
    let part = |number: usize, row: &Row| match found.files.get(number).map(|read| read.part) {
        Some(Part::User) => (number, row.user.clone()),
        _ => (number, row.line.to_string()),
    };
    let rows = || plan.files.iter().copied().zip(&plan.rows).filter(|(_, row)| row.is_factor);
    // A line of several keys stays as long as one of them does.
    let left = rows().filter(|(_, row)| !row.is_settled());
    let stays: HashSet<_> = left.map(|(number, row)| part(number, row)).collect();
    let mut goes = HashMap::<usize, HashSet<usize>>::new();
    for (number, row) in rows().filter(|(number, row)| !stays.contains(&part(*number, row))) {
        goes.entry(number).or_default().insert(row.line);
    }
    for (number, read) in found.files.iter().enumerate() {
        let Some(lines) = goes.get(&number) else { continue };
        let path = table::printable(&read.source.path.display().to_string());
        let left = match read.part {
            Part::File => None,
            _ => remaining(&read.source.bytes, |line| lines.contains(&line)),
        };
        let removed = remove_source(&read.source, left.as_ref().map(|left| left.as_slice()));
        match removed {
            Ok(()) if left.is_some() => context.terminal.note(&format!("Removed from {path}.")),
            Ok(()) => context.terminal.note(&format!("{path} is removed.")),
            Err(why) => {
                context.terminal.note(&format!("{path} stays as it is: it {}.", table::printable(&why)))
            }
        }
    }
}

/// The lines that stay; nothing when none of them says anything.
fn remaining(bytes: &[u8], goes: impl Fn(usize) -> bool) -> Option<Zeroizing<Vec<u8>>> {
    let mut left = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let lines = (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n'));
    lines.filter(|(number, _)| !goes(*number)).for_each(|(_, line)| left.extend_from_slice(line));
    let says_something = |line: &[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#")
    };
    left.split(|byte| *byte == b'\n').any(says_something).then_some(left)
}

fn remove_source(source: &Source, left: Option<&[u8]>) -> Result<(), String> {
    let Some(left) = left else {
        return source.remove();
    };
    if !source.is_as_read() {
        return Err(CHANGED.into());
    }
    let path = std::path::absolute(&source.path).map_err(|error| error.to_string())?;
    if source.whose.uid != nix::unistd::geteuid().as_raw() {
        return Err("is not root's, so take out yourself what was taken over".into());
    }
    trusted::replace_as(&path, left, &source.whose).map_err(|error| format!("cannot be changed: {error}"))
}

/// Where state files of google-authenticator are.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct GoogleSource {
    /// One file
    #[arg(requires = "user")]
    file: Option<PathBuf>,
    /// A folder with files that are named after their users
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// ~/.google_authenticator of every user who can log in
    #[arg(long)]
    homes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry on one line.
    pub(super) fn shown(entry: &Entry) -> String {
        let fate = match &entry.fate {
            Fate::App { shape, last, .. } => {
                let last = last.map_or_else(|| "nothing".into(), |last| last.to_string());
                format!("taken {} {} {}, used to {last}", shape.algorithm.name(), shape.digits, shape.step)
            }
            Fate::Key { credential, has_pin } => format!(
                "key {:?} {} {} verify={} pin={has_pin}",
                credential.protocol,
                credential.rp_id,
                credential.id.len(),
                credential.verify
            ),
            Fate::Not { result, why, .. } => format!("{}, {why}", result.name().to_lowercase()),
        };
        format!("{} {}: {fate}", entry.line, entry.what)
    }

    /// Gives a parser what a file could have become: bytes changed, taken out, put in, doubled; and mere noise.
    pub(super) fn never_panics(seed: &[u8], parse: impl Fn(&[u8])) {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: usize| {
            // Xorshift (Marsaglia, 2003).
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below.max(1) as u64) as usize
        };
        for round in 0..20_000 {
            let mut bytes = if round % 4 == 0 {
                (0..next(200)).map(|_| next(256) as u8).collect()
            } else {
                seed.to_vec()
            };
            for _ in 0..1 + next(6) {
                let at = next(bytes.len() + 1);
                match next(4) {
                    0 if at < bytes.len() => bytes[at] = next(256) as u8,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, b"\n\t ,:+*#\"-=/09aZ\0"[next(17)]),
                }
            }
            parse(&bytes);
        }
    }

    #[test]
    fn a_file_that_changed_meanwhile_stays() {
        let path = std::env::temp_dir().join(format!("twofa-source-{}", std::process::id()));
        let own = Owner::Only(nix::unistd::geteuid().as_raw());
        let read = |text: &str| {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            Source::read(&path, own, 100).unwrap().unwrap()
        };
        let source = read("one\n");
        fs::write(&path, "one more\n").unwrap();
        assert!(remove_source(&source, None).is_err());
        let source = read("one\n");
        let copy = path.with_extension("copy");
        fs::write(&copy, "one\n").unwrap();
        fs::rename(&copy, &path).unwrap();
        assert!(remove_source(&source, None).is_err(), "another file of the same text");
        let source = read("one\n");
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Until the clock of the file system has gone on.
        for _ in 0..20_000 {
            std::os::unix::fs::FileExt::write_all_at(&file, b"two\n", 0).unwrap();
            file.set_modified(written).unwrap();
        }
        assert!(remove_source(&source, None).is_err(), "what only looks as old and long as before");
        assert!(path.exists());
        remove_source(&read("one\n"), None).unwrap();
        assert!(!path.exists());
    }

    /// Its owner puts a link in place of the folder, between a look at the file and its removal.
    #[test]
    fn a_folder_that_is_swapped_costs_nobody_else_a_file() {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        let top = std::env::temp_dir().join(format!("twofa-swapped-{}", std::process::id()));
        let [own, link, other] = ["own", "link", "other"].map(|name| top.join(name));
        [&own, &other].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let _ = std::os::unix::fs::symlink(&other, &link);
        let (theirs, done) = (other.join("state"), AtomicBool::new(false));
        let folder = fs::File::open(&own).unwrap();
        let always_own = format!("/proc/self/fd/{}/state", std::os::fd::AsRawFd::as_raw_fd(&folder));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    renameat2(AT_FDCWD, &own, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            let uid = Owner::Only(nix::unistd::geteuid().as_raw());
            let mut lost = 0;
            for _ in 0..2_000 {
                fs::write(&theirs, "other\n").unwrap();
                fs::write(&always_own, "own\n").unwrap();
                if let Ok(Some(source)) = Source::read(&own.join("state"), uid, 100)
                    && source.bytes.as_slice() == b"own\n"
                {
                    let _ = remove_source(&source, None);
                }
                lost += usize::from(fs::read(&theirs).is_err());
            }
            done.store(true, Relaxed);
            assert_eq!(lost, 0);
        });
        fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn lines_that_were_taken_go_and_the_others_stay() {
        let text = b"# users\nalice\nbob\n\ncarol";
        let left = |goes: &[usize]| remaining(text, |line| goes.contains(&line)).map(|left| left.to_vec());
        assert_eq!(left(&[2]).unwrap(), b"# users\nbob\n\ncarol");
        assert_eq!(left(&[3, 5]).unwrap(), b"# users\nalice\n\n");
        assert_eq!(left(&[2, 3, 5]), None);
    }
}
