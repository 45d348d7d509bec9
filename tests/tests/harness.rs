//! The harness itself, without the product: when these fail, look here first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a test may panic, wait and read the clock

use std::time::Duration;

use twofa_tests::gateway::Gateway;
use twofa_tests::world::World;

#[test]
fn password_login_by_ssh() {
    let stack = "auth required pam_unix.so nodelay\naccount required pam_unix.so";
    let world = World::bare().user("alice", "pw-alice").stack("sshd", stack).start_sshd("");
    let mut ssh = world.ssh("alice").spawn("echo logged-in-$USER");
    ssh.expect("assword: ");
    ssh.send_line("pw-alice");
    ssh.expect("logged-in-alice");
    ssh.expect_end(0);
    world.log.expect("Accepted keyboard-interactive/pam for alice from 127.0.0.1");
    world.expect_no_connection(Duration::from_secs(1));
}

#[test]
fn console_login_and_su() {
    let world = World::bare().user("alice", "pw-alice").user("bob", "pw-bob");
    let mut console = world.console();
    console.expect("login: ");
    console.send_line("alice");
    console.expect("assword: ");
    console.send_line("pw-alice");
    console.expect("$ ");
    console.send_line("tty; exit");
    console.expect("/dev/pts/0");
    console.end();

    let mut su = world.terminal_of("bob", &["su", "-", "alice", "-c", "id -un"]);
    su.expect("assword: ");
    su.send_line("pw-alice");
    su.expect("alice\n");
    su.expect_end(0);
}

#[test]
fn a_world_is_private_and_leaves_nothing() {
    let world = World::bare();
    assert_eq!(world.run(&["hostname"]).ok(), "twofa-test\n");
    assert_eq!(world.run(&["sh", "-c", "ls /sys/class/net 2>/dev/null; ip -o link | wc -l"]).ok(), "1\n");
    world.run(&["sh", "-c", "setsid sleep 1000 & exit"]).ok();
    let sleeping =
        |world: &World| world.processes().iter().any(|process| process.command.contains("sleep 1000"));
    // The shell that was waited for is not the one that becomes `sleep`.
    let began = std::time::Instant::now();
    while !sleeping(&world) {
        assert!(began.elapsed() < twofa_tests::PATIENCE, "{:?}", world.processes());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let path = world.path("/etc/passwd");
    assert!(path.exists());
    drop(world);
    assert!(!path.exists());
}

#[test]
fn a_test_can_listen_in_the_network_of_a_world() {
    let world = World::bare();
    let gateway = world.in_network(Gateway::start);
    gateway.answer(200, "here I am");
    let url = format!("http://{}/path", gateway.address);
    assert_eq!(world.run(&["curl", "-q", "-sS", &url]).ok(), "here I am");
    assert_eq!(gateway.request().path, "/path");
}
