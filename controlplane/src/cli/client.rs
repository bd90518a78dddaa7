//! Questions to usherd over its management socket.

use crate::api::{self, Configure, Reply, Request};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long usherd may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer.
const MAX_REPLY: u64 = 16 << 20;

/// Where usherd is.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The usherd of this run directory.
    #[must_use]
    pub fn new(run_dir: &Path) -> Client {
        Client { socket: api::socket(run_dir) }
    }

    /// Asks one thing. Each question has a connection of its own, so that a shell outlives usherd's restarts.
    ///
    /// # Errors
    /// Why usherd cannot be asked, and the remedy.
    pub fn ask(&self, request: &Request) -> Result<Reply, String> {
        self.exchange(request).map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    "usherd is not running: `systemctl start usherd`, or name its --run-dir"
                }
                ErrorKind::PermissionDenied => {
                    "only root and members of the group usher may ask: `usermod -aG usher USER` and log in again"
                }
                _ => "usherd does not answer: see `journalctl -u usherd`",
            };
            format!("{}: {error}: {remedy}", self.socket.display())
        })
    }

    /// Asks a command of the prompt.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn command(&self, command: &str, json: bool) -> Result<Reply, String> {
        self.ask(&Request { command: command.to_owned(), json, ..Request::default() })
    }

    /// Sends lines of configuration.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn configure(&self, configure: Configure) -> Result<Reply, String> {
        self.ask(&Request { configure: Some(configure), ..Request::default() })
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Reply> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut reply = Vec::new();
        BufReader::new(stream.take(MAX_REPLY)).read_until(b'\n', &mut reply)?;
        if reply.is_empty() {
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        Ok(serde_json::from_slice(&reply)?)
    }
}
