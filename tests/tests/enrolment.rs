//! Enrolment in the login itself.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

use twofa_tests::setup::{PASSWORD_AND_CODE, PASSWORD_PROMPT, POLICY};
use twofa_tests::totp::App;
use twofa_tests::world::World;

#[test]
fn an_app_is_set_up_in_the_login() {
    let policy = format!("{POLICY}[rollout]\ngrace_days = 14\n");
    let world = World::new()
        .user("alice", "pw-alice")
        .policy(&policy)
        .stack("sshd", PASSWORD_AND_CODE)
        .start_sshd("");
    let mut ssh = world.ssh("alice").spawn("echo LOGGED-IN");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.expect("Or type it in:  ");
    let mut app = App::new(&ssh.expect("\n"));
    ssh.answer("Enter for later): ", &app.code());
    ssh.answer("saved the recovery codes: ", "saved");
    ssh.expect("LOGGED-IN\n");
    ssh.expect_end(0);
    println!("{}", ssh.screen());
    println!("{}", world.admin(&["rollout", "status"]).stdout);
    println!("{}", world.admin(&["user", "show", "alice"]).stdout);
    let mut ssh = world.ssh("alice").spawn("echo LOGGED-IN");
    ssh.answer(PASSWORD_PROMPT, "pw-alice");
    ssh.answer("Verification code (app): ", &app.code());
    ssh.expect("LOGGED-IN\n");
    ssh.expect_end(0);
}
