//! SSH keys of security keys: whose word about them counts, and that a key is the whole key.

use crate::{AUTH_ERR, PERM_DENIED, SUCCESS};
use twofa_tests::driver::pam::Answer;
use twofa_tests::driver::plan::Plan;
use twofa_tests::driver::site;
use twofa_tests::driver::site::Site;

const KIND: &str = "sk-ssh-ed25519@openssh.com";
const CERTIFICATE: &str = "sk-ssh-ed25519-cert-v01@openssh.com";
const RECOVERY: &str = "Verification code (recovery code): ";

/// Root has an SSH key of a security key, and games has another one.
fn site() -> Site {
    let site = Site::new();
    site.write_policy(
        &site.policy().replace("\"app\"", "\"key\"").replace("\"sshd\"", "\"sshd\", \"login\""),
    );
    for (user, seed) in [("root", 1), ("games", 2)] {
        let file = site.path(user);
        site::write(&file, 0o600, format!("{KIND} {}\n", base64(&key(seed))).as_bytes());
        site.admin_ok(&["enroll", "ssh-key", user, file.to_str().unwrap()], "saved\n");
    }
    site
}

fn blob(fields: &[&[u8]]) -> Vec<u8> {
    let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
    fields.iter().flat_map(|field| [&length(field), *field].concat()).collect()
}

fn key(seed: u8) -> Vec<u8> {
    blob(&[KIND.as_bytes(), &[seed; 32], b"ssh:"])
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let number = (0..3).fold(0, |number, at| number << 8 | u32::from(*bytes.get(at).unwrap_or(&0)));
        let digit = |at: usize| char::from(DIGITS[(number >> (18 - 6 * at)) as usize & 63]);
        (0..4).map(|at| if at <= bytes.len() { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn line(kind: &str, blob: &[u8]) -> String {
    format!("publickey {kind} {}\n", base64(blob))
}

/// What came of a login for which sshd, or somebody else, says this.
fn codes(site: &Site, plan: Plan, info: impl AsRef<[u8]>) -> (i32, i32, Vec<String>) {
    let info = [b"SSH_AUTH_INFO_0=", info.as_ref()].concat();
    let plan = plan.with("env", info).answer(&Answer::Null).authenticate().call("account");
    let seen = site.run(&plan).done();
    (seen.code("authenticate"), seen.code("account"), seen.prompts())
}

fn in_without_a_prompt() -> (i32, i32, Vec<String>) {
    (SUCCESS, SUCCESS, Vec::new())
}

fn asked_and_refused() -> (i32, i32, Vec<String>) {
    (AUTH_ERR, PERM_DENIED, vec![RECOVERY.into()])
}

#[test]
fn a_key_of_the_user_that_sshd_accepted() {
    let site = site();
    let own = line(KIND, &key(1));
    let rest = [7; 300];
    let certificate = [blob(&[CERTIFICATE.as_bytes(), &[9; 32], &[1; 32], b"ssh:"]), rest.to_vec()].concat();
    let many = line("ssh-ed25519", &blob(&[b"ssh-ed25519", &[3; 32]])).repeat(100);
    for info in [
        own.clone(),
        own.trim_end().into(),
        format!("{many}keyboard-interactive/pam\nnonsense\n\n{own}"),
        line(KIND, &key(2)) + &own,
        line(CERTIFICATE, &certificate),
    ] {
        let seen = codes(&site, site.plan_from("root", "203.0.113.5"), &info);
        assert_eq!(seen, in_without_a_prompt(), "{info:.200}");
    }
    site.log.expect("accepted ssh-key for root from 203.0.113.5 label=ssh-key key=SHA256:");
    let seen = codes(&site, site.plan_from("games", "203.0.113.5"), line(KIND, &key(2)));
    assert_eq!(seen, in_without_a_prompt());
}

#[test]
fn whatever_is_not_the_whole_key_is_none() {
    let site = site();
    let own = key(1);
    let encoded = base64(&own);
    let with = |bytes: &[u8]| line(KIND, &[&own[..], bytes].concat());
    let application = |name: &[u8]| line(KIND, &blob(&[KIND.as_bytes(), &[1; 32], name]));
    let mut nonsense: Vec<Vec<u8>> = [
        String::new(),
        "publickey".into(),
        "keyboard-interactive/pam\n".into(),
        // Somebody else's, and the ordinary key with the same point.
        line(KIND, &key(2)),
        line("ssh-ed25519", &blob(&[b"ssh-ed25519", &[1; 32]])),
        line("ssh-ed25519", &own),
        line(CERTIFICATE, &own),
        line(KIND, &blob(&[CERTIFICATE.as_bytes(), &[9; 32], &[1; 32], b"ssh:"])),
        // The key as a certificate's nonce, authority or principal.
        line(CERTIFICATE, &blob(&[CERTIFICATE.as_bytes(), &own, &[2; 32], b"ssh:", &own, b"root"])),
        // More than the key.
        with(b"\0"),
        with(&[0; 4]),
        with(&own),
        with(&vec![0; 12 * 1024]),
        // Another application than the one that the key was made for.
        application(b""),
        application(b"ssh:\0"),
        application(b"ssh:x"),
        application(b"SSH:"),
        // Malformed text.
        format!("publickey {KIND} {encoded}="),
        format!("publickey {KIND} {encoded} comment"),
        format!("publickey {KIND}  {encoded}"),
        format!("publickey\t{KIND}\t{encoded}"),
        format!(" publickey {KIND} {encoded}"),
        format!("publickey {KIND} {encoded}\0"),
        format!("Publickey {KIND} {encoded}"),
        format!("hostbased {KIND} {encoded}"),
        format!("publickey {KIND}\n{encoded}\n"),
        format!("publickey {KIND} {}", encoded.to_lowercase()),
        format!("publickey {KIND} {}", &encoded[1..]),
        format!("publickey {KIND} !{encoded}"),
        format!("publickey {KIND} {}\u{200b}", encoded),
        format!("publickey sk-ecdsa-sha2-nistp256@openssh.com {encoded}"),
        // More than sshd ever says.
        "x".repeat(64 * 1024) + "\n" + &line(KIND, &own),
        line(KIND, &key(3)).repeat(64 * 1024 / 100) + &line(KIND, &own),
        "\n".repeat(64 * 1024) + &line(KIND, &own),
        line(KIND, &vec![0; 48 * 1024]),
    ]
    .map(String::into_bytes)
    .into();
    // A NUL ends a C string, and then the line is whole.
    nonsense.retain(|info| !info.contains(&0));
    nonsense.push([format!("publickey {KIND} ").as_bytes(), &[0xff, 0xfe], encoded.as_bytes()].concat());
    nonsense.extend((0..own.len()).step_by(7).map(|length| line(KIND, &own[..length]).into()));
    for info in nonsense {
        let seen = codes(&site, site.plan_from("root", "203.0.113.5"), &info);
        assert_eq!(seen, asked_and_refused(), "{:.200}", String::from_utf8_lossy(&info));
    }
    assert!(site.logged().iter().all(|line| !line.contains("accepted")));
}

#[test]
fn only_sshds_word_counts() {
    let site = site();
    let own = line(KIND, &key(1));
    site.write_service("login", &std::fs::read_to_string(site.path("pam.d/sshd")).unwrap());
    for service in [site::SERVICE, "login"] {
        let plan = site.plan("root").with("service", service);
        assert_eq!(codes(&site, plan, &own), asked_and_refused(), "{service}");
    }
    // Nor what else is in the environment of the process, or has another name.
    for name in ["SSH_AUTH_INFO_1", "SSH_USER_AUTH", "ssh_auth_info_0"] {
        let plan = site.plan_from("root", "203.0.113.5").with("env", format!("{name}={own}"));
        assert_eq!(codes(&site, plan, ""), asked_and_refused(), "{name}");
    }
    let plan = site.plan_from("root", "203.0.113.5").answer(&Answer::Null).authenticate();
    let seen = site.run_with(&plan, &[], &[("SSH_AUTH_INFO_0", &own)]).done();
    assert_eq!(seen.code("authenticate"), AUTH_ERR);
    // The account phase of a login that had nothing else: a key that shows up only now is too late.
    let plan = site.plan_from("root", "203.0.113.5").with("env", format!("SSH_AUTH_INFO_0={own}"));
    assert_eq!(site.run(&plan.call("account")).done().code("account"), PERM_DENIED);
}
