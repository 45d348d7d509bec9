//! Other modules of Debian, to be compared with and to be come from: unpacked, not installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::World;

/// Fetched once.
pub fn cached() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target).expect("the target folder");
    let folder = fs::canonicalize(target).expect("the target folder").join("peers");
    fs::create_dir_all(&folder).expect("a folder for the peers");
    // Test binaries run side by side; the second one waits here and finds everything done.
    let lock = File::create(folder.join("lock")).expect("the lock of the peers");
    lock.lock().expect("the lock of the peers");
    if folder.join("unpacked").exists() {
        return folder;
    }
    let fetch = "apt-get -qq -o APT::Sandbox::User=root download libpam-google-authenticator libpam-oath liboath0 && \
                 for package in *.deb; do dpkg -x $package .; done && touch unpacked";
    let status = Command::new("sh").args(["-c", fetch]).current_dir(&folder).status().expect("sh");
    assert!(status.success(), "cannot fetch the peers: {fetch}");
    folder
}

impl World {
    /// Puts pam_google_authenticator, its program and pam_oath in.
    pub fn peers(self) -> Self {
        let library = format!("{}-linux-gnu", std::env::consts::ARCH);
        let copies = [
            ("usr/bin/google-authenticator".to_owned(), "/usr/bin/google-authenticator".to_owned()),
            (
                format!("lib/{library}/security/pam_google_authenticator.so"),
                module(&library, "google_authenticator"),
            ),
            (format!("lib/{library}/security/pam_oath.so"), module(&library, "oath")),
            (format!("usr/lib/{library}/liboath.so.0"), format!("/usr/lib/{library}/liboath.so.0")),
        ];
        let peers = cached();
        for (from, to) in copies {
            let copied = fs::copy(peers.join(&from), self.path(&to));
            copied.unwrap_or_else(|error| panic!("{from} as {to}: {error}"));
        }
        self
    }
}

fn module(library: &str, name: &str) -> String {
    format!("/usr/lib/{library}/security/pam_{name}.so")
}
