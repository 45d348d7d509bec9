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
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disk: PathBuf,
}

/// The image of this machine's release; the first call builds it.
pub(super) fn cached() -> Image {
    let (suite, sources, cache) = (suite(), sources(), cache_dir());
    let folder = cache.join(format!("vm-{suite}-{}", hash_of(&suite, &sources, &[RECIPE.to_owned()])));
    let lock = File::create(cache.join("vm-lock")).expect("the lock of the cache directory");
    lock.lock().expect("the lock of the cache directory");
    if !folder.exists() {
        build(&suite, &sources, &folder);
    }
    let [kernel, initrd, disk] = ["vmlinuz", "initrd.img", "disk.img"].map(|file| folder.join(file));
    Image { kernel, initrd, disk }
}

fn build(suite: &str, sources: &Path, folder: &Path) {
    eprintln!("building the {suite} virtual machine from {} (once)", sources.display());
    let began = Instant::now();
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).expect("the directory to build in");
    let mut recipe = Command::new("sh");
    recipe.args([SCRIPT, suite]).arg(sources).arg(&partial);
    run(&mut recipe, "install what is missing with: tests/prepare test");
    fs::rename(&partial, folder).expect("the finished image in its place");
    eprintln!("virtual machine built in {:.1} s", began.elapsed().as_secs_f64());
}
