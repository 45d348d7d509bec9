//! strace before a program: a kill or an error at a chosen system call.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls that change what is on the disk, or who may.
pub const WRITES: &str = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,\
    ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    unlink,unlinkat,mkdir,mkdirat,rmdir,fchmod,fchmodat,fchown,fchownat,openat,open,creat,\
    fcntl,flock,sendto,sendmsg,sendmmsg";

/// One effect at one call.
pub struct Injection<'a> {
    /// Names of system calls with commas, or `all`.
    pub calls: &'a str,
    /// `signal=KILL` or `error=EIO`.
    pub effect: &'a str,
    /// At the first of these calls, the second, …
    pub nth: usize,
    /// Only calls that concern one of these files count; none: all calls do.
    pub files: &'a [PathBuf],
    /// Where strace writes what it saw.
    pub report: &'a Path,
}

impl Injection<'_> {
    /// The words to put before a program.
    #[must_use]
    pub fn tool(&self) -> Vec<OsString> {
        let Self { calls, effect, nth, files, report } = self;
        let mut words: Vec<OsString> = ["strace", "-qq", "-f", "-o"].map(Into::into).into();
        words.push(report.as_os_str().to_owned());
        for option in [format!("trace={calls}"), format!("inject={calls}:{effect}:when={nth}")] {
            words.extend(["-e".into(), option.into()]);
        }
        for file in *files {
            words.extend(["-P".into(), file.as_os_str().to_owned()]);
        }
        words
    }

    /// Whether the call came, and what it was. A kill shows in the program's status instead.
    #[must_use]
    pub fn happened(&self) -> Option<String> {
        let text = fs::read_to_string(self.report).expect("strace's report (package strace)");
        let line = text.lines().find(|line| line.contains("(INJECTED)"));
        line.map(str::to_owned)
    }
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
