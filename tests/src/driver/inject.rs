//! strace before the driver: a kill or an error at a chosen system call.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Calls that change what is on the disk, or who may.
pub const WRITES: &str = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,\
    ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    unlink,unlinkat,mkdir,mkdirat,rmdir,fchmod,fchmodat,fchown,fchownat,openat,open,creat,\
    fcntl,flock,sendto,sendmsg,sendmmsg";

/// strace with this effect (`signal=KILL`, `error=EIO`) at the `nth` of these calls; with paths, only
/// calls that concern these files count.
#[must_use]
pub fn strace(calls: &str, effect: &str, nth: usize, paths: &[&Path]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-qq", "-f", "-o", "/dev/null", "-e"].map(Into::into).into();
    words.push(format!("trace={calls}").into());
    words.push("-e".into());
    words.push(format!("inject={calls}:{effect}:when={nth}").into());
    for path in paths {
        words.extend(["-P".into(), path.as_os_str().to_owned()]);
    }
    words
}

/// The program, or the tool with the program as its last argument.
#[must_use]
pub fn command(tool: &[OsString], program: &Path) -> Command {
    let Some((first, rest)) = tool.split_first() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}
