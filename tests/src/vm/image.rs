//! The guest's kernel and disk: built once by `tests/vm/recipe`, kept by the hash of that file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::root::{cache_dir, hash_of, run, sources, suite};

const RECIPE: &str = include_str!("../../vm/recipe");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/recipe");

/// What a guest boots from. Shared by all, so never written.
pub(super) struct Image {
    /// Beyond those that every kernel here gets.
    pub(super) options: &'static str,
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disk: PathBuf,
}

/// What is in it besides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// Debian's policy, enforced.
    Selinux,
}

/// The image of this machine's release; the first call builds it.
pub(super) fn cached(kind: Kind) -> Image {
    let (suite, sources, cache) = (suite(), sources(), cache_dir());
    let (extra, options) = match kind {
        Kind::Plain => ("", ""),
        Kind::Selinux => ("selinux", "security=selinux enforcing=1"),
    };
    let hash = hash_of(&suite, &sources, &[RECIPE.to_owned(), extra.to_owned()]);
    let folder = cache.join(format!("vm-{suite}-{hash}"));
    let lock = File::create(cache.join("vm-lock")).expect("the lock of the cache directory");
    lock.lock().expect("the lock of the cache directory");
    if !folder.exists() {
        build(&suite, &sources, &folder, extra);
    }
    let [kernel, initrd, disk] = ["vmlinuz", "initrd.img", "disk.img"].map(|file| folder.join(file));
    Image { options, kernel, initrd, disk }
}

fn build(suite: &str, sources: &Path, folder: &Path, extra: &str) {
    eprintln!("building the {suite} virtual machine from {} (once)", sources.display());
    let began = Instant::now();
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).expect("the directory to build in");
    let mut recipe = Command::new("sh");
    recipe.args([SCRIPT, suite]).arg(sources).arg(&partial).arg(extra);
    run(&mut recipe, "install what is missing with: tests/prepare test");
    fs::rename(&partial, folder).expect("the finished image in its place");
    eprintln!("virtual machine built in {:.1} s", began.elapsed().as_secs_f64());
}
