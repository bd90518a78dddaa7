//! Runs a program of the operator's: its output is bounded, and it is killed with all that it started when it is late.

use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

/// Of what it says on its error output so much is kept, in bytes.
const MAX_COMPLAINT: usize = 512;

/// The program's group of processes; killed on drop, unless it has ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another's.
        if let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What the program wrote, at most `most` bytes of UTF-8; more is an error, as is any exit code but 0. It has ended, or it
/// and all that it started are killed.
pub(super) async fn output<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    most: usize,
    limit: Duration,
) -> Result<String, String> {
    let child = Command::new(program)
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
        .map_err(|error| format!("cannot be started: {error}: give the path of an executable file"))?;
    let mut group = Group(child);
    let result = tokio::time::timeout(limit, finish(&mut group.0, most)).await;
    result.unwrap_or_else(|_| {
        Err(format!("not done within {} ms, killed: see why it hangs, or make it faster", limit.as_millis()))
    })
}

async fn finish(child: &mut Child, most: usize) -> Result<String, String> {
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::try_join!(bounded(out, &mut said, most), drained(err, &mut complaint)) };
    reading.await?;
    let status = child.wait().await.map_err(|error| format!("cannot be waited for: {error}"))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        let line = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        return Err(format!("{status}: {line}"));
    }
    String::from_utf8(said).map_err(|_| "its output is not UTF-8".to_owned())
}

/// Reads to the end, which has to come within `most` bytes.
async fn bounded(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>, most: usize) -> Result<(), String> {
    let Some(from) = from else { return Ok(()) };
    let read =
        from.take(most as u64 + 1).read_to_end(to).await.map_err(|error| format!("its output: {error}"))?;
    if read > most { Err(format!("wrote more than {most} bytes")) } else { Ok(()) }
}

/// Reads to the end and keeps the beginning.
async fn drained(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> Result<(), String> {
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
