//! The process that talks to a key, looked at while it does.

use super::*;
use twofa_tests::u2fkey::Conduct;

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

#[test]
fn who_talks_to_a_key_can_do_nothing_else() {
    let key = Key::plug_in(Conduct::NeverTouched);
    let site = Site::new(&[&key]);
    fs::write(site.path("secret"), "root's").unwrap();
    let open = format!("open={}", site.path("secret").display());
    let mut host = site.start(&touch(&[key.credential(RP)], 30), &[&open, "block", "sigchld=ignore"]);
    is_asked_to_sign(&key);
    let [pid] = site.talking(1)[..] else { panic!("one process") };
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
