use super::*;
use crate::doctor::pam::Service;
use std::path::Path;

const COMMON_AUTH: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n\
                           auth required pam_permit.so\n";
const UBUNTU_AUTH: &str = "auth [success=2 default=ignore] pam_unix.so nullok\n\
     auth [success=1 default=ignore] pam_sss.so use_first_pass\nauth requisite pam_deny.so\n\
     auth required pam_permit.so\nauth optional pam_cap.so\n";
const COMMON_ACCOUNT: &str = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n\
                              account requisite pam_deny.so\naccount required pam_permit.so\n";
/// With sssd: local users never reach what is behind it.
const UBUNTU_ACCOUNT: &str = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n\
     account requisite pam_deny.so\naccount required pam_permit.so\naccount sufficient pam_localuser.so\n\
     account [default=bad success=ok user_unknown=ignore] pam_sss.so\n";
/// What authselect makes for sssd on Fedora and RHEL, as system-auth and password-auth.
const FEDORA: &str = "auth required pam_env.so\nauth required pam_faildelay.so delay=2000000\n\
     auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
     auth [default=1 ignore=ignore success=ok] pam_localuser.so\nauth sufficient pam_unix.so nullok\n\
     auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
     auth sufficient pam_sss.so forward_pass\nauth required pam_deny.so\n\
     account required pam_unix.so\naccount sufficient pam_localuser.so\n\
     account sufficient pam_usertype.so issystem\n\
     account [default=bad success=ok user_unknown=ignore] pam_sss.so\naccount required pam_permit.so\n";

const HERE: [&str; 18] = [
    "pam_exec.so",
    "pam_unix.so",
    "pam_sss.so",
    "pam_twofa.so",
    "pam_deny.so",
    "pam_permit.so",
    "pam_cap.so",
    "pam_env.so",
    "pam_faildelay.so",
    "pam_usertype.so",
    "pam_localuser.so",
    "pam_nologin.so",
    "pam_rootok.so",
    "pam_succeed_if.so",
    "pam_faillock.so",
    "pam_strange.so",
    "pam_sepermit.so",
    "pam_group.so",
];

/// All that is to be said of a stack, in few words; places are `file:line`.
fn told(stack: &str) -> String {
    let files = [
        ("sshd", stack),
        ("common-auth", COMMON_AUTH),
        ("ubuntu-auth", UBUNTU_AUTH),
        ("common-account", COMMON_ACCOUNT),
        ("ubuntu-account", UBUNTU_ACCOUNT),
        ("password-auth", FEDORA),
        ("twofa", "auth requisite pam_unix.so\nauth required pam_twofa.so\n"),
    ];
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new("/etc/pam.d").join(name) == path);
        found.map(|(_, text)| (*text).to_string())
    };
    let service = Service::load(&read, true, "sshd");
    let exists = |module: &str| HERE.contains(&module);
    let auth = auth(&service.auth, &exists);
    let account = account(&service.account, &exists);
    let place = |lines: &[Line], at: &Option<usize>| match at {
        None => "?".to_string(),
        Some(at) => lines[*at].place().replace("/etc/pam.d/", ""),
    };
    let a = |at: &Option<usize>| place(&service.auth, at);
    let shut = |locked: &Locked| format!("{}@{}<{}", a(&locked.who), a(&locked.at), a(&locked.from));
    let mut said: Vec<String> = Vec::new();
    said.extend(auth.skipped.iter().map(|at| format!("skip {}", a(at))));
    said.extend(auth.skipped_by_key.iter().map(|at| format!("keyskip {}", a(at))));
    said.extend(auth.ignored.iter().map(|at| format!("ignored {}", a(&Some(*at)))));
    said.extend(auth.bare.iter().map(|at| format!("bare {}", a(&Some(*at)))));
    said.extend(auth.early.iter().map(|at| format!("early {}", a(&Some(*at)))));
    said.extend(auth.twice.then(|| "twice".into()));
    said.extend(auth.locked.iter().map(|locked| format!("locked {}", shut(locked))));
    said.extend(auth.locked_by_key.iter().map(|locked| format!("keylocked {}", shut(locked))));
    said.extend(auth.key_and_password.then(|| "key+password".into()));
    said.extend(account.open.iter().map(|at| format!("open {}", place(&service.account, at))));
    said.extend(account.locked.iter().map(|locked| {
        format!("shut {}<{}", place(&service.account, &locked.at), place(&service.account, &locked.from))
    }));
    assert!(!auth.endless && !account.endless, "{stack}");
    if said.is_empty() { "sound".into() } else { said.join(", ") }
}

/// Stacks of the auth phase, with an account phase that is in order.
#[test]
fn auth_stacks_are_understood() {
    let table = [
        // As recommended: plain, on Debian, on Ubuntu with sssd, and with keys in place of the password.
        ("auth requisite pam_unix.so nodelay\nauth required pam_twofa.so", "sound"),
        (
            "auth [success=1 default=ignore] pam_twofa.so pubkey_is_first_factor\nauth requisite pam_unix.so\n\
             auth required pam_twofa.so",
            "sound",
        ),
        ("@include common-auth\nauth required pam_twofa.so", "sound"),
        (
            "auth [success=3 default=ignore] pam_twofa.so pubkey_is_first_factor\n@include common-auth\n\
             auth required pam_twofa.so",
            "sound",
        ),
        ("@include ubuntu-auth\nauth required pam_twofa.so", "sound"),
        (
            "auth [success=5 default=ignore] pam_twofa.so pubkey_is_first_factor\n@include ubuntu-auth\n\
             auth required pam_twofa.so",
            "sound",
        ),
        (
            "auth optional pam_faildelay.so\nauth requisite pam_nologin.so\n@include common-auth\n\
          auth required pam_twofa.so\nauth optional pam_group.so",
            "sound",
        ),
        ("auth sufficient pam_rootok.so\n@include common-auth\nauth required pam_twofa.so", "sound"),
        // What pam-auth-update would write.
        (
            "auth [success=2 default=ignore] pam_twofa.so pubkey_is_first_factor\n\
             auth [success=1 default=ignore] pam_unix.so nullok try_first_pass\nauth requisite pam_deny.so\n\
             auth required pam_permit.so\nauth [success=ok ignore=ignore default=die] pam_twofa.so",
            "sound",
        ),
        // Without the profile of pam_unix: ours is the first, and nobody is told to ask.
        (
            "auth [success=2 default=ignore] pam_twofa.so pubkey_is_first_factor\n\
             auth [success=1 default=ignore] pam_sss.so use_first_pass\nauth requisite pam_deny.so\n\
             auth required pam_permit.so\nauth [success=ok ignore=ignore default=die] pam_twofa.so",
            "locked ?@sshd:2<?",
        ),
        (
            "auth optional pam_strange.so\nauth requisite pam_sss.so use_first_pass\nauth required pam_twofa.so",
            "sound",
        ),
        (
            "auth optional pam_exec.so expose_authtok /x\nauth requisite pam_sss.so use_first_pass\n\
             auth required pam_twofa.so",
            "sound",
        ),
        ("auth requisite pam_unix.so\n-auth required pam_twofa.so", "sound"),
        ("auth requisite pam_unix.so\nauth requisite pam_twofa.so\nauth optional pam_strange.so", "sound"),
        ("auth requisite pam_strange.so\nauth required pam_twofa.so", "sound"),
        ("auth substack twofa", "sound"),
        ("auth include twofa", "sound"),
        (
            "auth sufficient pam_env.so conf=x\nauth requisite pam_unix.so\n\
            auth required pam_twofa.so",
            "skip sshd:1, keyskip sshd:1",
        ),
        // Fedora: a wrong password's login goes on until the end, so it is asked for a code too.
        ("auth substack password-auth\nauth required pam_twofa.so", "early sshd:2"),
        // The same by include: whoever the password module is content with is done.
        (
            "auth include password-auth\nauth required pam_twofa.so",
            "skip password-auth:5, skip password-auth:7, keyskip password-auth:5, keyskip password-auth:7, \
             early sshd:2",
        ),
        (
            "auth substack password-auth\nauth requisite pam_deny.so\nauth required pam_twofa.so",
            "locked password-auth:5@sshd:2<?, locked password-auth:7@sshd:2<?, keylocked ?@sshd:2<?",
        ),
        // Led past.
        ("auth requisite pam_unix.so", "skip ?, keyskip ?"),
        (
            "auth sufficient pam_unix.so\nauth required pam_twofa.so",
            "skip sshd:1, keyskip sshd:1, bare sshd:2, early sshd:2",
        ),
        (
            "auth [success=done default=die] pam_unix.so\nauth required pam_twofa.so",
            "skip sshd:1, keyskip sshd:1",
        ),
        (
            "auth [success=2 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_twofa.so\n\
             auth required pam_permit.so",
            "skip sshd:1, keyskip sshd:1",
        ),
        (
            "auth [success=4 default=ignore] pam_twofa.so pubkey_is_first_factor\n@include common-auth\n\
             auth required pam_twofa.so\nauth required pam_permit.so",
            "keyskip sshd:1",
        ),
        (
            "@include common-auth\nauth [success=1 default=ignore] pam_succeed_if.so user ingroup robots\n\
             auth required pam_twofa.so",
            "skip sshd:2, keyskip sshd:2",
        ),
        (
            "auth sufficient pam_twofa.so pubkey_is_first_factor\n@include common-auth\n\
            auth required pam_twofa.so",
            "keyskip sshd:1",
        ),
        // Asked for nothing: the answer does not count.
        ("auth requisite pam_unix.so\nauth optional pam_twofa.so", "ignored sshd:2"),
        ("auth requisite pam_unix.so\nauth sufficient pam_twofa.so", "ignored sshd:2"),
        ("auth requisite pam_unix.so\nauth [default=ignore] pam_twofa.so", "ignored sshd:2"),
        (
            "auth requisite pam_unix.so\n\
            auth [success=ok authinfo_unavail=ignore default=die] pam_twofa.so",
            "ignored sshd:2",
        ),
        (
            "auth requisite pam_unix.so\n\
            auth [success=ok maxtries=1 default=die] pam_twofa.so\n\
            auth required pam_permit.so\nauth required pam_permit.so",
            "ignored sshd:2",
        ),
        // `reset` forgets what was said before, the password too.
        (
            "auth requisite pam_unix.so\nauth required pam_twofa.so\nauth [success=reset default=bad] pam_permit.so\n\
          auth required pam_permit.so",
            "ignored sshd:2",
        ),
        ("auth requisite pam_unix.so\nauth requisite pam_twofa.so\nauth sufficient pam_permit.so", "sound"),
        ("auth requisite pam_unix.so\nauth required pam_twofa.so\nauth sufficient pam_permit.so", "sound"),
        // Order.
        ("auth required pam_twofa.so\nauth required pam_unix.so", "early sshd:1"),
        ("auth required pam_unix.so\nauth required pam_twofa.so", "early sshd:2"),
        ("auth required pam_twofa.so", "bare sshd:1, early sshd:1"),
        (
            "auth sufficient pam_twofa.so\nauth required pam_unix.so",
            "ignored sshd:1, bare sshd:1, early sshd:1",
        ),
        // A word misspelled: the line asks for a code, and that is all it takes.
        (
            "auth [success=1 default=ignore] pam_twofa.so pubkey_first_factor\nauth requisite pam_unix.so\n\
             auth required pam_permit.so",
            "ignored sshd:1, bare sshd:1, early sshd:1",
        ),
        ("auth requisite pam_unix.so\nauth required pam_twofa.so\nauth required pam_twofa.so", "twice"),
        ("auth include twofa\nauth required pam_twofa.so", "twice"),
        // Locked out.
        (
            "auth [success=1 default=ignore] pam_unix.so\nauth optional pam_cap.so\nauth requisite pam_deny.so\n\
             auth required pam_permit.so\nauth required pam_twofa.so",
            "locked sshd:1@sshd:3<sshd:1, keylocked ?@sshd:3<sshd:1",
        ),
        (
            "auth [success=1 default=ignore] pam_unix.so\nauth [success=1 default=ignore] pam_sss.so\n\
             auth requisite pam_deny.so\nauth required pam_permit.so\nauth required pam_twofa.so",
            "locked sshd:1@sshd:3<sshd:1",
        ),
        (
            "auth [success=1 default=ignore] pam_twofa.so pubkey_is_first_factor\n@include common-auth\n\
             auth required pam_twofa.so",
            "keylocked ?@common-auth:2<sshd:1",
        ),
        (
            "auth [success=9 default=ignore] pam_twofa.so pubkey_is_first_factor\n@include common-auth\n\
             auth required pam_twofa.so",
            "keylocked ?@sshd:1<sshd:1",
        ),
        (
            "auth [success=1 default=ignore] pam_twofa.so pubkey_is_first_factor\nauth optional pam_env.so\n\
             auth requisite pam_unix.so\nauth required pam_twofa.so",
            "key+password",
        ),
        (
            "auth required pam_twofa.so pubkey_is_first_factor\n\
            auth requisite pam_unix.so\nauth required pam_twofa.so",
            "locked ?@sshd:1<?, key+password",
        ),
        (
            "auth requisite pam_unix.so\nauth required pam_twofa.so conf=twofa.toml",
            "locked sshd:1@sshd:2<?, keylocked ?@sshd:2<?",
        ),
        (
            "auth requisite pam_unix.so\nauth required /opt/gone/pam_twofa.so",
            "locked sshd:1@sshd:2<?, keylocked ?@sshd:2<?",
        ),
        (
            "auth required pam_gone.so\nauth requisite pam_unix.so\nauth required pam_twofa.so",
            "locked ?@sshd:1<?, keylocked ?@sshd:1<?",
        ),
        ("-auth optional pam_gone.so\nauth requisite pam_unix.so\nauth required pam_twofa.so", "sound"),
        ("auth requisite pam_unix.so\nauth optional /opt/gone/pam_twofa.so", "ignored sshd:2"),
        (
            "auth requisite pam_unix.so\nauth requird pam_twofa.so",
            "locked sshd:1@sshd:2<?, keylocked ?@sshd:2<?",
        ),
        (
            "auth include nowhere\nauth requisite pam_unix.so\nauth required pam_twofa.so",
            "locked ?@sshd:1<?, keylocked ?@sshd:1<?",
        ),
        (
            "auth required pam_deny.so\nauth required pam_twofa.so",
            "early sshd:2, locked ?@sshd:1<?, keylocked ?@sshd:1<?",
        ),
    ];
    let mut wrong = Vec::new();
    for (stack, expected) in table {
        let whole = format!("{stack}\naccount required pam_twofa.so\naccount required pam_unix.so\n");
        if told(&whole) != expected {
            wrong.push(format!("{stack}\n  told:     {}\n  expected: {expected}", told(&whole)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

/// Stacks of the account phase, behind an auth phase that is in order.
#[test]
fn account_stacks_are_understood() {
    let table = [
        ("account required pam_twofa.so\naccount required pam_unix.so", "sound"),
        (
            "account required pam_nologin.so\naccount required pam_twofa.so\n\
            @include common-account",
            "sound",
        ),
        ("account required pam_twofa.so\n@include ubuntu-account", "sound"),
        ("@include common-account\naccount required pam_twofa.so", "sound"),
        ("account required pam_twofa.so\naccount include password-auth", "sound"),
        ("account substack password-auth\naccount required pam_twofa.so", "sound"),
        ("account required pam_unix.so", "open ?"),
        ("@include ubuntu-account\naccount required pam_twofa.so", "open ubuntu-account:4"),
        (
            "account include password-auth\naccount required pam_twofa.so",
            "open password-auth:10, open password-auth:11",
        ),
        ("account sufficient pam_unix.so\naccount required pam_twofa.so", "open sshd:1"),
        ("account required pam_unix.so\naccount optional pam_twofa.so", "open sshd:2"),
        ("account required pam_unix.so\naccount [default=ignore] pam_twofa.so", "open sshd:2"),
        (
            "account [success=1 default=ignore] pam_localuser.so\naccount required pam_twofa.so\n\
             account required pam_unix.so",
            "open sshd:1",
        ),
        ("account required pam_twofa.so\naccount required pam_deny.so", "shut sshd:2<?"),
        ("account required pam_twofa.so\naccount required pam_gone.so", "shut sshd:2<?"),
        (
            "account required pam_twofa.so\naccount [success=1 default=ignore] pam_permit.so\n\
             account required pam_unix.so\naccount required pam_deny.so",
            "shut sshd:4<sshd:2",
        ),
        (
            "account required pam_twofa.so\n\
            account [success=2 default=ignore] pam_permit.so\naccount required pam_unix.so",
            "shut sshd:2<sshd:2",
        ),
    ];
    let mut wrong = Vec::new();
    for (stack, expected) in table {
        let whole = format!("{stack}\nauth requisite pam_unix.so\nauth required pam_twofa.so\n");
        if told(&whole) != expected {
            wrong.push(format!("{stack}\n  told:     {}\n  expected: {expected}", told(&whole)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn a_stack_of_many_ways_is_walked_all_the_same() {
    let many = "auth optional pam_strange.so\n".repeat(60);
    let stack = format!(
        "{many}auth requisite pam_unix.so\nauth required pam_twofa.so\n\
            account required pam_twofa.so\n"
    );
    assert_eq!(told(&stack), "sound");
}
