//! A virtual machine with a console, udev and security keys, for what a namespace has not: one boots in some seconds,
//! emulated, and goes back to a saved state in less than one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use crate::root;
use crate::terminal::Terminal;

pub mod cases;
mod image;
mod machine;
mod shell;

pub use cases::{Case, Group};
use image::Kind;
use machine::Machine;

/// Every processor is emulated: for a boot, and for an answer. Several times what an idle machine needs.
const BOOT: Duration = Duration::from_secs(240);
const PATIENCE: Duration = Duration::from_secs(90);

/// The users of the image, and root.
pub const USERS: [&str; 2] = ["alice", "bob"];

/// What a user of the image types.
pub fn password_of(user: &str) -> String {
    format!("pw-{user}")
}

/// A guest that runs. It ends with this value.
pub struct Vm {
    machine: Machine,
    /// From the start of the emulator to `login:`.
    pub booted: Duration,
}

impl Vm {
    /// Boots a guest with these files in it: from where on this machine, to which path in the guest. Modes are kept,
    /// the owner is root. A software security key is always among them.
    pub fn boot(files: &[(PathBuf, &str)]) -> Self {
        Self::boot_from(Kind::Plain, files)
    }

    /// A guest where SELinux enforces Debian's policy.
    pub fn boot_selinux(files: &[(PathBuf, &str)]) -> Self {
        Self::boot_from(Kind::Selinux, files)
    }

    fn boot_from(kind: Kind, files: &[(PathBuf, &str)]) -> Self {
        root::require_root();
        let image = image::cached(kind);
        let softkey = (softkey(), "/usr/local/bin/softkey");
        let files = [&[softkey], files].concat();
        let began = Instant::now();
        let mut vm = Self { machine: Machine::start(image, &files), booted: Duration::ZERO };
        vm.machine.console.wait_for(BOOT);
        vm.machine.console.expect("login: ");
        vm.machine.console.wait_for(PATIENCE);
        vm.booted = began.elapsed();
        vm.machine.await_shell();
        vm.install(&files);
        vm.set_clock();
        vm
    }

    /// Runs a command (of sh) as root, without a terminal. Returns its exit code, and what it says on stdout and stderr.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> (i32, String) {
        let answer = self.machine.shell.run(command, PATIENCE);
        answer.unwrap_or_else(|error| panic!("`{command}`: {error}. {}", self.machine.last_words()))
    }

    /// The output of a command that has to succeed.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        let (code, output) = self.run(command);
        assert_eq!(code, 0, "`{command}` ended otherwise\n{output}\n{}", self.machine.last_words());
        output
    }

    /// The console, where somebody types who sits before the machine. It asks for the name.
    pub fn console(&mut self) -> &mut Terminal {
        &mut self.machine.console
    }

    /// A login from this machine on a terminal; `options` of ssh, and what to run there after `--`.
    pub fn ssh(&self, user: &str, options: &[&str], command: &[&str]) -> Terminal {
        let port = self.machine.ssh_port.to_string();
        let target = format!("{user}@127.0.0.1");
        let always = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"];
        let not_the_testers = ["IdentityAgent=none", "IdentityFile=none"];
        let usual = [&always[..], &not_the_testers].concat().into_iter().flat_map(|option| ["-o", option]);
        let usual: Vec<&str> = usual.collect();
        let words =
            [&["ssh", "-F", "none", "-p", &port], options, &usual, &[&target, "--"], command].concat();
        let mut terminal = Terminal::outside(&words);
        terminal.wait_for(PATIENCE);
        terminal
    }

    /// Plugs a software security key in; `flags` as in `tests/softkey/src/main.rs`. Returns its device node. A key
    /// of this name that was unplugged is the same key.
    pub fn plug(&mut self, name: &str, flags: &str) -> String {
        let start = format!("softkey {flags} /var/lib/softkey/{name}");
        self.ok(&format!("systemd-run --quiet --collect --unit=softkey-{name} {start}"));
        let find = format!(
            "for try in $(seq 100); do
                 file=$(grep -slx HID_UNIQ={name} /sys/class/hidraw/*/device/uevent) && break
                 sleep 0.1
             done
             [ \"$file\" ] || {{ journalctl --no-pager --unit=softkey-{name}; exit 1; }}
             udevadm settle
             file=${{file#/sys/class/hidraw/}}
             echo /dev/${{file%%/*}}"
        );
        self.ok(&find).trim().to_owned()
    }

    /// What a key does from now on: a word of `tests/softkey/src/mode.rs`. Before it is plugged in, or after.
    pub fn mode(&mut self, name: &str, word: &str) {
        let folder = format!("/var/lib/softkey/{name}");
        self.ok(&format!(
            "mkdir -p {folder} && echo {word} >{folder}/mode.new && mv {folder}/mode.new {folder}/mode"
        ));
    }

    /// Pulls a key out.
    pub fn unplug(&mut self, name: &str) {
        self.ok(&format!("systemctl stop softkey-{name}; udevadm settle"));
    }

    /// Keeps the state of the whole guest under a name.
    pub fn save(&mut self, state: &str) {
        self.ok("sync");
        self.machine.order(&format!("savevm {state}"));
    }

    /// Goes back to a state that was saved, but not in time. The console asks for the name.
    pub fn restore(&mut self, state: &str) {
        self.machine.order(&format!("loadvm {state}"));
        self.machine.shell.forget();
        self.set_clock();
        self.machine.console.clear();
        self.machine.console.send("\r");
    }

    /// The guest's clock stands still while it is saved.
    fn set_clock(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.ok(&format!("date --set=@{}.{:03} >/dev/null", now.as_secs(), now.subsec_millis()));
    }

    fn install(&mut self, files: &[(PathBuf, &str)]) {
        let install = |(number, (from, to)): (usize, &(PathBuf, &str))| {
            format!("install -D -m {:o} /mnt/{number} {to}\n", mode_of(from))
        };
        let installs: String = files.iter().enumerate().map(install).collect();
        self.ok(&format!("set -e; mount -r /dev/vdb /mnt\n{installs}umount /mnt"));
    }
}

/// It is not shipped, so it is as its own tests have built it.
fn softkey() -> PathBuf {
    let path =
        env::var_os("TWOFA_SOFTKEY").map_or_else(|| root::target().join("debug/softkey"), PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p twofa-softkey`, or set TWOFA_SOFTKEY",
        path.display()
    );
    path
}

fn mode_of(file: &Path) -> u32 {
    let metadata = fs::metadata(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    metadata.permissions().mode() & 0o7777
}
