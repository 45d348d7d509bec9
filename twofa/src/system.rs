//! The only reader of the machine: clock, users and groups, randomness, waiting.

use crate::account::{PasswordTag, Process, Session};
use crate::policy::Known;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Group, User, getgrouplist};
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};
use zeroize::Zeroizing;

/// NSS was asked and did not answer; that is not "no such user".
#[derive(Debug)]
pub struct LookupError(String);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LookupError {}

/// Seconds since 1970; 0 for a clock before that.
#[allow(clippy::disallowed_methods)] // here is where the clock is read
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The clock of one login: it does not go back while the login lasts, whoever sets the host's.
pub struct Clock {
    began_at: u64,
    began: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { began_at: now(), began: uptime() }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        now().max(self.began_at.saturating_add(self.began.elapsed().as_secs()))
    }
}

/// This host, as messages to its users name it.
pub fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let is_name = |name: &String| {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        (1..=64).contains(&name.len()) && name.bytes().all(is_letter)
    };
    name.filter(is_name).unwrap_or_else(|| "this host".into())
}

/// This host's addresses; nothing when the kernel does not say.
pub fn own_addresses() -> Option<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    Some(interfaces.filter_map(address).collect())
}

/// What the password of a user in /etc/shadow is known by: another one with another password. Nothing for users of
/// other name services, whose passwords nobody here can tell apart.
pub fn password_tag(user: &str) -> Option<PasswordTag> {
    tag_of(&Zeroizing::new(fs::read("/etc/shadow").ok()?), user)
}

fn tag_of(shadow: &[u8], user: &str) -> Option<PasswordTag> {
    let line = shadow
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(user.as_bytes())?.strip_prefix(b":"))?;
    // The hash, and the day of the last change.
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').take(2).collect();
    let digest = Sha256::digest(fields.join(&b':'));
    digest.first_chunk().copied()
}

/// What this boot is known by (random(4), boot_id).
fn boot() -> Option<[u8; 8]> {
    let id = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    Sha256::digest(id).first_chunk().copied()
}

/// A process that runs.
fn process(pid: u32, boot: [u8; 8]) -> Option<Process> {
    let start = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Process { pid, start, boot })
}

/// For how long a process has been running.
pub fn age(pid: u32) -> Option<Duration> {
    let began = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    // Both in hundredths of a second, which are the clock ticks that programs see (proc_uptime(5), sysconf(3)).
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: u64 = uptime.split(' ').next()?.replace('.', "").parse().ok()?;
    uptime.checked_sub(began).map(|ticks| Duration::from_millis(ticks.saturating_mul(10)))
}

/// When a process began, as proc_pid_stat(5) tells. The name in it may have blanks and brackets of its own.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    // What has ended may wait for its parent for ever.
    let has_ended = fields.starts_with(['Z', 'X']);
    if has_ended { None } else { fields.split(' ').nth(START_TIME)?.parse().ok() }
}

/// The field `starttime` is the 22nd; two are before the rest.
const START_TIME: usize = 22 - 3;

/// What the session of this login will hang on: this process, or the one that started it to ask PAM (sshd does).
///
/// Nothing where the login is made inside a session already, such as by an sshd that was started by hand: of these
/// processes some may stay in it, with all that others do there, and it may be no other session that begins.
pub fn login_processes() -> Vec<Process> {
    let Some(boot) = boot().filter(|_| audit("self", "sessionid").is_none()) else {
        return Vec::new();
    };
    let pids = [std::process::id(), std::os::unix::process::parent_id()];
    pids.into_iter().filter(|pid| *pid > 1).filter_map(|pid| process(pid, boot)).collect()
}

/// The audit session that this process runs in, with all that runs in it; nothing where the kernel keeps none.
pub fn session() -> Option<Session> {
    let id = audit("self", "sessionid")?;
    let uid = audit("self", "loginuid")?;
    let boot = boot()?;
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let inside = pids.filter(|pid| pid.parse::<u32>().is_ok() && audit(pid, "sessionid") == Some(id));
    let processes = inside.filter_map(|pid| process(pid.parse().ok()?, boot)).collect();
    Some(Session { uid, processes })
}

/// `sessionid` or `loginuid` of a process, once a login has set it.
fn audit(pid: &str, what: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/{what}")).ok()?;
    text.trim().parse().ok().filter(|id| *id != UNSET)
}

/// What the kernel says of a process that no login began.
const UNSET: u32 = u32::MAX;

/// Fills a new array from getrandom(2).
///
/// # Errors
///
/// When the kernel has no random numbers to give.
pub fn random<const N: usize>() -> Result<[u8; N], LookupError> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(LookupError(format!("no random numbers: {error}"))),
    }
}

/// The clock that nobody sets, for waiting.
#[allow(clippy::disallowed_methods)] // here is where the clock is read
pub(crate) fn uptime() -> Instant {
    Instant::now()
}

/// A moment to wait until, by the clock that nobody sets.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(duration: Duration) -> Self {
        Self(uptime() + duration)
    }

    /// What is left of it; nothing once it has passed.
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(uptime()).filter(|left| !left.is_zero())
    }
}

/// Starts a program without an environment, with these standard streams; all three are above 2.
///
/// Only with what posix_spawn(3) can do: anything else makes the standard library fork, and then code runs in a
/// copy of a process with threads, under the host's signal mask.
///
/// # Errors
///
/// When the program cannot be started.
pub(crate) fn start(program: &Path, argument: &str, streams: [OwnedFd; 3]) -> io::Result<Child> {
    let [input, output, errors] = streams;
    let mut command = std::process::Command::new(program);
    command.arg(argument).env_clear().stdin(input).stdout(output).stderr(errors).spawn()
}

/// A short wait for what somebody else holds or does.
#[allow(clippy::disallowed_methods)] // bounded by the caller; see `store::record`, `helper`
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks a user up by name, with those of `groups` that the user is in.
///
/// # Errors
///
/// When NSS fails, or a group does not exist: an exemption that names it must neither hold for nobody
/// nor for everybody.
pub fn user<'a>(name: &str, groups: impl Iterator<Item = &'a str>) -> Result<Option<Known>, LookupError> {
    // Names that no system gives, and that could be taken for something else.
    if name.is_empty() || name.len() > 256 || name.contains(['/', '\0']) || name.chars().any(char::is_control)
    {
        return Ok(None);
    }
    let found = User::from_name(name);
    let found = found.map_err(|error| LookupError(format!("cannot look up the user: {error}")))?;
    // NSS may match without regard to case or by an alias: then it is another name's account.
    let Some(user) = found.filter(|user| user.name == name) else {
        return Ok(None);
    };
    let wanted: Vec<&str> = groups.collect();
    let groups = if wanted.is_empty() { Vec::new() } else { groups_of(&user, &wanted)? };
    Ok(Some(Known { uid: user.uid.as_raw(), groups }))
}

/// The text of `getent passwd`: every user that NSS lists.
///
/// # Errors
///
/// When the command cannot be run or fails.
pub fn passwd() -> Result<String, LookupError> {
    let error = |what: String| LookupError(format!("cannot list the users with /usr/bin/getent: {what}"));
    let run = std::process::Command::new("/usr/bin/getent").arg("passwd").env_clear().output();
    let run = run.map_err(|cause| error(cause.to_string()))?;
    if !run.status.success() {
        return Err(error(run.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// Lets this process have so many files open, if the hard limit bears it; else that limit is the error.
///
/// # Errors
///
/// The hard limit.
pub(crate) fn allow_open_files(count: u64) -> Result<(), u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| 0u64)?;
    if count <= soft {
        return Ok(());
    }
    let raised = count <= hard && setrlimit(Resource::RLIMIT_NOFILE, count, hard).is_ok();
    if raised { Ok(()) } else { Err(hard) }
}

/// More than any program says that is asked here.
const MAX_OUTPUT: usize = 1024 * 1024;

/// What a program says on its standard output, run without input and without an environment. For commands of an
/// administrator: it kills what does not end in time, which in a login would not be ours to do.
///
/// # Errors
///
/// When the program cannot be started, fails, or is not done by the deadline.
pub fn output(program: &Path, arguments: &[&str], deadline: Deadline) -> io::Result<String> {
    // Not a socket: under SELinux, a program that gets a domain of its own would say nothing there, and end well.
    let (mut ours, theirs) = io::pipe()?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).env_clear();
    let mut child = command.stdin(Stdio::null()).stdout(theirs).stderr(Stdio::null()).spawn()?;
    // It keeps their end open, and then ours has no end.
    drop(command);
    let said = read_until(&mut ours, deadline);
    let ended = said.and_then(|said| Ok((said, wait_until(&mut child, deadline)?)));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (said, status) = ended?;
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Runs an administrator's editor on a file, on this terminal, as the shell would (`EDITOR` may have arguments).
///
/// # Errors
///
/// When it cannot be started.
pub fn edit(editor: &str, file: &Path) -> io::Result<bool> {
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file);
    Ok(command.status()?.success())
}

fn read_until(pipe: &mut io::PipeReader, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.left().ok_or_else(too_late)? + Duration::from_millis(1);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], left) {
            // A signal: the deadline decides.
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(said),
            Ok(length) => said.extend(buffer.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if said.len() > MAX_OUTPUT {
            return Err(io::Error::other("it says too much"));
        }
    }
}

fn wait_until(child: &mut Child, deadline: Deadline) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        deadline.left().ok_or_else(too_late)?;
        pause(Duration::from_millis(1));
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

fn groups_of(user: &User, wanted: &[&str]) -> Result<Vec<String>, LookupError> {
    let name = CString::new(user.name.as_str()).map_err(|error| LookupError(error.to_string()))?;
    let gids: Vec<Gid> = getgrouplist(&name, user.gid)
        .map_err(|error| LookupError(format!("cannot look up the user's groups: {error}")))?;
    let mut groups = Vec::new();
    for wanted in wanted {
        let group = Group::from_name(wanted)
            .map_err(|error| LookupError(format!("cannot look up group `{wanted}`: {error}")))?
            .ok_or_else(|| LookupError(format!("group `{wanted}` of an exemption does not exist")))?;
        if gids.contains(&group.gid) {
            groups.push((*wanted).to_string());
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn users_are_found_by_their_exact_name() {
        assert_eq!(user("root", ["root"].into_iter()).unwrap().unwrap().uid, 0);
        assert_eq!(user("root", ["root"].into_iter()).unwrap().unwrap().groups, ["root"]);
        assert_eq!(user("root", ["daemon"].into_iter()).unwrap().unwrap().groups, [""; 0]);
        let long = "r".repeat(65536);
        for name in ["", "ROOT", "root\n", "ro/ot", "../root", "\x1b[2J", "no-such-user", &long] {
            assert!(user(name, [].into_iter()).unwrap().is_none(), "{name:.20}");
        }
    }

    #[test]
    fn a_program_is_heard_in_time_or_not_at_all() {
        let sh = |script: &str, limit: u64| {
            let said =
                output(Path::new("/bin/sh"), &["-c", script], Deadline::after(Duration::from_millis(limit)));
            said.map_err(|error| error.to_string())
        };
        // The shell itself sets PWD and the like; nothing of ours is among it.
        assert_eq!(
            sh("echo ${HOME-none} ${CARGO-none}; cat; echo lost >&2", 10_000),
            Ok("none none\n".into())
        );
        // SELinux lets programs keep a pipe, and not a socket.
        assert_eq!(sh("[ -p /dev/stdout ] && echo pipe", 10_000), Ok("pipe\n".into()));
        assert_eq!(sh("echo half; exit 3", 10_000), Err("it ended with exit status: 3".into()));
        let began = uptime();
        for script in ["sleep 9", "exec >&-; sleep 9", "sleep 9 & echo half", "exec cat /dev/zero"] {
            assert!(sh(script, 200).is_err(), "{script}");
        }
        assert!(began.elapsed() < Duration::from_secs(9));
        assert!(output(Path::new("/nowhere"), &[], Deadline::after(Duration::from_secs(1))).is_err());
    }

    #[test]
    fn a_missing_group_is_an_error() {
        assert!(user("root", ["no-such-group"].into_iter()).is_err());
    }

    /// What is bound to is this host's: its addresses can be, others cannot.
    #[test]
    fn own_addresses_are_those_of_this_host() {
        let own = own_addresses().unwrap();
        for address in own.iter().filter(|address| address.is_ipv4()) {
            assert!(UdpSocket::bind((*address, 0)).is_ok(), "{address}");
        }
        for address in [[127, 0, 0, 1], [192, 0, 2, 7]].map(IpAddr::from) {
            let is_own = UdpSocket::bind((address, 0)).is_ok();
            assert_eq!(own.contains(&address), is_own, "{address}");
        }
    }

    /// Whatever a process calls itself, it has the start that the kernel gave it.
    #[test]
    fn a_process_cannot_name_its_start() {
        let stat = |name: &str| {
            let rest: Vec<String> = (5..=52).map(|field| (field * 1000).to_string()).collect();
            format!("4711 ({name}) S 4000 {}\n", rest.join(" "))
        };
        let names = [
            "sshd",
            "",
            "a b",
            "a) R 1 (b",
            ") ",
            "x) S 1 2 3 4 5",
            "1) R 1 1 1 1 1",
            ")",
            "((",
            "a\nb",
            "sshd: alice [pr",
        ];
        for name in names {
            assert_eq!(start_time(&stat(name)), Some(22_000), "{name:?}");
        }
        for none in ["", "4711", "4711 (sshd)", "4711 (sshd) ", "4711 (sshd) S 1 2 3", "4711 (sshd S 1 2 3"] {
            assert_eq!(start_time(none), None, "{none:?}");
        }
        let words = stat("sshd").replace("22000", "soon");
        assert_eq!(start_time(&words), None);
    }

    /// As many as are told apart: this one, and the one that began it.
    #[test]
    fn a_login_hangs_on_its_own_process_and_on_its_parent() {
        let boot = boot().unwrap();
        let pids = [std::process::id(), std::os::unix::process::parent_id()];
        let expected: Vec<Process> = pids.map(|pid| process(pid, boot).unwrap()).into();
        assert_eq!(login_processes(), expected);
        assert_eq!(login_processes(), expected, "the same at any time");
        // A process that began later began later.
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let later = process(child.id(), boot).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(later.start >= expected[0].start && later.pid != expected[0].pid);
        assert_eq!(process(child.id(), boot), None, "gone");
    }

    const INSIDE: &str = "TWOFA_TEST_INSIDE";

    /// Runs this very test in a process of its own, whose login is of this uid.
    fn run_inside(uid: u32) {
        let program = std::env::current_exe().unwrap();
        let login = format!("echo {uid} > /proc/self/loginuid && exec \"$0\" \"$@\"");
        let test = "system::tests::a_session_is_what_the_kernel_says_it_is";
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &login]).arg(program).args(["--exact", test]);
        let output = shell.env(INSIDE, uid.to_string()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains("1 passed"), "{told}: {output:?}");
    }

    #[test]
    fn a_session_is_what_the_kernel_says_it_is() {
        let Ok(uid) = std::env::var(INSIDE) else {
            [1000, 0, UNSET].into_iter().for_each(run_inside);
            return;
        };
        let uid: u32 = uid.parse().unwrap();
        if uid == UNSET {
            assert_eq!(session(), None);
            return;
        }
        let runs = |pid: u32| session().unwrap().processes.iter().any(|process| process.pid == pid);
        let found = session().unwrap();
        assert_eq!(found.uid, uid);
        assert!(found.processes.contains(&process(std::process::id(), boot().unwrap()).unwrap()));
        assert!(!runs(std::os::unix::process::parent_id()), "who began the login is not in it");
        assert!(!runs(1));
        // What is begun inside is inside, for as long as it runs; unless it is a login of its own.
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        assert!(runs(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!runs(child.id()));
        let login = format!("echo {uid} > /proc/self/loginuid && echo in && exec sleep 60");
        let mut other = std::process::Command::new("/bin/sh")
            .args(["-c", &login])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        assert!(!runs(other.id()), "another session of the same user");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn another_password_has_another_tag() {
        let of = |line: &str| {
            let shadow = format!("root:*:20000:0:99999:7:::\n{line}\nbob:$y$bob:20000:0:99999:7:::\n");
            tag_of(shadow.as_bytes(), "alice")
        };
        let tag = of("alice:$y$one:20000:0:99999:7:::");
        assert!(tag.is_some());
        let same =
            ["alice:$y$one:20000:1:9:9:9:9:9", "alice:$y$one:20000", "alicex:$y$two:1:\nalice:$y$one:20000:"];
        for line in same {
            assert_eq!(of(line), tag, "{line}");
        }
        // Another password, the same given again on another day, a locked one, a deleted one.
        let others =
            ["alice:$y$two:20000:", "alice:$y$one:20001:", "alice:!$y$one:20000:", "alice::20000:", "alice:"];
        let mut tags: Vec<_> = others.map(of).into_iter().chain([tag]).collect();
        assert!(tags.iter().all(Option::is_some));
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 6);
        for line in
            ["", "alic:$y$one:20000:", "alicex:$y$one:20000:", "Alice:$y$one:20000:", " alice:$y$one:20000:"]
        {
            assert_eq!(of(line), None, "{line}");
        }
        assert_eq!(tag_of(b"", "alice"), None);
        assert_eq!(password_tag("no-such-user"), None);
    }
}
