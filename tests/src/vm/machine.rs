//! The emulator: a process with three lines to it (console, root's shell, monitor) and one forwarded port.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use super::image::Image;
use super::shell::Shell;
use super::{BOOT, PATIENCE};
use crate::root;
use crate::terminal::Terminal;

const EMULATOR: &str = "qemu-system-x86_64";
/// Mitigations, and counting performance, cost an emulated processor a lot.
const KERNEL: &str = "console=ttyS0 rw quiet panic=-1 mitigations=off net.ifnames=0";
/// Nothing but the forwarded port leads in, and nothing leads out.
const NETWORK: &str = "user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:0-:22";
/// Never KVM: /dev/kvm may be there, writable, and still not run a guest.
const HARDWARE: [&str; 15] = [
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,pmu=off",
    "-machine",
    "q35",
    "-m",
    "512",
    "-smp",
    "2",
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
];
const DEVICES: [&str; 3] = ["virtio-blk-pci,drive=root", "virtio-blk-pci,drive=payload", "virtio-rng-pci"];
const PROMPT: &str = "(qemu) ";

pub(super) struct Machine {
    emulator: Child,
    folder: Folder,
    pub(super) console: Terminal,
    pub(super) shell: Shell,
    monitor: Terminal,
    pub(super) ssh_port: u16,
}

/// Sockets, payload and what the emulator says; gone at the end.
struct Folder(PathBuf);

impl Machine {
    /// Starts the emulator with these files on its second disk, each under its number.
    pub(super) fn start(image: Image, files: &[(PathBuf, &str)]) -> Self {
        let folder = Folder::new();
        let payload = payload(&folder.0, files);
        let listen = |name| UnixListener::bind(folder.0.join(name)).expect("a socket");
        let lines = ["console", "shell", "monitor"].map(|name| (name, listen(name)));
        // It must not outlive the test, whatever ends that.
        let mut emulator = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", EMULATOR])
            .args(arguments(&image, &payload, &folder.0))
            // The disk's changes and the saved states; a file without a name.
            .env("TMPDIR", root::cache_dir())
            .stdin(Stdio::null())
            .stdout(folder.log())
            .stderr(folder.log())
            .spawn()
            .expect("setpriv (package util-linux)");
        let [console, shell, monitor] = lines.map(|(name, listener)| {
            let line = accept(&listener, &mut emulator);
            line.unwrap_or_else(|error| panic!("the emulator's {name}: {error}\n{}", folder.said()))
        });
        let mut monitor = Terminal::attached("the monitor", monitor.into());
        monitor.wait_for(PATIENCE);
        monitor.expect(PROMPT);
        let console = Terminal::attached("the console", console.into());
        let mut machine = Self { emulator, folder, console, shell: Shell::new(shell), monitor, ssh_port: 0 };
        machine.ssh_port = forwarded(&machine.order("info usernet"));
        machine
    }

    /// The last part of the boot.
    pub(super) fn await_shell(&mut self) {
        let ready = self.shell.wait(BOOT);
        ready.unwrap_or_else(|error| panic!("root's shell does not start: {error}. {}", self.last_words()));
    }

    /// Tells the emulator something. Returns its answer.
    #[track_caller]
    pub(super) fn order(&mut self, command: &str) -> String {
        self.monitor.send_line(command);
        let answer = self.monitor.expect(PROMPT);
        assert!(!answer.contains("Error"), "{command}: {answer}");
        answer
    }

    /// What the console and the emulator said, for the message of a failure.
    pub(super) fn last_words(&mut self) -> String {
        self.console.catch_up();
        format!("The console. {}\n{}", self.console.shown(), self.folder.said())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not below the target directory: the name of a socket has 107 bytes at most.
        let folder = env::temp_dir().join(format!("twofa-vm-{}-{number}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        DirBuilder::new().mode(0o700).create(&folder).expect("a directory for the sockets");
        Self(folder)
    }

    fn log(&self) -> File {
        let file = File::options().append(true).create(true).open(self.0.join("log"));
        file.expect("the emulator's log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn arguments(image: &Image, payload: &Path, folder: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = HARDWARE.map(OsString::from).to_vec();
    let mut add = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        arguments.extend(words.iter().map(|word| word.as_ref().to_owned()));
    };
    let options = format!("{KERNEL} {}", image.options);
    add(&[&"-kernel", &image.kernel, &"-initrd", &image.initrd, &"-append", &options]);
    let drive = |id: &str, options: &str, file: &Path| {
        format!("if=none,id={id},format=raw,{options},file={}", file.display().to_string().replace(',', ",,"))
    };
    add(&[&"-drive", &drive("root", "snapshot=on,cache=unsafe", &image.disk)]);
    add(&[&"-drive", &drive("payload", "readonly=on", payload)]);
    for device in DEVICES {
        add(&[&"-device", &device]);
    }
    add(&[&"-netdev", &NETWORK, &"-device", &"virtio-net-pci,netdev=network,romfile="]);
    for line in ["console", "shell", "monitor"] {
        add(&[&"-chardev", &format!("socket,id={line},path={}", folder.join(line).display())]);
    }
    add(&[&"-serial", &"chardev:console", &"-serial", &"chardev:shell", &"-mon", &"chardev=monitor"]);
    arguments
}

/// A disk with the files, the first one called `0`.
fn payload(folder: &Path, files: &[(PathBuf, &str)]) -> PathBuf {
    let (content, disk) = (folder.join("payload"), folder.join("payload.img"));
    fs::create_dir(&content).expect("a directory for the payload");
    let copy = |(number, (from, _)): (usize, &(PathBuf, &str))| {
        fs::copy(from, content.join(number.to_string()))
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()))
    };
    let bytes: u64 = files.iter().enumerate().map(copy).sum();
    let size = format!("{}M", bytes / 1_000_000 * 5 / 4 + 8);
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .args([&content, &disk])
        .arg(size);
    root::run(&mut mke2fs, "package e2fsprogs");
    disk
}

/// The emulator's end of a line.
fn accept(listener: &UnixListener, emulator: &mut Child) -> Result<UnixStream, String> {
    listener.set_nonblocking(true).expect("a socket");
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok((line, _)) = listener.accept() {
            line.set_nonblocking(false).expect("a socket");
            return Ok(line);
        }
        if let Some(status) = emulator.try_wait().expect("the state of a child") {
            return Err(format!("{EMULATOR} ended ({status}); is it installed? tests/prepare test"));
        }
        if Instant::now() > end {
            return Err(format!("{EMULATOR} does not start"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The port in a line like `TCP[HOST_FORWARD]  11  127.0.0.1 38581  10.0.2.15  22`.
fn forwarded(answer: &str) -> u16 {
    let line = answer.lines().find(|line| line.contains("HOST_FORWARD"));
    let port = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    port.unwrap_or_else(|| panic!("no forwarded port in {answer}"))
}
