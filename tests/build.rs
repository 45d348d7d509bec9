//! Links libpam without its development package, as `pam_twofa/build.rs` does, and lets the driver
//! put its own clock before libc's.

use std::path::{Path, PathBuf};
use std::{env, fs, io, os::unix::fs::symlink};

/// Where distributions keep shared libraries.
const LIBRARY_DIRS: [&str; 5] = ["/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/lib"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    // The dynamic linker looks into the executable first: what these two export is what a module
    // gets when it asks for the time, for a user or for the system log.
    for bin in ["driver", "bench"] {
        println!("cargo::rustc-link-arg-bin={bin}=-rdynamic");
    }
    if let Some(library) = runtime_libpam() {
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
        let link = out.join("libpam.so");
        let _ = fs::remove_file(&link);
        symlink(library, &link)?;
        println!("cargo::rustc-link-search=native={}", out.display());
    }
    Ok(())
}

/// `libpam.so.0` of this machine.
fn runtime_libpam() -> Option<PathBuf> {
    let multiarch = format!("{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH").ok()?);
    let dirs = LIBRARY_DIRS.iter().flat_map(|dir| [Path::new(dir).join(&multiarch), dir.into()]);
    dirs.map(|dir| dir.join("libpam.so.0")).find(|path| path.exists())
}
