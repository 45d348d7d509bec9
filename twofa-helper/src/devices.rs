//! The security keys that are plugged in, found without libudev and without asking them anything.

use crate::descriptor::{MAX_DESCRIPTOR, is_fido};
use nix::libc::{major, minor};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use twofa::token::Device;

const KNOWN: &str = "/sys/class/hidraw";
const NODES: &str = "/dev";
/// Of so many keys, somebody's is one.
const AT_MOST: usize = 8;

/// The devices of security keys and their nodes, in the order in which they were plugged in.
pub(crate) fn plugged_in() -> Vec<(Device, PathBuf)> {
    let mut numbers: Vec<Device> = fs::read_dir(KNOWN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| number(&entry.file_name()))
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(key).take(AT_MOST).collect()
}

fn number(name: &std::ffi::OsStr) -> Option<Device> {
    let digits = name.to_str()?.strip_prefix("hidraw")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn key(number: Device) -> Option<(Device, PathBuf)> {
    let name = format!("hidraw{number}");
    let known = Path::new(KNOWN).join(&name);
    let mut descriptor = vec![];
    let file = File::open(known.join("device/report_descriptor")).ok()?;
    file.take(MAX_DESCRIPTOR as u64).read_to_end(&mut descriptor).ok()?;
    let node = Path::new(NODES).join(name);
    (is_fido(&descriptor) && is_device(&node, &known)).then_some((number, node))
}

/// Whether the node is root's, and leads to the device whose descriptor was read.
fn is_device(node: &Path, known: &Path) -> bool {
    let Ok(numbers) = fs::read_to_string(known.join("dev")) else { return false };
    // Not what a link leads to.
    fs::symlink_metadata(node).is_ok_and(|metadata| {
        let leads_to = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
        metadata.file_type().is_char_device() && metadata.uid() == 0 && leads_to == numbers.trim()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hidraw_devices() {
        let table = [
            ("hidraw0", Some(0)),
            ("hidraw17", Some(17)),
            ("hidraw", None),
            ("hidraw+1", None),
            ("hidraw1x", None),
            ("hidraw99999999999", None),
            ("../hidraw1", None),
            ("hiddev0", None),
        ];
        for (name, expected) in table {
            assert_eq!(number(name.as_ref()), expected, "{name}");
        }
    }

    #[test]
    fn a_node_is_a_device_of_roots_with_the_numbers_of_the_kernel() {
        let known = std::env::temp_dir().join(format!("twofa-devices-{}", std::process::id()));
        fs::create_dir(&known).unwrap();
        let with = |numbers: &str, node: &str| {
            fs::write(known.join("dev"), numbers).unwrap();
            is_device(Path::new(node), &known)
        };
        assert!(with("1:3\n", "/dev/null"));
        assert!(!with("1:5\n", "/dev/null"), "another device");
        assert!(!with("", "/dev/null"));
        assert!(!with("1:3\n", "/dev/stdin"), "a link");
        assert!(!with("0:0\n", "/etc/passwd"), "a file");
        assert!(!with("1:3\n", "/dev/no-such-device"));
        fs::remove_file(known.join("dev")).unwrap();
        assert!(!is_device(Path::new("/dev/null"), &known));
        fs::remove_dir(&known).unwrap();
    }
}
