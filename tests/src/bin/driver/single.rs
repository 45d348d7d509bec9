//! One process that makes the calls of the plan, one after another.

use crate::{Events, host};
use std::time::Instant;
use twofa_tests::driver::pam::{Start, Transaction};
use twofa_tests::driver::post::Post;
use twofa_tests::driver::{clock, plan::Plan, process};

pub(crate) fn run(plan: &Plan) -> Events {
    let mut events = Events::new();
    let host = host::Host::like(plan);
    if plan.last("close-std").is_some() {
        close_standard();
    }
    let limits = plan.all("limit").into_iter().map(|limit| std::str::from_utf8(limit).expect("UTF-8"));
    // The soft limits only: the driver needs the old ones to write down what happened.
    let old: Vec<_> = limits.map(|limit| lower(limit.split_once('=').expect("NAME=NUMBER"))).collect();
    let mut transaction = None;
    for call in plan.all("call") {
        let (name, value) = split(call);
        match name {
            "restart" => transaction = None,
            "clock" => clock::set(clock::parse(std::str::from_utf8(value).expect("UTF-8"))),
            _ => match transaction.take().map_or_else(|| start(plan, || ()), Ok) {
                Ok(mut open) => {
                    one(plan, &mut open, (name, value), &mut events);
                    events.extend(open.take_events());
                    transaction = Some(open);
                }
                Err(code) => events.push(("start".into(), code.to_string().into())),
            },
        }
    }
    drop(transaction);
    events.extend(host.child_ended());
    old.iter().for_each(|(resource, limit)| set_limit(*resource, limit));
    let open = process::descriptors().len();
    events.push(("descriptors".into(), open.to_string().into()));
    events
}

/// One call of libpam, or one change of an item.
fn one(plan: &Plan, open: &mut Transaction, (name, value): (&str, &[u8]), events: &mut Events) {
    if name == "answers" {
        return open.set_answers(plan.answers("answer").into());
    }
    if ["user", "rhost", "tty", "ruser"].contains(&name) {
        return open.set(name, value);
    }
    let flags = plan.number("flags").unwrap_or(0);
    let before = plan.last("watch").map(|_| process::picture());
    let begin = Instant::now();
    let code = open.call(name, i32::try_from(flags).expect("flags"));
    let took = begin.elapsed().as_millis();
    let code = code.unwrap_or_else(|| panic!("no call {name}"));
    if let Some(before) = before {
        let changes = process::changes(&before, &process::picture());
        events.extend(changes.into_iter().map(|change| ("changed".into(), change.into())));
        events.push(("watched".into(), before.len().to_string().into()));
    }
    events.extend(open.take_events());
    events.push((name.into(), code.to_string().into()));
    events.push(("milliseconds".into(), took.to_string().into()));
}

/// A handle as the plan wants it.
pub(crate) fn start(plan: &Plan, gate: fn()) -> Result<Transaction, i32> {
    let mut transaction = Transaction::start(Start {
        confdir: plan.last("confdir").expect("a confdir"),
        service: plan.last("service").expect("a service"),
        user: plan.last("user"),
        talks: plan.last("mute").is_none(),
        answers: plan.answers("answer").into(),
        gate,
    })?;
    transaction.set_post(Post::of(plan));
    for item in plan.all("set") {
        let (name, value) = split(item);
        transaction.set(name, value);
    }
    for pair in plan.all("env") {
        transaction.put_env(pair);
    }
    Ok(transaction)
}

fn split(pair: &[u8]) -> (&str, &[u8]) {
    let equals = pair.iter().position(|&byte| byte == b'=');
    let (name, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
    (std::str::from_utf8(name).expect("UTF-8"), value)
}

fn close_standard() {
    for fd in 0..3 {
        // SAFETY: nothing in this program uses the three from now on.
        unsafe { libc::close(fd) };
    }
}

type Resource = libc::__rlimit_resource_t;

/// Lowers a soft limit; returns what it was.
fn lower((name, number): (&str, &str)) -> (Resource, libc::rlimit) {
    let resource = match name {
        "nofile" => libc::RLIMIT_NOFILE,
        "fsize" => libc::RLIMIT_FSIZE,
        "as" => libc::RLIMIT_AS,
        "nproc" => libc::RLIMIT_NPROC,
        _ => panic!("no limit {name}"),
    };
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for one rlimit.
    unsafe { libc::getrlimit(resource, &raw mut old) };
    set_limit(resource, &libc::rlimit { rlim_cur: number.parse().expect("a number"), ..old });
    (resource, old)
}

fn set_limit(resource: Resource, limit: &libc::rlimit) {
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(resource, limit) }, 0, "setrlimit");
}
