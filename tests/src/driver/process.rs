//! What a process is: everything a module must leave as it found it.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::{fs, ptr};

/// Names and values, comparable before and after a call.
pub type Picture = BTreeMap<String, String>;

/// The whole picture of this process.
#[must_use]
pub fn picture() -> Picture {
    let mut picture = Picture::new();
    signals(&mut picture);
    status(&mut picture);
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    picture.insert("limits".into(), read("limits"));
    picture.insert("timers".into(), read("timers"));
    picture.insert("fds".into(), format!("{:?}", descriptors()));
    picture.insert("children".into(), format!("{:?}", children()));
    picture.insert("cwd".into(), format!("{:?}", std::env::current_dir()));
    picture.insert("locale".into(), locale());
    let environment: Vec<_> = std::env::vars_os().collect();
    picture.insert("environ".into(), format!("{environment:?}"));
    for (name, which) in [("real", libc::ITIMER_REAL), ("virtual", libc::ITIMER_VIRTUAL)] {
        // SAFETY: all zero bytes are a valid itimerval.
        let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
        // SAFETY: room for one itimerval.
        unsafe { libc::getitimer(which, &raw mut timer) };
        let set = timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0;
        picture.insert(format!("timer {name}"), set.to_string());
    }
    picture
}

/// What is different: `NAME: BEFORE -> AFTER`.
#[must_use]
pub fn changes(before: &Picture, after: &Picture) -> Vec<String> {
    let changed = before.iter().filter(|(name, value)| after.get(*name) != Some(value));
    changed.map(|(name, value)| format!("{name}: {value} -> {:?}", after.get(name))).collect()
}

/// What happens on each signal.
fn signals(picture: &mut Picture) {
    for signal in 1..=64 {
        // SAFETY: all zero bytes are a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks, into room for one sigaction.
        let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        if result == 0 {
            let state = format!("{:#x} {:#x}", action.sa_sigaction, action.sa_flags);
            picture.insert(format!("signal {signal}"), state);
        }
    }
}

/// Users, groups, umask, signal masks, threads: the kernel's word for them.
fn status(picture: &mut Picture) {
    const KEPT: [&str; 12] = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Threads",
        "CapEff",
        "CapPrm",
        "NoNewPrivs",
        "Seccomp",
    ];
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    for (name, value) in lines.filter(|(name, _)| KEPT.contains(name)) {
        picture.insert(name.into(), value.trim().into());
    }
}

/// Open descriptors and what they lead to, without the one that reads this list.
#[must_use]
pub fn descriptors() -> BTreeMap<String, String> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else {
        return BTreeMap::new();
    };
    let entries: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    let known = entries.iter().filter_map(|path| {
        let target = fs::read_link(path).ok()?;
        Some((path.display().to_string(), target.display().to_string()))
    });
    known.filter(|(_, target)| !target.starts_with("/proc/")).collect()
}

/// Children of this thread, dead ones included that nobody has waited for.
#[must_use]
pub fn children() -> Vec<String> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn locale() -> String {
    // SAFETY: a null pointer only asks; the answer is a C string.
    let name = unsafe { CStr::from_ptr(libc::setlocale(libc::LC_ALL, ptr::null())) };
    name.to_string_lossy().into_owned()
}

/// Memory in use now, KiB.
#[must_use]
pub fn resident() -> i64 {
    memory("VmRSS:")
}

/// The most memory that was ever in use, KiB.
#[must_use]
pub fn peak() -> i64 {
    memory("VmHWM:")
}

fn memory(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|number| number.parse().ok()).expect("the kernel knows")
}
