//! The module's file: where libpam looks for it, whether it is nobody else's, and whether it loads.

use super::finding::{Fate, Finding, Severity, Whom};
use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twofa::system::{self, Deadline};
use twofa::trusted::{self, Readers};

const CHECK: &str = "module";
/// The module's file has this in it, and then its version.
const MARK: &[u8] = b"pam_twofa module version ";
const MAX_FILE: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where this host's libpam looks for modules: where it has its own.
pub(crate) fn folder() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for base in ["/usr/lib", "/lib"] {
        let entries = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(entries.filter(|path| path.to_string_lossy().contains("-linux-gnu")));
    }
    // Of several architectures, ours.
    folders.sort_by_key(|path| !path.to_string_lossy().contains(ARCH));
    folders.extend(["/usr/lib64", "/lib64", "/usr/lib", "/lib"].map(PathBuf::from));
    let mut folders = folders.into_iter().map(|folder| folder.join("security"));
    folders.find(|folder| folder.join("pam_permit.so").exists() || folder.join("pam_unix.so").exists())
}

/// Whether libpam would find a module.
pub(crate) fn exists(folder: Option<&Path>, module: &str) -> bool {
    folder.is_none_or(|folder| path(folder, module).exists())
}

/// Where libpam looks: what it cannot open, with its own words for `$ISA` (`_PAM_ISA`). Debian's lead nowhere.
fn path(folder: &Path, module: &str) -> PathBuf {
    let path = folder.join(module);
    let library = folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let isa = match library.contains("-linux-gnu") {
        true => "/lib/security".to_string(),
        false => format!("../../{library}/security"),
    };
    if path.exists() { path } else { path.to_string_lossy().replace("$ISA", &isa).into() }
}

/// Looks at those modules of ours that the stacks name.
pub(crate) fn findings(folder: Option<&Path>, named: &BTreeSet<String>, helper: &Path) -> Vec<Finding> {
    let Some(folder) = folder else {
        let advice = "Compare with `find / -name pam_unix.so`.";
        return vec![Finding::new(
            Severity::Unknown,
            CHECK,
            "libpam's folder of modules was not found",
            advice,
        )];
    };
    let mut paths: BTreeSet<PathBuf> = named.iter().map(|name| path(folder, name)).collect();
    if paths.is_empty() {
        paths.insert(folder.join("pam_twofa.so"));
    }
    paths.iter().map(|path| finding(path, helper)).collect()
}

fn finding(path: &Path, helper: &Path) -> Finding {
    let shown = path.display();
    let everybody = |finding: Finding| finding.meets(Whom::everybody(), Fate::LockedOut);
    if !path.exists() {
        let what = format!("{shown} is missing");
        let advice = "Install it again before anybody logs in, or take its lines out of /etc/pam.d.";
        return Finding::critical(CHECK, what, advice);
    }
    // A link is fine: libpam follows it, and where it leads is looked at.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let content = match trusted::read(&real, Readers::All, MAX_FILE) {
        Ok(content) => content,
        Err(error) => return Finding::critical(CHECK, error.to_string(), error.hint()),
    };
    let own = env!("CARGO_PKG_VERSION");
    if let Err(error) = trusted::check_program(helper) {
        let what = format!("whether {shown} loads could not be tried: {error}");
        return Finding::warning(CHECK, what, error.hint());
    }
    let asked = system::output(helper, &["probe", &real.to_string_lossy()], Deadline::after(PATIENCE));
    let advice = "Install the package that was built for this release of the distribution.";
    match asked.as_deref().map(str::trim) {
        Ok(said) if said.starts_with("fault ") => {
            let why = said.trim_start_matches("fault ");
            return everybody(Finding::critical(CHECK, format!("{shown} does not load: {why}"), advice));
        }
        Ok(said) if said == format!("ok {own}") => {}
        Ok(_) => {
            let what = format!("{} is of another version than twofa-admin {own}", helper.display());
            return Finding::warning(CHECK, what, "Install all parts from one package.");
        }
        // What ends the process that loads it would end every login too.
        Err(error) => {
            let what = format!("whether {shown} loads could not be tried: {error}");
            return Finding::warning(CHECK, what, "Install twofa-helper of the same version as twofa-admin.");
        }
    }
    match version(&content) {
        Some(version) if version == own => Finding::ok(CHECK, format!("{shown} loads, version {own}")),
        found => {
            let found = found.unwrap_or_else(|| "another version".into());
            let what = format!("{shown} is {found}, and twofa-admin is {own}");
            Finding::warning(CHECK, what, "Install all parts from one package.")
        }
    }
}

/// What the module says of itself.
fn version(content: &[u8]) -> Option<String> {
    let at = content.windows(MARK.len()).position(|window| window == MARK)?;
    let after = content.get(at + MARK.len()..)?;
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let version: Vec<u8> = after.iter().take(32).take_while(is_part).copied().collect();
    String::from_utf8(version).ok().filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_out_of_the_file() {
        let file = |text: &str| [b"\x7fELF\0\0", text.as_bytes(), b"\0\xff\0"].concat();
        assert_eq!(version(&file("pam_twofa module version 0.1.0")), Some("0.1.0".into()));
        assert_eq!(version(&file("pam_twofa module version ")), None);
        assert_eq!(version(&file("pam_twofa")), None);
        assert_eq!(version(b""), None);
    }

    #[test]
    fn modules_are_found_where_libpam_looks() {
        let folder = folder().unwrap();
        assert!(exists(Some(&folder), "pam_permit.so") || exists(Some(&folder), "pam_unix.so"));
        assert!(!exists(Some(&folder), "pam_none.so") && !exists(Some(&folder), "/nowhere/pam_unix.so"));
        assert!(exists(None, "pam_none.so") && !exists(Some(&folder), "/lib/$ISA/pam_x.so"));
        let found = |folder: &str, module: &str| path(Path::new(folder), module).display().to_string();
        let (fedora, debian) = ("/usr/lib64/security", "/usr/lib/x86_64-linux-gnu/security");
        assert_eq!(found(fedora, "/lib/a/$ISA/pam_x.so"), "/lib/a/../../lib64/security/pam_x.so");
        assert_eq!(found(debian, "/lib/a/$ISA/pam_x.so"), "/lib/a//lib/security/pam_x.so");
        assert_eq!(found(debian, "pam_x.so"), "/usr/lib/x86_64-linux-gnu/security/pam_x.so");
    }
}
