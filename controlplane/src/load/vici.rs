//! The connection to strongSwan's charon, over VICI.
//!
//! rsvici speaks the protocol. It never gives up: it has no time limits, loops over an end of the stream, believes any length,
//! and a request that crosses an event may lose a part of it. [`Packets`] hands it whole and sane packets
//! only, keeps the end of the stream to itself, and [`Client`] limits the time.

use super::session::Session;
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// charon's own limit for a message, in bytes.
const MAX_PACKET: usize = 512 * 1024;
/// Sections in sections; charon's own messages have five.
const MAX_DEPTH: usize = 16;
/// IKE SAs that are listed.
const MAX_SESSIONS: usize = 1 << 20;
/// Of a client's identity so many characters are kept.
const MAX_IDENTITY: usize = 128;

/// Packets from charon, each handed on when all of it is there (strongSwan's vici plugin, README.md: a length of four
/// bytes, a type, a name for some types, and elements).
struct Packets<S> {
    stream: S,
    packet: Vec<u8>,
    have: usize,
    given: usize,
    /// Why nothing more will come
    broken: watch::Sender<Option<String>>,
}

impl<S: AsyncRead + Unpin> Packets<S> {
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            if self.packet.len() < 4 {
                self.packet.resize(4, 0);
            }
            if self.have == self.packet.len() {
                let length =
                    self.packet.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
                if length == 0 || length > MAX_PACKET {
                    return Poll::Ready(Err(format!("sent a packet of {length} bytes: is that charon?")));
                }
                if self.have == 4 + length {
                    return Poll::Ready(
                        checked(&mut self.packet[4..])
                            .ok_or_else(|| "sent what is not VICI: is that charon?".into()),
                    );
                }
                self.packet.resize(4 + length, 0);
            }
            let mut buffer = ReadBuf::new(&mut self.packet[self.have..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))
                .map_err(|error| error.to_string())?;
            match buffer.filled().len() {
                0 => return Poll::Ready(Err("closed the connection: see why it stopped".into())),
                read => self.have += read,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Packets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        // The one who waits is told of the end by `broken`, and drops all this.
        if self.broken.borrow().is_some() {
            return Poll::Pending;
        }
        if self.given == 0
            && let Err(why) = ready!(self.fill(cx))
        {
            self.broken.send_replace(Some(why));
            return Poll::Pending;
        }
        let end = self.packet.len().min(self.given + to.remaining());
        to.put_slice(&self.packet[self.given..end]);
        self.given = end;
        if end == self.packet.len() {
            (self.have, self.given) = (0, 0);
            self.packet.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Packets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Checks that the elements of a packet are whole and no deeper than [`MAX_DEPTH`]: the decoder descends by recursion. Names
/// and values are bytes to charon, those of a configuration in Latin-1 for example, but text to the decoder: what is no
/// UTF-8 in them becomes `?`.
fn checked(packet: &mut [u8]) -> Option<()> {
    let (kind, mut rest) = packet.split_first_mut()?;
    let short = |rest: &mut &mut [u8]| {
        let length = usize::from(*rest.split_off_first_mut()?);
        rest.split_off_mut(..length).map(make_text)
    };
    let long = |rest: &mut &mut [u8]| {
        let length = rest.split_off_mut(..2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        rest.split_off_mut(..length).map(make_text)
    };
    // Requests, registrations and events have a name.
    if matches!(*kind, 0 | 3 | 4 | 7) {
        short(&mut rest)?;
    }
    let mut depth = 0usize;
    while let Some(element) = rest.split_off_first_mut() {
        match *element {
            1 | 4 => {
                short(&mut rest)?;
                depth += 1;
            }
            2 | 6 => depth = depth.checked_sub(1)?,
            3 => {
                short(&mut rest)?;
                long(&mut rest)?;
            }
            5 => long(&mut rest)?,
            _ => return None,
        }
        if depth > MAX_DEPTH {
            return None;
        }
    }
    (depth == 0).then_some(())
}

/// Puts `?` in place of each byte that keeps `bytes` from being UTF-8. The length stays.
fn make_text(mut bytes: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(bytes) {
        let (start, end) = (error.valid_up_to(), error.error_len());
        let end = end.map_or(bytes.len(), |length| start + length);
        bytes[start..end].fill(b'?');
        bytes = &mut bytes[end..];
    }
}

/// Returns whether charon tells its version within `limit`: a daemon whose threads hang still has the kernel take connections.
pub async fn answers(socket: &Path, limit: Duration) -> bool {
    #[derive(Deserialize)]
    struct Version {}
    let version = async { Client::connect(socket, limit).await?.request::<_, Version>("version", ()).await };
    matches!(tokio::time::timeout(limit, version).await, Ok(Ok(Version {})))
}

/// A connection to charon. After an error it is of no more use.
pub(super) struct Client {
    inner: rsvici::Client,
    broken: watch::Receiver<Option<String>>,
    limit: Duration,
}

impl Client {
    /// `limit` is for each answer.
    pub(super) async fn connect(socket: &Path, limit: Duration) -> Result<Client, String> {
        let stream =
            tokio::time::timeout(limit, UnixStream::connect(socket)).await.map_err(|_| late(limit))?;
        let stream = stream.map_err(|error| {
            format!("{error}: is charon running, with the vici plugin and this socket, readable for usherd?")
        })?;
        Ok(Client::over(stream, limit))
    }

    fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, limit: Duration) -> Client {
        let (tell, broken) = watch::channel(None);
        let packets = Packets { stream, packet: Vec::new(), have: 0, given: 0, broken: tell };
        Client { inner: rsvici::Client::new(packets), broken, limit }
    }

    /// Resolves when nothing more will come, with the reason.
    pub(super) fn ended(&self) -> impl Future<Output = String> + use<> {
        let mut broken = self.broken.clone();
        async move { ended(&mut broken).await }
    }

    /// Has charon tell of all such events from now on.
    pub(super) fn subscribe<U: DeserializeOwned>(
        &mut self,
        event: &str,
    ) -> impl Stream<Item = Result<U, rsvici::Error>> + use<U> {
        self.inner.subscribe(event)
    }

    /// `list-sas`, item by item.
    pub(super) fn list_sas<U: DeserializeOwned>(
        &mut self,
    ) -> impl Stream<Item = Result<U, rsvici::Error>> + use<U> {
        self.inner.stream_request("list-sas", "list-sa", ())
    }

    /// Sends a command and takes its answer.
    pub(super) async fn request<T: Serialize, U: DeserializeOwned>(
        &mut self,
        command: &str,
        message: T,
    ) -> Result<U, String> {
        let mut broken = self.broken.clone();
        let answer = tokio::time::timeout(self.limit, async {
            tokio::select! {
                // An answer counts, though the end follows it at once.
                biased;
                answer = self.inner.request(command, message) => answer.map_err(|error| format!("{command}: {error}")),
                why = ended(&mut broken) => Err(why),
            }
        });
        answer.await.unwrap_or_else(|_| Err(late(self.limit)))
    }

    /// All established sessions. The list may be long: the limit is for each part of it.
    pub(super) async fn sessions(&mut self) -> Result<Vec<Session>, String> {
        let (mut broken, limit) = (self.broken.clone(), self.limit);
        let mut list = pin!(self.list_sas::<HashMap<String, ListedSa>>());
        let mut sessions = Vec::new();
        loop {
            let part = tokio::time::timeout(limit, async {
                tokio::select! {
                    part = list.next() => item(part),
                    why = ended(&mut broken) => Err(why),
                }
            });
            let Some(part) = part.await.unwrap_or_else(|_| Err(late(limit)))? else { return Ok(sessions) };
            sessions.extend(part.into_values().filter_map(ListedSa::session));
            if sessions.len() > MAX_SESSIONS {
                return Err(format!("more than {MAX_SESSIONS} IKE SAs"));
            }
        }
    }

    /// Has the client of this session sent elsewhere; false when there is no such session. Whether the client goes, only the
    /// session's end tells.
    pub(super) async fn redirect(&mut self, id: u32, gateway: IpAddr) -> Result<bool, String> {
        #[derive(Serialize)]
        struct Redirect {
            #[serde(rename = "ike-id")]
            id: u32,
            gateway: IpAddr,
        }
        #[derive(Deserialize)]
        struct Done {
            success: bool,
        }
        let done: Done = self.request("redirect", Redirect { id, gateway }).await?;
        Ok(done.success)
    }
}

fn late(limit: Duration) -> String {
    format!("no answer within {} ms: charon hangs or is overloaded", limit.as_millis())
}

/// Resolves when nothing more will come, with the reason.
async fn ended(broken: &mut watch::Receiver<Option<String>>) -> String {
    let why = broken.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    why.unwrap_or_else(|| "closed the connection".to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedSa {
    uniqueid: u32,
    version: u8,
    state: String,
    remote_host: String,
    #[serde(default)]
    remote_port: u16,
    #[serde(default)]
    remote_id: String,
    #[serde(default)]
    remote_eap_id: String,
    #[serde(default)]
    initiator: bool,
}

impl ListedSa {
    fn session(self) -> Option<Session> {
        let identity = if self.remote_eap_id.is_empty() { self.remote_id } else { self.remote_eap_id };
        let identity = identity.chars().filter(|c| !c.is_control()).take(MAX_IDENTITY).collect();
        // A link-local address has its zone behind it.
        let peer = SocketAddr::new(self.remote_host.split('%').next()?.parse().ok()?, self.remote_port);
        let (id, ikev2, initiator) = (self.uniqueid, self.version == 2, self.initiator);
        let session = Session { id, peer: Some(peer), identity, ikev2, initiator, connection: None };
        (self.state == "ESTABLISHED").then_some(session)
    }
}

/// The next of a stream; none at its end.
pub(super) fn item<U>(item: Option<Result<U, rsvici::Error>>) -> Result<Option<U>, String> {
    item.transpose().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::charon::{Stats, UpDown};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_secs(5);

    /// A packet with its length in front.
    fn packet(kind: u8, name: &str, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![kind];
        if !name.is_empty() {
            packet.push(name.len() as u8);
            packet.extend_from_slice(name.as_bytes());
        }
        packet.extend_from_slice(elements);
        [&(packet.len() as u32).to_be_bytes(), &packet[..]].concat()
    }

    fn value(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let length = (value.len() as u16).to_be_bytes();
        [&[3, key.len() as u8], key, &length, value].concat()
    }

    fn section(name: impl AsRef<[u8]>, inside: &[Vec<u8>]) -> Vec<u8> {
        let name = name.as_ref();
        [&[1, name.len() as u8], name, &inside.concat(), &[2]].concat()
    }

    fn stats() -> Vec<u8> {
        let list = [&[4, 7][..], b"plugins", &[5, 0, 4], b"vici", &[6]].concat();
        let sas = section("ikesas", &[value("total", "12"), value("half-open", "2")]);
        packet(1, "", &[value("uptime", "1"), list, sas].concat())
    }

    /// Takes a request, and gives its type and name.
    async fn asked(stream: &mut DuplexStream) -> (u8, String) {
        let mut request = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut request).await.unwrap();
        let name = &request[2..2 + usize::from(request[1])];
        (request[0], String::from_utf8(name.to_vec()).unwrap())
    }

    /// Returns what `stats` brings when charon answers with these bytes and then says no more.
    async fn answered(bytes: Vec<u8>, closes: bool, limit: Duration) -> Result<u32, String> {
        let (ours, mut theirs) = duplex(64);
        let charon = tokio::spawn(async move {
            assert_eq!(asked(&mut theirs).await, (0, "stats".into()));
            let _ = theirs.write_all(&bytes).await;
            if !closes {
                std::future::pending::<()>().await;
            }
        });
        let stats: Result<Stats, String> = Client::over(ours, limit).request("stats", ()).await;
        charon.abort();
        stats.map(|stats| stats.ikesas.total)
    }

    #[tokio::test]
    async fn stats_are_read_and_what_is_not_needed_is_passed_over() {
        assert_eq!(answered(stats(), false, LIMIT).await, Ok(12));
    }

    #[tokio::test]
    async fn names_are_bytes() {
        let (ours, mut theirs) = duplex(64);
        tokio::spawn(async move {
            assert_eq!(asked(&mut theirs).await, (3, "list-sa".into()));
            theirs.write_all(&packet(5, "", &[])).await.unwrap();
            assert_eq!(asked(&mut theirs).await, (0, "list-sas".into()));
            let child = section(b"B\xfcro-1", &[value("name", b"B\xfcro"), value(b"\xff", b"\xc3")]);
            let inside = [
                value("uniqueid", "1"),
                value("version", "2"),
                value("state", "ESTABLISHED"),
                value("remote-host", "192.0.2.7"),
                value("remote-port", "4500"),
                value("remote-id", b"J\xfcrgen \xc3\xbc@example.net"),
                section("child-sas", &[child]),
            ];
            let sa = section(b"Au\xdfenstelle M\xfcnchen", &inside);
            theirs.write_all(&packet(7, "list-sa", &sa)).await.unwrap();
            theirs.write_all(&packet(1, "", &[])).await.unwrap();
            assert_eq!(asked(&mut theirs).await, (4, "list-sa".into()));
            theirs.write_all(&packet(5, "", &[])).await.unwrap();
            std::future::pending::<()>().await;
        });
        let sessions = Client::over(ours, LIMIT).sessions().await.unwrap();
        assert_eq!(sessions.len(), 1);
        assert_eq!((sessions[0].id, sessions[0].identity.as_str()), (1, "J?rgen \u{fc}@example.net"));
    }

    #[tokio::test]
    async fn an_end_silence_and_nonsense_are_named_at_once() {
        let deep = [[1, 1, b'a'].repeat(40), [2].repeat(40)].concat();
        for (bytes, closes, wanted) in [
            (Vec::new(), true, "closed the connection"),
            (stats()[..9].to_vec(), true, "closed the connection"),
            (vec![0xff; 8], false, "packet of 4294967295 bytes"),
            (vec![0; 8], false, "packet of 0 bytes"),
            (packet(1, "", &deep), false, "not VICI"),
            (packet(1, "", &[2]), false, "not VICI"),
            (packet(1, "", &value("total", "1")[..6]), false, "not VICI"),
            (packet(2, "", &[]), false, "unknown command"),
            (packet(1, "", &value("uptime", "1")), false, "missing field"),
        ] {
            let error = answered(bytes, closes, LIMIT).await.unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let error = answered(Vec::new(), false, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("no answer within 50 ms: charon hangs"), "{error}");
    }

    /// Returns whether a daemon that answers every request with these bytes is taken to be well.
    async fn is_well(answer: Vec<u8>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("charon.vici");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let charon = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 13];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, *b"\0\0\0\x09\0\x07version");
            stream.write_all(&answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let well = answers(&path, Duration::from_millis(300)).await;
        charon.abort();
        assert!(!matches!(charon.await, Err(error) if error.is_panic()));
        well
    }

    #[tokio::test]
    async fn only_a_daemon_that_answers_its_version_is_well() {
        assert!(
            is_well(packet(1, "", &[value("daemon", "charon"), value("version", "5.9.8")].concat())).await
        );
        assert!(!is_well(packet(2, "", &[])).await, "an unknown command");
        assert!(!is_well(Vec::new()).await, "it hangs");
        assert!(!answers(Path::new("/nonexistent/charon.vici"), LIMIT).await);
    }

    /// A stream that has ended, and counts how often it is asked.
    struct Ended(Arc<AtomicUsize>);

    impl AsyncRead for Ended {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Ended {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_burns_no_time() {
        let polls = Arc::new(AtomicUsize::new(0));
        let mut client = Client::over(Ended(polls.clone()), LIMIT);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let stats: Result<Stats, String> = client.request("stats", ()).await;
        assert!(stats.err().unwrap().contains("closed the connection"));
    }

    #[tokio::test]
    async fn a_request_that_crosses_an_event_loses_nothing() {
        let (ours, mut theirs) = duplex(4096);
        let child = section("net-7", &[value("uniqueid", "7"), value("state", "INSTALLED")]);
        let sa = section("up", &[value("uniqueid", "3"), section("child-sas", &[child])]);
        let event = packet(7, "child-updown", &[value("up", "yes"), sa].concat());
        let (half, other_half) = (event[..30].to_vec(), event[30..].to_vec());
        tokio::spawn(async move {
            assert_eq!(asked(&mut theirs).await, (3, "child-updown".into()));
            theirs.write_all(&packet(5, "", &[])).await.unwrap();
            theirs.write_all(&half).await.unwrap();
            assert_eq!(asked(&mut theirs).await, (0, "stats".into()));
            theirs.write_all(&other_half).await.unwrap();
            theirs.write_all(&stats()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut client = Client::over(ours, LIMIT);
        let mut events = Box::pin(client.subscribe::<UpDown>("child-updown"));
        let event = tokio::spawn(async move { events.next().await.unwrap().unwrap() });
        // The first half of the event is there.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stats: Stats = client.request("stats", ()).await.unwrap();
        assert_eq!((stats.ikesas.total, stats.ikesas.half_open), (12, 2));
        let event = event.await.unwrap();
        // The connection's own name is `up`.
        assert!(event.up);
        assert_eq!(event.children, [7]);
    }

    #[tokio::test]
    async fn established_sessions_are_listed() {
        let sa = |id: &str, more: &[Vec<u8>]| {
            let fixed = [
                value("uniqueid", id),
                value("version", "2"),
                value("remote-host", "2001:db8::7"),
                value("remote-port", "4500"),
            ];
            packet(7, "list-sa", &section("vpn", &[&fixed, more].concat()))
        };
        let parts = [
            sa("1", &[value("state", "ESTABLISHED"), value("remote-id", "a"), value("remote-eap-id", "b")]),
            sa("2", &[value("state", "CONNECTING")]),
            sa("3", &[value("state", "ESTABLISHED"), value("initiator", "yes"), section("child-sas", &[])]),
        ];
        let (ours, mut theirs) = duplex(4096);
        tokio::spawn(async move {
            assert_eq!(asked(&mut theirs).await, (3, "list-sa".into()));
            theirs.write_all(&packet(5, "", &[])).await.unwrap();
            assert_eq!(asked(&mut theirs).await, (0, "list-sas".into()));
            theirs.write_all(&parts.concat()).await.unwrap();
            theirs.write_all(&packet(1, "", &[])).await.unwrap();
            assert_eq!(asked(&mut theirs).await, (4, "list-sa".into()));
            theirs.write_all(&packet(5, "", &[])).await.unwrap();
            std::future::pending::<()>().await;
        });
        let sessions = Client::over(ours, LIMIT).sessions().await.unwrap();
        let peer = Some("[2001:db8::7]:4500".parse().unwrap());
        let session = |id, identity: &str, initiator| {
            let identity = identity.to_owned();
            Session { id, peer, identity, ikev2: true, initiator, connection: None }
        };
        assert_eq!(sessions, [session(1, "b", false), session(3, "", true)]);
    }

    /// Elements that are whole, most of them.
    fn elements() -> impl Strategy<Value = Vec<u8>> {
        let key = || prop::sample::select(vec!["ikesas", "total", "half-open", "child-sas", "up", ""]);
        let text = || prop::sample::select(vec!["", "1", "-1", "yes", "4294967296"]);
        let list = [4, 1, b'l', 5, 0, 1, b'x', 6];
        let leaf = prop_oneof![
            (key(), text()).prop_map(|(key, text)| value(key, text)),
            Just(list.to_vec()),
            prop::collection::vec(0u8..8, 0..4),
        ];
        let tree = leaf.prop_recursive(5, 40, 5, move |inner| {
            (key(), prop::collection::vec(inner, 0..5)).prop_map(|(name, inside)| section(name, &inside))
        });
        prop::collection::vec(tree, 0..6).prop_map(|elements| elements.concat())
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_the_counts_are_read(names in prop::collection::vec(any::<u8>(), 0..60), value_of in prop::collection::vec(any::<u8>(), 0..300)) {
            let other = section(&names, &[value(&names, &value_of), [&[4, names.len() as u8], &names[..], &[5, 0, names.len() as u8], &names, &[6]].concat()]);
            let counts = section("ikesas", &[value("total", "12"), value("half-open", "2"), value(&names, &value_of)]);
            // A key that is there twice is the decoder's to judge.
            prop_assume!(!names.starts_with(b"ikesas") && names != b"total" && names != b"half-open");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let answer = runtime.block_on(answered(packet(1, "", &[other, counts].concat()), false, LIMIT));
            prop_assert_eq!(answer, Ok(12));
        }

        #[test]
        fn text_stays_and_the_rest_becomes_text_of_the_same_length(text in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut same = text.clone().into_bytes();
            make_text(&mut same);
            prop_assert_eq!(same, text.into_bytes());
            let mut changed = bytes.clone();
            make_text(&mut changed);
            prop_assert!(std::str::from_utf8(&changed).is_ok() && changed.len() == bytes.len());
            let kept = bytes.iter().zip(&changed).filter(|(before, after)| before != after);
            prop_assert!(kept.into_iter().all(|(before, after)| *before >= 0x80 && *after == b'?'));
        }

        #[test]
        fn no_answer_panics_or_hangs(elements in elements()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let answer = answered(packet(1, "", &elements), false, LIMIT).await;
                assert!(!answer.is_err_and(|error| error.contains("no answer within")), "{elements:?}");
            });
        }
    }
}
