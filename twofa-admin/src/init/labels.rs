//! Where SELinux is on: the labels of our files. A new file has that of its folder, and the store's key is to have
//! another one.

use crate::context::Context;
use crate::error::Error;
use std::path::Path;
use std::time::Duration;
use twofa::system::{self, Deadline};

/// What is_selinux_enabled(3) goes by.
const SIGNS: [&str; 2] = ["/sys/fs/selinux/enforce", "/etc/selinux/config"];
/// What `packaging/selinux/pam_twofa.fc` names.
const PATHS: [&str; 3] = ["/etc/twofa", "/var/lib/twofa", "/usr/libexec/twofa"];
const TOOL: &str = "/usr/sbin/restorecon";
const PATIENCE: Duration = Duration::from_secs(60);

/// What was made is good all the same when this fails: the administrator is told.
pub(super) fn restore(context: &mut Context) -> Result<(), Error> {
    let exists = |path: &&str| Path::new(path).exists();
    if !SIGNS.iter().all(exists) {
        return Ok(());
    }
    let paths: Vec<&str> = PATHS.into_iter().filter(exists).collect();
    let arguments = [&["-R"], paths.as_slice()].concat();
    match system::output(Path::new(TOOL), &arguments, Deadline::after(PATIENCE)) {
        Ok(_) => context.terminal.say("SELinux: restorecon has set the labels"),
        Err(error) => {
            context.terminal.note(&format!(
                "SELinux is on, and the labels are not set: {TOOL}: {error}\n\
                 Run `restorecon {}`: until then SELinux may refuse logins, or let hooks read the key.",
                arguments.join(" ")
            ));
            Ok(())
        }
    }
}
