//! The throw-away Debian root: built once from this machine's own package sources, kept by the hash of its recipe.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// What the tests use inside; everything else stays out to keep the root small.
const PACKAGES: &str =
    "openssh-server,openssh-client,login,passwd,sudo,libpam-modules,iproute2,rsync,fail2ban,curl,jq";

/// What a host has that somebody logs in to.
const RELEASE_PACKAGES: &str = "openssh-server,openssh-client,login,passwd,libpam-modules,iproute2";

/// Puts the software key of the root's own OpenSSH beside ssh-sk-helper, see [`crate::ssh::SOFT_KEY`].
const UNPACK_SOFT_KEY: &str = r#"cd "$1/tmp" &&
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet download openssh-tests &&
dpkg -x openssh-tests_*.deb openssh-tests &&
mv openssh-tests/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so "$1/usr/lib/openssh/" &&
rm -r openssh-tests openssh-tests_*.deb"#;

/// Where distributions describe their own archive, newest form first.
const SOURCES_FOLDER: &str = "/etc/apt/sources.list.d";
const SOURCES_FILE: &str = "/etc/apt/sources.list";

/// A root that is ready to be the lower layer of an overlay.
pub struct Root {
    /// The files. Shared by all worlds, so never written.
    pub lower: PathBuf,
    /// An empty directory that each namespace mounts its own upper layer on.
    pub stage: PathBuf,
}

/// The root of this process; the first call builds or unpacks it.
pub fn cached() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        require_root();
        prepare(&Recipe::of_this_machine(), &cache_dir())
    })
}

/// A root of any release of Debian or Ubuntu, with what logins need and nothing of ours: see `packaging/root.sh`.
pub fn release(suite: &str) -> Root {
    require_root();
    let cache = cache_dir();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/root.sh");
    let mut command = Command::new("sh");
    command.arg(script).args([suite, RELEASE_PACKAGES]).env("TWOFA_CACHE", &cache);
    let output = command.output().expect("sh");
    assert!(output.status.success(), "{suite}: {}", String::from_utf8_lossy(&output.stderr));
    let lower = String::from_utf8_lossy(&output.stdout).trim().into();
    let stage = cache.join("stage");
    fs::create_dir_all(&stage).expect("the stage directory");
    Root { lower, stage }
}

/// Namespaces, set-uid programs and a real sshd need root; a skipped test would look like a passed one.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this needs root: it starts sshd, login and su in namespaces of its own and changes nothing on this machine.\n\
         Run it again with sudo, for example: sudo make test"
    );
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join(target)
}

/// Where roots and disks are kept. Nobody but root may look inside: they hold set-uid programs that get no
/// security updates.
pub(crate) fn cache_dir() -> PathBuf {
    let cache = env::var_os("TWOFA_CACHE").map_or_else(|| target().join("e2e"), PathBuf::from);
    DirBuilder::new().recursive(true).mode(0o700).create(&cache).expect("the cache directory (TWOFA_CACHE)");
    cache
}

/// Everything the content of a root depends on.
struct Recipe {
    suite: String,
    sources: PathBuf,
    arguments: Vec<String>,
}

impl Recipe {
    fn of_this_machine() -> Self {
        let arguments = [
            "--mode=root",
            "--format=tar",
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            // Its own download user cannot read the machine's keyrings everywhere.
            "--aptopt=APT::Sandbox::User \"root\"",
            // mmdebstrap copies this machine's name in; sudo looks its host's name up.
            "--customize-hook=echo twofa-test >\"$1/etc/hostname\"",
            "--customize-hook=printf '127.0.0.1 localhost twofa-test\\n::1 localhost\\n' >\"$1/etc/hosts\"",
            // OpenSSH's own security key of software. Its package is only unpacked: it would bring a Python framework.
            &format!("--customize-hook={UNPACK_SOFT_KEY}"),
            // pam_motd would run these programs at every login.
            "--customize-hook=rm -f \"$1/etc/update-motd.d/\"*",
        ];
        Self { suite: suite(), sources: sources(), arguments: arguments.map(str::to_owned).to_vec() }
    }

    fn hash(&self) -> String {
        hash_of(&self.suite, &self.sources, &self.arguments)
    }
}

/// What a recipe with these texts leads to on this machine, in 16 characters.
pub(crate) fn hash_of(suite: &str, sources: &Path, texts: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(suite);
    hash.update(fs::read(sources).expect("the package sources of this machine"));
    for text in texts {
        hash.update(text);
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The release to build.
pub fn suite() -> String {
    env::var("TWOFA_SUITE").unwrap_or_else(|_| codename())
}

/// The file that says where its packages are.
pub(crate) fn sources() -> PathBuf {
    env::var_os("TWOFA_SOURCES").map_or_else(own_sources, PathBuf::from)
}

/// `bookworm`, `noble`: the host's own release, so that what was built here also runs there.
fn codename() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.expect("a Debian or Ubuntu host, or TWOFA_SUITE and TWOFA_SOURCES in the environment").to_owned()
}

/// The file that names the distribution's own archive. On Ubuntu 24.04 and later `sources.list` is only a
/// comment, hence the look inside; who made the root of this host chose the name of the file, hence the search.
fn own_sources() -> PathBuf {
    let has_archive = |path: &PathBuf| {
        fs::read_to_string(path)
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("deb ") || line.starts_with("URIs:")))
    };
    let is_own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with("debian.sources") || name.ends_with("ubuntu.sources")
    };
    let folder = fs::read_dir(SOURCES_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut named: Vec<PathBuf> = folder.filter(is_own).collect();
    named.sort();
    named.push(SOURCES_FILE.into());
    let found = named.into_iter().find(has_archive);
    found.unwrap_or_else(|| {
        panic!("no package sources in {SOURCES_FOLDER} or {SOURCES_FILE}; set TWOFA_SOURCES")
    })
}

fn prepare(recipe: &Recipe, cache: &Path) -> Root {
    let hash = recipe.hash();
    let tar = cache.join(format!("root-{}-{hash}.tar", recipe.suite));
    let lower = cache.join(format!("root-{}-{hash}", recipe.suite));
    let stage = cache.join("stage");

    // Test binaries run side by side; the second one waits here and finds everything done.
    let lock = File::create(cache.join("lock")).expect("the lock of the cache directory");
    lock.lock().expect("the lock of the cache directory");
    fs::create_dir_all(&stage).expect("the stage directory");
    if !lower.exists() {
        if !tar.exists() {
            build(recipe, &tar);
        }
        unpack(&tar, &lower);
    }
    Root { lower, stage }
}

fn build(recipe: &Recipe, tar: &Path) {
    eprintln!("building the {} root from {} (once)", recipe.suite, recipe.sources.display());
    let partial = tar.with_extension("partial");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(&recipe.arguments).arg(&recipe.suite).arg(&partial).arg(&recipe.sources);
    run(&mut mmdebstrap, "install what is missing with: tests/prepare test");
    fs::rename(&partial, tar).expect("the finished tar in its place");
}

fn unpack(tar: &Path, lower: &Path) {
    let partial = lower.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).expect("the directory to unpack in");
    // Not /dev: device nodes on the machine's disk would serve nobody.
    let options = ["--numeric-owner", "--xattrs", "--exclude=./dev/*", "-xpf"];
    run(Command::new("tar").args(options).arg(tar).arg("-C").arg(&partial), "");
    fs::rename(&partial, lower).expect("the unpacked root in its place");
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command, hint: &str) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{:?}: {error}; {hint}", command.get_program()));
    assert!(
        output.status.success(),
        "{command:?} failed; {hint}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
