//! Runs a program of the configuration: as an unprivileged account, with bounded output, time and resources.
//!
//! Administrators of Usher are not root, so neither are programs that they name. Giving up capabilities would not do: PID 1
//! takes orders from uid 0. A program runs under the account [`ACCOUNT`], without supplementary groups, capabilities or a
//! way to gain privileges, and only from a path that root alone can change ([`trusted`]), which is checked at each start.

use super::trusted::{self, Untrusted};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

/// System user that programs run as (platform/deploy/sysusers.conf).
const ACCOUNT: &str = "usher-load";
/// Kept bytes of its error output.
const MAX_COMPLAINT: usize = 512;
/// Sets the limits of the program, then becomes it: no core dumps, 10 s of CPU, 256 MiB of data, 64 processes of the
/// account (dash calls that -p, bash -u), and the first to go when memory runs out. A stricter limit that is there stays.
const LIMITED: &str = "ulimit -c 0; ulimit -t 10 2>/dev/null; ulimit -d 262144 2>/dev/null; \
    ulimit -u 64 2>/dev/null || ulimit -p 64 2>/dev/null; \
    echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec \"$0\" \"$@\"";

/// Rights that a program runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    /// Those of [`ACCOUNT`]
    Unprivileged,
    /// Those of usherd. Only for programs of the distribution whose path and arguments usherd chooses
    Usherd,
}

/// Reason why a program gave no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("not run: {0}")]
    Untrusted(#[from] Untrusted),
    #[error("not run: {0}")]
    Account(&'static str),
    #[error("cannot be started: {0}")]
    Start(std::io::Error),
    #[error("not done within {} ms, killed: see why it hangs, or make it faster", .0.as_millis())]
    Late(Duration),
    #[error("its output cannot be read: {0}")]
    Read(std::io::Error),
    #[error("wrote more than {0} bytes")]
    TooLong(usize),
    #[error("{status}: {complaint}{}", hint(*status))]
    Failed {
        /// Exit status
        status: ExitStatus,
        /// First line of its error output
        complaint: String,
    },
}

/// A shell ends with 126 when it may not execute a program.
fn hint(status: ExitStatus) -> &'static str {
    match status.code() {
        Some(126) => ": it and its directories must be readable and executable by others (chmod o+rx)",
        _ => "",
    }
}

/// An account without privileges.
struct Account {
    uid: u32,
    gid: u32,
}

/// The account of programs; `None` where usherd is not root and cannot change its user. Looked up once: a name service may
/// be slow.
fn account() -> Result<Option<&'static Account>, ProgramError> {
    static FOUND: LazyLock<Account> = LazyLock::new(|| match nix::unistd::User::from_name(ACCOUNT) {
        Ok(Some(user)) => Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() },
        _ => {
            tracing::warn!(
                "%LOAD-4-ACCOUNT: user {ACCOUNT} is missing: programs run as nobody: run systemd-sysusers, restart usherd"
            );
            Account { uid: 65534, gid: 65534 }
        }
    });
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let account = &*FOUND;
    if account.uid == 0 || account.gid == 0 {
        return Err(ProgramError::Account("user usher-load has uid or gid 0: give it others"));
    }
    Ok(Some(account))
}

/// The program's process group; killed on drop, unless it has ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another's.
        if let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Returns what the program wrote, at most `most` bytes; more is an error, as is any exit code but 0. When this returns, the
/// program has ended, or it and its process group are killed.
pub(super) async fn output<S: AsRef<OsStr>>(
    program: &Path,
    privilege: Privilege,
    arguments: &[S],
    most: usize,
    limit: Duration,
) -> Result<Vec<u8>, ProgramError> {
    let mut group = Group(start(program, privilege, arguments)?);
    let result = tokio::time::timeout(limit, finish(&mut group.0, most)).await;
    result.unwrap_or(Err(ProgramError::Late(limit)))
}

fn start<S: AsRef<OsStr>>(
    program: &Path,
    privilege: Privilege,
    arguments: &[S],
) -> Result<Child, ProgramError> {
    let program = trusted::resolve(program)?;
    let mut command = match privilege {
        Privilege::Usherd => Command::new(program),
        Privilege::Unprivileged => {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", LIMITED]).arg(program);
            // Changing from uid 0 clears the supplementary groups (std) and all capabilities (capabilities(7)).
            if let Some(account) = account()? {
                command.uid(account.uid).gid(account.gid);
            }
            command
        }
    };
    // Inherited by what this thread starts: no set-user-ID program and no file capability gives privileges back.
    rustix::thread::set_no_new_privs(true).map_err(|error| ProgramError::Start(error.into()))?;
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ProgramError::Start)
}

async fn finish(child: &mut Child, most: usize) -> Result<Vec<u8>, ProgramError> {
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::try_join!(bounded(out, &mut output, most), drained(err, &mut complaint)) };
    reading.await?;
    let status = child.wait().await.map_err(ProgramError::Read)?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        let line = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("no error message");
        let complaint = line.chars().filter(|c| !c.is_control()).collect();
        return Err(ProgramError::Failed { status, complaint });
    }
    Ok(output)
}

/// Reads to the end, which has to come within `most` bytes.
async fn bounded(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut Vec<u8>,
    most: usize,
) -> Result<(), ProgramError> {
    let Some(from) = from else { return Ok(()) };
    let read = from.take(most as u64 + 1).read_to_end(to).await.map_err(ProgramError::Read)?;
    if read > most { Err(ProgramError::TooLong(most)) } else { Ok(()) }
}

/// Reads to the end and keeps the beginning.
async fn drained(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> Result<(), ProgramError> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = [0; 512];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => {
                to.extend_from_slice(&buffer[..read.min(MAX_COMPLAINT - to.len().min(MAX_COMPLAINT))])
            }
        }
    }
}
