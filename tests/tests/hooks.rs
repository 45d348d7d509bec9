//! The example hooks, run for real as the product runs hooks, against gateways of our own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic, say why, wait and read the clock"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use twofa_tests::PATIENCE;
use twofa_tests::gateway::{Gateway, MailServer, nobody_there};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/hooks");

/// Every file of that directory: one that is new needs tests here.
const HOOKS: [&str; 7] =
    ["mail-sendmail", "mail-smtp", "sms-gammu", "sms-json", "sms-kannel", "sms-smstools", "sms-twilio"];
const OTHERS: [&str; 5] = [
    "README.md",
    "mail-smtp.curl.example",
    "sms-json.curl.example",
    "sms-kannel.curl.example",
    "sms-twilio.curl.example",
];

/// Those that speak HTTP.
const WEB: [&str; 3] = ["sms-json", "sms-kannel", "sms-twilio"];

const CODE: &str = "739104826155";
const SECRET: &str = "t0p-5ecret-0f-the-gateway";
const NUMBER: &str = "+48600000123";
const ID: &str = "0123456789abcdef";

/// Everything that a careless script, or curl, would read something into.
const TEXT: &str = "Your \"code\": 739104826155 & + % %41 $(touch /tmp/twofa-hook-was-here) `id` \\n \\ '~' {a} [b] <c>; a=b\n\
     .\n\
     @host.example #739104826155 zażółć 🔑";

/// The user that hooks run as here, in place of `_twofa`.
const NOBODY: u32 = 65534;
/// A group that the user is not in.
const DAEMON: u32 = 1;

/// A shipped hook with its paths led into a folder of its own.
struct Hook {
    name: &'static str,
    folder: Rc<Folder>,
    to: String,
    host: String,
    /// What the contract's environment has not.
    extra: Vec<(&'static str, String)>,
    /// Programs in front of the hook, for what is under it.
    under: Vec<String>,
}

/// Thrown away at the end.
struct Folder(PathBuf);

/// A hook that runs.
struct Running {
    child: Child,
    began: Instant,
    _folder: Rc<Folder>,
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    took: Duration,
}

#[test]
fn every_file_is_tested() {
    let found: BTreeSet<String> = fs::read_dir(SHIPPED)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = HOOKS.iter().chain(&OTHERS).map(|&name| name.to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn hooks_are_small_scripts_that_readme_names() {
    let readme = shipped("README.md");
    for name in HOOKS {
        let script = shipped(name);
        assert!(script.starts_with("#!/bin/sh\n# "), "{name}");
        assert!(script.lines().count() < 50, "{name}");
        let mode = fs::metadata(Path::new(SHIPPED).join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
        assert!(readme.contains(&format!("`{name}`")), "{name}");
        // Who reads the script learns there which file holds its secrets.
        let sample = format!("{name}.curl.example");
        if OTHERS.contains(&sample.as_str()) {
            assert!(script.contains(&format!("see {sample}")), "{name}");
            assert!(
                shipped(&sample)
                    .starts_with(&format!("# /etc/twofa/{name}.curl: owner root, group _twofa, mode 0640."))
            );
        }
    }
}

#[test]
fn twilio_gets_text_number_and_login() {
    let gateway = Gateway::start();
    let running = Hook::of_gateway("sms-twilio", gateway.address).start(TEXT);
    let request = gateway.request();
    assert_nowhere_in_proc(&[CODE, SECRET]);
    gateway.answer(201, &format!("{{\"body\": \"{CODE}\", \"sid\": \"SM42\", \"account_sid\": \"AC1\"}}"));
    running.end().expect(0, "SM42\n");

    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/2010-04-01/Accounts/AC7/Messages.json")
    );
    assert_eq!(request.field("Body"), TEXT);
    assert_eq!(request.field("To"), NUMBER);
    assert_eq!(request.field("From"), "+15005550006");
    let login = request.header("authorization").unwrap().strip_prefix("Basic ").unwrap().to_owned();
    assert_eq!(base64_decoded(&login), format!("AC7:{SECRET}"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[test]
fn json_gateway_gets_text_number_and_token() {
    let gateway = Gateway::start();
    let running = Hook::of_gateway("sms-json", gateway.address).start(TEXT);
    let request = gateway.request();
    assert_nowhere_in_proc(&[CODE, SECRET]);
    gateway.answer(202, &format!("{{\"data\": {{\"id\": \"msg-9\", \"text\": \"{CODE}\"}}}}"));
    running.end().expect(0, "msg-9\n");

    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/messages"));
    let expected = [("from", "Example"), ("text", TEXT), ("to", NUMBER)];
    assert_eq!(request.json(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
}

#[test]
fn kannel_gets_text_number_and_login() {
    let gateway = Gateway::start();
    let running = Hook::of_gateway("sms-kannel", gateway.address).start(TEXT);
    let request = gateway.request();
    assert_nowhere_in_proc(&[CODE, SECRET]);
    gateway.answer(202, "0: Accepted for delivery: 5f3e-77");
    running.end().expect(0, "5f3e-77\n");

    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/cgi-bin/sendsms"));
    assert_eq!((request.field("text"), request.field("to")), (TEXT.to_owned(), NUMBER.to_owned()));
    assert_eq!((request.field("username").as_str(), request.field("password").as_str()), ("twofa", SECRET));
    assert_eq!((request.field("charset").as_str(), request.field("coding").as_str()), ("UTF-8", "2"));
    assert_eq!(request.body, "");
}

/// A text that the phones' own alphabet has takes half the place.
#[test]
fn kannel_sends_unicode_only_when_needed() {
    for (text, coding) in
        [("Your code: 739104826155", "0"), ("Your code:\n739104826155", "0"), ("Twój kod", "2")]
    {
        let gateway = Gateway::start();
        gateway.answer(202, "0: Accepted for delivery");
        Hook::of_gateway("sms-kannel", gateway.address).start(text).end().expect(0, "");
        let request = gateway.request();
        assert_eq!((request.field("text").as_str(), request.field("coding").as_str()), (text, coding));
    }
}

#[test]
fn a_gateways_refusal_says_what_to_do() {
    let for_all = [
        (200, "", 0),
        (200, "unlike JSON", 0),
        (302, "", 1),
        (400, "{\"code\": 20404}", 1),
        (401, "{\"code\": 20003}", 78),
        (403, "", 78),
        (404, "", 1),
        (429, "", 75),
        (500, "", 75),
        (503, "Temporal failure, try again later.", 75),
    ];
    let of_one = [
        ("sms-twilio", 400, "{\"code\": 21211, \"message\": \"The 'To' number is not valid\"}", 65),
        ("sms-twilio", 400, "{\"code\": 21614}", 65),
        ("sms-twilio", 400, "{\"code\": \"21614 739104826155\"}", 1),
        ("sms-kannel", 403, "Not routable. Do not try again.", 65),
    ];
    let cases =
        WEB.into_iter().flat_map(|name| for_all.map(|(status, body, code)| (name, status, body, code)));
    for (name, status, body, code) in cases.chain(of_one) {
        let gateway = Gateway::start();
        let body = format!("{body}\n{TEXT} {SECRET}"); // a gateway that repeats everything
        gateway.answer(status, &body);
        let ended = Hook::of_gateway(name, gateway.address).start(TEXT).end();
        assert_eq!(ended.code, Some(code), "{name}: {status} {body}: {ended:?}");
        assert_eq!(ended.stderr.is_empty(), code == 0, "{name}: {status}: {ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.contains(CODE) && !said.contains(SECRET), "{name}: {status}: {ended:?}");
        let shown = if code == 65 { "this number" } else { &status.to_string() };
        assert!(code == 0 || ended.stderr.contains(shown), "{name}: {status}: {ended:?}");
    }
}

#[test]
fn a_redirection_is_not_followed() {
    for name in WEB {
        for status in [302, 307] {
            let gateway = Gateway::start();
            let elsewhere = format!("Location: http://{}/elsewhere\r\n", gateway.address);
            gateway.answer_with(status, &elsewhere, "");
            gateway.answer(200, "");
            let ended = Hook::of_gateway(name, gateway.address).start(TEXT).end();
            assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
            gateway.request();
            assert!(!gateway.has_request(), "{name}");
        }
    }
}

#[test]
fn a_gateway_that_is_away_or_silent_is_to_be_tried_again() {
    for name in WEB.into_iter().chain(["mail-smtp"]) {
        let ended = Hook::of_gateway(name, nobody_there()).start(TEXT).end();
        assert_eq!(ended.code, Some(75), "{name}: {ended:?}");
        assert!(ended.stderr.contains("curl: (7)"), "{name}: {ended:?}");
    }
    let silent = WEB.map(|name| {
        let gateway = Gateway::start();
        let running = Hook::of_gateway(name, gateway.address).start(TEXT);
        (name, gateway, running)
    });
    let mail_server = MailServer::start();
    let running = Hook::of_gateway("mail-smtp", mail_server.address).start(TEXT);
    let mut ended = vec![("mail-smtp", running.end())];
    for (name, _gateway, running) in silent {
        ended.push((name, running.end()));
    }
    for (name, ended) in ended {
        assert_eq!(ended.code, Some(75), "{name}: {ended:?}");
        let shown = if name == "mail-smtp" { "cannot be reached" } else { "curl: (28)" };
        assert!(ended.stderr.contains(shown), "{name}: {ended:?}");
        assert!(ended.took < Duration::from_secs(10), "{name}: later than its time limit: {ended:?}");
    }
}

#[test]
fn without_its_secrets_a_hook_says_what_is_missing() {
    for name in WEB.into_iter().chain(["mail-smtp"]) {
        let secrets = format!("{name}.curl");
        let hook = Hook::of_gateway(name, nobody_there());
        chown(hook.path(&secrets), Some(0), Some(0)).unwrap();
        let unreadable = hook.start(TEXT).end();
        let hook = Hook::of_gateway(name, nobody_there());
        fs::remove_file(hook.path(&secrets)).unwrap();
        let missing = hook.start(TEXT).end();
        let hook = Hook::of_gateway(name, nobody_there());
        hook.write(&secrets, "unlike a configuration\n", 0o600, NOBODY);
        let broken = hook.start(TEXT).end();
        for ended in [&unreadable, &missing, &broken] {
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{name}: {ended:?}");
            assert!(ended.stderr.contains(&secrets), "{name}: {ended:?}");
        }
        for ended in [unreadable, missing] {
            assert!(
                ended
                    .stderr
                    .contains(&format!("copy {secrets}.example there, owner root, group _twofa, mode 0640"))
            );
        }
    }
}

/// Whoever writes http: into the sample by mistake sends nothing in clear.
#[test]
fn the_samples_refuse_plain_connections() {
    for name in WEB.into_iter().chain(["mail-smtp"]) {
        let hook = Hook::of_gateway(name, nobody_there());
        let secrets = format!("{name}.curl");
        let plain = hook.read(&secrets);
        let protocol = if name == "mail-smtp" { "smtp" } else { "http" };
        let strict = plain.replace(&format!("\"={protocol}\""), &format!("\"={protocol}s\""));
        assert_ne!(plain, strict);
        hook.write(&secrets, &strict, 0o600, NOBODY);
        let ended = hook.start(TEXT).end();
        assert_eq!(ended.code, Some(78), "{name}: {ended:?}");
        assert!(ended.stderr.contains("curl: (1)"), "{name}: {ended:?}");
    }
}

#[test]
fn a_curlrc_changes_nothing() {
    for name in WEB {
        let gateway = Gateway::start();
        gateway.answer(200, "");
        let mut hook = Hook::of_gateway(name, gateway.address);
        hook.write(".curlrc", "header = \"X-Curlrc: yes\"\n", 0o644, NOBODY);
        hook.extra.push(("HOME", hook.path("")));
        hook.start(TEXT).end().expect(0, "");
        assert_eq!(gateway.request().header("x-curlrc"), None, "{name}");
    }
}

/// Not only while the gateway is looked at: every program that a hook starts is seen, however short it runs.
#[test]
fn no_program_gets_code_or_secret_as_argument_or_environment() {
    for name in HOOKS {
        let gateway = Gateway::start();
        let mail_server = MailServer::start();
        gateway.answer(200, "{\"sid\": \"1\", \"id\": \"1\"}");
        mail_server.accept();
        let mail = name.starts_with("mail");
        let mut hook = Hook::any(name, if mail { mail_server.address } else { gateway.address });
        hook.write("trace", "", 0o666, NOBODY);
        let trace = hook.path("trace");
        hook.under = ["strace", "-f", "-qq", "-v", "-s", "65535", "-e", "trace=execve", "-o", &trace]
            .map(str::to_owned)
            .into();
        let ended = hook.start(TEXT).end();
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        let trace = hook.read("trace");
        assert!(trace.contains(ID) && trace.matches("execve").count() > 2, "{name}: {trace}");
        assert!(!trace.contains(CODE) && !trace.contains(SECRET), "{name}: {trace}");
        // These two have no other way to name whom it is for.
        let named = ["sms-gammu", "mail-sendmail"].contains(&name);
        let arguments =
            trace.lines().filter_map(|line| Some(line.split_once(", [")?.1.split_once("], [")?.0));
        let to = hook.to.trim_start_matches('+').to_owned();
        assert!(named || arguments.clone().all(|arguments| !arguments.contains(&to)), "{name}: {trace}");
        assert!(arguments.count() > 2, "{name}: {trace}");
    }
    assert!(!Path::new("/tmp/twofa-hook-was-here").exists());
}

#[test]
fn gammu_gets_text_and_number() {
    let hook = Hook::of_gammu();
    hook.start(TEXT).end().expect(0, "OUTC20260101_000000_00_+_sms0.smsbackup\n");
    let config = hook.path("gammu-smsdrc");
    assert_eq!(hook.read("arguments"), format!("-c\n{config}\nTEXT\n{NUMBER}\n-autolen\n1000\n"));
    assert_eq!(hook.read("text"), TEXT);
}

/// The real one, where it is installed. Not a package of tests/prepare: it brings a daemon that starts at once.
#[test]
fn real_gammu_gets_text_and_number() {
    let path = env::var("PATH").unwrap();
    let Some(programs) = path.split(':').find(|folder| Path::new(folder).join("gammu-smsd-inject").exists())
    else {
        eprintln!("gammu-smsd is not installed: only what stands for it was tested");
        return;
    };
    let long = format!("{TEXT} {}", "ż".repeat(200));
    for text in ["Your code: 739104826155", TEXT, &long] {
        let mut hook = Hook::of_gammu();
        hook.make_folder("outbox", 0o700);
        let config = format!(
            "[gammu]\nport = /dev/null\nconnection = at\n[smsd]\nservice = files\noutboxpath = {}/\n",
            hook.path("outbox")
        );
        hook.write("gammu-smsdrc", &config, 0o644, 0);
        hook.extra = vec![("PATH", format!("{programs}:/usr/bin:/bin"))];
        let ended = hook.start(text).end();
        let queued = names(&hook.folder.0.join("outbox"));
        assert_eq!(queued.len(), 1, "{ended:?}");
        assert_eq!(ended.stdout, format!("{}\n", queued[0].replace(NUMBER, "+")), "{ended:?}");
        assert_eq!(ended.stderr, "", "{ended:?}");
        let message = hook.read(&format!("outbox/{}", queued[0]));
        assert!(message.contains(&format!("Number = \"{NUMBER}\"")), "{message}");
        assert_eq!(gammus_text(&message), text, "{message}");
        let unicode = message.contains("Coding = Unicode_No_Compression");
        assert_eq!(unicode, !text.is_ascii(), "{message}");
    }
}

#[test]
fn gammu_that_is_not_set_up() {
    let hook = Hook::of_gammu();
    fs::remove_file(hook.path("gammu-smsdrc")).unwrap();
    hook.start(TEXT).end().expect_refusal(78, "install gammu-smsd");

    let mut hook = Hook::of_gammu();
    hook.extra.clear();
    if !Path::new("/usr/bin/gammu-smsd-inject").exists() {
        hook.start(TEXT).end().expect_refusal(78, "install the package gammu-smsd");
    }

    let answers = [
        ("exit 2", 78, "cannot use"),
        ("echo \"to $4\" >&2; exit 3", 1, "write the queue"),
        ("exec sleep 60", 75, "too long"),
    ];
    for (answer, code, shown) in answers {
        let hook = Hook::of_gammu();
        hook.write("bin/gammu-smsd-inject", &format!("#!/bin/sh\n{answer}\n"), 0o755, 0);
        let ended = hook.start(TEXT).end();
        assert!(ended.took < Duration::from_secs(10), "{ended:?}");
        ended.expect_refusal(code, shown);
        assert!(!ended.stderr.contains(NUMBER), "{ended:?}");
    }
}

#[test]
fn smstools_finds_the_whole_message_in_its_queue() {
    let hook = Hook::of_smstools();
    let queue = hook.folder.0.join("outgoing");
    let mut running = hook.start("");
    // Half a message: the text is still on its way.
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(&TEXT.as_bytes()[..40]).unwrap();
    wait_for("half a message", || names(&queue) == [format!(".twofa-{ID}")]);
    stdin.write_all(&TEXT.as_bytes()[40..]).unwrap();
    drop(stdin);
    running.end().expect(0, &format!("twofa-{ID}\n"));
    assert_eq!(names(&queue), [format!("twofa-{ID}")]);
    let message = format!("outgoing/twofa-{ID}");
    assert_eq!(hook.read(&message), format!("To: {}\nAlphabet: UTF-8\n\n{TEXT}", &NUMBER[1..]));
    let message = fs::metadata(hook.path(&message)).unwrap();
    // smsd's group, from the queue's set-group-id bit.
    assert_eq!((message.mode() & 0o777, message.uid(), message.gid()), (0o660, NOBODY, DAEMON));
}

#[test]
fn smstools_that_is_not_set_up() {
    let hook = Hook::of_smstools();
    chown(hook.path("outgoing"), Some(0), None).unwrap();
    hook.start(TEXT).end().expect_refusal(78, "setfacl -m u:_twofa:rwx");

    // Somebody else's file, or a link to one, is never written.
    let hook = Hook::of_smstools();
    let queue = hook.folder.0.join("outgoing");
    hook.write("victim", "old", 0o666, NOBODY);
    symlink(hook.path("victim"), queue.join(format!(".twofa-{ID}"))).unwrap();
    hook.start(TEXT).end().expect_refusal(75, "cannot put the message");
    assert_eq!(hook.read("victim"), "old");
    assert_eq!(names(&queue), Vec::<String>::new());
}

/// The product checks numbers; a hook does not make an option or a header out of one that was not checked.
#[test]
fn what_is_no_number_goes_nowhere() {
    for to in
        ["", "+", "-c/tmp/x", "--help", "+1;id", "+1\nPriority: HIGH", "+48 600", "$(id)", "@/etc/passwd"]
    {
        for mut hook in [Hook::of_smstools(), Hook::of_gammu()] {
            hook.to = to.to_owned();
            hook.start(TEXT).end().expect_refusal(65, "not a phone number");
        }
    }
    for to in ["@/etc/passwd", "-K/etc/passwd", "a=b&To=+1", "\"},{"] {
        for name in WEB {
            let gateway = Gateway::start();
            gateway.answer(200, "");
            let mut hook = Hook::of_gateway(name, gateway.address);
            hook.to = to.to_owned();
            if name != "sms-json" {
                hook.start(TEXT).end().expect_refusal(65, "not a phone number");
                continue;
            }
            hook.start(TEXT).end().expect(0, "");
            let seen = gateway.request().json().into_iter().find(|field| field.0 == "to").unwrap().1;
            assert_eq!(seen, to, "{name}");
        }
    }
}

#[test]
fn mail_arrives_whole_at_exactly_its_addresses() {
    let addresses = [
        vec!["alice@example.org"],
        vec!["alice@example.org", "bob+login@mail.example.org", "o'hara@example.org"],
        // The last one is also a pattern that fits /tmp.
        vec!["-oQ/tmp/twofa@example.org", "t?p"],
    ];
    for name in ["mail-sendmail", "mail-smtp"] {
        for to in &addresses {
            let server = MailServer::start();
            let mut hook = Hook::any(name, server.address);
            hook.to = to.join(", ");
            let running = hook.start(TEXT);
            let mail = server.mail();
            assert_nowhere_in_proc(&[CODE, SECRET]);
            server.accept();
            running.end().expect(0, &format!("{ID}@host.example\n"));

            assert_eq!(mail.to, *to, "{name}");
            assert_eq!(mail.from, "login@example.org", "{name}");
            assert_eq!(mail.body, format!("{TEXT}\n"), "{name}");
            let expected = [
                ("From", "login@example.org"),
                ("To", &to.join(", ")),
                ("Subject", "login code for host.example"),
                ("Message-ID", &format!("<{ID}@host.example>")),
                ("Auto-Submitted", "auto-generated"),
                ("MIME-Version", "1.0"),
                ("Content-Type", "text/plain; charset=UTF-8"),
                ("Content-Transfer-Encoding", "8bit"),
            ];
            for (header, value) in expected {
                assert_eq!(mail.headers(header), [value], "{name}: {header}: {mail:?}");
            }
            assert!(mail.headers("").is_empty(), "{name}: {mail:?}");
            assert_is_now(mail.headers("Date")[0]);
            let login = (name == "mail-smtp").then_some(SECRET);
            let seen = mail.login.map(|login| base64_decoded(&login));
            assert_eq!(seen, login.map(|secret| format!("\0twofa\0{secret}")), "{name}");
        }
    }
}

#[test]
fn a_notice_is_no_login_code() {
    for name in ["mail-sendmail", "mail-smtp"] {
        let server = MailServer::start();
        let mut hook = Hook::any(name, server.address);
        hook.extra.push(("TWOFA_KIND", "notice".into()));
        let running = hook.start(TEXT);
        let mail = server.mail();
        server.accept();
        running.end().expect(0, &format!("{ID}@host.example\n"));
        assert_eq!(mail.headers("Subject"), ["account notice for host.example"], "{name}");
    }
}

#[test]
fn an_address_cannot_become_a_header() {
    for name in ["mail-sendmail", "mail-smtp"] {
        for to in ["a@b.example\nBcc: c@d.example", "a@b.example\r\nBcc: c@d.example", "a@b.example\n"] {
            let mut hook = Hook::any(name, nobody_there());
            hook.to = to.to_owned();
            hook.start(TEXT).end().expect_refusal(65, "one line");
        }
        let mut hook = Hook::any(name, nobody_there());
        hook.host = "host\nBcc: c@d.example".to_owned();
        hook.start(TEXT).end().expect_refusal(65, "one line");
    }
}

#[test]
fn a_mail_servers_refusal_says_what_to_do() {
    let cases = [
        ("RCPT", "550 5.1.1 no such user", 65),
        ("RCPT", "451 4.7.1 try again", 75),
        ("AUTH", "535 5.7.8 wrong password", 78),
    ];
    for (command, reply, code) in cases {
        let server = MailServer::refusing(command, reply);
        let ended = Hook::any("mail-smtp", server.address).start(TEXT).end();
        assert_eq!(ended.code, Some(code), "{command} {reply}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.contains(SECRET), "{ended:?}");
    }
    let of_sendmail = [(65, 65), (67, 65), (68, 65), (69, 75), (75, 75), (77, 78), (78, 78), (70, 1), (2, 1)];
    for (answer, code) in of_sendmail {
        let hook = Hook::any("mail-sendmail", nobody_there());
        hook.write("sendmail", &format!("#!/bin/sh\ncat >/dev/null\nexit {answer}\n"), 0o755, 0);
        let ended = hook.start(TEXT).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{answer}: {ended:?}");
    }
    // msmtp's own answers.
    Hook::any("mail-sendmail", nobody_there()).start(TEXT).end().expect_refusal(75, "cannot be reached");
    let hook = Hook::any("mail-sendmail", nobody_there());
    hook.write("msmtprc", "", 0o600, NOBODY);
    hook.start(TEXT).end().expect_refusal(78, "not set up");
    let hook = Hook::any("mail-sendmail", nobody_there());
    fs::remove_file(hook.path("sendmail")).unwrap();
    hook.start(TEXT).end().expect_refusal(78, "msmtp-mta");
    let hook = Hook::any("mail-sendmail", nobody_there());
    hook.write("sendmail", "#!/bin/sh\nexec sleep 60\n", 0o755, 0);
    let ended = hook.start(TEXT).end();
    assert!(ended.took < Duration::from_secs(10), "{ended:?}");
    ended.expect_refusal(75, "too long");
}

impl Hook {
    /// Any hook, ready to send to whatever stands for its gateway.
    fn any(name: &'static str, gateway: SocketAddr) -> Self {
        match name {
            "sms-gammu" => Self::of_gammu(),
            "sms-smstools" => Self::of_smstools(),
            "mail-sendmail" => Self::of_msmtp(gateway),
            _ => Self::of_gateway(name, gateway),
        }
    }

    /// A hook of curl's, with the sample of its secrets filled in.
    fn of_gateway(name: &'static str, gateway: SocketAddr) -> Self {
        let mut hook = Self::new(name, &[(&format!("/etc/twofa/{name}.curl"), &format!("{name}.curl"))]);
        let mut secrets = shipped(&format!("{name}.curl.example"));
        let filled_in = [
            ("\"=https\"", "\"=http\""),
            ("\"=smtps\"", "\"=smtp\""),
            ("https://api.twilio.com", &format!("http://{gateway}")),
            ("https://gateway.example", &format!("http://{gateway}")),
            ("https://kannel.example:13013", &format!("http://{gateway}")),
            ("smtps://mail.example.org", &format!("smtp://{gateway}")),
            ("ACCOUNT-SID", "AC7"),
            ("KANNEL-USER", "twofa"),
            ("MAIL-USER", "twofa"),
            ("AUTH-TOKEN", SECRET),
            ("API-TOKEN", SECRET),
            ("KANNEL-PASSWORD", SECRET),
            ("MAIL-PASSWORD", SECRET),
        ];
        for (sample, value) in filled_in {
            secrets = secrets.replace(sample, value);
        }
        assert!(secrets.contains(&gateway.to_string()) && secrets.contains(SECRET), "{secrets}");
        hook.write(&format!("{name}.curl"), &secrets, 0o600, NOBODY);
        if name == "mail-smtp" {
            hook.to = "alice@example.org".to_owned();
        }
        hook
    }

    /// With a stand-in for `gammu-smsd-inject` that keeps what it gets and answers as the real one.
    fn of_gammu() -> Self {
        let mut hook = Self::new("sms-gammu", &[("/etc/gammu-smsdrc", "gammu-smsdrc")]);
        hook.write("gammu-smsdrc", "", 0o644, 0);
        hook.make_folder("bin", 0o755);
        for kept in ["arguments", "text"] {
            hook.write(kept, "", 0o666, 0);
        }
        let answer = format!(
            "Written message with ID /var/spool/gammu/outbox/OUTC20260101_000000_00_{NUMBER}_sms0.smsbackup"
        );
        let keep = hook.path("");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >{keep}arguments\ncat >{keep}text\necho '600 / 0'\necho '{answer}'\n"
        );
        hook.write("bin/gammu-smsd-inject", &script, 0o755, 0);
        hook.extra = vec![("PATH", format!("{}:/usr/bin:/bin", hook.path("bin")))];
        hook
    }

    /// With a queue of smsd's group that the hook's user may write.
    fn of_smstools() -> Self {
        let hook = Self::new("sms-smstools", &[("/var/spool/sms/outgoing", "outgoing")]);
        let queue = hook.make_folder("outgoing", 0o700);
        chown(&queue, None, Some(DAEMON)).unwrap();
        fs::set_permissions(&queue, fs::Permissions::from_mode(0o2770)).unwrap();
        hook
    }

    /// With msmtp as the machine's sendmail.
    fn of_msmtp(server: SocketAddr) -> Self {
        let mut hook = Self::new("mail-sendmail", &[("/usr/sbin/sendmail", "sendmail")]);
        let (host, port) = (server.ip(), server.port());
        let config = format!("account default\nhost {host}\nport {port}\nfrom login@example.org\n");
        hook.write("msmtprc", &config, 0o600, NOBODY);
        let script = format!("#!/bin/sh\nexec msmtp -C {} \"$@\"\n", hook.path("msmtprc"));
        hook.write("sendmail", &script, 0o755, 0);
        hook.to = "alice@example.org".to_owned();
        hook
    }

    fn new(name: &'static str, paths: &[(&str, &str)]) -> Self {
        let folder = Rc::new(Folder::new());
        let mut script = shipped(name);
        for (shipped, own) in paths {
            assert!(script.contains(&format!("={shipped}\n")), "{name} does not name {shipped}");
            script =
                script.replace(&format!("={shipped}\n"), &format!("={}\n", folder.0.join(own).display()));
        }
        let (to, host) = (NUMBER.to_owned(), "host.example".to_owned());
        let hook = Self { name, folder, to, host, extra: Vec::new(), under: Vec::new() };
        hook.write(name, &script, 0o755, 0);
        hook
    }

    fn path(&self, name: &str) -> String {
        self.folder.0.join(name).into_os_string().into_string().unwrap()
    }

    fn write(&self, name: &str, text: &str, mode: u32, owner: u32) {
        let path = self.folder.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.0.join(name)).unwrap()
    }

    /// Makes a folder of the hook's user.
    fn make_folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.folder.0.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        path
    }

    /// Starts it as the product does. An empty `text` leaves stdin open.
    fn start(&self, text: &str) -> Running {
        let user = ["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string()].map(str::to_owned);
        let mut command = Command::new("setsid");
        command.args(&self.under).arg("setpriv").args(user).args(["--clear-groups", "--no-new-privs", "--"]);
        // The shell sets what setpriv cannot, then is the hook.
        command.args(["sh", "-c", "umask 077; exec \"$0\""]).arg(self.folder.0.join(self.name));
        let variables = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TWOFA_PROTOCOL", "1"),
            ("TWOFA_TO", &self.to),
            ("TWOFA_USER", "alice"),
            ("TWOFA_HOST", &self.host),
            ("TWOFA_KIND", "login"),
            ("TWOFA_ID", ID),
            ("TWOFA_TIMEOUT", "10"),
        ];
        command.env_clear().envs(variables).envs(self.extra.clone()).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setsid and setpriv (package util-linux)");
        if !text.is_empty() {
            // A hook that refuses may be gone already.
            let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        }
        Running { child, began: Instant::now(), _folder: Rc::clone(&self.folder) }
    }
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Not below the tester's home, which the hooks' user may not enter.
        let path = env::temp_dir().join(format!("twofa-hooks-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Running {
    fn end(mut self) -> Ended {
        let mut status = None;
        wait_for("the end of the hook", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let took = self.began.elapsed();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { code: status.and_then(|status| status.code()), stdout, stderr, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    fn expect(&self, code: i32, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), stdout), "{self:?}");
    }

    #[track_caller]
    fn expect_refusal(&self, code: i32, shown: &str) {
        self.expect(code, "");
        assert!(self.stderr.contains(shown), "{self:?}");
    }
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(SHIPPED).join(name)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} takes too long");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What every user of the machine may see of every process, and what its owner may see.
#[track_caller]
fn assert_nowhere_in_proc(words: &[&str]) {
    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let Ok(bytes) = fs::read(process.path().join(file)) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            seen += u32::from(text.contains(&format!("TWOFA_ID={ID}")));
            for word in words {
                assert!(!text.contains(word), "{}: {text}", process.path().join(file).display());
            }
        }
    }
    assert!(seen > 0, "the hook is not among the processes");
}

fn base64_decoded(text: &str) -> String {
    let mut base64 = Command::new("base64");
    let mut child = base64
        .arg("--decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64 (coreutils)");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The date of a mail, as RFC 5322 writes it.
#[track_caller]
fn assert_is_now(date: &str) {
    assert!(date.len() == 31 && date.as_bytes()[3] == b',', "{date}");
    let output = Command::new("date").args(["+%s", "--date", date]).output().unwrap();
    let then: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(then) < 60, "{date}");
}

/// The text of a message as gammu queues it: lines of UTF-16 in hexadecimal digits.
fn gammus_text(message: &str) -> String {
    let lines = message.lines().filter_map(|line| line.strip_prefix("Text")?.split_once(" = "));
    let digits: String = lines.map(|line| line.1).collect();
    let units = digits
        .as_bytes()
        .chunks(4)
        .map(|unit| u16::from_str_radix(std::str::from_utf8(unit).unwrap(), 16).unwrap());
    String::from_utf16(&units.collect::<Vec<_>>()).unwrap()
}
