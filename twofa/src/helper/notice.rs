//! Notices to users: handed over, and nobody waits for what becomes of them.

use super::{Error, Job, Kind, receive, send, talk};
use crate::account::Factors;
use crate::code::Secret;
use crate::message::{self, Doer, Happening};
use crate::policy::{Method, Policy, Recipient};
use crate::system::{self, Deadline};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// To start the helper and have it take over: milliseconds, on a host that is well.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes before the jobs of a batch.
#[derive(Serialize, Deserialize)]
pub struct Batch {
    /// Where the helper keeps account of what was sent lately.
    pub account: PathBuf,
    pub jobs: u32,
}

/// That the batch is taken over.
#[derive(Serialize, Deserialize)]
pub struct Taken;

/// What a user is to be told.
pub struct News<'a> {
    pub user: &'a str,
    pub happening: Happening,
    pub doer: Doer,
    /// Those of before and after, where it changed them.
    pub factors: &'a Factors,
}

impl Policy {
    /// Whether users are told of it.
    pub fn tells(&self, happening: &Happening) -> bool {
        self.notify.occasions.contains(&happening.occasion())
    }
}

/// The message; nothing for somebody without an address.
fn job(news: &News<'_>, policy: &Policy) -> Option<Job> {
    let channel = policy.channel(Method::Email)?;
    let to @ Recipient::Mail(_) = policy.recipient(Method::Email, news.factors)? else {
        return None;
    };
    let id = system::random::<16>().ok()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let (host, now) = (system::host(), system::now());
    let text = message::told(&news.happening, news.doer, news.user, &host, now, policy.support.as_deref());
    Some(Job {
        hook: channel.hook.clone(),
        hook_user: channel.hook_user.clone(),
        kind: Kind::Notice(news.happening.occasion()),
        to: to.to_hook(),
        user: message::plain(news.user),
        host,
        id,
        text: Secret::new(text.as_bytes()),
    })
}

/// Has users told, as far as the policy wants it and they have an address. The hook runs when this has returned.
///
/// # Errors
///
/// When the helper cannot be trusted or started, or does not take over within two seconds.
pub fn notify(policy: &Policy, database: &Path, all: &[News<'_>]) -> Result<(), Error> {
    let told = all.iter().filter(|news| policy.tells(&news.happening));
    let jobs: Vec<Job> = told.filter_map(|news| job(news, policy)).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    hand_over(&policy.helper, &database.with_file_name("notices"), &jobs)
}

fn hand_over(helper: &Path, account: &Path, jobs: &[Job]) -> Result<(), Error> {
    let deadline = Deadline::after(PATIENCE);
    let batch = Batch { account: account.into(), jobs: u32::try_from(jobs.len()).unwrap_or(u32::MAX) };
    talk(helper, "notify", PATIENCE, |socket| {
        send(socket, &batch, deadline)?;
        jobs.iter().try_for_each(|job| send(socket, job, deadline))?;
        receive(socket, deadline).map(|Taken| ())
    })
}
