//! A policy, a store and a PAM stack in a folder of their own.

use super::plan::Plan;
use super::post::{self, Message};
use super::transcript::Transcript;
use super::{clock, code, inject};
use crate::root::require_root;
use crate::syslog::Log;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// Gone with everything in it when it is dropped.
pub struct Site {
    dir: PathBuf,
    /// The system log, as the programs of this site see it.
    pub log: Log,
    /// A second in the middle of a code's time, near the present. Tests count from it.
    pub time: i64,
    runs: AtomicU32,
    /// Lines of the auth stack before ours.
    before: String,
    /// Codes are sent here.
    sends: bool,
}

/// What a user has in hand after enrolling.
#[derive(Clone, Debug)]
pub struct Factor {
    pub secret: String,
    /// Recovery codes; empty when the user had some already.
    pub recovery: Vec<String>,
}

/// How a run of the driver ended.
#[derive(Debug)]
pub struct Run {
    /// None: it did not come to its end.
    pub transcript: Option<Transcript>,
    pub status: ExitStatus,
    /// What was printed, on standard output and standard error.
    pub printed: String,
}

impl Run {
    /// The transcript of a driver that came to its end and that printed nothing.
    #[must_use]
    #[track_caller]
    pub fn done(self) -> Transcript {
        assert!(self.status.success(), "the driver ended with {:?}: {}", self.status, self.printed);
        assert_eq!(self.printed, "", "something was printed into the caller's terminal");
        self.transcript.expect("a transcript")
    }

    #[must_use]
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }
}

/// The service of most plans; some are sshd's.
pub const SERVICE: &str = "test";

/// Whom hooks run as: somebody whom every machine has.
const NOBODY: u32 = 65534;

impl Site {
    /// Nobody is enrolled; the policy asks for the app.
    #[must_use]
    pub fn new() -> Self {
        let site = Self::empty();
        site.write_policy(&site.policy());
        site.admin_ok(&["init", "--yes"], "");
        site
    }

    /// A folder with a PAM stack, and neither a policy nor a store.
    #[must_use]
    pub fn empty() -> Self {
        let dir = fresh_folder(&env::temp_dir());
        make_folder(&dir.join("pam.d"));
        let now = clock::real();
        let site = Self {
            log: Log::listen(&dir.join("log")),
            time: now - now.rem_euclid(code::STEP) + code::STEP / 2,
            runs: AtomicU32::new(0),
            before: String::new(),
            sends: false,
            dir,
        };
        site.write_stack("");
        site
    }

    /// Nobody is enrolled; the policy has these methods, and a gateway that keeps what is sent.
    #[must_use]
    pub fn sending(methods: &[&str]) -> Self {
        let site = Self::sending_empty();
        site.write_policy(&site.sending_policy(methods));
        site.admin_ok(&["init", "--yes"], "");
        site
    }

    /// A gateway and a first factor, and neither a policy nor a store.
    #[must_use]
    pub fn sending_empty() -> Self {
        // A hook runs as somebody else.
        require_root();
        let mut site = Self::empty();
        for (name, from) in [("helper", helper()), ("first_factor.so", first_factor())] {
            fs::copy(from, site.path(name)).expect("programs can be copied");
        }
        make_folder(&site.path("mail"));
        chown(site.path("mail"), Some(NOBODY), Some(NOBODY)).expect("root gives it away");
        site.write_hook(&post::gateway(&site.path("mail")));
        site.before = format!("auth required {}\n", site.path("first_factor.so").display());
        site.sends = true;
        site.write_stack("");
        site
    }

    /// The program that is handed each message.
    pub fn write_hook(&self, script: &str) {
        write(&self.path("hook"), 0o755, script.as_bytes());
    }

    /// A hook that does nothing but this.
    pub fn write_short_hook(&self, line: &str) {
        self.write_hook(&format!("#!/bin/sh\ncat >/dev/null\n{line}\n"));
    }

    /// [`Site::policy`] with these methods and all that is needed to send.
    #[must_use]
    pub fn sending_policy(&self, methods: &[&str]) -> String {
        let dir = self.dir.display();
        let top = format!("methods = {methods:?}\nhelper = \"{dir}/helper\"\nsupport = \"Call 42.\"");
        let channel = format!("hook = \"{dir}/hook\"\nhook_user = \"nobody\"\n");
        format!(
            "{}[sms]\n{channel}prefixes = [\"+48\", \"+49\"]\n[email]\n{channel}",
            self.policy().replace("methods = [\"app\"]", &top)
        )
    }

    /// All messages by now.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        post::messages(&self.path("mail"))
    }

    /// Gives a user who may be new a telephone number or addresses, as arguments of twofa-admin.
    #[track_caller]
    pub fn contact(&self, user: &str, contacts: &[&str]) {
        let known = self.admin(&["user", "show", user], "").status.success();
        let command = if known { "set" } else { "add" };
        self.admin_ok(&[&["user", command, user], contacts].concat(), "");
    }

    /// A new set of recovery codes.
    #[track_caller]
    pub fn recovery(&self, user: &str) -> Vec<String> {
        recovery_codes(&self.admin_ok(&["recovery", "new", user], "saved\n"))
    }

    /// Programs of this site that still run: helpers, and hooks with what they started.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        let all = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        let of_site = |path: PathBuf| {
            let program = fs::read_link(path.join("exe")).unwrap_or_default();
            let read = |name| fs::read(path.join(name)).unwrap_or_default();
            let words = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let begun_here = program.starts_with(&self.dir) || words.contains(&dir);
            // A hook works in its mailbox.
            let works_here = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.dir));
            (begun_here || works_here).then(|| format!("{} {words}", path.display()))
        };
        all.filter_map(of_site).collect()
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[must_use]
    pub fn policy(&self) -> String {
        format!(
            "version = 1\nmode = \"enforce\"\nmethods = [\"app\"]\nservices = [\"{SERVICE}\", \"sshd\"]\n\
             [app]\ndigits = 6\nstep = 30\nskew = 1\n\
             [limits]\nprompts = 3\nfailures = 5\nwindow = \"15m\"\ntotal = 50\n\
             [store]\npath = \"{dir}/twofa.db\"\nkey = \"{dir}/store.key\"\n",
            dir = self.dir.display()
        )
    }

    pub fn write_policy(&self, text: &str) {
        write(&self.path("twofa.toml"), 0o644, text.as_bytes());
    }

    /// The stack of the service: our module in both phases, with these arguments after `conf=`.
    pub fn write_stack(&self, arguments: &str) {
        let conf = self.path("twofa.toml");
        self.write_lines(&module(), &format!("conf={} {arguments}", conf.display()));
    }

    /// The stack of [`SERVICE`] and of sshd: this module in all four phases, with exactly these arguments.
    pub fn write_lines(&self, module: &Path, arguments: &str) {
        let line = |phase| format!("{phase} required {} {arguments}\n", module.display());
        let lines = ["auth", "account", "session", "password"].map(line).concat();
        let lines = [self.before.as_str(), &lines].concat();
        self.write_service(SERVICE, &lines);
        self.write_service("sshd", &lines);
    }

    pub fn write_service(&self, service: &str, lines: &str) {
        write(&self.path("pam.d").join(service), 0o644, lines.as_bytes());
    }

    /// Runs twofa-admin.
    #[must_use]
    pub fn admin(&self, arguments: &[&str], input: &str) -> Output {
        self.admin_with(arguments, input, &[])
    }

    /// Runs twofa-admin, which shall succeed; returns what it prints.
    #[track_caller]
    pub fn admin_ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.admin(arguments, input);
        assert!(output.status.success(), "twofa-admin {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Enrolls a user who can answer with the codes of the app with the secret.
    #[track_caller]
    pub fn enroll(&self, user: &str) -> Factor {
        let new = || code::secret(FACTORS.fetch_add(1, Ordering::Relaxed));
        let mut secret = new();
        while self.repeats_itself(&secret) {
            secret = new();
        }
        self.enroll_with(user, &secret)
    }

    /// Whether an app shows one code twice in a row in the days that tests go through. It is spent for both time steps,
    /// so the second login would be refused, and rightly.
    fn repeats_itself(&self, secret: &str) -> bool {
        const STEPS: i64 = 10_001;
        let codes: Vec<_> = (0..STEPS).map(|step| code::at(secret, self.time, step)).collect();
        codes.windows(2).any(|pair| pair.first() == pair.last())
    }

    #[track_caller]
    pub fn enroll_with(&self, user: &str, secret: &str) -> Factor {
        let arguments = ["enroll", "app", user, "--secret-stdin"];
        let printed = self.admin_ok(&arguments, &format!("{secret}\n"));
        Factor { secret: secret.into(), recovery: recovery_codes(&printed) }
    }

    /// What `user list --json` says after this user's name, up to the next user.
    #[must_use]
    #[track_caller]
    pub fn listed(&self, user: &str) -> String {
        let list = self.admin_ok(&["user", "list", "--json"], "");
        let name = format!("\"{user}\"");
        let (_, after) = list.split_once(&name).unwrap_or_else(|| panic!("no {user} in {list}"));
        after.split("\"user\"").next().unwrap_or_default().to_owned()
    }

    /// The failures that `user list --json` counts for this user.
    #[must_use]
    #[track_caller]
    pub fn failures(&self, user: &str) -> i64 {
        let object = self.listed(user);
        let (_, after) =
            object.split_once("\"failures\"").unwrap_or_else(|| panic!("no failures in {object}"));
        let number = after.trim_start_matches([':', ' ']).split(|c: char| !c.is_ascii_digit()).next();
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {object}"))
    }

    /// All that was logged by now, including what the log's reader has not got to yet.
    #[must_use]
    pub fn logged(&self) -> Vec<String> {
        self.log.lines()
    }

    /// A plan to log in at [`Site::time`], without answers and calls.
    #[must_use]
    pub fn plan(&self, user: &str) -> Plan {
        self.nobody().with("user", user)
    }

    /// A plan of sshd for a client with this address.
    #[must_use]
    pub fn plan_from(&self, user: &str, address: &str) -> Plan {
        let connection = format!("SSH_CONNECTION={address} 50000 192.0.2.1 22");
        self.plan(user).with("service", "sshd").with("env", connection)
    }

    /// A plan whose application does not say who logs in.
    #[must_use]
    pub fn nobody(&self) -> Plan {
        let plan = Plan::new(&self.path("pam.d"), SERVICE).at(self.time);
        if self.sends {
            let mail = self.path("mail");
            return plan.with("mail", mail.as_os_str().as_bytes()).password("hunter2 and more");
        }
        plan
    }

    /// The result of one authentication with the factor's code, so many steps from [`Site::time`].
    #[track_caller]
    pub fn login(&self, user: &str, secret: &str, steps: i64) -> i32 {
        let at = self.time + steps * code::STEP;
        let plan = self.plan(user).at(at).say_code(secret, 0).authenticate();
        self.run(&plan).done().code("authenticate")
    }

    /// Runs the driver.
    #[must_use]
    pub fn run(&self, plan: &Plan) -> Run {
        self.run_with(plan, &[], &[])
    }

    /// Runs the driver as the last argument of a tool: strace, valgrind.
    #[must_use]
    pub fn run_with(&self, plan: &Plan, tool: &[OsString], environment: &[(&str, &str)]) -> Run {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let (input, output) = (self.path(&format!("{number}.plan")), self.path(&format!("{number}.out")));
        write(&input, 0o600, plan.print().as_bytes());
        let mut command = inject::command(tool, &driver());
        command.arg(&input).arg(&output);
        self.surround(&mut command);
        command.envs(environment.iter().copied());
        let result = finish(&mut command, "");
        let text = fs::read_to_string(&output).ok();
        for path in [&input, &output] {
            let _ = fs::remove_file(path);
        }
        Run {
            transcript: text.map(|text| Transcript::parse(&text)),
            status: result.status,
            printed: [result.stdout, result.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat(),
        }
    }

    /// Runs twofa-admin as the last argument of a tool.
    #[must_use]
    pub fn admin_with(&self, arguments: &[&str], input: &str, tool: &[OsString]) -> Output {
        let mut command = inject::command(tool, &admin());
        command.arg("--conf").arg(self.path("twofa.toml")).args(arguments);
        self.surround(&mut command);
        command.env("LD_PRELOAD", preload());
        finish(&mut command, input)
    }

    /// The environment of the programs under test: nothing of the machine's log, users at will.
    fn surround(&self, command: &mut Command) {
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("TWOFA_TEST_LOG", self.path("log")).env("TWOFA_TEST_USERS", "yes");
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed leaves its files to look at.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Different secrets for all users of a test program.
static FACTORS: AtomicU32 = AtomicU32::new(0);

/// Runs a command to its end.
#[must_use]
pub fn finish(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that does not read its input is no error here.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// Words of the form XXXX-XXXX-XXXX-XXXX-XXXX-XXXX.
#[must_use]
pub fn recovery_codes(text: &str) -> Vec<String> {
    let groups = |word: &&str| {
        let lengths: Vec<usize> = word.split('-').map(str::len).collect();
        lengths == [4; 6]
    };
    text.split_whitespace().filter(groups).map(str::to_owned).collect()
}

/// Writes a file with these permissions, whatever the umask.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    let mut file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(bytes).expect("a file can be written");
    file.set_permissions(fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn fresh_folder(parent: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = parent.join(format!("twofa-{}-{:x}-{number}", std::process::id(), clock::real()));
    make_folder(&dir);
    dir
}

fn make_folder(path: &Path) {
    let made = fs::DirBuilder::new().mode(0o755).create(path);
    made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The module under test.
#[must_use]
pub fn module() -> PathBuf {
    built("TWOFA_MODULE", "release/libpam_twofa.so", "cargo build --release -p pam_twofa")
}

/// The module that panics on demand.
#[must_use]
pub fn panicking_module() -> PathBuf {
    let how = "cargo build -p pam_twofa --features test-panic --target-dir target/panic";
    built("TWOFA_MODULE_PANIC", "panic/debug/libpam_twofa.so", how)
}

fn admin() -> PathBuf {
    built("TWOFA_ADMIN", "release/twofa-admin", "cargo build --release -p twofa-admin")
}

fn helper() -> PathBuf {
    built("TWOFA_HELPER", "release/twofa-helper", "cargo build --release -p twofa-helper")
}

fn built(variable: &str, default: &str, how: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let path = env::var_os(variable).map_or_else(|| target.join(default), PathBuf::from);
    let found = fs::canonicalize(&path);
    found.unwrap_or_else(|error| panic!("{}: {error}; make it: {how}", path.display()))
}

/// The program that carries out plans.
#[must_use]
pub fn driver() -> PathBuf {
    beside("driver", "cargo build -p twofa-tests --bins")
}

fn first_factor() -> PathBuf {
    beside("examples/libfirst_factor.so", "cargo build -p twofa-tests --examples")
}

/// What gives a program users and a clock of its own.
#[must_use]
pub fn preload() -> PathBuf {
    beside("examples/libinterpose.so", "cargo build -p twofa-tests --examples")
}

/// A file that cargo put beside this program, or beside the folder that this program is in.
fn beside(name: &str, how: &str) -> PathBuf {
    let program = env::current_exe().expect("this program has a path");
    let mut folders = program.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = folders.find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {name} near {}; make it: {how}", program.display()))
}
