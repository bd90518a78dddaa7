//! The exchange of the two memories over a unix socket (SOCK_SEQPACKET), which usherd listens on.
//!
//! The data plane connects and sends one JSON message with the feedback memory's descriptor; usherd answers one with the
//! snapshot's. Then both keep the connection and say nothing more: its end is the other's death. What is wrong with the
//! peer is answered by `{"error": ...}` and the end of the connection. Every message is at most 4096 bytes and carries
//! exactly one descriptor (an error: none); nothing here waits longer than it was told to.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use super::error::SnapshotError;
use super::feedback::Feedback;
use super::feedback_reader::FeedbackReader;
use super::reader::Reader;
use super::writer::{Share, Writer};

/// Version of the messages.
pub const VERSION: u32 = 1;
/// Longest message in bytes.
pub const MAX_MESSAGE: usize = 4096;
/// Longer timeouts are cut to this.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Why no handover took place.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A system call on the socket failed.
    #[error("{}: {step}: {source}: check the directory, its owner and mode, then start again", path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// The step.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// Nobody listens at the path.
    #[error("{}: no usherd listens here: start it (systemctl start usherd) or give the right --socket", path.display())]
    Nobody {
        /// The socket's path.
        path: PathBuf,
    },
    /// Another process listens at the path.
    #[error(
        "{}: another usherd is running and listens here: stop it first (systemctl stop usherd) or give another --run-dir",
        path.display()
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// What lies at the path is no socket, so it is left alone.
    #[error("{}: is there, but is not a socket: move it away or give another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The peer did not speak in time.
    #[error("{peer} did not speak within {millis} ms: see its log, restart it if it hangs")]
    Timeout {
        /// Whom we waited for.
        peer: &'static str,
        /// How long in ms.
        millis: u128,
    },
    /// The peer ended the connection.
    #[error("{peer} closed the connection during the handover: see its log for the reason")]
    Closed {
        /// The peer.
        peer: &'static str,
    },
    /// The peer's message cannot be used.
    #[error(
        "message of {peer}: {fault}: connect only usherd and usher-dataplane of the same release to each other"
    )]
    Message {
        /// The peer.
        peer: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The peer speaks another version.
    #[error(
        "{peer} speaks handover version {found}, this program {VERSION}: \
         install usherd and usher-dataplane of the same release and restart both"
    )]
    Version {
        /// The peer.
        peer: &'static str,
        /// Its version.
        found: u64,
    },
    /// The peer refused us and said why.
    #[error("{peer} refused: {reason}")]
    Refused {
        /// The peer.
        peer: &'static str,
        /// Its words.
        reason: String,
    },
    /// The memory handed over cannot be used.
    #[error(transparent)]
    Memory(#[from] SnapshotError),
}

const USHERD: &str = "usherd";
const DATAPLANE: &str = "dataplane";

/// Any message; what a newer release adds is ignored.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    usher: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A finished handover: the connection is kept to see the other end die.
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Whether the other end still lives; does not wait.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        loop {
            match poll(&mut fds, Some(&Timespec::default())) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        !fds[0].revents().intersects(gone)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The data plane's part: hands over the feedback memory, gets the snapshot. Waits at most `timeout`.
pub fn connect(
    path: &Path,
    feedback: &Feedback,
    timeout: Duration,
) -> Result<(Reader, Connection), HandoverError> {
    let deadline = Deadline::after(timeout);
    let failed = |step| move |source| HandoverError::Socket { path: path.into(), step, source };
    let socket = open_socket(path)?;
    // What connect waits for is room in the listener's queue. A timeout of 0 would mean none.
    let queue_wait = timeout.clamp(Duration::from_millis(1), LONGEST_WAIT);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(queue_wait))
        .map_err(failed("socket"))?;
    let address = address(path)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) if !deadline.left().is_zero() => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => {
                return Err(HandoverError::Nobody { path: path.into() });
            }
            Err(Errno::AGAIN | Errno::INTR) => return Err(deadline.passed(USHERD)),
            Err(source) => return Err(failed("connect")(source)),
        }
    }
    let hello = Message {
        usher: DATAPLANE.into(),
        version: Some(VERSION.into()),
        pid: Some(std::process::id()),
        ..Message::default()
    };
    send(&socket, &hello, Some(feedback.fd())).map_err(|errno| send_error(errno, path, USHERD))?;
    let (message, fd) = loop {
        deadline.wait(&socket, USHERD)?;
        if let Some(received) = receive(&socket, USHERD)? {
            break received;
        }
    };
    if let Some(reason) = message.error {
        return Err(HandoverError::Refused { peer: USHERD, reason: printable(&reason) });
    }
    let fd = checked(&message, fd, USHERD)?;
    let reader = Reader::map(fd)?;
    if message.instance != Some(format!("{:016x}", reader.instance())) {
        let fault = format!("instance {:?} is not that of the memory", message.instance);
        return Err(HandoverError::Message { peer: USHERD, fault });
    }
    Ok((reader, Connection { socket }))
}

/// usherd's part: the socket it listens on. Dropping it removes the socket.
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the socket made, so that another's is never removed.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path` with this mode (such as 0o660). A socket that a dead usherd left is replaced; where a live one
    /// answers, or something that is no socket lies, nothing is touched.
    pub fn bind(path: &Path, mode: u32) -> Result<Listener, HandoverError> {
        let failed = |step| move |source| HandoverError::Socket { path: path.into(), step, source };
        let address = address(path)?;
        // One at a time from the look to `listen`, or two usherd starting together could each remove the other's.
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed("open the directory"))?;
        let deadline = Deadline::after(Duration::from_secs(2));
        while let Err(source) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if deadline.left().is_zero() {
                return Err(failed("lock the directory")(source));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match rustix::fs::lstat(path) {
            Err(Errno::NOENT) => {}
            Err(source) => return Err(failed("stat")(source)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Socket => {
                return Err(HandoverError::NotASocket { path: path.into() });
            }
            Ok(_) => {
                let probe = open_socket(path)?;
                rustix::io::ioctl_fionbio(&probe, true).map_err(failed("socket"))?;
                match rustix::net::connect(&probe, &address) {
                    Err(Errno::CONNREFUSED) => {
                        rustix::fs::unlink(path).map_err(failed("remove the stale socket"))?
                    }
                    // Also a full queue (EAGAIN) or another type of socket (EPROTOTYPE) is somebody alive.
                    Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                        return Err(HandoverError::InUse { path: path.into() });
                    }
                    Err(Errno::NOENT) => {}
                    Err(source) => return Err(failed("probe the socket found")(source)),
                }
            }
        }
        let socket = open_socket(path)?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed("socket"))?;
        rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
        // Before `listen`: until then nobody can connect.
        rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
            .map_err(failed("chmod"))?;
        let stat = rustix::fs::lstat(path).map_err(failed("stat"))?;
        rustix::net::listen(&socket, 8).map_err(failed("listen"))?;
        Ok(Listener { socket, path: path.into(), file: (stat.st_dev, stat.st_ino) })
    }

    /// Takes a connection if one waits; does not wait. The descriptor (non-blocking) becomes readable when one does.
    pub fn try_accept(&self) -> Result<Option<Pending>, HandoverError> {
        loop {
            match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Ok(Some(Pending { socket })),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(source) => {
                    return Err(HandoverError::Socket { path: self.path.clone(), step: "accept", source });
                }
            }
        }
    }

    /// Waits for a data plane and finishes the handover, all within `timeout`; `None`: nobody came.
    pub fn accept(&self, writer: &Writer, timeout: Duration) -> Result<Option<Peer>, HandoverError> {
        let deadline = Deadline::after(timeout);
        let share = writer.share().map_err(|error| HandoverError::Socket {
            path: self.path.clone(),
            step: "duplicate the descriptor",
            source: Errno::from_io_error(&error).unwrap_or(Errno::MFILE),
        })?;
        let mut pending = loop {
            match deadline.wait(&self.socket, DATAPLANE) {
                Ok(()) => {}
                Err(HandoverError::Timeout { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(pending) = self.try_accept()? {
                break pending;
            }
        };
        loop {
            deadline.wait(&pending, DATAPLANE)?;
            match pending.try_finish(&share)? {
                Progress::Done(peer) => return Ok(Some(peer)),
                Progress::NotYet(still) => pending = still,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if rustix::fs::lstat(&self.path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A connection whose message has not come yet. Drop it when that takes longer than you care to wait.
pub struct Pending {
    socket: OwnedFd,
}

/// A data plane that got the snapshot.
pub struct Peer {
    /// Its memory.
    pub feedback: FeedbackReader,
    /// The process id it gave.
    pub pid: u32,
    /// Ends when it dies.
    pub connection: Connection,
}

/// How far a handover is.
pub enum Progress {
    /// The message has not come yet: try again when the descriptor is readable.
    NotYet(Pending),
    /// Both have what they need.
    Done(Peer),
}

impl Pending {
    /// Finishes the handover if the message is there. Does not wait. An error is told to the peer where it is the peer's
    /// fault, and ends the connection.
    pub fn try_finish(self, share: &Share) -> Result<Progress, HandoverError> {
        let socket = self.socket;
        let result = receive(&socket, DATAPLANE).and_then(|received| {
            let Some((message, fd)) = received else { return Ok(None) };
            let fd = checked(&message, fd, DATAPLANE)?;
            Ok(Some((FeedbackReader::map(fd)?, message.pid.unwrap_or(0))))
        });
        match result {
            Ok(None) => Ok(Progress::NotYet(Pending { socket })),
            Ok(Some((feedback, pid))) => {
                let answer = Message {
                    usher: USHERD.into(),
                    version: Some(VERSION.into()),
                    instance: Some(format!("{:016x}", share.instance)),
                    ..Message::default()
                };
                send(&socket, &answer, Some(share.fd.as_fd()))
                    .map_err(|_| HandoverError::Closed { peer: DATAPLANE })?;
                Ok(Progress::Done(Peer { feedback, pid, connection: Connection { socket } }))
            }
            Err(error) => {
                let answer = Message { error: Some(error.to_string()), ..Message::default() };
                // A peer that is gone does not hear it.
                let _ = send(&socket, &answer, None);
                Err(error)
            }
        }
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Pending {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A moment until which to wait, and no longer.
struct Deadline {
    end: Instant,
    whole: Duration,
}

impl Deadline {
    fn after(whole: Duration) -> Deadline {
        Deadline { end: Instant::now() + whole.min(LONGEST_WAIT), whole }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn passed(&self, peer: &'static str) -> HandoverError {
        HandoverError::Timeout { peer, millis: self.whole.as_millis() }
    }

    /// Waits until the socket can be read or has ended.
    fn wait(&self, socket: &impl AsFd, peer: &'static str) -> Result<(), HandoverError> {
        loop {
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            let left = self.left();
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(self.passed(peer)),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(source) => {
                    return Err(HandoverError::Socket { path: PathBuf::from(peer), step: "poll", source });
                }
            }
        }
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, HandoverError> {
    // ENAMETOOLONG beyond 107 bytes.
    SocketAddrUnix::new(path).map_err(|source| HandoverError::Socket {
        path: path.into(),
        step: "address",
        source,
    })
}

fn open_socket(path: &Path) -> Result<OwnedFd, HandoverError> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|source| HandoverError::Socket { path: path.into(), step: "socket", source })
}

fn send_error(errno: Errno, path: &Path, peer: &'static str) -> HandoverError {
    match errno {
        Errno::PIPE | Errno::CONNRESET => HandoverError::Closed { peer },
        source => HandoverError::Socket { path: path.into(), step: "send", source },
    }
}

/// Sends without waiting: the first message of a connection always has room.
fn send(socket: &OwnedFd, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Takes one message and its descriptor; `None`: none is there yet. Descriptors that do not belong are closed.
fn receive(
    socket: &OwnedFd,
    peer: &'static str,
) -> Result<Option<(Message, Option<OwnedFd>)>, HandoverError> {
    let fault = |fault: String| HandoverError::Message { peer, fault };
    let mut text = [0; MAX_MESSAGE];
    // Room for one more than belongs, to tell; what the kernel has no room for it closes and flags.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Err(HandoverError::Closed { peer }),
            Err(source) => {
                return Err(HandoverError::Socket { path: PathBuf::from(peer), step: "receive", source });
            }
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.bytes == 0 {
        return Err(HandoverError::Closed { peer });
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(fault(format!("longer than {MAX_MESSAGE} bytes")));
    }
    if fds.len() > 1 || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(fault("more than one descriptor came with it".into()));
    }
    let message = serde_json::from_slice(&text[..received.bytes])
        .map_err(|error| fault(format!("not understood: {error}")))?;
    Ok(Some((message, fds.pop())))
}

/// The descriptor of a message of the right sender and version.
fn checked(message: &Message, fd: Option<OwnedFd>, peer: &'static str) -> Result<OwnedFd, HandoverError> {
    if message.usher != peer {
        let fault = format!("sender {:?} where {peer:?} belongs", printable(&message.usher));
        return Err(HandoverError::Message { peer, fault });
    }
    match message.version {
        Some(version) if version == u64::from(VERSION) => {}
        version => return Err(HandoverError::Version { peer, found: version.unwrap_or(0) }),
    }
    fd.ok_or_else(|| HandoverError::Message { peer, fault: "no descriptor came with it".into() })
}

/// A peer's words as they may stand in a log.
fn printable(text: &str) -> String {
    text.chars().take(512).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::super::body::Body;
    use super::super::feedback::FeedbackSpec;
    use super::super::reader::{Copy, Refresh};
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn at() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dataplane.sock");
        (dir, path)
    }

    fn feedback() -> Feedback {
        Feedback::create(&FeedbackSpec { workers: 1, ..FeedbackSpec::default() }).unwrap()
    }

    /// A client that sends `text` with `fds` and gives the answer's text.
    fn raw_client(path: &Path, text: &[u8], fds: &[BorrowedFd<'_>]) -> OwnedFd {
        let socket = open_socket(path).unwrap();
        rustix::net::connect(&socket, &address(path).unwrap()).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(&socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        socket
    }

    /// What usherd says to a client that sends this, and what it tells the client.
    fn refused(text: &[u8], fds: &[BorrowedFd<'_>]) -> (HandoverError, String) {
        let (_dir, path) = at();
        let listener = Listener::bind(&path, 0o600).unwrap();
        let client = raw_client(&path, text, fds);
        let error = listener.accept(&Writer::create().unwrap(), SOON).map(|_| ()).unwrap_err();
        let (message, fd) = receive(&client, USHERD).unwrap().unwrap();
        assert!(fd.is_none());
        let told = message.error.unwrap();
        assert_eq!(told, error.to_string());
        assert!(receive(&client, USHERD).is_err(), "closed after the error");
        (error, told)
    }

    fn open_descriptors() -> usize {
        fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn both_memories_change_hands() {
        let (_dir, path) = at();
        let listener = Listener::bind(&path, 0o640).unwrap();
        assert_eq!(rustix::fs::stat(&path).unwrap().st_mode & 0o777, 0o640);
        let mut writer = Writer::create().unwrap();
        writer.publish(&Body::boxed());
        let feedback = feedback();
        let (peer, (reader, connection)) = thread::scope(|scope| {
            let client = scope.spawn(|| connect(&path, &feedback, SOON).unwrap());
            (listener.accept(&writer, SOON).unwrap().unwrap(), client.join().unwrap())
        });
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.feedback.instance(), feedback.instance());
        assert_eq!(reader.instance(), writer.instance());
        assert_eq!(reader.refresh(&mut Copy::empty()), Refresh::Copied);
        feedback.worker(0).unwrap().set_applied(reader.instance(), 1);
        assert!(peer.feedback.applied(writer.instance(), 1));
        assert!(connection.is_alive() && peer.connection.is_alive());
        drop(peer);
        assert!(!connection.is_alive(), "the death of the peer shows");
    }

    #[test]
    fn the_death_of_the_data_plane_shows_to_usherd() {
        let (_dir, path) = at();
        let listener = Listener::bind(&path, 0o600).unwrap();
        let writer = Writer::create().unwrap();
        let feedback = feedback();
        let peer = thread::scope(|scope| {
            let client = scope.spawn(|| connect(&path, &feedback, SOON).unwrap());
            let peer = listener.accept(&writer, SOON).unwrap().unwrap();
            assert!(client.join().unwrap().1.is_alive());
            peer
        });
        assert!(!peer.connection.is_alive());
    }

    #[test]
    fn a_second_live_usherd_is_refused_and_the_first_goes_on() {
        let (_dir, path) = at();
        let first = Listener::bind(&path, 0o600).unwrap();
        let error = Listener::bind(&path, 0o600).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("another usherd is running"), "{error}");
        // The probe shows to the first as a client that came and went.
        let writer = Writer::create().unwrap();
        assert!(matches!(first.accept(&writer, SOON), Err(HandoverError::Closed { .. })));
        let feedback = feedback();
        thread::scope(|scope| {
            let client = scope.spawn(|| connect(&path, &feedback, SOON).map(drop).unwrap());
            assert!(first.accept(&writer, SOON).unwrap().is_some());
            client.join().unwrap();
        });
        drop(first);
        assert!(!path.exists(), "removed at the end");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_what_is_no_socket_is_left_alone() {
        let (_dir, path) = at();
        let socket = open_socket(&path).unwrap();
        rustix::net::bind(&socket, &address(&path).unwrap()).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(Listener::bind(&path, 0o600).unwrap());
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&path, 0o600).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_listener_that_lost_its_path_leaves_the_new_owners_socket() {
        let (_dir, path) = at();
        let first = Listener::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Listener::bind(&path, 0o600).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn of_many_starting_at_once_one_gets_the_socket() {
        let (_dir, path) = at();
        for _ in 0..20 {
            let stale = open_socket(&path).unwrap();
            rustix::net::bind(&stale, &address(&path).unwrap()).unwrap();
            drop(stale);
            let won: Vec<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Listener::bind(&path, 0o600))).collect();
                all.into_iter().filter_map(|one| one.join().unwrap().ok()).collect()
            });
            assert_eq!(won.len(), 1);
        }
    }

    #[test]
    fn a_data_plane_without_usherd_is_told_so() {
        let (dir, path) = at();
        let feedback = feedback();
        let error = |path: &Path| connect(path, &feedback, SOON).map(drop).unwrap_err();
        assert!(matches!(error(&path), HandoverError::Nobody { .. }));
        assert!(matches!(error(&dir.path().join("none/x")), HandoverError::Nobody { .. }));
        let socket = open_socket(&path).unwrap();
        rustix::net::bind(&socket, &address(&path).unwrap()).unwrap();
        assert!(error(&path).to_string().contains("start it"));
        let long = PathBuf::from(format!("/{}", "x".repeat(200)));
        assert!(matches!(error(&long), HandoverError::Socket { source: Errno::NAMETOOLONG, .. }));
        let error = Listener::bind(&dir.path().join("none/x"), 0o600).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::Socket { source: Errno::NOENT, .. }), "{error}");
    }

    #[test]
    fn nobody_waits_longer_than_told() {
        let (_dir, path) = at();
        let listener = Listener::bind(&path, 0o600).unwrap();
        let writer = Writer::create().unwrap();
        let short = Duration::from_millis(50);
        let begin = Instant::now();
        assert!(listener.accept(&writer, short).unwrap().is_none());
        let error = connect(&path, &feedback(), short).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::Timeout { peer: USHERD, millis: 50 }), "{error}");
        let silent = open_socket(&path).unwrap();
        rustix::net::connect(&silent, &address(&path).unwrap()).unwrap();
        // The first in the queue is the one that gave up.
        assert!(matches!(listener.accept(&writer, short), Err(HandoverError::Closed { .. })));
        let error = listener.accept(&writer, short).map(|_| ()).unwrap_err();
        assert!(matches!(error, HandoverError::Timeout { peer: DATAPLANE, .. }), "{error}");
        // A queue that nobody empties.
        let full: Vec<_> = (0..100)
            .map_while(|_| {
                let socket = open_socket(&path).unwrap();
                rustix::io::ioctl_fionbio(&socket, true).unwrap();
                rustix::net::connect(&socket, &address(&path).unwrap()).ok().map(|()| socket)
            })
            .collect();
        assert!(full.len() < 100);
        let error = connect(&path, &feedback(), short).map(drop).unwrap_err();
        assert!(matches!(error, HandoverError::Timeout { .. }), "{error}");
        assert!(
            matches!(Listener::bind(&path, 0o600), Err(HandoverError::InUse { .. })),
            "a full queue is alive"
        );
        assert!(begin.elapsed() < SOON);
    }

    #[test]
    fn a_client_that_says_the_wrong_thing_is_told_and_closed() {
        let feedback = feedback();
        let fd = feedback.fd();
        let hello = br#"{"usher":"dataplane","version":1,"pid":7}"#;
        let (error, told) = refused(br#"{"usher":"dataplane","version":2,"pid":7}"#, &[fd]);
        assert!(matches!(error, HandoverError::Version { found: 2, .. }), "{error}");
        assert!(told.contains("same release"), "{told}");
        assert!(matches!(
            refused(br#"{"usher":"dataplane"}"#, &[fd]).0,
            HandoverError::Version { found: 0, .. }
        ));
        let fault = |text: &[u8], fds: &[BorrowedFd<'_>]| match refused(text, fds).0 {
            HandoverError::Message { fault, .. } => fault,
            other => panic!("{other}"),
        };
        assert!(fault(hello, &[]).contains("no descriptor"));
        assert!(fault(hello, &[fd, fd]).contains("more than one"));
        assert!(fault(hello, &[fd, fd, fd, fd, fd]).contains("more than one"));
        assert!(fault(&[b' '; MAX_MESSAGE + 1], &[fd]).contains("longer than 4096"));
        assert!(fault(b"\xff\xfe", &[fd]).contains("not understood"));
        assert!(fault(&[b'['; MAX_MESSAGE], &[fd]).contains("not understood"));
        assert!(fault(br#"{"usher":"us\u001bherd","version":1}"#, &[fd]).contains("us\u{fffd}herd"));
        let null = fs::File::open("/dev/null").unwrap();
        let memory = refused(hello, &[null.as_fd()]).0;
        assert!(matches!(memory, HandoverError::Memory(SnapshotError::NotSealed { .. })), "{memory}");
        let snapshot = Writer::create().unwrap();
        let memory = refused(hello, &[snapshot.fd()]).0;
        assert!(matches!(memory, HandoverError::Memory(SnapshotError::Magic { .. })), "{memory}");
    }

    #[test]
    fn a_data_plane_hears_why_it_was_refused_and_checks_the_answer() {
        let (_dir, path) = at();
        let listener = Listener::bind(&path, 0o600).unwrap();
        let writer = Writer::create().unwrap();
        let feedback = feedback();
        // An usherd that answers every hello with this.
        let answered = |text: &str, fd: Option<BorrowedFd<'_>>| {
            thread::scope(|scope| {
                let client = scope.spawn(|| connect(&path, &feedback, SOON).map(drop));
                Deadline::after(SOON).wait(&listener, DATAPLANE).unwrap();
                let server = listener.try_accept().unwrap().unwrap().socket;
                Deadline::after(SOON).wait(&server, DATAPLANE).unwrap();
                receive(&server, DATAPLANE).unwrap().unwrap();
                send(&server, &serde_json::from_str(text).unwrap(), fd).unwrap();
                client.join().unwrap()
            })
        };
        let instance = format!("{:016x}", writer.instance());
        let good = format!(r#"{{"usher":"usherd","version":1,"instance":"{instance}"}}"#);
        answered(&good, Some(writer.fd())).unwrap();
        let error = answered(r#"{"error":"no room"}"#, None).unwrap_err();
        assert_eq!(error.to_string(), "usherd refused: no room");
        assert!(matches!(answered(&good, None), Err(HandoverError::Message { .. })));
        let error = answered(r#"{"usher":"usherd","version":3}"#, Some(writer.fd())).unwrap_err();
        assert!(matches!(error, HandoverError::Version { found: 3, .. }));
        let other =
            answered(r#"{"usher":"usherd","version":1,"instance":"1"}"#, Some(writer.fd())).unwrap_err();
        assert!(matches!(other, HandoverError::Message { .. }), "{other}");
        let wrong = answered(&good, Some(feedback.fd())).unwrap_err();
        assert!(matches!(wrong, HandoverError::Memory(SnapshotError::Magic { .. })), "{wrong}");
    }

    #[test]
    fn refused_descriptors_are_closed() {
        let feedback = feedback();
        let fds = [feedback.fd(); 5];
        let run = || refused(br#"{"usher":"dataplane","version":1}"#, &fds);
        run();
        // Tests of other threads open and close descriptors too: a leak of 5 each time stands out of that.
        let before = open_descriptors();
        (0..100).for_each(|_| drop(run()));
        assert!(open_descriptors() < before + 100);
    }
}
