//! twofa-helper and its client: hooks that behave and hooks that do not, started from hosts in every state.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; it measures time"
)]

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use twofa::code::Secret;
use twofa::helper::{self, Error, Job, Kind, Outcome, Report};
use twofa_tests::PATIENCE;
use twofa_tests::driver::line;

/// Eight digits that are nowhere else on this machine.
const CODE: &str = "73519284";
const MESSAGE: &str = "Your code is 73519284. host.example";
/// Every hook that is to succeed reads its message.
const READ: &str = "cat >/dev/null\n";
/// Longer than any hook can live, shorter than a test that hangs.
const AT_MOST: Duration = Duration::from_secs(25);

/// A folder with the helper and hooks, gone with everything in it when dropped.
struct Site {
    dir: PathBuf,
    /// In the environment of every process of this site's hooks.
    id: String,
}

impl Site {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("twofa-helper-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let site = Self { dir: env::temp_dir().join(&id), id };
        fs::create_dir(&site.dir).unwrap();
        mode(&site.dir, 0o755);
        // Hooks write here.
        fs::create_dir(site.path("out")).unwrap();
        mode(&site.path("out"), 0o1777);
        // By another process: a program that this one has open for writing, while another thread starts one,
        // cannot be run (ETXTBSY).
        run(Command::new("cp").arg(built_helper()).arg(site.helper()));
        mode(&site.helper(), 0o755);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn helper(&self) -> PathBuf {
        self.path("twofa-helper")
    }

    /// A shell script; `$out` in it is the folder where it may write.
    fn hook(&self, script: &str) -> PathBuf {
        self.file("hook", &format!("#!/bin/sh\nout={}/out\n{script}\n", self.dir.display()))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let mut writer = Command::new("sh");
        writer.args(["-c", "cat > \"$0\""]).arg(&path).stdin(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        mode(&path, 0o755);
        path
    }

    fn written(&self, name: &str) -> String {
        let path = self.path("out").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn job(&self, hook: PathBuf) -> Job {
        Job {
            hook,
            hook_user: "nobody".into(),
            kind: Kind::Enroll,
            to: "+4915112345678".into(),
            user: "alice".into(),
            host: "host.example".into(),
            id: self.id.clone(),
            text: Secret::new(MESSAGE),
        }
    }

    fn deliver(&self, script: &str) -> Report {
        self.deliver_job(&self.job(self.hook(script)))
    }

    #[track_caller]
    fn deliver_job(&self, job: &Job) -> Report {
        let began = Instant::now();
        let report = helper::deliver(&self.helper(), job, CODE).unwrap();
        assert!(began.elapsed() < AT_MOST, "took {:?}", began.elapsed());
        self.expect_nobody();
        report
    }

    /// No process of the helper or of a hook.
    #[track_caller]
    fn expect_nobody(&self) {
        let began = Instant::now();
        while !self.processes().is_empty() {
            // Less than the 10 s after which a hook would be ended anyway.
            assert!(began.elapsed() < Duration::from_secs(5), "left: {:?}", self.processes());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of this site by number, and what they are. One that has ended has no executable.
    fn processes(&self) -> BTreeMap<u32, String> {
        let mark = format!("TWOFA_ID={}", self.id);
        let ours = |process: &Path| {
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            let exe = fs::read_link(process.join("exe")).ok()?;
            let marked = environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            (marked || exe.starts_with(&self.dir)).then(|| exe.display().to_string())
        };
        numbered_folders().filter_map(|(pid, folder)| Some((pid, ours(&folder)?))).collect()
    }

    /// Runs the program `host`, which delivers in a process of its own; its report by words.
    #[track_caller]
    fn host(&self, tool: &[&str], hook: &Path, settings: &[&str]) -> Seen {
        let mut host = self.start_host(&self.helper(), tool, hook, settings);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = host.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < AT_MOST, "{settings:?}: the host hangs");
            thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{settings:?}: the host ended with {status}");
        let text = fs::read_to_string(self.path("report")).unwrap();
        self.expect_nobody();
        let lines = line::parse(&text).into_iter();
        Seen(lines.map(|(word, value)| (word, String::from_utf8(value).unwrap())).collect())
    }

    fn start_host(&self, helper: &Path, tool: &[&str], hook: &Path, settings: &[&str]) -> Child {
        let words: Vec<OsString> = tool.iter().map(Into::into).collect();
        let all = [words, vec![env!("CARGO_BIN_EXE_host").into()]].concat();
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]).arg(self.path("report")).arg(helper).arg(hook);
        command.arg(format!("id={}", self.id)).args(settings);
        for (name, value) in [("SECRET", "1"), ("http_proxy", "x"), ("SSH_CONNECTION", "y"), ("PATH", "/x")] {
            command.env(name, value);
        }
        if !tool.is_empty() {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        }
        command.spawn().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What the host saw.
#[derive(Debug)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn all(&self, word: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == word).map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    fn one(&self, word: &str) -> &str {
        let all = self.all(word);
        assert_eq!(all.len(), 1, "{word}: {self:?}");
        all[0]
    }

    /// The message was sent, and the host is what it was before.
    #[track_caller]
    fn expect_sent_and_unchanged(&self, what: &str) {
        assert_eq!(self.one("outcome"), "Sent", "{what}: {self:?}");
        assert_eq!((self.all("changed"), self.one("children")), (vec![], ""), "{what}");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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

fn numbered_folders() -> impl Iterator<Item = (u32, PathBuf)> {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    folders.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn nobody() -> (u32, u32) {
    let text = fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with("nobody:")).expect("a user nobody");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed(why.into())
}

/// The value of a line `Name: value` in a text of /proc.
#[track_caller]
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn the_hook_gets_the_text_and_these_variables_and_nothing_else() {
    let site = Site::new();
    let text = "Ihr Code: \"73519284\" & $(touch /tmp/x) 'q' \\ `id` %s \u{fc}\u{1f511}\ttab";
    let script = "cat > $out/text; tr '\\0' '\\n' < /proc/$$/environ > $out/environ\n\
                  tr '\\0' '\\n' < /proc/$$/cmdline > $out/cmdline; echo $# > $out/arguments; echo gateway-id-7";
    let job = Job { text: Secret::new(text), ..site.job(site.hook(script)) };
    let report = site.deliver_job(&job);
    let expected = Report { outcome: Outcome::Sent, answer: "gateway-id-7".into(), complaint: String::new() };
    assert_eq!(report, expected);
    assert_eq!(site.written("text"), text);
    expect_environment(&site, Kind::Enroll, "a plain host");
    assert_eq!(site.written("cmdline"), format!("/bin/sh\n{}\n", site.path("hook").display()));
    assert_eq!(site.written("arguments"), "0\n");
}

#[test]
fn empty_and_longest_messages_arrive_whole() {
    for length in [0, 1, 4096, 16000] {
        let site = Site::new();
        let job = Job {
            text: Secret::new(vec![b'x'; length]),
            ..site.job(site.hook("sleep 0.1; cat > $out/text"))
        };
        assert_eq!(site.deliver_job(&job).outcome, Outcome::Sent, "{length}");
        assert_eq!(site.written("text").len(), length);
    }
    let site = Site::new();
    let job = Job { text: Secret::new(vec![b'x'; 20000]), ..site.job(site.hook(READ)) };
    let error = helper::deliver(&site.helper(), &job, CODE).unwrap_err();
    assert!(matches!(&error, Error::NoReport(why) if why.contains("too long")), "{error}");
    site.expect_nobody();
}

/// Names and values as the hook was given them, and not one more.
#[track_caller]
fn expect_environment(site: &Site, kind: Kind, what: &str) {
    let environ = site.written("environ");
    let mut environ: Vec<&str> = environ.lines().collect();
    environ.sort_unstable();
    let (id, kind) = (format!("TWOFA_ID={}", site.id), format!("TWOFA_KIND={}", kind.name()));
    let expected = [
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TWOFA_HOST=host.example",
        &id,
        &kind,
        "TWOFA_PROTOCOL=1",
        "TWOFA_TIMEOUT=10",
        "TWOFA_TO=+4915112345678",
        "TWOFA_USER=alice",
    ];
    assert_eq!(environ, expected, "{what}");
}

/// A script that writes down what it is.
const DESCRIBE: &str = "cat > /dev/null\n\
    cat /proc/self/status > $out/status\ncat /proc/self/stat > $out/stat\ncat /proc/self/limits > $out/limits\n\
    ls -l /proc/self/fd > $out/fds\numask > $out/umask\npwd > $out/pwd\necho $$ > $out/pid\n\
    tr '\\0' '\\n' < /proc/$$/environ > $out/environ\n\
    LC_ALL=C cat /dev/tty > /dev/null 2> $out/tty\nexit 0\n";

/// Everything that [`DESCRIBE`] has to find.
#[track_caller]
fn expect_confined(site: &Site, what: &str) {
    let (uid, gid) = nobody();
    let status = site.written("status");
    let four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
    let expected = [
        ("Uid", four(uid).as_str()),
        ("Gid", four(gid).as_str()),
        ("Groups", ""),
        ("NoNewPrivs", "1"),
        ("SigBlk", "0000000000000000"),
        ("SigIgn", "0000000000000000"),
        ("SigPnd", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    for (name, value) in expected {
        assert_eq!(field(&status, name), value, "{what}: {name}");
    }
    assert_eq!((site.written("umask").trim(), site.written("pwd").trim()), ("0077", "/"), "{what}");
    // proc(5): after the name come state, parent, group, session, terminal.
    let stat = site.written("stat");
    let stat: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let pid = site.written("pid");
    assert_eq!(
        (stat[2], stat[3], stat[4]),
        (pid.trim(), pid.trim(), "0"),
        "{what}: group, session, terminal"
    );
    assert!(site.written("tty").contains("No such device or address"), "{what}: {}", site.written("tty"));
    let fds = site.written("fds");
    let mut open: Vec<(&str, &str)> = fds
        .lines()
        .filter_map(|line| {
            let (before, target) = line.split_once(" -> ")?;
            Some((before.rsplit_once(' ')?.1, target))
        })
        .collect();
    open.sort_unstable();
    // 1 is the file, 3 the folder that is being listed.
    let kinds: Vec<_> = open.iter().map(|(fd, target)| (*fd, target.starts_with("pipe:"))).collect();
    assert_eq!(kinds, [("0", true), ("1", false), ("2", true), ("3", false)], "{what}: {open:?}");
    assert!(open[3].1.starts_with("/proc/"), "{what}: {open:?}");
}

/// Soft and hard limit by name.
fn limits<'a>(text: &'a str) -> BTreeMap<&'a str, (&'a str, &'a str)> {
    // Columns: a name of 26 letters, then the two.
    let parse = |line: &'a str| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut values = rest.split_ascii_whitespace();
        Some((name.trim(), (values.next()?, values.next()?)))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

#[test]
fn the_hook_is_confined() {
    let site = Site::new();
    assert_eq!(site.deliver(DESCRIBE).outcome, Outcome::Sent);
    expect_confined(&site, "a plain host");
    let text = site.written("limits");
    let limits = limits(&text);
    let expected = [
        ("Max cpu time", "5"),
        ("Max core file size", "1"),
        ("Max file size", "67108864"),
        ("Max processes", "256"),
        ("Max open files", "256"),
        ("Max data size", "1073741824"),
    ];
    for (name, value) in expected {
        assert_eq!(limits[name], (value, value), "{name}");
    }
    // What it wrote is nobody's else to read.
    let made = fs::metadata(site.path("out/status")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o777), (nobody().0, 0o600));
}

#[test]
fn a_host_in_any_state_stays_in_it_and_the_hook_does_not_inherit_it() {
    let secret = Site::new();
    fs::write(secret.path("secret"), "root's").unwrap();
    mode(&secret.path("secret"), 0o600);
    let open = format!("open={}", secret.path("secret").display());
    let real = format!("real={}", nobody().0);
    let table: [&[&str]; 12] = [
        &[],
        &["sigchld=ignore"],
        &["sigchld=reap"],
        &["sigpipe=default"],
        &["block"],
        &["block", "sigchld=ignore", "sigpipe=default"],
        &["close-std"],
        &["close-std", "sigchld=reap", "block"],
        &[&open],
        &["tick"],
        &["alarm", "files=64"],
        &[&real],
    ];
    thread::scope(|scope| {
        for settings in table {
            scope.spawn(move || {
                let site = Site::new();
                let hook = site.hook(DESCRIBE);
                let what = format!("{settings:?}");
                let seen = site.host(&[], &hook, settings);
                seen.expect_sent_and_unchanged(&what);
                expect_confined(&site, &what);
                expect_environment(&site, Kind::Login, &what);
                let reaped = if settings == ["sigchld=reap"] { "1" } else { "0" };
                assert_eq!(seen.one("reaped"), reaped, "{what}");
                let files = if settings.contains(&"files=64") { "64" } else { "256" };
                assert_eq!(limits(&site.written("limits"))["Max open files"], (files, files), "{what}");
            });
        }
    });
}

/// As in su, whose caller may signal whatever has its own real user; and the hook's user is this one here.
#[test]
fn nobody_but_root_may_signal_the_helper() {
    let site = Site::new();
    let hook =
        site.hook("cat >/dev/null; kill -KILL $PPID 2>$out/kill; cat /proc/$PPID/status > $out/parent");
    let seen = site.host(&[], &hook, &[&format!("real={}", nobody().0)]);
    seen.expect_sent_and_unchanged("su");
    let parent = site.written("parent");
    assert_eq!(field(&parent, "Uid"), "0\t0\t0\t0");
    assert!(!site.written("kill").is_empty(), "kill was allowed");
}

/// What a session has in its keyring belongs to whoever runs in it, whatever the user.
#[test]
fn the_keys_of_the_host_are_not_the_hooks() {
    let site = Site::new();
    let key = format!("{}-key", site.id);
    let hook = site.hook(&format!("{READ}cat /proc/keys > $out/keys"));
    site.host(&[], &hook, &[&format!("key={key}")]).expect_sent_and_unchanged("a key");
    let keys = site.written("keys");
    assert!(keys.contains("_ses") && !keys.contains(&key), "{keys}");
}

/// Linux before 5.9, or a filter of system calls.
#[test]
fn descriptors_are_closed_without_close_range() {
    let site = Site::new();
    fs::write(site.path("secret"), "root's").unwrap();
    let open = format!("open={}", site.path("secret").display());
    let trace = site.path("trace").display().to_string();
    let inject = "inject=close_range:error=ENOSYS";
    let tool = ["strace", "-f", "-o", &trace, "-e", "trace=close_range", "-e", inject];
    let hook = site.hook(DESCRIBE);
    site.host(&tool, &hook, &[&open]).expect_sent_and_unchanged("no close_range");
    assert!(fs::read_to_string(&trace).unwrap().contains("(INJECTED)"), "close_range was not called");
    expect_confined(&site, "no close_range");
}

#[test]
fn every_misbehaviour_has_its_outcome_and_leaves_nobody() {
    let busy = "for i in 1 2 3 4 5 6 7 8 9 10; do setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &)\ndone";
    let table = [
        ("exit 0", Outcome::Sent),
        ("exit 65", Outcome::BadRecipient),
        ("exit 75", Outcome::TryAgain),
        ("exit 78", Outcome::NotConfigured),
        ("exit 7", failed("exit status 7")),
        ("exit 126", failed("exit status 126")),
        ("exec /no/such/program", failed("exit status 127")),
        ("kill -SEGV $$", failed("signal 11")),
        ("kill -KILL $$", failed("signal 9")),
        ("kill -40 $$", failed("signal 40")),
        ("sleep 1000", failed("took longer than 10 s")),
        ("trap '' TERM INT HUP; while :; do sleep 1000; done", failed("took longer than 10 s")),
        ("trap 'exit 0' TERM; sleep 1000 & wait", failed("took longer than 10 s")),
        ("setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000", failed("took longer than 10 s")),
        ("kill -STOP $$", failed("took longer than 10 s")),
        ("cat /dev/zero", failed("wrote more than 64 KiB")),
        ("cat /dev/zero >&2", failed("wrote more than 64 KiB")),
        ("trap '' TERM; cat /dev/zero & cat /dev/zero >&2", failed("wrote more than 64 KiB")),
        ("head -c 65537 /dev/zero", failed("wrote more than 64 KiB")),
        ("head -c 40000 /dev/zero; head -c 40000 /dev/zero >&2", failed("wrote more than 64 KiB")),
        ("head -c 65536 /dev/zero", Outcome::Sent),
        ("sleep 1000 &", failed("left processes behind")),
        ("setsid sleep 1000 &", failed("left processes behind")),
        ("(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &)", failed("left processes behind")),
        ("setsid sleep 1000 </dev/null >/dev/null 2>&1 &", failed("left processes behind")),
        (busy, failed("left processes behind")),
        ("kill -KILL $PPID 2>/dev/null; exit 0", Outcome::Sent),
    ];
    thread::scope(|scope| {
        for (script, expected) in &table {
            scope.spawn(move || {
                let site = Site::new();
                let report = site.deliver(&format!("{READ}{script}"));
                assert_eq!(report.outcome, *expected, "{script}: {report:?}");
            });
        }
    });
}

/// Somebody who is no process of the hook's, and never lets go of its output.
#[test]
fn nobody_waits_for_the_end_of_a_pipe() {
    let site = Site::new();
    let hook = site.hook(&format!(
        "{READ}echo $$ > $out/new; mv $out/new $out/pid; until [ -e $out/go ]; do sleep 0.01; done"
    ));
    let began = Instant::now();
    thread::scope(|scope| {
        let delivery = scope.spawn(|| site.deliver_job(&site.job(hook)).outcome);
        while !site.path("out/pid").exists() {
            assert!(began.elapsed() < PATIENCE, "the hook does not start");
            thread::sleep(Duration::from_millis(5));
        }
        let pipes = ["1", "2"].map(|fd| format!("/proc/{}/fd/{fd}", site.written("pid").trim()));
        let held = pipes.map(|pipe| fs::File::options().write(true).open(pipe).unwrap());
        fs::write(site.path("out/go"), "").unwrap();
        assert_eq!(delivery.join().unwrap(), Outcome::Sent);
        drop(held);
    });
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_message_that_was_not_read_was_not_sent() {
    let unread = failed("did not read the message");
    let table = [
        ("exit 0", unread.clone()),
        ("exec <&-; exit 0", unread.clone()),
        ("head -c 5 >/dev/null; exit 0", unread.clone()),
        ("exec <&-; sleep 0.2; exit 75", Outcome::TryAgain),
        ("cat >/dev/null", Outcome::Sent),
    ];
    for (script, expected) in table {
        for length in [20, 16000] {
            let site = Site::new();
            let job = Job { text: Secret::new(vec![b'x'; length]), ..site.job(site.hook(script)) };
            assert_eq!(site.deliver_job(&job).outcome, expected, "{script}, {length} bytes");
        }
    }
}

#[test]
fn what_a_hook_says_is_cut_and_the_code_taken_out() {
    let site = Site::new();
    let report = site.deliver(&format!(
        "{READ}echo 'id {CODE}{CODE} x'; echo 'second {CODE}'; echo 'bad {CODE}' >&2; echo more >&2; exit 75"
    ));
    let expected = Report {
        outcome: Outcome::TryAgain,
        answer: "id [code][code] x".into(),
        complaint: "bad [code]\nmore".into(),
    };
    assert_eq!(report, expected);
    let site = Site::new();
    let report = site.deliver(&format!("{READ}printf 'sent\\033[31m\\nfake\\n'; printf 'a\\377b\\0c' >&2"));
    assert_eq!((report.answer.as_str(), report.complaint.as_str()), ("sent\x1b[31m", "a\u{fffd}b\0c"));
    // At every place of a long line the code is taken out before the line is cut.
    for before in [0, 1, 119, 120, 125, 127, 505, 511, 1020, 4090] {
        let site = Site::new();
        let line = format!(
            "$(head -c {before} /dev/zero | tr '\\0' A){CODE}$(head -c 10240 /dev/zero | tr '\\0' B)"
        );
        let report = site.deliver(&format!("{READ}echo \"{line}\"; echo \"{line}\" >&2"));
        assert_eq!(report.outcome, Outcome::Sent);
        assert_eq!((report.answer.chars().count(), report.complaint.chars().count()), (128, 512));
        assert!(!report.answer.contains("73") && !report.complaint.contains("73"), "{before}: {report:?}");
    }
}

#[test]
fn a_program_that_cannot_be_started_says_why() {
    let table = [
        ("#!/no/such/interpreter\n", "No such file or directory"),
        ("echo no first line\n", "Exec format error"),
        ("", "Exec format error"),
    ];
    for (text, why) in table {
        let site = Site::new();
        let report = site.deliver_job(&site.job(site.file("hook", text)));
        assert_eq!(report.outcome, failed("exit status 126"), "{text}");
        assert!(report.complaint.contains("cannot start") && report.complaint.contains(why), "{report:?}");
    }
    let site = Site::new();
    let hook = site.hook(READ);
    mode(&hook, 0o700);
    let report = site.deliver_job(&site.job(hook));
    assert_eq!(report.outcome, failed("exit status 126"));
    assert!(report.complaint.contains("Permission denied"), "{report:?}");
}

#[test]
fn a_hook_that_others_can_change_is_not_started() {
    let site = Site::new();
    let hook = site.hook("touch $out/started");
    let (uid, _) = nobody();
    let copy = |name: &str| {
        run(Command::new("cp").arg("-p").arg(&hook).arg(site.path(name)));
        site.path(name)
    };
    for name in ["theirs", "open", "sticky"] {
        fs::create_dir(site.path(name)).unwrap();
    }
    mode(&site.path("open"), 0o777);
    let foreign = copy("foreign");
    std::os::unix::fs::chown(&foreign, Some(uid), None).unwrap();
    let theirs = copy("theirs/hook");
    std::os::unix::fs::chown(site.path("theirs"), Some(uid), None).unwrap();
    let [group, world, data] = [("group", 0o775), ("world", 0o757), ("data", 0o644)].map(|(name, bits)| {
        let path = copy(name);
        mode(&path, bits);
        path
    });
    symlink(&hook, site.path("link")).unwrap();
    symlink(site.path("open"), site.path("way")).unwrap();
    let table = [
        (foreign, "is not owned by root"),
        (theirs, "is not owned by root"),
        (group, "can be changed by others"),
        (world, "can be changed by others"),
        (copy("open/hook"), "can be changed by others"),
        (site.path("way/hook"), "can be changed by others"),
        (data, "is not executable"),
        (site.path("link"), "is a symbolic link"),
        (site.path("sticky"), "is not a regular file"),
        (site.path("missing"), "does not exist"),
        (PathBuf::from("hook"), "is not an absolute path"),
        (PathBuf::from(""), "is not an absolute path"),
    ];
    for (path, why) in table {
        let report = site.deliver_job(&site.job(path.clone()));
        let Outcome::Failed(said) = &report.outcome else { panic!("{}: {report:?}", path.display()) };
        assert!(said.starts_with("the hook ") && said.contains(why), "{}: {said}", path.display());
    }
    let users = [
        ("_no-such-user", "hook user `_no-such-user` does not exist"),
        ("", "hook user `` does not exist"),
        ("NOBODY", "hook user `NOBODY` does not exist"),
        ("root", "hook user `root` is root, and a hook never runs as root"),
    ];
    for (user, why) in users {
        let job = Job { hook_user: user.into(), ..site.job(hook.clone()) };
        assert_eq!(site.deliver_job(&job).outcome, failed(why));
    }
    assert!(!site.path("out/started").exists(), "a hook was started");
}

#[test]
fn a_helper_that_others_can_change_is_not_started() {
    let site = Site::new();
    let job = site.job(site.hook(READ));
    for (bits, why) in [(0o775, "can be changed by others"), (0o644, "is not executable")] {
        mode(&site.helper(), bits);
        let error = helper::deliver(&site.helper(), &job, CODE).unwrap_err();
        assert!(matches!(&error, Error::File(_)) && error.to_string().contains(why), "{error}");
    }
    let error = helper::deliver(&site.path("gone"), &job, CODE).unwrap_err();
    assert!(matches!(error, Error::File(_)), "{error}");
}

/// A helper of another version, a broken one, none at all: an error in bounded time.
#[test]
fn a_helper_without_a_report() {
    let table = [
        ("exit 0", "it ended"),
        ("exec <&-; sleep 0.5", "it ended"),
        ("kill -KILL $$", "it ended"),
        ("sleep 0.5; printf '\\0\\0' >&0", "it ended"),
        ("sleep 0.5; printf '\\0\\0\\0\\4abcd' >&0", "no sense"),
        ("sleep 0.5; printf '\\377\\377\\377\\377' >&0", "too long"),
        (
            "head -c 4 > /dev/null; dd of=/dev/null bs=16k count=1 2>/dev/null; printf '\\0\\0\\0\\4abcd' >&0",
            "no sense",
        ),
        ("exec sleep 30", "it took longer than 20 s"),
    ];
    thread::scope(|scope| {
        for (script, why) in table {
            scope.spawn(move || {
                let site = Site::new();
                let helper = site.file("helper", &format!("#!/bin/sh\n{script}\n"));
                let began = Instant::now();
                let error = helper::deliver(&helper, &site.job(site.hook(READ)), CODE).unwrap_err();
                assert!(matches!(&error, Error::NoReport(said) if said.contains(why)), "{script}: {error}");
                assert!(began.elapsed() < AT_MOST, "{script}: {:?}", began.elapsed());
            });
        }
    });
}

/// The helper is gone when the job is sent, and SIGPIPE would end the host.
#[test]
fn no_sigpipe_for_the_host() {
    let site = Site::new();
    let trace = site.path("trace").display().to_string();
    let inject = "inject=sendto:delay_enter=300000";
    let tool = ["strace", "-o", &trace, "-e", "trace=sendto,clone,clone3,vfork,fork", "-e", inject];
    let dead = site.file("dead", "#!/bin/sh\nexit 0\n");
    let mut host = site.start_host(&dead, &tool, &site.hook(READ), &["sigpipe=default", "close-std"]);
    let status = host.wait().unwrap();
    assert!(status.success(), "the host ended with {status}");
    let report = fs::read_to_string(site.path("report")).unwrap();
    assert!(report.contains("no report from twofa-helper: it ended"), "{report}");
    let trace = fs::read_to_string(&trace).unwrap();
    assert!(trace.contains("EPIPE") && !trace.contains("SIGPIPE"), "{trace}");
    // What the host prints on the streams that it has closed does not go to the helper.
    let low =
        trace.lines().filter(|line| ["0", "1", "2"].iter().any(|fd| line.contains(&format!("sendto({fd},"))));
    assert_eq!((low.count(), trace.contains("sendto(")), (0, true), "{trace}");
    // And no code of the host runs in a copy of its process: posix_spawn(3) waits until the other program runs.
    assert_eq!((trace.matches("CLONE_VFORK").count(), trace.matches("fork(").count()), (1, 0), "{trace}");
}

#[test]
fn a_host_that_is_killed_takes_everything_with_it() {
    let scripts = [
        "cat >/dev/null; touch $out/started; sleep 1000",
        "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & touch $out/started; sleep 1000",
        "(setsid sh -c 'setsid sleep 1000 & sleep 1000' &); touch $out/started; kill -STOP $$",
    ];
    for script in scripts {
        let site = Site::new();
        let mut host = site.start_host(&site.helper(), &[], &site.hook(script), &[]);
        let began = Instant::now();
        while !site.path("out/started").exists() {
            assert!(began.elapsed() < PATIENCE, "the hook does not start");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(site.processes().len() >= 2, "{:?}", site.processes());
        host.kill().unwrap();
        host.wait().unwrap();
        site.expect_nobody();
    }
}

/// An administrator who ends the helper, or a kernel without memory.
#[test]
fn a_helper_that_is_ended_takes_the_hook_with_it() {
    for (signal, script) in [
        (Signal::TERM, "setsid sleep 1000 & touch $out/started; sleep 1000"),
        (Signal::KILL, "touch $out/started; exec sleep 1000"),
    ] {
        let site = Site::new();
        let mut host = site.start_host(&site.helper(), &[], &site.hook(&format!("{READ}{script}")), &[]);
        let began = Instant::now();
        while !site.path("out/started").exists() {
            assert!(began.elapsed() < PATIENCE, "the hook does not start");
            thread::sleep(Duration::from_millis(5));
        }
        let processes = site.processes();
        let watcher = processes.iter().find(|(_, exe)| exe.ends_with("/twofa-helper")).unwrap().0;
        let watcher = Pid::from_raw(i32::try_from(*watcher).unwrap()).unwrap();
        kill_process(watcher, signal).unwrap();
        assert!(host.wait().unwrap().success());
        let report = fs::read_to_string(site.path("report")).unwrap();
        assert!(report.contains("no report from twofa-helper: it ended"), "{signal:?}: {report}");
        site.expect_nobody();
    }
}

#[test]
fn the_code_is_in_no_command_line_and_no_environment() {
    let site = Site::new();
    let hook = site.hook("text=$(cat); touch $out/started; sleep 1; printf %s \"$text\" | cat > $out/text");
    let done = AtomicBool::new(false);
    let (mut samples, mut during) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let report = site.deliver_job(&site.job(hook));
            assert_eq!(report.outcome, Outcome::Sent);
            done.store(true, Ordering::SeqCst);
        });
        let began = Instant::now();
        while !done.load(Ordering::SeqCst) && began.elapsed() < AT_MOST {
            for (pid, folder) in numbered_folders() {
                for name in ["cmdline", "environ", "comm"] {
                    let text = fs::read(folder.join(name)).unwrap_or_default();
                    let found = text.windows(CODE.len()).any(|bytes| bytes == CODE.as_bytes());
                    assert!(!found, "the code is in /proc/{pid}/{name}");
                }
            }
            samples += 1;
            during += u32::from(site.path("out/started").exists());
        }
    });
    assert!(samples >= 5 && during >= 3, "{samples} samples, {during} while the hook ran");
    assert_eq!(site.written("text"), MESSAGE);
}

/// For whoever tries a hook without being root.
#[test]
fn without_root_a_hook_runs_as_oneself_or_not_at_all() {
    let (uid, gid) = nobody();
    let as_nobody = |site: &Site, user: &str| {
        mode(&site.dir, 0o755);
        std::os::unix::fs::chown(site.path("out"), Some(uid), Some(gid)).unwrap();
        let report = site.path("out/report");
        let program = site.path("host");
        run(Command::new("cp").arg(env!("CARGO_BIN_EXE_host")).arg(&program));
        let mut host = Command::new(program);
        // Who runs as the same user would see the code there.
        let hook = site.hook(&format!("{READ}if cat /proc/$PPID/maps >/dev/null 2>&1; then exit 7; fi"));
        host.arg(&report).arg(site.helper()).arg(hook);
        host.arg(format!("user={user}")).arg(format!("id={}", site.id));
        run(host.uid(uid).gid(gid));
        site.expect_nobody();
        site.written("report")
    };
    let own = as_nobody(&Site::new(), "nobody");
    assert!(own.contains("outcome\tSent"), "{own}");
    let other = as_nobody(&Site::new(), "daemon");
    assert!(other.contains("only root can run a hook as `daemon`"), "{other}");
}

#[test]
fn by_hand_it_says_what_it_is() {
    let site = Site::new();
    let usage = |arguments: &[&str], input: Stdio| {
        let output = Command::new(site.helper()).args(arguments).stdin(input).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage: twofa-helper deliver"));
    };
    usage(&[], Stdio::null());
    usage(&["--help"], Stdio::null());
    usage(&["deliver"], Stdio::null());
    usage(&["deliver"], Stdio::piped());
    usage(&["deliver", "more"], Stdio::null());
    usage(&["exec"], Stdio::piped());
    usage(&["exec", "/bin/true"], Stdio::null());
    let output =
        Command::new(site.helper()).args(["exec", "/bin/true"]).stdin(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8(output.stderr).unwrap().contains("a hook never runs as root"));
}

#[test]
fn a_job_that_makes_no_sense_starts_nothing() {
    let junk: [&[u8]; 5] =
        [b"", b"\0\0", b"\0\0\0\x04abcd", b"\xff\xff\xff\xffabcd", b"GET / HTTP/1.0\r\n\r\n"];
    for bytes in junk {
        let site = Site::new();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut helper = Command::new(site.helper())
            .arg("deliver")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        ours.write_all(bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = vec![];
        let _ = ours.read_to_end(&mut said);
        assert_eq!((said, helper.wait().unwrap().success()), (vec![], false), "{bytes:?}");
    }
}
