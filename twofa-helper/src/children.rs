//! What the hook has left running: with `PR_SET_CHILD_SUBREAPER`, whoever loses its parent becomes our child.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use std::fs;

/// Kills every child there is now. Only children: their numbers are theirs until we wait for them. Those they
/// have in turn are ours the next time.
pub(crate) fn kill_all() {
    for pid in listed().unwrap_or_else(searched) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The kernel's list, where it keeps one (CONFIG_PROC_CHILDREN).
fn listed() -> Option<Vec<i32>> {
    let text = fs::read_to_string("/proc/thread-self/children").ok()?;
    Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// All processes whose parent we are.
fn searched() -> Vec<i32> {
    let us = getpid().as_raw();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(us)).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): `pid (name) state ppid`, and the name may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn both_ways_find_the_same_children() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(listed(), Some(vec![pid]));
        assert_eq!(searched(), [pid]);
        kill_all();
        assert!(!child.wait().unwrap().success());
        assert_eq!((listed(), searched()), (Some(vec![]), vec![]));
    }
}
