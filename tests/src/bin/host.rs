//! `host REPORT HELPER HOOK SETTING...`: a process in an unusual state that has a message delivered.
//!
//! Settings: `ask=FILE` (of a security key, instead of the hook), `user=NAME` (the hook's), `text=TEXT`, `code=CODE`, `id=ID`; `sigchld=ignore`, `sigchld=reap`,
//! `sigpipe=default`, `block`, `close-std`, `open=FILE` (on 3 and 200), `files=NUMBER` (limit), `tick` (a signal
//! every 5 ms), `alarm`, `real=UID` (the real user, as in su), `key=NAME` (in the session's keyring). REPORT gets lines: `outcome`, `answer`, `complaint`
//! or `error`; `changed` for each thing that is not as it was before; `children`, `reaped`.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; what it sets are the properties of a C program"
)]

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, mem, ptr};
use twofa::code::Secret;
use twofa::helper::{self, Ask, Job, Kind};
use twofa_tests::driver::line;
use twofa_tests::driver::process::{self, Picture};

static REAPED: AtomicU32 = AtomicU32::new(0);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [report, helper, hook, settings @ ..] = &arguments[..] else {
        panic!("usage: host REPORT HELPER HOOK SETTING...");
    };
    let value = |name: &str, default: &str| {
        let found = settings.iter().filter_map(|setting| setting.split_once('='));
        found.clone().find(|(known, _)| *known == name).map_or(default, |(_, value)| value).to_owned()
    };
    let job = Job {
        hook: hook.into(),
        hook_user: value("user", "nobody"),
        kind: Kind::Login,
        to: "+4915112345678".into(),
        user: "alice".into(),
        host: "host.example".into(),
        id: value("id", "1"),
        text: Secret::new(value("text", "the message")),
    };
    let code = value("code", "73519284");
    let file = Some(value("ask", "")).filter(|file| !file.is_empty());
    let ask = file.map(|file| postcard::from_bytes::<Ask>(&fs::read(file).expect("a file")).expect("a job"));
    settings.iter().for_each(|setting| apply(setting));
    let before = picture();
    let done = match &ask {
        Some(ask) => asked(Path::new(helper), ask),
        None => delivered(Path::new(helper), &job, &code),
    };
    let after = picture();
    let mut lines = done.unwrap_or_else(|error| vec![("error", error.to_string())]);
    lines.extend(process::changes(&before, &after).into_iter().map(|change| ("changed", change)));
    lines.push(("children", after["children"].clone()));
    lines.push(("reaped", REAPED.load(Ordering::SeqCst).to_string()));
    let text: String = lines.iter().map(|(word, value)| line::print(word, value.as_bytes())).collect();
    // In one step: whoever waits for it reads all of it.
    let new = format!("{report}.new");
    fs::write(&new, text).and_then(|()| fs::rename(new, report)).expect("the report can be written");
}

type Lines = Vec<(&'static str, String)>;

fn delivered(helper: &Path, job: &Job, code: &str) -> Result<Lines, helper::Error> {
    let report = helper::deliver(helper, job, code)?;
    let outcome = ("outcome", format!("{:?}", report.outcome));
    Ok(vec![outcome, ("answer", report.answer), ("complaint", report.complaint)])
}

fn asked(helper: &Path, ask: &Ask) -> Result<Lines, helper::Error> {
    let outcome = match ask {
        Ask::Touch(touch) => format!("{:?}", helper::touch(helper, touch)?),
        Ask::Register(registration) => format!("{:?}", helper::register(helper, registration)?),
    };
    Ok(vec![("outcome", outcome)])
}

fn picture() -> Picture {
    let mut picture = process::picture();
    let children = fs::read_to_string("/proc/thread-self/children").expect("CONFIG_PROC_CHILDREN");
    picture.insert("children".into(), children);
    picture
}

fn apply(setting: &str) {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    match (name, value) {
        ("ask" | "user" | "text" | "code" | "id", _) => {}
        ("sigchld", "ignore") => on_signal(libc::SIGCHLD, libc::SIG_IGN),
        ("sigchld", "reap") => on_signal(libc::SIGCHLD, reap_everybody as *const () as libc::sighandler_t),
        ("sigpipe", "default") => on_signal(libc::SIGPIPE, libc::SIG_DFL),
        ("block", _) => block_everything(),
        // SAFETY: nothing in this program uses them.
        ("close-std", _) => (0..3).for_each(|fd| assert_eq!(unsafe { libc::close(fd) }, 0)),
        ("open", path) => open_inheritable(path),
        ("files", number) => {
            let limit = number.parse().expect("a number");
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            // SAFETY: one limit to read.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        }
        ("tick", _) => {
            on_signal(libc::SIGALRM, nothing as *const () as libc::sighandler_t);
            timer(libc::timeval { tv_sec: 0, tv_usec: 5000 });
        }
        ("alarm", _) => timer(libc::timeval { tv_sec: 100, tv_usec: 0 }),
        // SAFETY: changes numbers only.
        ("real", uid) => assert_eq!(unsafe { libc::setresuid(uid.parse().expect("a number"), 0, 0) }, 0),
        ("key", name) => add_key(name),
        _ => panic!("unknown setting {setting}"),
    }
}

extern "C" fn nothing(_: libc::c_int) {}

extern "C" fn reap_everybody(_: libc::c_int) {
    // SAFETY: waitpid is safe in a signal handler; the status is not asked for.
    while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {
        REAPED.fetch_add(1, Ordering::SeqCst);
    }
}

/// Without SA_RESTART: system calls are interrupted.
fn on_signal(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: all zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: the handlers above are safe at any moment.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

fn block_everything() {
    // SAFETY: all zero bytes are a valid set, which sigfillset fills.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: room for one set.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: one set to read.
    assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) }, 0);
}

fn timer(every: libc::timeval) {
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: one timer to read.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) }, 0);
}

fn open_inheritable(path: &str) {
    let path = CString::new(path).expect("no NUL");
    // SAFETY: a terminated name; no O_CLOEXEC, as a careless host does.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    for wanted in [3, 200] {
        // SAFETY: numbers that nothing in this program uses.
        assert!(fd >= 0 && unsafe { libc::dup2(fd, wanted) } == wanted);
    }
}

/// As a Kerberos ticket is kept.
fn add_key(name: &str) {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const SESSION_KEYRING: libc::c_long = -3;
    let name = CString::new(name).expect("no NUL");
    let (kind, nameless) = (c"user".as_ptr(), ptr::null::<libc::c_char>());
    // SAFETY: a null name asks for a nameless keyring.
    assert!(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, nameless) } > 0);
    let data = b"secret";
    // SAFETY: two terminated strings, and bytes with their length.
    let key = unsafe {
        libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), data.as_ptr(), data.len(), SESSION_KEYRING)
    };
    assert!(key > 0, "add_key: {}", std::io::Error::last_os_error());
}
