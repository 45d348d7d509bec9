//! Coming from another module: what its users had opens their logins here, what they used up there does not, and files
//! that are no such files change nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may panic

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use twofa::account::MAX_APPS;
use twofa::token::PublicKey;
use twofa_tests::driver::code;
use twofa_tests::setup::{CODE_PROMPT, PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY};
use twofa_tests::terminal::Terminal;
use twofa_tests::totp::{App, secret_of};
use twofa_tests::u2fkey::{Conduct, Key};
use twofa_tests::world::{Ran, World};

const GOOGLE_STACK: &str = "\
auth requisite pam_unix.so nodelay
auth required pam_google_authenticator.so
account required pam_unix.so";

const OATH_STACK: &str = "\
auth requisite pam_unix.so nodelay
auth required pam_oath.so usersfile=/etc/users.oath window=2
account required pam_unix.so";

const GOOGLE_PROMPT: &str = "Verification code: ";
const OATH_PROMPT: &str = "One-time password (OATH) for `";
const USED: &str = "This code was already used.";
const STATE_FILE: &str = "/home/alice/.google_authenticator";

fn office() -> World {
    World::new().user("alice", "pw-alice").user("bob", "pw-bob").policy(POLICY).peers()
}

/// A login that other modules than ours look at, too: up to the prompt.
fn login(world: &World, user: &str, prompt: &str) -> Terminal {
    let mut ssh = world.ssh(user).spawn("echo hello $USER");
    ssh.answer(PASSWORD_PROMPT, &format!("pw-{user}"));
    ssh.expect(prompt);
    ssh
}

fn accounts(world: &World) -> String {
    world.admin(&["user", "list", "--json"]).ok()
}

/// The file that a user makes, as the manual of google-authenticator says; and the app that has the secret.
fn set_up_google(world: &World, user: &str, options: &[&str]) -> App {
    let home = format!("HOME=/home/{user}");
    let become_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "env", &home];
    let make = ["google-authenticator", "--time-based", "--force", "--quiet", "--no-confirm"];
    let rest = ["--rate-limit=3", "--rate-time=30", "--window-size=3"];
    world.run(&[&become_user[..], &make, &rest, options].concat()).ok();
    let text = fs::read_to_string(world.path(&format!("/home/{user}/.google_authenticator"))).unwrap();
    App::new(text.lines().next().unwrap())
}

/// One line of the report, without its spaces.
fn row(report: &str, what: &str) -> String {
    let line = report.lines().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("no {what} in {report}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_code_used_with_google_authenticator_stays_used() {
    let world = office().stack("sshd", GOOGLE_STACK).start_sshd("");
    let mut app = set_up_google(&world, "alice", &["--disallow-reuse"]);
    let mut before = login(&world, "alice", GOOGLE_PROMPT);
    before.send_line(&app.code());
    before.expect("hello alice");

    // Looked at first: nothing happens.
    let import = ["import", "google-authenticator", STATE_FILE, "--user", "alice"];
    let report = world.admin(&[&import[..], &["--dry-run"]].concat()).ok();
    assert_eq!(row(&report, "SHA1"), "alice 1 google-authenticator to take 6 digits, 30 s, SHA1");
    assert!(row(&report, "scratch").ends_with("5 scratch codes weak 27 bits; not taken"), "{report}");
    assert!(row(&report, "RATE_LIMIT").contains("skipped the policy says that here"), "{report}");
    assert!(report.contains("twofa-admin recovery new NAME"), "{report}");
    assert_eq!(accounts(&world), "[]\n");
    // Nor without a yes.
    world.run_with_input(&[&["twofa-admin"], &import[..]].concat(), "no\n").expect(1);
    world.admin(&import).expect(1);
    assert_eq!(accounts(&world), "[]\n");
    world.run_with_input(&[&["twofa-admin"], &import[..]].concat(), "yes\n").ok();
    world.log.expect("imported alice what=\"app google-authenticator from google-authenticator\"");

    let world = world.stack("sshd", PASSWORD_AND_CODE);
    let mut after = login(&world, "alice", CODE_PROMPT);
    after.send_line(&app.last());
    after.expect(USED);
    // A code that was not used yet opens at once.
    after.answer(CODE_PROMPT, &app.code());
    after.expect("hello alice");
    after.expect_end(0);

    // A second time there is nothing left to do, but to clean up.
    assert!(world.path(STATE_FILE).exists());
    let again = world.admin(&import).ok();
    assert_eq!(row(&again, "enrolled"), "alice 1 google-authenticator already this secret is enrolled");
    let before = world.admin(&["user", "show", "alice"]).ok();
    world.admin(&[&import[..], &["--yes", "--remove-source"]].concat()).ok();
    assert!(!world.path(STATE_FILE).exists());
    assert_eq!(world.admin(&["user", "show", "alice"]).ok(), before);
}

/// Where the other module kept no account of used codes, all that could have been used just now are.
#[test]
fn a_code_that_may_have_been_used_counts_as_used() {
    let world = office().stack("sshd", GOOGLE_STACK).start_sshd("");
    let mut app = set_up_google(&world, "alice", &["--allow-reuse"]);
    let mut before = login(&world, "alice", GOOGLE_PROMPT);
    before.send_line(&app.code());
    before.expect("hello alice");
    world.admin(&["import", "google-authenticator", "--homes", "--yes"]).ok();
    let world = world.stack("sshd", PASSWORD_AND_CODE);
    let mut after = login(&world, "alice", CODE_PROMPT);
    for code in [app.last(), app.current()] {
        after.send_line(&code);
        after.expect(USED);
    }
}

#[test]
fn apps_of_pam_oath_go_on_and_their_codes_stay_used() {
    let world = office().stack("sshd", OATH_STACK).start_sshd("");
    let hex =
        |user: &str| code::base32(&secret_of(user)).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (alice, bob) = (hex("alice"), hex("bob"));
    let file = "/etc/users.oath";
    world.write(
        file,
        &format!(
            "# our users\nHOTP/T30\talice\t-\t{alice}\n\
             HOTP/T30/6 bob hunter2 {bob} 0 123456 2020-01-01T00:00:00L\nHOTP/E/6 bob - {bob} 3\n\
             HOTP/T30 ghost - {bob}\n"
        ),
    );
    fs::set_permissions(world.path(file), PermissionsExt::from_mode(0o600)).unwrap();
    let mut apps = ["alice", "bob"].map(|user| App::new(&secret_of(user)));
    let mut before = login(&world, "alice", OATH_PROMPT);
    before.send_line(&apps[0].code());
    before.expect("hello alice");
    let kept = fs::read_to_string(world.path(file)).unwrap();
    assert!(kept.contains(&apps[0].last()), "pam_oath writes down what was used: {kept}");

    // Somebody is left behind.
    let ran = world.admin(&["import", "oath", file, "--yes", "--remove-source"]).expect(3);
    assert_eq!(row(&ran.stdout, "alice"), "alice 2 oath-1 to take 6 digits, 30 s, SHA1");
    assert_eq!(row(&ran.stdout, "HOTP/E/6"), "bob 4 HOTP/E/6 REFUSED counter based (HOTP)");
    assert_eq!(row(&ran.stdout, "password"), "bob 3 password weak plain text; not taken");
    assert_eq!(row(&ran.stdout, "ghost"), "ghost 5 oath REFUSED this host has no such user");
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
    let left = fs::read_to_string(world.path(file)).unwrap();
    assert_eq!(left, format!("# our users\nHOTP/E/6 bob - {bob} 3\nHOTP/T30 ghost - {bob}\n"));

    let world = world.stack("sshd", PASSWORD_AND_CODE);
    let mut used = login(&world, "alice", CODE_PROMPT);
    used.send_line(&apps[0].last());
    used.expect(USED);
    // Whose last code was used long ago does not wait.
    let mut fresh = login(&world, "bob", CODE_PROMPT);
    fresh.send_line(&apps[1].code());
    fresh.expect("hello bob");
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(|at| if at <= three.len() { letter(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// A line as pamu2fcfg prints it for this key.
fn mapping(user: &str, key: &Key) -> String {
    let credential = key.credential("pam://server");
    let PublicKey::Es256(point) = &credential.public else { panic!("not P-256") };
    format!("{user}:{},{},es256,+presence\n", base64(&credential.id), base64(&point[1..]))
}

#[test]
fn security_keys_come_along_once_the_policy_names_their_origin() {
    let world = office();
    let file = "/etc/u2f_mappings";
    world.write(file, &mapping("alice", &Key::plug_in(Conduct::Right)));
    let import = ["import", "u2f", file, "--origin", "pam://Server.example", "--yes"];
    let refused = world.admin(&import).expect(3);
    assert_eq!(row(&refused.stdout, "alice"), "alice 1 u2f REFUSED made for another rp_id");
    let needed = "twofa-admin policy set key.rp_id=pam://Server.example ";
    assert!(refused.stdout.contains(needed), "{}", refused.stdout);
    assert_eq!(accounts(&world), "[]\n");

    world.admin(&["policy", "set", "key.rp_id=pam://Server.example"]).ok();
    world.admin(&["policy", "set", "key.pin=true"]).ok();
    let refused = world.admin(&import).expect(3);
    assert_eq!(row(&refused.stdout, "alice"), "alice 1 u2f REFUSED made without a PIN");
    world.admin(&["policy", "set", "key.pin=false"]).ok();
    let json = world.admin(&[&import[..], &["--json"]].concat()).ok();
    for part in [r#""changed": true"#, r#""result": "taken""#, r#""line": 1"#, r#""user": "alice""#] {
        assert!(json.contains(part), "{json}");
    }
    let shown = world.admin(&["user", "show", "alice"]).ok();
    assert!(row(&shown, "u2f-1").contains("u2f-1 (console, FIDO2), enrolled 20"), "{shown}");
    assert!(!shown.contains("VOID"), "{shown}");
    assert_eq!(row(&world.admin(&import).ok(), "alice"), "alice 1 u2f-1 already this key is enrolled");
}

#[test]
fn a_file_that_is_none_changes_nothing() {
    let world = office();
    let secret = secret_of("alice");
    let fine = format!("{secret}\n\" TOTP_AUTH\n");
    world.write("/root/state", &fine);
    symlink("/root/state", world.path("/root/link")).unwrap();
    world.run(&["mkfifo", "/root/fifo"]).ok();
    world.run(&["truncate", "--size=1G", "/root/huge"]).ok();
    world.run(&["mkdir", "/root/folder"]).ok();
    let texts = [
        ("nul", format!("{fine}12345678\0\n"), "nul:3: "),
        ("crlf", fine.replace('\n', "\r\n"), "crlf:1: "),
        ("bom", format!("\u{feff}{fine}"), "bom:1: "),
        ("escape", format!("{fine}\u{1b}]0;x\u{7}\n"), "escape:3: "),
        ("rest", format!("{fine}12345678\nnot a code\n"), "rest:4: "),
    ];
    for (name, text, _) in &texts {
        world.write(&format!("/root/{name}"), text);
    }
    world.write("/root/open", &fine);
    fs::set_permissions(world.path("/root/open"), PermissionsExt::from_mode(0o666)).unwrap();
    let before = accounts(&world);
    let refused = |ran: Ran, words: &str| {
        let ran = ran.expect(1);
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
        assert!(ran.stderr.contains("Nothing was changed.") && ran.stderr.lines().count() == 2, "{ran:?}");
        assert!(!ran.stderr.contains(['\u{1b}', '\u{7}']), "{ran:?}");
    };
    let odd = [
        ("link", "is a symbolic link"),
        ("fifo", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("huge", "is longer than"),
        ("open", "can be changed by others"),
    ];
    let malformed = texts.iter().map(|(name, _, words)| (*name, *words));
    for (name, words) in odd.into_iter().chain(malformed) {
        let path = format!("/root/{name}");
        refused(world.admin(&["import", "google-authenticator", &path, "--user", "alice", "--yes"]), words);
        // As a list they are no better, whatever the words.
        for command in [&["import", "oath", &path, "--yes"][..], &["import", "u2f", &path, "--yes"]] {
            refused(world.admin(command), &path);
        }
        refused(world.admin(&["user", "import", &path, "--format", "csv", "--yes"]), &path);
        refused(world.admin(&["user", "import", &path, "--format", "json", "--yes"]), &path);
    }
    assert_eq!(accounts(&world), before);
}

/// A user can put anything into the own home; it is not read for root, and keeps nobody else back.
#[test]
fn homes_are_read_as_what_they_are() {
    let world = office().user("carol", "pw-carol").user("dave", "pw-dave").user("erin", "pw-erin");
    let state = |user: &str| format!("/home/{user}/.google_authenticator");
    let put = |user: &str, text: &str| {
        world.write(&state(user), text);
        fs::set_permissions(world.path(&state(user)), PermissionsExt::from_mode(0o400)).unwrap();
    };
    let fine = |user: &str| format!("{}\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n", secret_of(user));
    put("alice", &fine("alice"));
    put("bob", &fine("bob"));
    world.run(&["chown", "bob:bob", &state("bob")]).ok();
    // Root's own secret, by a link and by a second name; and somebody's noise.
    world.write("/root/secret", &fine("root"));
    symlink("/root/secret", world.path(&state("carol"))).unwrap();
    world.run(&["chown", "dave:dave", "/root/secret"]).ok();
    fs::hard_link(world.path("/root/secret"), world.path(&state("dave"))).unwrap();
    put("erin", "\u{1b}[2J\n");
    world.run(&["chown", "erin:erin", &state("erin")]).ok();
    let ran = world.admin(&["import", "google-authenticator", "--homes", "--yes"]).expect(3);
    let whys = [
        ("alice", "REFUSED belongs to uid 0"),
        ("bob", "to take 6 digits, 30 s, SHA1"),
        ("carol", "REFUSED is a symbolic link"),
        ("dave", "REFUSED has another name elsewhere (a hard link)"),
        ("erin", "REFUSED the line has a control character"),
    ];
    for (user, why) in whys {
        assert!(row(&ran.stdout, user).ends_with(why), "{user}: {}", ran.stdout);
    }
    let accounts = accounts(&world);
    assert_eq!(accounts.matches("\"user\":").count(), 1, "{accounts}");
    assert!(accounts.contains("\"bob\""), "{accounts}");

    // Files named after their users, where an administrator put them.
    for name in ["alice", "nobody-here"] {
        world.write(&format!("/etc/ga/{name}"), &fine("alice"));
    }
    let ran = world.admin(&["import", "google-authenticator", "--dir", "/etc/ga", "--yes"]).expect(3);
    assert!(row(&ran.stdout, "alice").ends_with("to take 6 digits, 30 s, SHA1"), "{}", ran.stdout);
    assert!(
        row(&ran.stdout, "nobody-here").ends_with("REFUSED this host has no such user"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_list_of_users_goes_in_and_comes_out() {
    let world = office();
    world.write("/etc/twofa/twofa.toml", &twofa_tests::setup::policy_of(r#"["sms", "app"]"#));
    world.enroll("bob");
    world.write(
        "/root/users.csv",
        "user,phone,email,dept\r\nalice,+48 600 000 123,\"alice@example.org alice@home.example\",=x\r\n\
         bob,\"'+48601000456\",,y\r\nroot,+48 601 000 456,,z\r\nghost,+48602000789,,\r\nalice,+48603000000,,\r\n\
         daemon,,,\r\nbin,+1 900 555 0123,,\r\nsys,12,,\r\n",
    );
    let before = accounts(&world);
    let import = ["user", "import", "/root/users.csv"];
    let dry = world.admin(&[&import[..], &["--dry-run"]].concat()).expect(3);
    assert_eq!(accounts(&world), before);
    for (user, why) in [
        ("alice 2", "2 to take new"),
        ("bob 3", "0 to take the number is set"),
        ("root 4", "0 REFUSED this is the number of bob; --shared-ok if so"),
        ("ghost 5", "0 REFUSED this host has no such user"),
        ("alice 6", "0 REFUSED the user is in line 2 too"),
        ("daemon 7", "0 REFUSED codes are sent by SMS here, so a new account needs a telephone number"),
        ("bin 8", "0 REFUSED no code may be sent to +1 *** *** 123: the policy allows +48"),
        ("sys 9", "REFUSED `12` has no country code, as in +48 600 000 123"),
    ] {
        let rows: Vec<String> =
            dry.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let row =
            rows.iter().find(|row| row.starts_with(user)).unwrap_or_else(|| panic!("{user}: {}", dry.stdout));
        assert!(row.ends_with(why), "{row}");
    }
    assert!(dry.stderr.contains("Columns that are passed over: dept"), "{}", dry.stderr);
    world.run_with_input(&[&["twofa-admin"], &import[..]].concat(), "y\n").expect(3);
    // Factors stay, and so does what is not in the list.
    let bob = world.admin(&["user", "show", "bob"]).ok();
    assert!(bob.contains("app (6 digits") && bob.contains("+48 *** *** 456, not confirmed"), "{bob}");
    let alice = world.admin(&["user", "show", "alice"]).ok();
    assert!(alice.contains("a***@example.org") && alice.contains("a***@home.example"), "{alice}");

    let table = world.admin(&["user", "export"]).ok();
    assert_eq!(
        table,
        "user,phone,email\r\nalice,\"'+48600000123\",alice@example.org alice@home.example\r\nbob,\"'+48601000456\",\r\n"
    );
    let json = world.admin(&["user", "export", "--format", "json"]).ok();
    for (format, text) in [("csv", &table), ("json", &json)] {
        let import = ["twofa-admin", "user", "import", "-", "--format", format, "--yes"];
        let all = accounts(&world);
        let same = world.run_with_input(&import, text).ok();
        assert!(same.contains("0 to take, 2 already so, 0 refused"), "{same}");
        assert_eq!(accounts(&world), all);
        for user in ["alice", "bob"] {
            world.admin(&["user", "remove", user, "--yes"]).ok();
        }
        world.run_with_input(&import, text).ok();
        assert_eq!(world.admin(&["user", "export"]).ok(), table, "{format}");
    }
}

/// Another name of root's has no account of its own; that keeps nobody else back.
#[test]
fn a_second_name_of_a_uid_is_passed_over() {
    let world = office();
    world.append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n");
    world.write("/root/.google_authenticator", &format!("{}\n\" TOTP_AUTH\n", secret_of("root")));
    let homes = ["import", "google-authenticator", "--homes", "--yes"];
    for expected in ["to take", "already"] {
        let ran = world.admin(&homes).expect(3);
        assert!(row(&ran.stdout, "root ").contains(expected), "{}", ran.stdout);
        assert!(
            row(&ran.stdout, "toor").ends_with("REFUSED uid 0 has an account, as root"),
            "{}",
            ran.stdout
        );
    }
    world.admin(&["user", "remove", "root", "--yes"]).ok();
    for _ in 0..2 {
        let list = "user\nroot\ntoor\nalice\n";
        let import = ["twofa-admin", "user", "import", "-", "--format", "csv", "--yes"];
        let ran = world.run_with_input(&import, list).expect(3);
        assert!(
            row(&ran.stdout, "toor").ends_with("REFUSED uid 0 has an account, as root"),
            "{}",
            ran.stdout
        );
    }
    assert_eq!(accounts(&world).matches("\"user\":").count(), 2);
}

/// Both, with one number: meant, or not.
#[test]
fn a_number_of_two_users_is_to_be_meant() {
    let world = office();
    world.write("/root/users.csv", "user,phone\nalice,+48600000123\nbob,+48600000123\n");
    let ran = world.admin(&["user", "import", "/root/users.csv", "--yes"]).expect(3);
    assert!(row(&ran.stdout, "bob").contains("REFUSED this is the number of alice"), "{}", ran.stdout);
    world.admin(&["user", "import", "/root/users.csv", "--yes", "--shared-ok"]).ok();
    // They change numbers with each other.
    world.write("/root/users.csv", "user,phone\nalice,+48601000456\nbob,+48600000123\n");
    world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    world.write("/root/users.csv", "user,phone\nbob,+48601000456\nalice,+48600000123\n");
    let ran = world.admin(&["user", "import", "/root/users.csv", "--yes"]).ok();
    assert!(ran.contains("2 to take, 0 already so, 0 refused"), "{ran}");
}

/// Who is refused another number keeps the old one, which nobody else gets unknowingly.
#[test]
fn a_number_that_is_kept_after_all_is_not_given_away() {
    let world = office().user("carol", "pw-carol");
    let import = |lines: &str| {
        world.write("/root/users.csv", &format!("user,phone,email\n{lines}"));
        world.admin(&["user", "import", "/root/users.csv", "--yes"])
    };
    import("alice,+48600000001,\nbob,+48600000002,\ncarol,+48600000003,\n").ok();
    let before = accounts(&world);
    for lines in [
        // No such address; and bob then keeps what carol would get.
        "alice,+48600000004,no address\nbob,+48600000001,\ncarol,+48600000002,\n",
        "carol,+48600000002,\nbob,+48600000001,\nalice,+48600000004,no address\n",
        "alice,,\nalice,+48600000004,\nbob,+48600000001,\n",
    ] {
        let ran = import(lines).expect(3);
        assert!(
            row(&ran.stdout, "bob  ").ends_with("REFUSED this is the number of alice; --shared-ok if so"),
            "{}",
            ran.stdout
        );
        assert_eq!(accounts(&world), before, "{lines}");
    }
}

/// The other module goes on while the question is on the screen, and so do administrators.
#[test]
fn what_happens_before_the_answer_counts() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let path = "/root/state";
    let import = |user: &str, words: &[&str], question: &str| {
        let mut terminal = world.terminal(
            &[&["twofa-admin", "import", "google-authenticator", path, "--user", user], words].concat(),
        );
        terminal.expect(question);
        terminal
    };
    let write = |secret: &str, used: &str| {
        world.write(path, &format!("{secret}\n\" DISALLOW_REUSE {used}\n\" TOTP_AUTH\n"));
    };
    let app = App::new(&secret_of("alice"));
    write(&secret_of("alice"), "");
    let mut terminal = import("alice", &[], "Take over 1 factor of 1 user?");
    write(&secret_of("alice"), &(twofa::system::now() / 30 + 1).to_string());
    terminal.send_line("y");
    assert_eq!(terminal.end(), 0);
    let mut used = login(&world, "alice", CODE_PROMPT);
    used.send_line(&app.current());
    used.expect(USED);

    let mut terminal = import("alice", &["--remove-source"], "Remove what was taken over before");
    world.admin(&["user", "reset", "alice", "--yes"]).ok();
    terminal.send_line("y");
    terminal.expect("changed before the answer came");
    assert_eq!(terminal.end(), 1);
    assert!(world.path(path).exists());

    write(&secret_of("bob"), "");
    let mut terminal = import("bob", &[], "Take over 1 factor of 1 user?");
    write("GEZDGNBVGY3TQOJQ", "");
    terminal.send_line("y");
    terminal.expect("changed before the answer came");
    assert_eq!(terminal.end(), 1);
    assert!(!accounts(&world).contains("bob"));
}

/// A secret twice is one app; in another shape it would make two codes of one.
#[test]
fn a_secret_twice_is_no_second_login() {
    let world = office().stack("sshd", PASSWORD_AND_CODE).start_sshd("");
    let key: String = code::base32(&secret_of("alice")).iter().map(|b| format!("{b:02x}")).collect();
    let file = "/etc/users.oath";
    world.write(
        file,
        &format!("HOTP/T30 alice - {key} 0 123456 2020-01-01T00:00:00L\nHOTP/T30 alice - {key}\nHOTP/T30/8 alice - {key}\n"),
    );
    world.run(&["chgrp", "daemon", file]).ok();
    world.run(&["chmod", "640", file]).ok();
    let ran = world.admin(&["import", "oath", file, "--yes", "--remove-source"]).expect(3);
    assert_eq!(row(&ran.stdout, "alice  1"), "alice 1 oath-1 to take 6 digits, 30 s, SHA1");
    assert_eq!(row(&ran.stdout, "alice  2"), "alice 2 oath-1 already this secret is enrolled");
    assert_eq!(
        row(&ran.stdout, "alice  3"),
        "alice 3 oath REFUSED this secret is enrolled otherwise, as oath-1"
    );
    let left = fs::read_to_string(world.path(file)).unwrap();
    assert_eq!(left, format!("HOTP/T30/8 alice - {key}\n"));
    assert_eq!(world.run(&["stat", "-c", "%U %G %a", file]).ok(), "root daemon 640\n");
    let mut used = login(&world, "alice", CODE_PROMPT);
    used.send_line(&App::new(&secret_of("alice")).current());
    used.expect(USED);
}

#[test]
fn an_app_too_many_stays_where_it_is() {
    let world = office();
    let file = "/etc/users.oath";
    let line = |number: usize| format!("HOTP/T30 alice - {number:040x}\n");
    world.write(file, &(0..=MAX_APPS).map(line).collect::<String>());
    let ran = world.admin(&["import", "oath", file, "--yes", "--remove-source"]).expect(3);
    assert!(ran.stdout.contains(&format!("{MAX_APPS} apps are the most")), "{}", ran.stdout);
    assert_eq!(fs::read_to_string(world.path(file)).unwrap(), line(MAX_APPS));
}

/// Of several lines of a user pam_u2f takes the last: without it an earlier one would count again.
#[test]
fn an_old_line_of_a_key_does_not_come_back() {
    let world = office();
    let file = "/etc/u2f_mappings";
    let [lost, key] = [(); 2].map(|()| mapping("alice", &Key::plug_in(Conduct::Right)));
    world.write(file, &format!("{lost}{key}"));
    world.admin(&["policy", "set", "key.rp_id=pam://server"]).ok();
    let import = |origin: &str| {
        world.admin(&["import", "u2f", file, "--origin", origin, "--yes", "--remove-source"]).expect(3)
    };
    let report = import("pam://server").stdout;
    assert_eq!(row(&report, "alice  2"), "alice 2 u2f-1 to take touched, without PIN");
    assert_eq!(fs::read_to_string(world.path(file)).unwrap(), format!("{lost}{key}"));

    // A key that is enrolled for another origin opens nothing for this one.
    world.write(file, &key);
    world.admin(&["policy", "set", "key.rp_id=pam://other"]).ok();
    let report = import("pam://other").stdout;
    assert_eq!(row(&report, "alice"), "alice 1 u2f REFUSED this key is enrolled otherwise, as u2f-1");
    assert_eq!(fs::read_to_string(world.path(file)).unwrap(), key);
}

#[test]
fn who_breaks_off_at_the_question_changed_nothing() {
    let world = office();
    world.write("/root/users.csv", "user,phone\nalice,+48600000123\n");
    world.write("/root/state", &format!("{}\n\" TOTP_AUTH\n", secret_of("alice")));
    let questions = [
        (&["user", "import", "/root/users.csv"][..], "Add 1 user?"),
        (
            &["import", "google-authenticator", "/root/state", "--user", "alice", "--remove-source"],
            "Take over 1 factor of 1 user, and remove them from where they are?",
        ),
    ];
    for (command, question) in questions {
        for typed in ["\u{3}", "\u{4}", "\n", "no\n"] {
            let mut terminal = world.terminal(&[&["twofa-admin"], command].concat());
            terminal.expect(question);
            terminal.send(typed);
            assert_ne!(terminal.end(), 0, "{typed:?}");
            assert_eq!(accounts(&world), "[]\n", "{typed:?}");
        }
    }
    assert!(world.path("/root/state").exists());
}

#[test]
fn nothing_is_asked_that_cannot_be_answered() {
    let world = office();
    world.write("/root/users.csv", "user,phone\nalice,+48600000123\n");
    for command in [
        &["user", "import", "-", "--format", "csv"][..],
        &["user", "import", "/root/users.csv", "--json"],
        &["import", "oath", "/root/users.csv", "--json"],
        &["import", "google-authenticator"],
        &["import", "google-authenticator", "/root/users.csv"],
        &["import", "google-authenticator", "--homes", "--dir", "/root"],
        &["import", "google-authenticator", "--homes", "--user", "alice"],
        &["import", "oath", "/root/users.csv", "--yes", "--dry-run"],
    ] {
        let ran = world.admin(command).expect(2);
        assert!(!ran.stderr.is_empty(), "{command:?}");
    }
    assert_eq!(accounts(&world), "[]\n");
}
