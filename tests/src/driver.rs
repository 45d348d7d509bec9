//! Drives a PAM module through libpam, without sshd, login or root.
//!
//! A test writes a [`plan::Plan`] (who logs in, what is answered, which functions are called) and runs
//! the program `driver` with it, which writes down what happened: a [`transcript::Transcript`]. A
//! program of its own, because much of what is tested here is what a module may do to its process:
//! kill it, print, leave files open, see another clock. [`site::Site`] is a policy, a store and a PAM
//! stack in a folder that goes away with the test.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a broken test says so and stops; it talks to libpam, and it measures time"
)]

pub mod clock;
pub mod code;
pub mod inject;
pub mod line;
pub mod pam;
pub mod plan;
pub mod post;
pub mod process;
pub mod site;
pub mod transcript;
