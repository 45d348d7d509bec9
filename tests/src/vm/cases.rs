//! Runs cases one after the other in one guest, each from the same state, and says how long each took.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, iter};

use super::Vm;

/// One test: its name and what it does.
pub type Case = (&'static str, fn(&mut Vm));

/// Tests that begin with the same state of the guest.
pub struct Group {
    pub name: &'static str,
    /// From the state after the boot to that of each case.
    pub prepare: fn(&mut Vm),
    pub cases: &'static [Case],
}

/// Options of cargo's own test runner that have a value.
const WITH_VALUE: [&str; 6] = ["--test-threads", "--skip", "--format", "--color", "--logfile", "-Z"];

/// Boots a guest with these files and runs the cases whose names contain one of the program's arguments, or all.
pub fn run(files: &[(PathBuf, &str)], groups: &[Group]) -> ExitCode {
    let parts = wanted(env::args().skip(1));
    let is_wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part));
    let names = groups.iter().flat_map(|group| group.cases.iter().map(|case| full_name(group, case)));
    let names: Vec<String> = names.filter(|name| is_wanted(name)).collect();
    if env::args().any(|argument| argument == "--list") {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if names.is_empty() {
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let mut vm = Vm::boot(files);
    vm.save("booted");
    println!("booted in {:.1} s", vm.booted.as_secs_f64());
    let failed: Vec<String> = groups.iter().flat_map(|group| run_group(&mut vm, group, &names)).collect();
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    let took = began.elapsed().as_secs_f64();
    println!("{result}: {} cases, {} failed, {took:.1} s", names.len(), failed.len());
    failed.iter().for_each(|name| println!("    {name}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs those of its cases. Returns the names of those that failed.
fn run_group(vm: &mut Vm, group: &Group, names: &[String]) -> Vec<String> {
    let wanted = |case: &&Case| names.contains(&full_name(group, case));
    let cases: Vec<&Case> = group.cases.iter().filter(wanted).collect();
    if cases.is_empty() {
        return Vec::new();
    }
    let preparation = format!("{}, prepared", group.name);
    let prepared = timed(&preparation, || {
        vm.restore("booted");
        (group.prepare)(vm);
        vm.save(group.name);
    });
    if !prepared {
        return iter::once(preparation).chain(cases.iter().map(|case| full_name(group, case))).collect();
    }
    let mut failed = Vec::new();
    for case in cases {
        let name = full_name(group, case);
        let passed = timed(&name, || {
            vm.restore(group.name);
            case.1(vm);
        });
        if !passed {
            failed.push(name);
        }
    }
    failed
}

fn full_name(group: &Group, (name, _): &Case) -> String {
    format!("{}::{name}", group.name)
}

/// Runs it and says how it went. A panic has already said why.
fn timed(name: &str, run: impl FnOnce()) -> bool {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(run)).is_ok();
    let result = if passed { "ok" } else { "FAILED" };
    println!("{name} ... {result} ({:.1} s)", began.elapsed().as_secs_f64());
    passed
}

/// The arguments that are no options.
fn wanted(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut wanted = Vec::new();
    while let Some(argument) = arguments.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            wanted.push(argument);
        }
    }
    wanted
}
