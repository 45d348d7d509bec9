//! A process that has nothing of its parent's: signals, mask, alarm, umask, folder, session.

use crate::ffi;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{alarm, chdir, setsid};

/// Descriptors are closed in `main`, before anything else is opened.
pub(crate) fn start() -> nix::Result<()> {
    start_with(&[])
}

/// The same, but these signals do what they did.
pub(crate) fn start_with(signals: &[Signal]) -> nix::Result<()> {
    ffi::default_signals(signals);
    SigSet::empty().thread_set_mask()?;
    alarm::cancel();
    umask(Mode::from_bits_truncate(0o077));
    chdir("/")?;
    // No terminal that could be read from or typed into, and a group that can be killed as one.
    setsid()?;
    Ok(())
}
