//! twofa-helper and security keys: keys that behave and keys that do not, plugged into a machine of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; it measures time"
)]

mod conduct;
mod confinement;
mod ends;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use twofa::helper::{Ask, Registered, Registration, Touch, Touched};
use twofa::token::Credential;
use twofa_tests::PATIENCE;
use twofa_tests::driver::line;
use twofa_tests::u2fkey::Key;

const RP: &str = "pam_twofa:example";
const CHALLENGE: [u8; 32] = [0x77; 32];

/// What a security key looks like to the kernel.
const DESCRIPTOR: &[u8] = b"\x06\xd0\xf1\x09\x01\xa1\x01\x09\x20\x81\x02\x09\x21\x91\x02\xc0";

/// $1 is the site; the rest is run where these devices, and no others, are plugged in.
const MACHINE: &str = r#"
set -eu
site=$1
shift
mount --bind "$site/class" /sys/class
mount -t tmpfs -o mode=755 tmpfs "$site/dev"
for node in null urandom; do
    : >"$site/dev/$node"
    mount --bind "/dev/$node" "$site/dev/$node"
done
while read -r name node; do
    : >"$site/dev/$name"
    mount --bind "$node" "$site/dev/$name"
done <"$site/nodes"
mount --move "$site/dev" /dev
exec "$@"
"#;

/// A machine with the helper and some keys, gone with everything in it when dropped.
struct Site {
    dir: PathBuf,
    began: Instant,
}

impl Site {
    fn new(keys: &[&Key]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("twofa-token-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let site = Self { dir: env::temp_dir().join(id), began: Instant::now() };
        fs::create_dir_all(site.path("class/hidraw")).unwrap();
        fs::create_dir(site.path("dev")).unwrap();
        fs::set_permissions(&site.dir, fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a program that this one has open for writing cannot be run (ETXTBSY).
        run(Command::new("cp").arg(built_helper()).arg(site.helper()));
        let mut nodes = String::new();
        for (number, key) in keys.iter().enumerate() {
            site.device(number, DESCRIPTOR, &key.numbers);
            nodes += &format!("hidraw{number} {}\n", key.node.display());
        }
        fs::write(site.path("nodes"), nodes).unwrap();
        site
    }

    /// What the kernel says of a device.
    fn device(&self, number: usize, descriptor: &[u8], numbers: &str) {
        let known = self.path("class/hidraw").join(format!("hidraw{number}"));
        fs::create_dir_all(known.join("device")).unwrap();
        fs::write(known.join("device/report_descriptor"), descriptor).unwrap();
        fs::write(known.join("dev"), numbers).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn helper(&self) -> PathBuf {
        self.path("twofa-helper")
    }

    /// A host that asks, with what it prints kept.
    fn start(&self, ask: &Ask, settings: &[&str]) -> Child {
        fs::write(self.path("ask"), postcard::to_allocvec(ask).unwrap()).unwrap();
        // A capability that a change of user alone does not take away.
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps=+net_raw", "unshare"]);
        command.args(["--mount", "--propagation", "private", "sh", "-c", MACHINE, "sh"]).arg(&self.dir);
        command.arg(env!("CARGO_BIN_EXE_host")).arg(self.path("report")).arg(self.helper()).arg("/no/hook");
        command.arg(format!("ask={}", self.path("ask").display())).args(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Asks, and sees that nothing else happens: nothing is printed, left, or changed.
    #[track_caller]
    fn ask(&self, ask: &Ask, settings: &[&str], at_most: Duration) -> String {
        let began = Instant::now();
        let host = self.start(ask, settings);
        let output = host.wait_with_output().unwrap();
        let took = began.elapsed();
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && printed.is_empty(), "{:?}: {printed}", output.status);
        self.expect_nobody();
        let text = fs::read_to_string(self.path("report")).unwrap();
        let mut seen: Vec<(String, Vec<u8>)> = line::parse(&text).into_iter().collect();
        seen.retain(|(word, value)| !(word == "children" && value.is_empty() || word == "reaped"));
        assert_eq!(seen.len(), 1, "{text}");
        assert!(took < at_most, "{took:?}: {text}");
        String::from_utf8(seen.remove(0).1).unwrap()
    }

    #[track_caller]
    fn touch(&self, credentials: &[Credential], time: u8, at_most: Duration) -> String {
        self.ask(&touch(credentials, time), &[], at_most)
    }

    /// No process of the helper.
    #[track_caller]
    fn expect_nobody(&self) {
        let began = Instant::now();
        while !self.processes().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(5), "left: {:?}", self.processes());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The processes of the helper by number, and their arguments.
    fn processes(&self) -> BTreeMap<u32, String> {
        let program = fs::metadata(self.helper()).map(|file| (file.dev(), file.ino())).unwrap();
        let folders = fs::read_dir("/proc").unwrap().flatten();
        let pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: u32| {
            let exe = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            ((exe.dev(), exe.ino()) == program).then_some((pid, arguments.trim().to_owned()))
        };
        pids.filter_map(ours).collect()
    }

    /// Waits until so many processes talk to keys, and gives their numbers.
    #[track_caller]
    fn talking(&self, count: usize) -> Vec<u32> {
        loop {
            let processes = self.processes();
            let keys = processes.iter().filter(|(_, arguments)| arguments.starts_with("twofa-helper key"));
            let keys: Vec<u32> = keys.map(|(pid, _)| *pid).collect();
            if keys.len() == count {
                return keys;
            }
            assert!(self.began.elapsed() < PATIENCE, "{processes:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn touch(credentials: &[Credential], time: u8) -> Ask {
    let credentials = credentials.to_vec();
    Ask::Touch(Touch { rp_id: RP.into(), challenge: CHALLENGE, credentials, pin: None, time })
}

fn registration(exclude: &[Credential], time: u8) -> Ask {
    Ask::Register(Registration {
        rp_id: RP.into(),
        user: "alice".into(),
        challenge: CHALLENGE,
        exclude: exclude.to_vec(),
        pin: None,
        time,
    })
}

fn is_asked_to_sign(key: &Key) {
    let began = Instant::now();
    while key.asked() == 0 {
        assert!(began.elapsed() < PATIENCE, "the key is not asked");
        thread::sleep(Duration::from_millis(5));
    }
}

fn words(touched: &Touched) -> String {
    format!("{touched:?}")
}

fn made(credential: Credential) -> String {
    format!("{:?}", Registered::Credential(credential))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn built_helper() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/twofa-helper");
    let path = env::var_os("TWOFA_HELPER").map_or(built, PathBuf::from);
    let make = "make it: cargo build --release -p twofa-helper";
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}; {make}", path.display()))
}
