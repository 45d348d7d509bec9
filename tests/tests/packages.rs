//! The packages for Debian and Ubuntu, from their installation to their purge, in a root of each release and over that
//! release's own sshd. `TWOFA_RELEASES` says which, `TWOFA_PACKAGES` where `make deb` has put the packages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a test may panic and read the clock

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;
use std::{env, fs, thread};

use twofa_tests::root::{self, release, target};
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_PROMPT};
use twofa_tests::totp::App;
use twofa_tests::world::World;

/// Of those in `make test-packages`, what `make test` has time for, and finds in one archive.
const RELEASES: &str = "bookworm trixie";
const MODULE: &str = "libpam-twofa";
const TOOL: &str = "twofa-admin";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-twofa.conf";
const COMMON_AUTH: &str = "/etc/pam.d/common-auth";
const COMMON_ACCOUNT: &str = "/etc/pam.d/common-account";

/// The highest version of libc's symbols that Debian 11, the oldest release, has.
const OLDEST_LIBC: (u32, u32) = (2, 31);

/// A release with a user, and the packages at hand in /root.
struct Host {
    suite: String,
    world: World,
    /// Of the step that is on.
    began: Mutex<Instant>,
}

impl Host {
    fn new(suite: &str) -> Self {
        let began = Instant::now();
        let world = World::on(&release(suite)).user("alice", "pw-alice").authorize_key(&["alice"]);
        for package in packages() {
            fs::copy(&package, world.path("/root").join(package.file_name().unwrap())).unwrap();
        }
        let host = Self { suite: suite.into(), world, began: Mutex::new(began) };
        host.done("a root of the release");
        host
    }

    /// Says how long a step took.
    fn done(&self, step: &str) {
        let mut began = self.began.lock().unwrap();
        // Not with a macro, whose output is kept back when a test succeeds.
        let _ = writeln!(io::stderr(), "{:<9} {:>5.1} s  {step}", self.suite, began.elapsed().as_secs_f64());
        *began = Instant::now();
    }

    /// Runs a command of sh, however long it takes. Returns whether it succeeded, and all that it said.
    fn run(&self, script: &str) -> (bool, String) {
        let mut command = self.world.command("sh");
        let output = command.args(["-c", &format!("exec 2>&1; {script}")]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[track_caller]
    fn ok(&self, script: &str) -> String {
        let (success, said) = self.run(script);
        assert!(success, "{}: {script}\n{said}", self.suite);
        said
    }

    /// Every file of PAM and its folder: mode, owner and content.
    fn pam(&self) -> String {
        self.ok("cd /etc/pam.d && stat -c '%n %a %u:%g' . * && md5sum *")
    }

    fn text(&self, path: &str) -> String {
        self.ok(&format!("cat {path}"))
    }

    fn install(&self) {
        self.ok(&format!("dpkg --force-confold --install /root/{MODULE}_*.deb /root/{TOOL}_*.deb"));
    }

    /// From the installation on to a host that asks alice for a code.
    fn set_up(&self) -> App {
        self.ok("twofa-admin init --yes --write");
        let alice = self.world.enroll("alice").app;
        self.ok("twofa-admin policy enable --force");
        alice
    }

    #[track_caller]
    fn admits(&self, app: &mut App) {
        let mut by_key = self.world.ssh("alice").key().spawn("id -un");
        let before = by_key.answer(CODE_PROMPT, &app.code());
        assert!(!before.contains("assword"), "{}: {before}", self.suite);
        by_key.expect("alice\n");
        let mut by_password = self.world.ssh("alice").spawn("id -un");
        by_password.answer(PASSWORD_PROMPT, "pw-alice");
        by_password.answer(CODE_PROMPT, &app.code());
        by_password.expect("alice\n");
    }

    #[track_caller]
    fn refuses(&self, app: &mut App) {
        for key in [false, true] {
            let ssh = self.world.ssh("alice").option("NumberOfPasswordPrompts=1");
            let mut wrong = if key { ssh.key() } else { ssh }.spawn("id -un");
            if !key {
                wrong.answer(PASSWORD_PROMPT, "pw-alice");
            }
            wrong.answer(CODE_PROMPT, &app.wrong_code());
            wrong.expect("Wrong code.");
            wrong.expect(CODE_PROMPT);
            wrong.kill();
        }
        self.world.ssh("alice").key().option("PreferredAuthentications=publickey").run("id").expect(255);
    }

    /// Where sshd itself is content with a key, PAM's account line is not; nor where a password has expired, at which
    /// common-account ends early.
    fn refuses_a_key_alone(&self) {
        let other = ["-o", "AuthenticationMethods=publickey", "-o", "PidFile=none", "-p", "2222"];
        self.world.run(&[&["/usr/sbin/sshd"], &other[..]].concat()).ok();
        self.world.log.expect("Server listening on 0.0.0.0 port 2222.");
        for (day, times) in [("0", 1), ("-1", 2)] {
            self.ok(&format!("chage --lastday {day} alice"));
            self.world.ssh("alice").option("Port=2222").key().run("id").expect(255);
            self.world.log.expect_times("reason=no-factor", times);
        }
    }

    /// Without the product: the password is enough.
    #[track_caller]
    fn admits_by_password(&self) {
        let mut ssh = self.world.ssh("alice").spawn("id -un");
        ssh.answer(PASSWORD_PROMPT, "pw-alice");
        ssh.expect("alice\n");
    }

    fn is_installed(&self, package: &str) -> bool {
        self.run(&format!("dpkg-query -W -f '${{db:Status-Status}}' {package}")).1 == "installed"
    }

    /// sshd goes by its files anew, as systemd would have it do.
    fn reload_sshd(&self) {
        self.ok("kill -HUP $(cat /run/sshd.pid)");
        self.world.log.expect_times("Server listening on 0.0.0.0 port 22.", 2);
    }
}

fn packages() -> Vec<PathBuf> {
    let folder = env::var_os("TWOFA_PACKAGES").map_or_else(|| target().join("packages"), PathBuf::from);
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|name| name == "deb")).collect();
    assert_eq!(found.len(), 2, "{}: run `make deb`", folder.display());
    found
}

/// Does the same in a root of each release, side by side.
fn on_each_release(action: impl Fn(&str) + Sync) {
    root::require_root();
    let releases = env::var("TWOFA_RELEASES").unwrap_or_else(|_| RELEASES.into());
    let action = &action;
    thread::scope(|scope| {
        let started: Vec<_> = releases
            .split_whitespace()
            .map(|suite| thread::Builder::new().name(suite.into()).spawn_scoped(scope, move || action(suite)))
            .collect();
        started.into_iter().for_each(|thread| assert!(thread.unwrap().join().is_ok()));
    });
}

#[test]
fn from_installation_to_purge() {
    on_each_release(|suite| {
        let host = Host::new(suite);
        let before = host.pam();
        host.install();
        assert_eq!(host.pam(), before, "{suite}: an installation changes nothing");
        assert_eq!(host.ok("getent passwd _twofa | cut -d: -f6-").trim(), "/nonexistent:/usr/sbin/nologin");
        assert!(!host.world.path("/etc/twofa/store.key").exists(), "the key is nobody's but this host's");
        let policy = host.text("/etc/twofa/twofa.toml");
        assert!(policy.contains("\nmode = \"off\"\n"), "{suite}: {policy}");
        host.done("installation");

        let mut alice = host.set_up();
        let common = host.text(COMMON_AUTH);
        assert_eq!(common.matches("pam_twofa.so").count(), 2, "{suite}: by profiles\n{common}");
        assert!(!host.text("/etc/pam.d/sshd").contains("pam_twofa"), "{suite}: no file of another package");
        let enabled = host.pam();
        host.done("init, enroll, policy enable");

        let world = host.world.start_own_sshd();
        let host = Host { world, ..host };
        host.admits(&mut alice);
        host.refuses(&mut alice);
        host.refuses_a_key_alone();
        host.ok("su -c id alice");
        host.done("logins");

        upgrade(&host, "confold");
        assert_eq!(host.pam(), enabled, "{suite}: an upgrade changes nothing");
        assert!(host.text("/etc/twofa/twofa.toml").contains("mode = \"enforce\""));
        host.admits(&mut alice);
        host.refuses(&mut alice);
        host.done("upgrade, and logins");

        let said = host.ok(&format!("dpkg --remove {MODULE} {TOOL}"));
        assert!(said.contains("Taken out: ") && said.contains("Until sshd is reloaded"), "{suite}: {said}");
        assert_eq!(host.pam(), before, "{suite}: removed");
        assert!(!host.world.path(DROP_IN).exists(), "{suite}: removed");
        assert!(host.world.path("/etc/twofa/store.key").exists(), "{suite}: enrolments outlive a removal");
        host.reload_sshd();
        host.admits_by_password();
        host.done("removal, and a login");

        // A policy that is enforced, and nothing that asks: not without being told.
        host.install();
        let (sound, said) = host.run("twofa-admin doctor");
        assert!(!sound && said.contains("CRITICAL pam"), "{suite}: {said}");
        assert_eq!(host.pam(), before, "{suite}: installed again");
        host.done("a new installation");

        host.ok(&format!("dpkg --purge {MODULE} {TOOL}"));
        assert_eq!(host.pam(), before, "{suite}: purged");
        let left = host.ok("ls -d /etc/twofa /var/lib/twofa /usr/libexec/twofa 2>/dev/null; true");
        assert_eq!(left, "", "{suite}: purged");
        host.done("purge");
    });
}

/// To the same packages with another version, and a policy with another comment: what the administrator wrote stays, or
/// goes, as dpkg is told.
fn upgrade(host: &Host, how: &str) -> String {
    for package in [MODULE, TOOL] {
        let script = format!(
            "set -e; rm -rf /root/next; dpkg-deb -R /root/{package}_*.deb /root/next
             version=$(sed -n 's/^Version: //p' /root/next/DEBIAN/control)
             sed -i \"s/$version/$version+next/\" /root/next/DEBIAN/control
             policy=/root/next/etc/twofa/twofa.toml
             if [ -e $policy ]; then echo '# new' >>$policy; fi
             dpkg-deb --root-owner-group -b /root/next /root/next-{package}.deb"
        );
        host.ok(&script);
    }
    host.ok(&format!(
        "DEBIAN_FRONTEND=noninteractive dpkg --force-{how} --install /root/next-{MODULE}.deb /root/next-{TOOL}.deb"
    ))
}

/// The package's policy enforces nothing. Whoever lets dpkg put it in the place of the own one is told what that ends.
#[test]
fn an_upgrade_that_ends_enforcement_says_so() {
    on_each_release(|suite| {
        let host = Host::new(suite);
        host.install();
        host.set_up();
        let said = upgrade(&host, "confnew");
        assert!(host.text("/etc/twofa/twofa.toml").contains("\nmode = \"off\"\n"), "{suite}: {said}");
        assert!(said.contains("The policy is OFF"), "{suite}: {said}");
        let (_, way_back) = said.split_once("To go back:\n").unwrap();
        host.ok(way_back.lines().next().unwrap());
        assert!(host.text("/etc/twofa/twofa.toml").contains("\nmode = \"enforce\"\n"), "{suite}: {said}");
        // And once that is done, no more.
        let said =
            host.ok(&format!("dpkg --force-confold --install /root/{MODULE}_*.deb /root/{TOOL}_*.deb"));
        assert!(!said.contains("The policy is OFF"), "{suite}: {said}");
        host.done("an upgrade to the package's policy");
    });
}

/// Configuration management writes PAM's files itself: pam-auth-update then leaves them alone, and says that all is well.
#[test]
fn a_removal_that_would_lock_everybody_out_does_not_take_place() {
    on_each_release(|suite| {
        let host = Host::new(suite);
        host.install();
        let mut alice = host.set_up();
        let world = host.world.start_own_sshd();
        let host = Host { world, ..host };
        host.ok(&format!("grep -v '^#' {COMMON_AUTH} >/root/new && cp /root/new {COMMON_AUTH}"));
        let replaced = host.text(COMMON_AUTH);
        let (removed, said) = host.run(&format!("dpkg --remove {MODULE}"));
        assert!(!removed && said.contains(COMMON_AUTH) && said.contains("is not removed"), "{suite}: {said}");
        assert!(host.is_installed(MODULE), "{suite}: {said}");
        assert_eq!(host.text(COMMON_AUTH), replaced);
        assert!(host.world.path(DROP_IN).exists(), "{suite}: what asks for the codes stays");
        host.admits(&mut alice);
        host.done("a common-auth of somebody else's");

        // Without the lines it goes.
        host.ok(&format!(
            "sed -i '/pam_twofa/d; s/success=2/success=1/' {COMMON_AUTH} /etc/pam.d/common-account"
        ));
        host.ok(&format!("dpkg --remove {MODULE}"));
        assert!(!host.is_installed(MODULE));
        host.done("the lines taken out by hand, and a removal");
    });
}

/// Also where a file has a line that somebody wrote: then nothing else is taken out either.
#[test]
fn a_removal_that_is_refused_ends_no_enforcement() {
    let table = [
        ("/etc/pam.d/su", "auth required pam_twofa.so"),
        ("/etc/pam.d/our door", "auth required pam_twofa.so"),
        // Below what pam-auth-update writes, which takes out the rest.
        (COMMON_AUTH, "auth required pam_twofa.so"),
        ("/srv/door", "auth required pam_twofa.so"),
    ];
    on_each_release(|suite| {
        let host = Host::new(suite);
        host.install();
        host.set_up();
        host.ok("printf '@include /srv/door\\n' >>/etc/pam.d/chfn; : >/srv/door");
        for (file, line) in table {
            host.ok(&format!("touch '{file}'; cp '{file}' /root/before; echo '{line}' >>'{file}'"));
            let before = host.pam();
            let (removed, said) = host.run(&format!("dpkg --remove {MODULE}"));
            assert!(!removed && said.contains(&format!("    {file}:{line}\n")), "{suite}: {said}");
            assert!(host.is_installed(MODULE), "{suite}: {said}");
            assert_eq!(host.pam(), before, "{suite}: {file}");
            assert!(host.world.path(DROP_IN).exists(), "{suite}: {file}");
            host.ok(&format!("cp /root/before '{file}'"));
        }
        host.done("lines of somebody else's");

        // As with `chattr +i`: the settings of sshd, and what pam-auth-update writes last, with and without them.
        for (file, aside) in
            [(DROP_IN, "true"), (COMMON_ACCOUNT, "true"), (COMMON_ACCOUNT, &*format!("rm {DROP_IN}"))]
        {
            host.ok(aside);
            host.ok(&format!("mount --bind {file} {file} && mount -o remount,bind,ro {file}"));
            let before = host.pam();
            let (removed, said) = host.run(&format!("dpkg --remove {MODULE}"));
            assert!(!removed && said.contains(&format!("NOT WRITTEN: {file}: ")), "{suite}: {said}");
            assert!(host.is_installed(MODULE) && host.pam() == before, "{suite}: {file}: {said}");
            assert_eq!(host.world.path(DROP_IN).exists(), aside == "true", "{suite}: {file}");
            host.ok(&format!("umount {file}"));
        }
        host.ok(&format!("dpkg --remove {MODULE}"));
        host.done("files that cannot be changed");
    });
}

/// The settings of sshd without the lines of PAM ask users for a password who have none.
#[test]
fn the_lines_do_not_go_without_the_settings_of_sshd() {
    on_each_release(|suite| {
        let host = Host::new(suite);
        let without = host.pam();
        host.install();
        host.ok("twofa-admin init --yes --write");
        let before = host.pam();
        let stays = |why: &str| {
            let (removed, said) = host.run(&format!("dpkg --remove {MODULE}"));
            assert!(!removed && said.contains(DROP_IN), "{suite}: {why}: {said}");
            assert!(host.is_installed(MODULE) && host.world.path(DROP_IN).exists(), "{suite}: {why}");
            assert_eq!(host.pam(), before, "{suite}: {why}");
        };
        // sshd would not start without them.
        host.ok("cp /etc/ssh/sshd_config /root && cd /etc/ssh && sed -i '/^KbdInteractive/d' sshd_config &&
                 printf 'KbdInteractiveAuthentication no\nAuthenticationMethods keyboard-interactive\n' >>sshd_config");
        stays("sshd needs them");
        host.ok("cp /root/sshd_config /etc/ssh");
        host.ok(&format!("dpkg --force-depends --remove {TOOL}"));
        stays("nobody takes them out");
        // Where there are none, pam-auth-update takes out its lines, if it does: its copies keep no package.
        host.ok(&format!(
            "rm {DROP_IN}; cp -p {COMMON_AUTH} {COMMON_AUTH}.pam-old; sed -i '/^#/d' {COMMON_AUTH}"
        ));
        let (removed, said) = host.run(&format!("dpkg --remove {MODULE}"));
        assert!(!removed && said.contains(&format!("    {COMMON_AUTH}:")), "{suite}: {said}");
        host.ok(&format!("cp -p {COMMON_AUTH}.pam-old {COMMON_AUTH}"));
        host.ok(&format!("dpkg --remove {MODULE}; rm {COMMON_AUTH}.pam-old"));
        assert!(!host.is_installed(MODULE));
        assert_eq!(host.pam(), without, "{suite}");
        host.done("the settings of sshd");
    });
}

#[test]
fn all_packages_have_the_version_of_the_source() {
    let version = env!("CARGO_PKG_VERSION");
    let table = [
        (include_str!("../../packaging/debian/changelog"), format!("twofa ({version}) ")),
        (include_str!("../../packaging/rpm/pam_twofa.spec"), format!("\nVersion:        {version}\n")),
        (include_str!("../../packaging/arch/PKGBUILD"), format!("\npkgver={version}\n")),
    ];
    for (text, expected) in table {
        assert!(text.contains(&expected), "{expected:?}");
    }
}

/// One build runs on every release: it asks libc for nothing that the oldest one lacks.
#[test]
fn the_programs_need_no_newer_libc_than_the_oldest_release_has() {
    let folder = env::temp_dir().join(format!("twofa-packages-{}", std::process::id()));
    for package in packages() {
        let unpacked = Command::new("dpkg-deb").arg("-x").args([&package, &folder]).status().unwrap();
        assert!(unpacked.success());
    }
    let mut highest = BTreeMap::new();
    for file in programs(&folder) {
        let output =
            Command::new("objdump").arg("-T").arg(&file).output().expect("objdump (package binutils)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
            let number = rest.split(|other: char| !other.is_ascii_digit() && other != '.').next()?;
            let (major, minor) = number.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        });
        highest.insert(file.file_name().unwrap().to_owned(), versions.max().unwrap_or((0, 0)));
    }
    fs::remove_dir_all(&folder).unwrap();
    let _ = writeln!(io::stderr(), "the newest symbols of libc: {highest:?}");
    assert_eq!(highest.len(), 3, "{highest:?}");
    assert!(highest.values().all(|version| *version <= OLDEST_LIBC), "{highest:?}");
}

fn programs(folder: &Path) -> Vec<PathBuf> {
    let names = ["-name", "pam_twofa.so", "-o", "-name", "twofa-helper", "-o", "-path", "*/sbin/twofa-admin"];
    let found = Command::new("find").arg(folder).args(names).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(PathBuf::from).collect()
}
