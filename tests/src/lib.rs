//! The end-to-end tests' machinery: a throw-away Debian root, entered in private namespaces, with real sshd, login and su.

// A test that cannot go on must panic with what it saw; it is not part of what is shipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

pub mod calendar;
pub mod driver;
pub mod gateway;
pub mod mailbox;
pub mod namespace;
pub mod peers;
pub mod qr;
pub mod root;
pub mod setup;
pub mod ssh;
pub mod syslog;
pub mod terminal;
pub mod totp;
pub mod u2fkey;
pub mod vm;
pub mod world;

/// Longer than any answer of a healthy machine under load: a test that waits so long fails and shows what it saw.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
