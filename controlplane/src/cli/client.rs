//! The client of usherd's management API.

use crate::api::{self, Code, Configure, Reply, Request};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// usherd answers within this; a large configuration on a busy machine takes seconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any reply.
const MAX_REPLY: u64 = 16 << 20;

/// The usherd of a run directory. Clones share what they have enabled.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    enabled: Arc<Mutex<Option<Enabled>>>,
}

/// A connection on which the enable secret was given.
struct Enabled {
    password: String,
    stream: Option<BufReader<UnixStream>>,
}

impl std::fmt::Debug for Enabled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enabled").field("password", &"********").field("stream", &self.stream).finish()
    }
}

impl Client {
    /// The usherd of this run directory.
    #[must_use]
    pub fn new(run_dir: &Path) -> Client {
        Client { socket: api::socket(run_dir), enabled: Arc::default() }
    }

    /// Sends a request. Each has a connection of its own, so that a shell outlives usherd's restarts; once the enable
    /// secret was given they share one, which is made anew when usherd restarts.
    ///
    /// # Errors
    /// Why usherd cannot be reached, and the remedy.
    pub fn send(&self, request: &Request) -> Result<Reply, String> {
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

    /// Sends a command of the prompt.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn command(&self, command: &str, json: bool) -> Result<Reply, String> {
        self.send(&Request { command: command.to_owned(), json, ..Request::default() })
    }

    /// Sends lines of configuration.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn configure(&self, configure: Configure) -> Result<Reply, String> {
        self.send(&Request { configure: Some(configure), ..Request::default() })
    }

    /// Gives the enable secret, for all requests from now on.
    ///
    /// # Errors
    /// As [`Client::send`]; a wrong password is a reply.
    pub fn enable(&self, password: String) -> Result<Reply, String> {
        self.disable();
        *self.lock() = Some(Enabled { password, stream: None });
        let reply = self.command("enable", false);
        if reply.as_ref().map_or(true, |reply| reply.error.is_some()) {
            self.disable();
        }
        reply
    }

    /// Gives up what [`Client::enable`] gave.
    pub fn disable(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Enabled>> {
        self.enabled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Reply> {
        let mut enabled = self.lock();
        let Some(enabled) = enabled.as_mut() else {
            return exchange(&mut self.connect()?, request);
        };
        // The connection may have ended since: usherd was restarted, or nothing was asked for long.
        if let Some(stream) = &mut enabled.stream
            && let Ok(reply) = exchange(stream, request)
        {
            return Ok(reply);
        }
        let mut stream = self.connect()?;
        let request = Request { password: Some(enabled.password.clone()), ..request.clone() };
        let reply = exchange(&mut stream, &request)?;
        let refused = matches!(reply.code, Some(Code::WrongPassword | Code::Busy));
        enabled.stream = (!refused).then_some(stream);
        Ok(reply)
    }

    fn connect(&self) -> std::io::Result<BufReader<UnixStream>> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(BufReader::new(stream))
    }
}

fn exchange(stream: &mut BufReader<UnixStream>, request: &Request) -> std::io::Result<Reply> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // One that is turned away has its reply before its request is read.
    let sent = stream.get_mut().write_all(&line);
    let mut reply = Vec::new();
    stream.take(MAX_REPLY).read_until(b'\n', &mut reply)?;
    if reply.is_empty() {
        sent?;
        return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    Ok(serde_json::from_slice(&reply)?)
}
