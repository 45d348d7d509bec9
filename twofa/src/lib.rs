//! Two-factor authentication for Linux login: what `pam_twofa` and `twofa-admin` share.
//!
//! The modules in reading order; each may use only those above it (`tests/layers.rs` holds the graph).
#![forbid(unsafe_code)]

pub mod code;
pub mod contact;
pub mod otpauth;
pub mod qr;
pub mod sshkey;
pub mod token;

pub mod account;
pub mod policy;

pub mod login;

pub mod message;

pub mod ports;

pub mod drive;

pub mod log;
pub mod system;
pub mod trusted;

pub mod helper;

pub mod config;
pub mod trial;

pub mod store;

pub mod admin;
