//! `interpose.rs` as a library to preload: users and a clock of our own for twofa-admin.

#[path = "../src/interpose.rs"]
mod interpose;
