//! What kind of program calls libpam: `sigchld ignore` or `sigchld reap` (a handler that waits for all children),
//! `sigpipe default`, `sigmask all`, `open PATH` (a file that a new program would inherit), `child yes` (a child of
//! its own that ends meanwhile; the transcript then has what was learnt of it as `child-ended`).

use crate::Events;
use std::ffi::CString;
use std::ptr;
use twofa_tests::driver::plan::Plan;

/// How the child of our own ends.
const CHILD_CODE: i32 = 7;

pub(crate) struct Host {
    child: Option<i32>,
}

impl Host {
    pub(crate) fn like(plan: &Plan) -> Self {
        match plan.text("sigchld") {
            Some("ignore") => on_signal(libc::SIGCHLD, libc::SIG_IGN),
            Some("reap") => on_signal(libc::SIGCHLD, reap as *const () as libc::sighandler_t),
            _ => {}
        }
        if plan.text("sigpipe") == Some("default") {
            on_signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        if plan.text("sigmask") == Some("all") {
            block_all();
        }
        if let Some(path) = plan.last("open") {
            let path = CString::new(path).expect("no NUL byte in it");
            // SAFETY: a C string; the descriptor stays open to the end.
            assert!(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) } >= 0, "{path:?}");
        }
        Self { child: plan.last("child").map(|_| child()) }
    }

    /// What this program learns of its own child, which nobody else may have waited for.
    pub(crate) fn child_ended(self) -> Events {
        let Some(pid) = self.child else {
            return Events::new();
        };
        let mut status = 0;
        // SAFETY: our own child, and room for its status.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        let right = waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == CHILD_CODE;
        let word = if right { "as it did".into() } else { format!("waitpid {waited}, status {status:#x}") };
        vec![("child-ended".into(), word.into_bytes())]
    }
}

fn on_signal(signal: i32, action: libc::sighandler_t) {
    // SAFETY: all zero bytes are a valid sigaction.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = action;
    new.sa_flags = libc::SA_RESTART;
    // SAFETY: a valid sigaction; the old one is not asked for.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) }, 0, "sigaction");
}

/// As daemons do that start many programs.
extern "C" fn reap(_signal: i32) {
    // SAFETY: waitpid and errno may be used in a handler; no status is asked for.
    unsafe {
        let errno = *libc::__errno_location();
        while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
        *libc::__errno_location() = errno;
    }
}

fn block_all() {
    // SAFETY: all zero bytes are a valid set of signals, which is filled and used.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        assert_eq!(libc::sigprocmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut()), 0, "sigprocmask");
    }
}

/// Ends while a code is on its way.
fn child() -> i32 {
    // SAFETY: this program has one thread, so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: waits 3 ms and ends without running the parent's exit handlers.
        unsafe {
            libc::usleep(3000);
            libc::_exit(CHILD_CODE);
        }
    }
    assert!(pid > 0, "fork");
    pid
}
