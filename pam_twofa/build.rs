//! Links libpam without its development package, and makes an unresolved symbol a link error.

use std::path::{Path, PathBuf};
use std::{env, fs, io, os::unix::fs::symlink};

/// Where distributions keep shared libraries.
const LIBRARY_DIRS: [&str; 5] = ["/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/lib"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    // An .so with a missing symbol builds, and then fails to load at every login. Refuse it here.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs");
    if let Some(library) = runtime_libpam() {
        // `-lpam` looks for libpam.so, a link that only the development package has. No header is
        // needed, so a link of our own to the library that is there anyway does.
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
        let link = out.join("libpam.so");
        let _ = fs::remove_file(&link);
        symlink(library, &link)?;
        println!("cargo::rustc-link-search=native={}", out.display());
    }
    Ok(())
}

/// `libpam.so.0` of this machine, when the target is this machine.
fn runtime_libpam() -> Option<PathBuf> {
    if env::var("HOST").ok()? != env::var("TARGET").ok()? {
        return None;
    }
    let multiarch = format!("{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH").ok()?);
    let dirs = LIBRARY_DIRS.iter().flat_map(|dir| [Path::new(dir).join(&multiarch), dir.into()]);
    dirs.map(|dir| dir.join("libpam.so.0")).find(|path| path.exists())
}
