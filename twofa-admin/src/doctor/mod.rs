//! `doctor`: whom this host locks out, and whom it lets past, told before anybody logs in. Looks and changes nothing; goes
//! on where policy or store are broken.

mod finding;
mod host;
pub(crate) mod module;
pub(crate) mod pam;
pub(crate) mod sshd;
pub(crate) mod stacks;
mod users;
pub(crate) mod ways;

pub(crate) use finding::{Fate, Finding, Severity};
pub(crate) use pam::FOLDERS;

use crate::context::Context;
use crate::error::Error;
use crate::{Outcome, sshd as touch, table, terminal, when};
use finding::Whom;
use serde::Serialize;
use stacks::{Examiner, Judged};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use twofa::admin::LoginUser;
use twofa::config::{self, Config};
use twofa::policy::SSHD;
use users::Counts;

/// What is looked at where there is no policy.
const STAND_IN: &str = "version = 1\nmethods = [\"app\"]\nservices = [\"sshd\", \"login\"]\n";
/// How many names a line shows; `--json` has them all.
const MAX_NAMES: usize = 10;
/// Of a line of text.
const WIDTH: usize = 100;

#[derive(Serialize)]
struct Report {
    /// As monitoring plug-ins say it.
    status: &'static str,
    summary: String,
    users: usize,
    enrolled: usize,
    refused: usize,
    locked: usize,
    findings: Vec<Finding>,
}

pub(crate) fn run(context: &mut Context) -> Result<Outcome, Error> {
    let (config, mut findings) = host::policy(&context.conf);
    let is_there = config.is_some();
    let config = match config {
        Some(config) => config,
        None => config::parse(&context.conf, STAND_IN)?,
    };
    let (covered, unclear) = users::covered(&config.policy);
    findings.extend(unclear);
    let mut counts = Counts { users: covered.len(), ..Counts::default() };
    if is_there {
        let (counted, found) = users::examine(&config, &covered);
        counts = counted;
        findings.extend(found);
        findings.extend(host::exemptions(&config));
        findings.extend(host::disk(&config));
        findings.extend(host::sending(&config.policy));
        findings.extend(host::helper(&config.policy));
        findings.extend(host::clock(&config.policy));
    }
    let found = ways_in(&config, &context.conf, &covered);
    if !found.is_called {
        findings.iter_mut().for_each(spare);
    }
    findings.extend(found.findings);
    // The worst first; what was found first stays first.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let report = Report::new(findings, counts);
    let code = report.exit_code();
    context.report(&report, text)?;
    Ok(Outcome::Health(code))
}

/// What is wrong with the ways in: PAM, sshd and the module.
pub(crate) fn of_ways_in(config: &Config, conf: &Path) -> Vec<Finding> {
    let (covered, _) = users::covered(&config.policy);
    ways_in(config, conf, &covered).findings
}

/// What a login meets.
struct WaysIn {
    /// Whether any line of PAM calls the module.
    is_called: bool,
    findings: Vec<Finding>,
}

/// A module that nobody calls locks nobody out, whatever is wrong.
fn spare(finding: &mut Finding) {
    if finding.outcome == Some(Fate::LockedOut) {
        finding.outcome = None;
        finding.affected.take_if(|affected| matches!(affected, Whom::All(_)));
    }
}

/// PAM, sshd and the module.
fn ways_in(config: &Config, conf: &Path, covered: &[LoginUser]) -> WaysIn {
    let policy = &config.policy;
    let has_folder = Path::new("/etc/pam.d").is_dir();
    let folder = module::folder();
    let exists = |module: &str| module::exists(folder.as_deref(), module);
    let judge = |name: &String| Judged::new(name, &text_of, has_folder, &exists);
    let judged: Vec<Judged> = policy.services.iter().map(judge).collect();
    let mut findings = Vec::new();
    let by_ssh = judged.iter().find(|one| one.name == SSHD);
    let sshd = by_ssh.map(|_| sshd::Sshd::ask());
    for one in &judged {
        // Without the program nobody gets there.
        if one.name == SSHD && !one.service.is_own && !Path::new(touch::SSHD).exists() {
            continue;
        }
        let access = sshd.as_ref().filter(|_| one.name == SSHD).and_then(sshd::Sshd::access);
        findings.extend(Examiner { judged: one, exists: &exists, access }.findings());
    }
    if let (Some(sshd), Some(one)) = (&sshd, by_ssh) {
        findings.extend(
            sshd.findings(sshd::Around { policy, account_holds: one.holds(), asks: one.asks() }, covered),
        );
        let touch = touch::doubts(config);
        findings.extend(touch.into_iter().map(|(what, advice)| Finding::warning("sshd", what, advice)));
    } else {
        let what = "the policy does not cover sshd: SSH logins need no second factor";
        findings.push(Finding::note("sshd", what, "Add sshd to `services`, if there is one."));
    }
    let named: BTreeSet<String> =
        judged.iter().flat_map(Judged::our_lines).filter_map(|(line, _)| path_of(line)).collect();
    findings.extend(module::findings(folder.as_deref(), &named, &policy.helper));
    if has_folder {
        findings.extend(stacks::shared(&judged, &policy.services, &service_names(), &text_of));
    } else {
        let what = "there is no /etc/pam.d: libpam reads /etc/pam.conf";
        findings.push(Finding::note("pam", what, "One file for each service is easier to keep right."));
    }
    findings.extend(stacks::other_policies(&judged, conf));
    WaysIn { is_called: judged.iter().any(|one| one.our_lines().next().is_some()), findings }
}

/// A file of others', in which a comment may be in any encoding.
pub(crate) fn text_of(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn path_of(line: &pam::Line) -> Option<String> {
    match &line.kind {
        pam::Kind::Module { path, .. } => Some(path.clone()),
        _ => None,
    }
}

/// All services of this host.
fn service_names() -> Vec<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    names.into_iter().filter(|name| !name.starts_with("common-") && !name.contains('.')).collect()
}

impl Report {
    fn new(findings: Vec<Finding>, counts: Counts) -> Self {
        let bad: Vec<&Finding> = findings.iter().filter(|found| found.severity > Severity::Note).collect();
        let worst = bad.first().map_or(Severity::Ok, |found| found.severity);
        let status = match worst {
            Severity::Ok | Severity::Note => "OK",
            Severity::Unknown => "UNKNOWN",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        };
        let what = match bad.as_slice() {
            [] => "every login asks for a second factor, and nobody is locked out".into(),
            [one] => one.what.clone(),
            [first, rest @ ..] => format!("{} (and {} more)", first.what, rest.len()),
        };
        let Counts { users, enrolled, refused, locked } = counts;
        // A bar begins the figures.
        let what = table::printable(&what).replace('|', "/");
        let summary = format!(
            "TWOFA {status} - {what} | users={users} enrolled={enrolled} refused={refused} \
            locked={locked} findings={}",
            bad.len()
        );
        Self { status, summary, users, enrolled, refused, locked, findings }
    }

    fn exit_code(&self) -> u8 {
        match self.status {
            "OK" => 0,
            "WARNING" => 1,
            "CRITICAL" => 2,
            _ => 3,
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![when::local(&report.summary)];
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Unknown => "UNKNOWN",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        };
        lines.extend(block(word, &format!("{}: {}", finding.check, when::local(&finding.what))));
        lines.extend(affected(finding).into_iter().flat_map(|affected| block("", &affected)));
        if finding.severity > Severity::Ok {
            lines.extend(block("", &finding.advice));
        }
    }
    table::printable_lines(&lines)
}

/// Whom it meets, and how.
fn affected(finding: &Finding) -> Option<String> {
    let whom = match finding.affected.as_ref()? {
        Whom::All(whom) => whom.clone(),
        Whom::Users(users) if users.is_empty() => return None,
        Whom::Users(users) if users.len() > MAX_NAMES => {
            let shown: Vec<_> = users.iter().take(MAX_NAMES).cloned().collect();
            format!("{} and {} more", shown.join(", "), users.len() - MAX_NAMES)
        }
        Whom::Users(users) => users.join(", "),
    };
    Some(match finding.outcome {
        Some(Fate::LockedOut) => format!("Locked out: {whom}."),
        Some(Fate::LetPast) => format!("Let past: {whom}."),
        None => format!("Users: {whom}."),
    })
}

/// Lines of a width that can be read, behind a column for `word`.
fn block(word: &str, text: &str) -> Vec<String> {
    let width = terminal::width().map_or(WIDTH, |columns| columns.min(WIDTH));
    let mut lines = vec![format!("{word:<8}")];
    for part in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + part.chars().count() <= width => {
                line.push(' ');
                line.push_str(part);
            }
            _ => lines.push(format!("{:<8} {part}", "")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_monitoring_and_the_screen() {
        let users: Vec<String> = (1..=12).map(|n| format!("u{n}")).collect();
        let findings = vec![
            Finding::critical("users", "12 users without a | phone\x1b number", "`enroll phone u1 NUMBER`")
                .meets(Whom::Users(users), Fate::LockedOut),
            Finding::new(Severity::Unknown, "sshd", "not known", "Try."),
            Finding::note("clock", "whatever", "x ".repeat(100)),
            Finding::ok("store", "fine"),
        ];
        let report = Report::new(findings, Counts { users: 12, enrolled: 1, refused: 12, locked: 0 });
        let text = text(&report);
        let first = "TWOFA CRITICAL - 12 users without a / phone\u{fffd} number (and 1 more) | \
                     users=12 enrolled=1 refused=12 locked=0 findings=2";
        assert_eq!(text.lines().next().unwrap(), first);
        assert!(text.contains("\nCRITICAL users: 12 users"), "{text}");
        assert!(
            text.contains("\n         Locked out: u1, u2, u3, u4, u5, u6, u7, u8, u9, u10 and 2 more."),
            "{text}"
        );
        assert!(text.lines().skip(1).all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(report.exit_code(), 2);
        let code = |findings| Report::new(findings, Counts::default()).exit_code();
        assert_eq!(code(vec![Finding::ok("a", "b"), Finding::note("a", "b", "c")]), 0);
        assert_eq!(code(vec![Finding::warning("a", "b", "c"), Finding::note("a", "b", "c")]), 1);
        assert_eq!(code(vec![Finding::new(Severity::Unknown, "a", "b", "c")]), 3);
    }
}
