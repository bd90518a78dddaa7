//! The socket: connections, one JSON line per request, one per reply. A client can neither delay usherd nor grow its
//! memory: connections, requests and waiting times are bounded.

use super::access::{Connections, Peer};
use super::call::{Call, Settings};
use super::enable::Passwords;
use super::read::{LARGE_AT_ONCE, Line, MAX_SMALL, ReadError, Timeouts, read_line};
use super::startup::Startup;
use crate::api::{Code, Reply, Request};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::timeout;

/// A client that sends nothing is disconnected after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// One that has given the enable secret: it would have to give it again.
const ENABLED_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// A request arrives within this, from its first byte, and a large one gets its turn within this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A client takes its reply within this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The loop answers within this.
const LOOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens at `path`, readable and writable for `group` where that group exists. What an earlier usherd left there is
/// removed: the caller holds the run directory.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(path: &Path, group: &str) -> std::io::Result<StdListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::other("something that is no socket lies there: move it away")),
        Err(_) => {}
    }
    let listener = StdListener::bind(path)?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name(group) {
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// A connection's user and rights.
#[derive(Debug)]
pub struct Session {
    /// The user
    pub peer: Peer,
    /// The enable secret was given on this connection
    pub is_enabled: bool,
}

/// Everything that connections share.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) passwords: Passwords,
    /// One change at a time: each starts from the configuration that the one before made
    pub(super) changes: Mutex<()>,
    pub(super) startup: Startup,
    connections: Connections,
    large: Arc<Semaphore>,
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Server {
        Server {
            startup: Startup::new(settings.file.clone(), settings.running.clone()),
            settings,
            passwords: Passwords::default(),
            changes: Mutex::default(),
            connections: Connections::default(),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }
    }

    /// Serves connections for as long as the process runs.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.accept(stream),
                Err(error) => {
                    // Out of descriptors: those of clients come back by themselves.
                    tracing::warn!("%SYS-4-MGMT: a client cannot be accepted: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: UnixStream) {
        let Ok(credentials) = stream.peer_cred() else { return };
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let mut open = match self.connections.open(uid) {
            Ok(open) => open,
            Err(full) => return turn_away(&stream, &full.to_string()),
        };
        let server = self.clone();
        tokio::spawn(async move {
            let peer = Peer::look_up(uid, gid).await;
            if !peer.is_administrator
                && let Err(full) = open.as_reader()
            {
                return turn_away(&stream, &full.to_string());
            }
            let _ = server.converse(stream, Session { peer, is_enabled: false }).await;
        });
    }

    async fn converse(&self, stream: UnixStream, mut session: Session) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let idle = if session.is_enabled { ENABLED_IDLE_TIMEOUT } else { IDLE_TIMEOUT };
            let timeouts = Timeouts { idle, request: REQUEST_TIMEOUT };
            let (reply, last) = match read_line(&mut read, &session.peer, timeouts, &self.large).await {
                Ok(line) => (self.answer(line, &mut session).await, false),
                Err(ReadError::Refused(reply)) => (*reply, true),
                Err(ReadError::Closed) => return Ok(()),
            };
            let reply = line_of(reply).await;
            timeout(WRITE_TIMEOUT, write.write_all(&reply)).await??;
            if last {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: Line, session: &mut Session) -> Reply {
        let Line { text, permit } = line;
        let decode = move || serde_json::from_slice::<Request>(&text);
        let decoded = match permit {
            None => decode(),
            Some(_) => match tokio::task::spawn_blocking(decode).await {
                Ok(decoded) => decoded,
                Err(_) => return Reply::error("the request could not be read: see usherd's log"),
            },
        };
        let reply = match decoded {
            Ok(request) if request.command.len() > MAX_SMALL => {
                Reply::refusal(Code::TooLarge, format!("the command is longer than {MAX_SMALL} bytes"))
            }
            Ok(request) => self.execute(request, session).await,
            Err(error) => Reply::refusal(
                Code::Invalid,
                format!(
                    "the request is not understood: {error}: send {{\"command\":\"show dataplane\"}} and a line feed"
                ),
            ),
        };
        drop(permit);
        reply
    }

    /// Has the loop do something.
    pub(super) async fn call<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, Reply> {
        let (answer, reply) = oneshot::channel();
        let answered = async {
            self.settings.calls.send(call(answer)).await.ok()?;
            reply.await.ok()
        };
        match timeout(LOOP_TIMEOUT, answered).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(Reply::error("usherd is stopping")),
            Err(_) => Err(Reply::error("usherd did not answer within 5 s: see its log")),
        }
    }
}

fn turn_away(stream: &UnixStream, message: &str) {
    let _ = stream.try_write(&encode(&Reply::refusal(Code::Busy, message)));
}

/// Replies longer than this are written beside the connections.
const LONG: usize = 64 << 10;

async fn line_of(reply: Reply) -> Vec<u8> {
    let configured = reply.configured.as_ref().map_or(0, |configured| configured.diff.len());
    if reply.text.as_ref().map_or(0, String::len) + configured < LONG {
        return encode(&reply);
    }
    tokio::task::spawn_blocking(move || encode(&reply)).await.unwrap_or_default()
}

fn encode(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_else(|_| br#"{"error":"no answer"}"#.to_vec());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::super::access::MAX_CONNECTIONS;
    use super::*;
    use crate::exec::{Command, Show};
    use tokio::io::AsyncBufReadExt as _;
    use tokio::sync::{mpsc, watch};

    async fn exchange(stream: &mut UnixStream, text: &[u8]) -> Reply {
        stream.write_all(text).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// A server whose loop answers each view with its name.
    fn served() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usherd.sock");
        let listener = bind(&path, "no-such-group").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (calls, mut queue) = mpsc::channel(8);
        let (running, watched) = watch::channel(super::super::call::Running::default());
        let settings = Settings {
            file: dir.path().join("usher.conf"),
            binding: Arc::default(),
            ports: 0,
            running: watched,
            calls,
        };
        let listener = UnixListener::from_std(listener).unwrap();
        tokio::spawn(Arc::new(Server::new(settings)).serve(listener));
        tokio::spawn(async move {
            let _running = running;
            while let Some(call) = queue.recv().await {
                if let Call::Command { invocation, reply, .. } = call {
                    let _ = reply.send(Reply::text(false, &format!("{:?}", invocation.command)));
                }
            }
        });
        (dir, path)
    }

    #[tokio::test]
    async fn requests_of_one_client_are_answered_in_turn() {
        let (_dir, path) = served();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        for (line, show) in [("show version", Show::Version), ("show dataplane", Show::Dataplane)] {
            let request = format!("{{\"command\":\"{line}\"}}\n");
            let text = exchange(&mut stream, request.as_bytes()).await.text;
            assert_eq!(text, Some(format!("{:?}", Command::Show(show))));
        }
        let nonsense = exchange(&mut stream, b"nonsense\n").await;
        assert_eq!(nonsense.code, Some(Code::Invalid));
        assert!(nonsense.error.unwrap().contains("not understood"));
        let newer = exchange(&mut stream, b"{\"version\":99,\"command\":\"show version\"}\n").await;
        assert!(newer.error.unwrap().contains("speaks version 1"));
    }

    #[tokio::test]
    async fn a_long_line_and_too_many_clients_are_turned_away() {
        let (_dir, path) = served();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let long = vec![b'x'; super::super::read::MAX_LARGE + 1];
        let reply = exchange(&mut stream, &long).await;
        assert_eq!(reply.code, Some(Code::TooLarge));
        assert!(reply.error.unwrap().contains("longer than 3145728"));
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut all = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            exchange(&mut stream, b"{\"command\":\"show version\"}\n").await;
            all.push(stream);
        }
        let mut line = String::new();
        let late = UnixStream::connect(&path).await.unwrap();
        BufReader::new(late).read_line(&mut line).await.unwrap();
        assert!(line.contains("too many clients are being served"), "{line}");
    }

    #[tokio::test]
    async fn too_many_lines_are_refused_while_they_are_read() {
        let (_dir, path) = served();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let empty = "\"\",".repeat(1_040_000);
        let request = format!("{{\"configure\":{{\"lines\":[{}\"\"]}}}}\n", &empty[..empty.len() - 3]);
        let reply = exchange(&mut stream, request.as_bytes()).await;
        assert!(reply.error.unwrap().contains("more than 50000 lines"));
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usherd.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(bind(&path, "no-such-group").unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
