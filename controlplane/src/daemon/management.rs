//! The management socket: one JSON line asks, one JSON line answers. A client can neither hold the control plane up nor
//! grow its memory: lines, clients and idle time are bounded.

use crate::api::{Reply, Request};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A request is at most this long, in bytes.
pub const MAX_REQUEST: u64 = 4096;
/// A request of one who may change something: a whole configuration has room in it, escaped.
pub const MAX_CHANGE: u64 = 3 * crate::config::MAX_BYTES as u64;
/// Clients served at once.
const MAX_CLIENTS: usize = 64;
/// A client that says nothing, or does not take its answer, is let go after this.
const IDLE: Duration = Duration::from_secs(30);
/// How long a client waits for the control plane itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, and whether the one who asks may change something.
#[derive(Clone, Debug)]
pub struct Asking {
    /// What is asked
    pub request: Request,
    /// Root, or a member of the administrators' group
    pub may_change: bool,
    /// The user who asks
    pub uid: u32,
}

/// A request on its way to the control plane, and where its answer goes.
pub type Asked = (Asking, oneshot::Sender<Reply>);

/// Listens at `path`, readable and writable for `group` where that group exists. What is left of an usherd before is
/// removed: the caller holds the run directory.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(path: &Path, group: &str) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::other("something that is no socket lies there: move it away")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name(group) {
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// The user at the other end, and whether he may change something: by himself, or his groups.
async fn may_change(stream: &UnixStream, admins: &'static str) -> (u32, bool) {
    let Ok(peer) = stream.peer_cred() else { return (u32::MAX, false) };
    let (uid, gid) = (peer.uid(), peer.gid());
    if uid == 0 {
        return (uid, true);
    }
    // The lists of users and groups may be on a server far away.
    let known = tokio::task::spawn_blocking(move || {
        let group = nix::unistd::Group::from_name(admins).ok().flatten()?;
        let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        let member = user.is_some_and(|user| user.gid == group.gid || group.mem.contains(&user.name));
        Some(member || group.gid.as_raw() == gid)
    });
    (uid, known.await.ok().flatten().unwrap_or(false))
}

/// Serves clients for ever; requests go to `asked`. Members of `admins` may change something.
pub async fn serve(listener: UnixListener, admins: &'static str, asked: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: those of clients come back by themselves.
                tracing::warn!("%SYS-4-MGMT: a client cannot be accepted: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        match room.clone().try_acquire_owned() {
            Ok(permit) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let _ = client(stream, admins, asked).await;
                    drop(permit);
                });
            }
            Err(_) => {
                let reply = Reply::error(format!("{MAX_CLIENTS} clients are being served: try again later"));
                let _ = stream.try_write(&line_of(&reply));
            }
        }
    }
}

fn line_of(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_else(|_| br#"{"error":"no answer"}"#.to_vec());
    line.push(b'\n');
    line
}

async fn client(stream: UnixStream, admins: &'static str, asked: mpsc::Sender<Asked>) -> std::io::Result<()> {
    let (uid, may_change) = may_change(&stream, admins).await;
    let most = if may_change { MAX_CHANGE } else { MAX_REQUEST };
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(most + 1);
        match tokio::time::timeout(IDLE, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(got) => got?,
        };
        let too_long = line.len() as u64 > most;
        let reply = if too_long {
            Reply::error(format!("the request is longer than {most} bytes"))
        } else {
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => ask(Asking { request, may_change, uid }, &asked).await,
                Err(error) => Reply::error(format!(
                    "the request is not understood: {error}: send {{\"command\":\"show dataplane\"}} and a line feed"
                )),
            }
        };
        let done = tokio::time::timeout(IDLE, write.write_all(&line_of(&reply))).await;
        if too_long || !matches!(done, Ok(Ok(()))) {
            return Ok(());
        }
    }
}

async fn ask(request: Asking, asked: &mpsc::Sender<Asked>) -> Reply {
    let (answer, reply) = oneshot::channel();
    let answered = async {
        asked.send((request, answer)).await.ok()?;
        reply.await.ok()
    };
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Some(reply)) => reply,
        Ok(None) => Reply::error("usherd is stopping"),
        Err(_) => Reply::error("usherd did not answer within 5 s: see its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(stream: &mut UnixStream, text: &[u8]) -> Reply {
        stream.write_all(text).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn served() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usherd.sock");
        let listener = bind(&path, "no-such-group").unwrap();
        let (asked, mut questions) = mpsc::channel::<Asked>(8);
        tokio::spawn(serve(listener, "no-such-group", asked));
        tokio::spawn(async move {
            while let Some((asking, answer)) = questions.recv().await {
                let _ = answer.send(Reply { text: Some(asking.request.command), ..Reply::default() });
            }
        });
        (dir, path)
    }

    #[tokio::test]
    async fn requests_of_one_client_are_answered_in_turn() {
        let (_dir, path) = served();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        for command in ["show a", "show b"] {
            let request = format!("{{\"command\":\"{command}\"}}\n");
            assert_eq!(exchange(&mut stream, request.as_bytes()).await.text.as_deref(), Some(command));
        }
        assert!(exchange(&mut stream, b"nonsense\n").await.error.unwrap().contains("not understood"));
    }

    #[tokio::test]
    async fn a_long_line_and_too_many_clients_are_turned_away() {
        let (_dir, path) = served();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let reply = exchange(&mut stream, &vec![b'x'; MAX_CHANGE as usize + 1]).await;
        assert!(reply.error.unwrap().contains("longer than 3145728"));
        drop(stream);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut all = Vec::new();
        for _ in 0..MAX_CLIENTS {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            exchange(&mut stream, b"{\"command\":\"show\"}\n").await;
            all.push(stream);
        }
        let mut line = String::new();
        let late = UnixStream::connect(&path).await.unwrap();
        BufReader::new(late).read_line(&mut line).await.unwrap();
        assert!(line.contains("64 clients are being served"), "{line}");
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
