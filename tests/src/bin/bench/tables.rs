//! What the benchmark prints.

use std::fs;
use std::path::Path;
use std::process::Command;
use twofa_tests::driver::site::module;

/// The machine, and what else it was doing.
pub(crate) fn heading(folder: &Path) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let disk = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output();
    let disk =
        disk.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    println!(
        "# {cores} cores,{}; Linux {}",
        model.trim_start_matches(['\t', ':']),
        read("/proc/sys/kernel/osrelease").trim()
    );
    println!("# load {}; files on {disk}, in {}", read("/proc/loadavg").trim(), folder.display());
    let size = fs::metadata(module()).map_or(0, |meta| meta.len());
    println!("# {} ({size} bytes)", module().display());
    if disk == "tmpfs" {
        println!("# NOTE: a tmpfs makes every fsync free. Set TMPDIR to a folder on a disk.");
    }
}

pub(crate) fn note(title: &str, lines: &[&str]) {
    println!("\n## {title}");
    lines.iter().for_each(|line| println!("# {line}"));
}

/// Columns as wide as what is in them; numbers to the right.
pub(crate) fn print(head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in &all {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", cells.collect::<Vec<_>>().join("  "));
    }
}
