//! Private mount, pid, net, uts and ipc namespaces around a throw-away root. Whatever was started in them dies with them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::root::Root;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/namespace.sh");

/// What programs inside find in their environment, and nothing of the tester's own.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("TERM", "xterm"),
];

/// Lives as long as this value: the kernel kills every process inside when it is dropped, or when the test is gone.
pub struct Namespace {
    unshare: Child,
    /// PID 1 inside, as the machine numbers it.
    init: u32,
}

/// What only the root of a world has, see `namespace.sh`.
const MARK: &str = "/.twofa-world";

/// A process inside.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    /// Its arguments, joined by spaces; sshd writes its state there.
    pub command: String,
}

impl Namespace {
    /// Private namespaces with a fresh copy of `root` as `/`.
    pub fn new(root: &Root) -> Self {
        let mut unshare = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .args(["sh", SCRIPT])
            .args([&root.lower, &root.stage])
            .env_clear()
            .envs(ENVIRONMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux)");
        let mut line = String::new();
        let stdout = unshare.stdout.take().expect("piped above");
        BufReader::new(stdout).read_line(&mut line).expect("the output of namespace.sh");
        let Ok(init) = line.trim().parse() else {
            let mut why = String::new();
            let _ = unshare.stderr.take().expect("piped above").read_to_string(&mut why);
            panic!("cannot make the namespaces of a test: {why}{line}");
        };
        let namespace = Self { unshare, init };
        namespace.refuse_another_root();
        namespace
    }

    /// What tests do inside, they do as root: to the throw-away root, or not at all.
    fn refuse_another_root(&self) {
        let inside = self.command("test").args(["-e", MARK]).status().expect("nsenter (package util-linux)");
        assert!(inside.success(), "nsenter does not lead into the throw-away root; nothing was done");
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        // Whoever started the tests may ignore Ctrl-C (a shell does for its background jobs); who works here does not.
        let mut command = Command::new("env");
        command.args([
            "--default-signal",
            "nsenter",
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            // Without this it would lead to the root of the mount namespace, which under a chroot is another one.
            "--root",
            "--wd",
            "--target",
            &self.init.to_string(),
            "--",
            program,
        ]);
        command.env_clear().envs(ENVIRONMENT);
        command
    }

    /// Does something on a thread that has this network: sockets made there are found at the loopback of the inside.
    pub fn in_network<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.init)).expect("the network of the inside");
        let enter = || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            action()
        };
        thread::scope(|scope| scope.spawn(enter).join()).expect("an action that does not panic")
    }

    /// A number that no other namespace has at the same time.
    pub fn id(&self) -> u32 {
        self.init
    }

    /// Where a file of the inside is found from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root").join(inside.trim_start_matches('/'))
    }

    /// What runs inside now, without kernel remains (zombies).
    pub fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir(self.path("/proc")).expect("/proc of the namespace");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| self.process(pid)).collect()
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let arguments = fs::read(self.path(&format!("/proc/{pid}/cmdline"))).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let command = arguments.trim().to_owned();
        (!command.is_empty()).then_some(Process { pid, command })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // End of input ends PID 1, and the kernel then kills the rest; unshare returns when all are gone.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}
