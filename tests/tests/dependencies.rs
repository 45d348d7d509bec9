//! What is linked into the module, crate by crate: a new one is a decision, not an accident.
#![allow(clippy::unwrap_used, reason = "a broken test says so and stops")]

use std::process::Command;

/// Everything that runs inside sshd, login and su, without what only runs at build time.
const IN_THE_MODULE: &str = include_str!("module-crates.txt");

#[test]
fn the_module_links_only_what_is_listed() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "pam_twofa", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{p}", "--locked", "--offline"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let mut linked: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    linked.sort_unstable();
    linked.dedup();
    let listed: Vec<&str> = IN_THE_MODULE.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(linked, listed, "tests/tests/module-crates.txt says which requirement each crate serves");
}
