//! The process that talks to a key, looked at while it does.

use super::*;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, chown, symlink};
use std::os::unix::net::UnixStream;
use twofa::code::Secret;
use twofa_tests::u2fkey::Conduct;

const PIN: &[u8] = b"73519284";

/// The value of a line `Name: value` in a text of /proc.
#[track_caller]
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

/// What an open descriptor leads to.
fn kind(fd: &Path, key: &Key) -> String {
    let rdev = fs::metadata(fd).unwrap().rdev();
    let target = fs::read_link(fd).unwrap().display().to_string();
    match target.split_once(':') {
        Some((kind, _)) => kind.into(),
        None if format!("{}:{}\n", libc::major(rdev), libc::minor(rdev)) == key.numbers => "the key".into(),
        None if rdev == fs::metadata("/dev/null").unwrap().rdev() => "null".into(),
        None => target,
    }
}

/// Whether these bytes are somewhere in what a process can write to.
fn remembers(pid: u32, bytes: &[u8]) -> bool {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut there = vec![0; usize::try_from(end - start).unwrap()];
        // Not every page can be read; what cannot is nobody's memory.
        let read = memory.read_at(&mut there, start).unwrap_or_default();
        there[..read].windows(bytes.len()).any(|part| part == bytes)
    })
}

#[test]
fn who_talks_to_a_key_can_do_nothing_else() {
    let key = Key::plug_in(Conduct::NeverTouched);
    let site = Site::new(&[&key]);
    fs::write(site.path("secret"), "root's").unwrap();
    let open = format!("open={}", site.path("secret").display());
    let Ask::Touch(plain) = touch(&[key.credential(RP)], 30) else { panic!("a touch") };
    let ask = Ask::Touch(Touch { pin: Some((Secret::new(PIN), 0)), ..plain });
    let mut host = site.start(&ask, &[&open, "block", "sigchld=ignore"]);
    is_asked_to_sign(&key);
    let [pid] = site.talking(1)[..] else { panic!("one process") };
    assert!(remembers(pid, &CHALLENGE) && !remembers(pid, PIN), "over CTAP1 nobody needs it");
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let status = read("status");
    let none = "0000000000000000";
    let nobody = "65534\t65534\t65534\t65534";
    for (name, value) in [
        ("Uid", nobody),
        ("Gid", nobody),
        ("Groups", ""),
        ("NoNewPrivs", "1"),
        ("SigBlk", none),
        ("SigIgn", none),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapAmb", none),
        ("Umask", "0077"),
    ] {
        assert_eq!(field(&status, name), value, "{name}");
    }
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // Not dumpable: /proc is root's, and nobody's other processes cannot trace it.
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    let limits = read("limits");
    for (name, limit) in [
        ("Max cpu time", "10"),
        ("Max core file size", "1"),
        ("Max file size", "0"),
        ("Max open files", "16"),
        ("Max processes", "0"),
        ("Max data size", "268435456"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<&str> = line[name.len()..].split_ascii_whitespace().take(2).collect();
        assert_eq!(values, [limit, limit], "{name}");
    }
    // The socket for its two threads, nothing to print on, and the device.
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut open: Vec<String> = fds.map(|entry| kind(&entry.path(), &key)).collect();
    open.sort_unstable();
    open.dedup();
    assert_eq!(open, ["null", "socket", "the key"]);
    host.kill().unwrap();
    host.wait().unwrap();
    site.expect_nobody();
}

/// A helper with a socket instead of a host.
fn by_hand(site: &Site, privileges: &[&str], arguments: &[&str]) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new("setpriv");
    command.args(privileges).arg(site.helper()).args(arguments);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    (command.spawn().unwrap(), ours)
}

/// Waits until it is so; of a process that has ended, much would be.
#[track_caller]
fn becomes(helper: &mut Child, is_so: impl Fn(&Path) -> bool) {
    let began = Instant::now();
    while !is_so(&Path::new("/proc").join(helper.id().to_string())) {
        assert!(began.elapsed() < PATIENCE, "it is not so");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(helper.try_wait().unwrap().is_none(), "it has ended");
}

#[test]
fn nobody_may_look_into_who_judges() {
    let site = Site::new(&[]);
    let is_helper = |process: &Path| {
        fs::read(process.join("cmdline")).unwrap().starts_with(site.helper().to_str().unwrap().as_bytes())
    };
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let (mut helper, socket) = by_hand(&site, &nobody, &["token"]);
    // As long as it may be dumped, it is nobody's.
    becomes(&mut helper, |process| {
        is_helper(process) && fs::metadata(process.join("environ")).unwrap().uid() == 0
    });
    drop(socket);
    helper.wait().unwrap();
    // As su starts it.
    let (mut helper, socket) = by_hand(&site, &["--rgid=65534", "--groups=65534"], &["token"]);
    becomes(&mut helper, |process| {
        let status = fs::read_to_string(process.join("status")).unwrap();
        is_helper(process) && field(&status, "Gid") == "0\t0\t0\t0" && field(&status, "Groups").is_empty()
    });
    drop(socket);
    helper.wait().unwrap();
    let key = Key::plug_in(Conduct::NeverTouched);
    let site = Site::new(&[&key]);
    let mut host = site.start(&touch(&[key.credential(RP)], 30), &["real=65534"]);
    site.talking(1);
    let processes = site.processes();
    let pid = processes.iter().find(|(_, arguments)| arguments.ends_with(" token")).unwrap().0;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let root = "0\t0\t0\t0";
    for (name, value) in [("Uid", root), ("Gid", root), ("Groups", ""), ("NoNewPrivs", "1")] {
        assert_eq!(field(&status, name), value, "{name}");
    }
    host.kill().unwrap();
    host.wait().unwrap();
    site.expect_nobody();
}

#[test]
fn whatever_it_is_told_it_opens_only_devices_of_roots() {
    let (key, foreign) = (Key::plug_in(Conduct::Stranger), Key::plug_in(Conduct::Stranger));
    let site = Site::new(&[]);
    let (file, link) = (site.path("file"), site.path("link"));
    fs::write(&file, "").unwrap();
    symlink(&key.node, &link).unwrap();
    chown(&foreign.node, Some(65534), None).unwrap();
    let ask = touch(&[key.credential(RP)], 5);
    // What `token` hands over.
    let task = postcard::to_allocvec(&(ask, [0u8; 32], 5000u32, false, None::<Secret>)).unwrap();
    let task = [&u32::try_from(task.len()).unwrap().to_be_bytes()[..], &task].concat();
    let not_roots = "it is no device of root's";
    for (node, refused) in [
        (&key.node, None),
        (&file, Some(not_roots)),
        (&foreign.node, Some(not_roots)),
        (&link, Some("it cannot be opened")),
    ] {
        let (mut helper, mut socket) = by_hand(&site, &[], &["key", "ctap1", node.to_str().unwrap()]);
        socket.write_all(&task).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = vec![];
        socket.read_to_end(&mut said).unwrap();
        helper.wait().unwrap();
        let is_refused = |why: &str| said.windows(why.len()).any(|part| part == why.as_bytes());
        assert!(
            refused.is_none_or(is_refused) && (refused.is_some() || said.len() == 5),
            "{node:?}: {said:?}"
        );
    }
}

#[test]
fn a_host_in_any_state_stays_in_it() {
    let table: [&[&str]; 9] = [
        &["sigchld=ignore"],
        &["sigchld=reap"],
        &["sigpipe=default"],
        &["block"],
        &["close-std"],
        &["close-std", "sigchld=ignore", "block"],
        &["tick"],
        &["alarm", "files=64"],
        &["real=65534"],
    ];
    thread::scope(|scope| {
        for settings in table {
            scope.spawn(move || {
                let key = Key::plug_in(Conduct::TouchedAfter(1));
                let site = Site::new(&[&key]);
                let touched = site.ask(&touch(&[key.credential(RP)], 10), settings, seconds(10));
                assert_eq!(touched, words(&Touched::Signed { credential: 0, counter: 42 }), "{settings:?}");
            });
        }
    });
}
