//! One test's machine: a fresh root with users, PAM stacks, the product and a real sshd, thrown away at the end.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::fs::{MemfdFlags, memfd_create};
use twofa::account::Factors;
use twofa::config::Paths;
use twofa::contact::{Confirmable, Number};
use twofa::store::Store;

use crate::PATIENCE;
use crate::namespace::{Namespace, Process};
use crate::root::{self, Root};
use crate::syslog::Log;
use crate::terminal::Terminal;
use crate::totp::{App, secret_of};

/// Fields are dropped in this order: the namespace first, which ends what the others wait for.
pub struct World {
    namespace: Namespace,
    pub log: Log,
    daemons: Vec<Daemon>,
}

/// What an enrolled user holds.
pub struct Enrolled {
    pub app: App,
    /// Shown once, at the first enrollment.
    pub recovery: Vec<String>,
}

/// How a command without a terminal ended.
#[derive(Debug)]
pub struct Ran {
    command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Started for the whole life of the world.
struct Daemon(Child);

impl World {
    /// A machine with the product installed, not yet set up.
    pub fn new() -> Self {
        let world = Self::bare();
        let module = format!("/usr/lib/{}-linux-gnu/security/pam_twofa.so", env::consts::ARCH);
        world.install("TWOFA_MODULE", "libpam_twofa.so", &module, 0o644);
        world.install("TWOFA_ADMIN", "twofa-admin", "/usr/sbin/twofa-admin", 0o755);
        fs::create_dir_all(world.path("/usr/libexec/twofa")).expect("a folder for twofa-helper");
        world.install("TWOFA_HELPER", "twofa-helper", "/usr/libexec/twofa/twofa-helper", 0o755);
        // As a package does, without the second that adduser takes.
        world.append("/etc/passwd", "_twofa:x:900:900::/nonexistent:/usr/sbin/nologin\n");
        world.append("/etc/group", "_twofa:x:900:\n");
        world
    }

    /// A machine without the product.
    pub fn bare() -> Self {
        Self::on(root::cached())
    }

    /// A machine of another release, without the product.
    pub fn on(root: &Root) -> Self {
        let namespace = Namespace::new(root);
        let log = Log::listen(&namespace.path("/dev/log"));
        Self { namespace, log, daemons: Vec::new() }
    }

    /// Adds a user with a home, a shell and a password.
    pub fn user(self, name: &str, password: &str) -> Self {
        self.run(&["useradd", "--create-home", "--shell", "/bin/bash", name]).ok();
        self.password(name, password)
    }

    /// Sets a password. One round of SHA-512: what a test waits for is not the hash.
    pub fn password(self, name: &str, password: &str) -> Self {
        self.run_with_input(
            &["chpasswd", "--crypt-method", "SHA512", "--sha-rounds", "1000"],
            &format!("{name}:{password}\n"),
        )
        .ok();
        self
    }

    /// The `auth` and `account` lines of a PAM service. `session` and `password` are of no concern here.
    pub fn stack(self, service: &str, lines: &str) -> Self {
        self.write(
            &format!("/etc/pam.d/{service}"),
            &format!("{lines}\nsession required pam_unix.so\npassword required pam_deny.so\n"),
        );
        self
    }

    /// The host's policy. The first one also makes key and store.
    pub fn policy(self, text: &str) -> Self {
        if !self.path("/etc/twofa/store.key").exists() {
            self.admin(&["init", "--yes"]).ok();
        }
        self.write("/etc/twofa/twofa.toml", text);
        self
    }

    /// Gives `user` an authenticator app, as an administrator does who has the secret already.
    pub fn enroll(&self, user: &str) -> Enrolled {
        let secret = secret_of(user);
        let command = ["twofa-admin", "enroll", "app", user, "--secret-stdin"];
        let shown = self.run_with_input(&command, &format!("{secret}\n")).ok();
        Enrolled { app: App::new(&secret), recovery: recovery_codes(&shown) }
    }

    /// The same as a dialogue with the user, who scans the QR code, in an environment with these `settings`.
    /// Also returns what the screen shows.
    pub fn enroll_at_terminal(&self, user: &str, settings: &[&str]) -> (Enrolled, String) {
        let command = ["twofa-admin", "enroll", "app", user];
        let mut terminal = self.terminal(&[&["env"], settings, &command].concat());
        terminal.expect("Or type it in: ");
        let mut app = App::new(&terminal.expect("\n"));
        terminal.answer("Code that the app shows now: ", &app.code());
        let recovery = recovery_codes(&terminal.answer("saved the recovery codes: ", "saved"));
        terminal.expect_end(0);
        (Enrolled { app, recovery }, terminal.screen().to_owned())
    }

    /// Puts a store with these users, by name and uid, and their telephone numbers in place of the one there is.
    pub fn store_of(&self, users: &[(String, u32, String)]) {
        // Made outside: SQLite takes /proc/PID/root for this machine's own root.
        let folder = env::temp_dir().join(format!("twofa-store-{}", self.namespace.id()));
        // Of a test that was killed.
        let _ = fs::remove_dir_all(&folder);
        DirBuilder::new().mode(0o700).create(&folder).expect("a folder for a store");
        let [database, key] = ["twofa.db", "store.key"].map(|name| folder.join(name));
        let mut store =
            Store::create(&Paths { database: database.clone(), key: key.clone() }).expect("a store");
        let accounts = users.iter().map(|(name, uid, number)| {
            let to = Number::parse(number, None).unwrap_or_else(|fault| panic!("{number} {fault}"));
            let phone = Some(Confirmable { to, confirmed: Some(1) });
            (name.as_str(), *uid, Factors { phone, ..Factors::default() })
        });
        assert_eq!(store.add_all(accounts).expect("accounts"), users.len());
        drop(store);
        let copy = |from: &Path, to: &str| {
            let to = self.path(to);
            let _ = fs::remove_file(&to);
            fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        };
        copy(&database, "/var/lib/twofa/twofa.db");
        copy(&key, "/etc/twofa/store.key");
        for record in fs::read_dir(folder.join("state")).expect("records").flatten() {
            copy(&record.path(), &format!("/var/lib/twofa/state/{}", record.file_name().display()));
        }
        fs::remove_dir_all(folder).expect("a folder just made");
    }

    /// Gives `user` ten recovery codes.
    pub fn recovery_codes(&self, user: &str) -> Vec<String> {
        recovery_codes(&self.run_with_input(&["twofa-admin", "recovery", "new", user], "saved\n").ok())
    }

    /// Runs `twofa-admin`.
    pub fn admin(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["twofa-admin"], arguments].concat())
    }

    /// Runs a command as root, without a terminal and with an empty input.
    pub fn run(&self, command: &[&str]) -> Ran {
        self.run_with_input(command, "")
    }

    /// Runs a command as root, without a terminal, with `input` on its stdin.
    pub fn run_with_input(&self, command: &[&str], input: &str) -> Ran {
        // Files in memory, not pipes: a daemon that the command leaves behind may keep them open.
        let [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map(memory);
        (&stdin).write_all(input.as_bytes()).and_then(|()| (&stdin).rewind()).expect("a file in memory");
        let handle = |file: &File| Stdio::from(file.try_clone().expect("a handle of a file in memory"));
        let mut inside = self.in_session(command);
        inside.stdin(handle(&stdin)).stdout(handle(&stdout)).stderr(handle(&stderr));
        let status = wait(inside.spawn().expect("nsenter"));
        let ran = Ran {
            command: command.join(" "),
            code: status.and_then(|status| status.code()),
            stdout: content(stdout),
            stderr: content(stderr),
        };
        assert!(status.is_some(), "`{command:?}` takes too long\n{}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Starts a command as root on a terminal.
    pub fn terminal(&self, command: &[&str]) -> Terminal {
        Terminal::start(&self.namespace, command)
    }

    /// Starts a command as root on a terminal of 24 lines with 80 columns.
    pub fn small_terminal(&self, command: &[&str]) -> Terminal {
        Terminal::start_small(&self.namespace, command)
    }

    /// Starts a command as `user` on a terminal.
    pub fn terminal_of(&self, user: &str, command: &[&str]) -> Terminal {
        let become_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--reset-env"];
        self.terminal(&[&become_user, command].concat())
    }

    /// A console: `login` asks for the name.
    pub fn console(&self) -> Terminal {
        self.terminal(&["login"])
    }

    /// A command that the caller starts on their own terminal.
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Starts a daemon; the world's end ends it.
    pub fn daemon(&mut self, command: &[&str]) {
        let child = self.in_session(command).stdin(Stdio::null()).spawn().expect("nsenter");
        self.daemons.push(Daemon(child));
    }

    /// Everything that runs in this world.
    pub fn processes(&self) -> Vec<Process> {
        self.namespace.processes()
    }

    /// Does something, such as listening, in this world's network.
    pub fn in_network<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        self.namespace.in_network(action)
    }

    /// Waits until nothing runs whose command line is one of those.
    #[track_caller]
    pub fn expect_none_running(&self, is_one: impl Fn(&str) -> bool, within: Duration) {
        let end = Instant::now() + within;
        loop {
            let mut left = self.processes();
            left.retain(|process| is_one(&process.command));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "still there after {within:?}: {left:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until neither twofa-helper nor a hook is left.
    #[track_caller]
    pub fn expect_no_delivery(&self, within: Duration) {
        let is_delivery = |command: &str| {
            ["twofa-helper", "/etc/twofa/hooks/", "sleep "].iter().any(|part| command.contains(part))
        };
        self.expect_none_running(is_delivery, within);
    }

    /// Where a file of this world is found from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.namespace.path(inside)
    }

    /// Writes a file of root's with mode 0644, and the directories above it.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("an absolute path"))
            .unwrap_or_else(|error| panic!("{inside}: {error}"));
        fs::write(&path, text).unwrap_or_else(|error| panic!("{inside}: {error}"));
    }

    /// Adds lines to a file.
    pub fn append(&self, inside: &str, lines: &str) {
        let file = File::options().append(true).open(self.path(inside));
        let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        written.unwrap_or_else(|error| panic!("{inside}: {error}"));
    }

    fn install(&self, variable: &str, built: &str, inside: &str, mode: u32) {
        let from = artifact(variable, built);
        let to = self.path(inside);
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{} as {inside}: {error}", from.display()));
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).expect("the mode of a file just written");
    }

    /// In a session of its own, so that a program cannot ask on the tester's terminal through /dev/tty.
    fn in_session(&self, command: &[&str]) -> Command {
        let mut nsenter = self.namespace.command("setsid");
        nsenter.arg("--wait").args(command);
        nsenter
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Ran {
    /// Its output, when it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        self.expect(0).stdout
    }

    /// Itself, when it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "`{}` ended otherwise\n{}{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

/// The words that look like `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX`.
pub fn recovery_codes(text: &str) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 29 && word.split('-').all(|group| group.len() == 4);
    text.split_whitespace().filter(is_code).map(str::to_owned).collect()
}

/// Waits for the end of a command; None when it takes too long.
fn wait(mut child: Child) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let status = child.try_wait().expect("the state of a child");
        if status.is_some() {
            return status;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn memory(name: &str) -> File {
    memfd_create(name, MemfdFlags::CLOEXEC).expect("a file in memory").into()
}

fn content(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a file in memory");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The release build of a part of the product, the one that is shipped; or what the variable says.
pub fn artifact(variable: &str, built: &str) -> PathBuf {
    let path =
        env::var_os(variable).map_or_else(|| root::target().join("release").join(built), PathBuf::from);
    assert!(
        Path::exists(&path),
        "{} is missing: run `cargo build --release`, or set {variable}",
        path.display()
    );
    path
}
