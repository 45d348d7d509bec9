//! A namespace with a log that swallows, the peers' modules, a folder on a real disk.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// A /dev of our own: the nodes that programs need, and room for a socket `log`.
const SCRIPT: &str = r#"
set -eu
dev=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$dev"
for node in null zero full random urandom tty; do
    : >"$dev/$node"
    mount --bind "/dev/$node" "$dev/$node"
done
mkdir "$dev/shm" "$dev/pts"
mount --rbind /dev/pts "$dev/pts"
ln -s /proc/self/fd "$dev/fd"
mount --move "$dev" /dev
rmdir "$dev"
exec "$@"
"#;

/// Starts this program again inside a mount namespace, with the peers' libraries in reach.
pub(crate) fn enter(arguments: &[String]) -> ! {
    let peers = twofa_tests::peers::cached();
    let library = peers.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "bench"])
        .arg(std::env::current_exe().expect("this program"))
        .arg("inside")
        .args(arguments)
        .env("LD_LIBRARY_PATH", library)
        .env("TWOFA_BENCH_PEERS", peers)
        // The host's own user database would be most of what is measured; pam_google_authenticator asks for root.
        .env("TWOFA_TEST_USERS", "yes")
        .env("TWOFA_TEST_UID", "root:0")
        .exec();
    panic!("unshare (package util-linux, as root): {error}");
}

/// The file of a peer's module.
pub(crate) fn peer(name: &str) -> PathBuf {
    let folder = PathBuf::from(std::env::var_os("TWOFA_BENCH_PEERS").expect("set by `enter`"));
    let path =
        folder.join("lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)).join("security").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// Reads /dev/log until it is dropped.
pub(crate) struct Log(libc::pid_t);

/// A process that reads the log, so that nothing of it runs in the measured ones.
pub(crate) fn swallow_log() -> Log {
    let socket = UnixDatagram::bind("/dev/log").expect("a /dev of our own");
    // SAFETY: this program has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the kernel shall end this process with its parent.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let mut buffer = [0; 4096];
        while socket.recv(&mut buffer).is_ok() {}
        std::process::exit(0);
    }
    Log(pid)
}

impl Drop for Log {
    fn drop(&mut self) {
        // SAFETY: our own child.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// A folder below TMPDIR, which has to be on a disk for fsyncs to mean something.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("twofa-bench-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
