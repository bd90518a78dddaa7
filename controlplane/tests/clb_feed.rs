//! The load feed over loopback: members and a primary, and what a LAN can do to them.

use controlplane::clb::channel::{Channel, ChannelError, ChannelEvent, MAX_MEMBER_FRAME, Secret};
use controlplane::clb::feed::limits;
use controlplane::clb::feed::{Client, ClientSettings, Closed, FeedEvent, Server, ServerSettings, Stats};
use controlplane::clb::load::Rules;
use controlplane::clb::member::{Load, Percent, Report};
use controlplane::clb::orders::Orders;
use controlplane::clb::wire::{Ack, Hello, Members, Message, WireError, parse};
use controlplane::config::Prefix;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

const PATIENT: Duration = Duration::from_secs(5);

/// 127.1.0.N, where member N connects from.
fn member(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, high, low))
}

fn key(key: &str) -> Option<Secret> {
    Some(Secret::new(key).unwrap())
}

fn server_settings(key: Option<Secret>) -> ServerSettings {
    ServerSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        device: None,
        keys: key.into_iter().collect(),
        max_members: 64,
        allowed: Vec::new(),
        idle: Duration::from_secs(10),
    }
}

fn server(settings: ServerSettings) -> (Server, mpsc::Receiver<FeedEvent>) {
    let (events, heard) = mpsc::channel(1024);
    (Server::start(settings, events).unwrap(), heard)
}

fn client_settings(to: SocketAddr, n: u16, key: Option<Secret>) -> ClientSettings {
    ClientSettings {
        to,
        from: member(n),
        device: None,
        key,
        connect: Duration::from_secs(2),
        backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(400),
        idle: Duration::from_secs(10),
    }
}

fn client(to: SocketAddr, n: u16, key: Option<Secret>) -> (Client, mpsc::Receiver<FeedEvent>) {
    let (events, heard) = mpsc::channel(1024);
    (Client::start(client_settings(to, n, key), events), heard)
}

async fn next(events: &mut mpsc::Receiver<FeedEvent>) -> FeedEvent {
    tokio::time::timeout(PATIENT, events.recv()).await.expect("an event in time").expect("a sender")
}

/// The client puts the address in.
fn hello() -> Message {
    hello_of(IpAddr::from(Ipv4Addr::UNSPECIFIED))
}

fn hello_of(address: IpAddr) -> Message {
    Message::Hello(Hello {
        incarnation: 7,
        address,
        hello_ms: 100,
        update_ms: 100,
        orders: Some(Orders::default()),
    })
}

fn report(count: u64) -> Report {
    Report {
        version: (7, count),
        load: Load { crypto: Percent::hundredths(4200), ..Load::default() },
        max_session: 1000,
        priority: 100,
        load_normalization: 5,
        fqdn: "gw.example.net".to_owned(),
        ..Report::default()
    }
}

fn ack(seq: u64) -> Message {
    let members = vec![(member(1), report(seq), 15), (member(2), report(3), 0)].into();
    let mut orders = Orders::default();
    orders.set_drain(member(2), true).unwrap();
    Message::Ack(Ack { seq, primary: member(2), orders: Some(orders), rules: Rules::default(), members })
}

async fn converse(key: Option<Secret>) {
    let authenticated = key.is_some();
    let (server, mut at_primary) = server(server_settings(key.clone()));
    let (client, mut at_member) = client(server.local_address(), 1, key);
    assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated });
    assert!(client.send(hello()));
    let peer = member(1);
    assert_eq!(next(&mut at_primary).await, FeedEvent::MemberUp { peer, authenticated, key: 0, version: 2 });
    let FeedEvent::FromMember { message: Message::Hello(heard), .. } = next(&mut at_primary).await else {
        panic!("no hello")
    };
    assert_eq!((heard.address, heard.incarnation), (peer, 7));
    for count in 1..=3 {
        assert!(client.send(Message::Update(report(count))));
        let message = Message::Update(report(count));
        assert_eq!(next(&mut at_primary).await, FeedEvent::FromMember { peer, authenticated, message });
        assert!(server.send(peer, ack(count)));
        assert_eq!(next(&mut at_member).await, FeedEvent::FromPrimary { authenticated, message: ack(count) });
    }
    server.close(peer, "the role has moved");
    assert_eq!(
        next(&mut at_member).await,
        FeedEvent::PrimaryDown(Closed::Bye("the role has moved".to_owned()))
    );
    let down = FeedEvent::MemberDown { peer, reason: Closed::Local("the role has moved".to_owned()) };
    assert_eq!(next(&mut at_primary).await, down);
    // The client comes back by itself.
    assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated });
}

#[tokio::test]
async fn a_member_and_its_primary_converse_in_the_clear() {
    converse(None).await;
}

#[tokio::test]
async fn a_member_and_its_primary_converse_with_a_key() {
    converse(key("correct horse battery staple")).await;
}

#[tokio::test]
async fn they_converse_over_ipv6() {
    let settings = ServerSettings { listen: "[::1]:0".parse().unwrap(), ..server_settings(key("k")) };
    let (server, mut at_primary) = server(settings);
    let own = IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    let settings = ClientSettings { from: own, ..client_settings(server.local_address(), 1, key("k")) };
    let (events, mut at_member) = mpsc::channel(8);
    let client = Client::start(settings, events);
    assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated: true });
    client.send(hello());
    assert_eq!(
        next(&mut at_primary).await,
        FeedEvent::MemberUp { peer: own, authenticated: true, key: 0, version: 2 }
    );
}

/// A connection whose every byte the test decides.
struct Raw {
    stream: TcpStream,
    channel: Channel,
}

async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

impl Raw {
    /// Connects from `from` and says that it is `own`; not opened yet.
    async fn calling(to: SocketAddr, from: IpAddr, own: IpAddr, key: Option<&Secret>) -> Raw {
        let mut stream = connect(from, to).await.unwrap();
        let mut opening = Vec::new();
        let channel = Channel::member(key, own, &mut opening).unwrap();
        stream.write_all(&opening).await.unwrap();
        Raw { stream, channel }
    }

    /// Connected, opened, and joined by its hello.
    async fn joined(to: SocketAddr, from: IpAddr, key: Option<&Secret>) -> Raw {
        let mut raw = Raw::calling(to, from, from, key).await;
        raw.open().await.unwrap();
        raw.say(&hello_of(from)).await;
        raw
    }

    async fn more(&mut self) -> Result<(), Option<ChannelError>> {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(PATIENT, self.stream.read(&mut buffer))
            .await
            .expect("bytes or the end in time")
        {
            Ok(read) if read > 0 => self.channel.receive(&buffer[..read]),
            _ => return Err(self.channel.end()),
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Option<ChannelError>> {
        while !self.channel.is_open() {
            if self.channel.next()?.is_none() {
                self.more().await?;
            }
        }
        Ok(())
    }

    /// The next message; `None` when the primary has closed.
    async fn hear(&mut self) -> Option<Message> {
        loop {
            match self.channel.next().unwrap() {
                Some(ChannelEvent::Frame(frame)) => return parse(frame).unwrap().message,
                Some(_) => {}
                None => self.more().await.ok()?,
            }
        }
    }

    async fn frame(&mut self, frame: &[u8]) {
        let mut out = Vec::new();
        self.channel.seal(frame, &mut out).unwrap();
        let _ = self.stream.write_all(&out).await;
    }

    async fn say(&mut self, message: &Message) {
        let mut frame = Vec::new();
        message.emit(&mut frame).unwrap();
        self.frame(&frame).await;
    }
}

/// Waits until a member is down, and says why.
async fn down(events: &mut mpsc::Receiver<FeedEvent>, of: IpAddr) -> Closed {
    loop {
        if let FeedEvent::MemberDown { peer, reason } = next(events).await
            && peer == of
        {
            return reason;
        }
    }
}

/// Waits until `count` connections have been closed for `name`.
async fn closed(server: &Server, name: &str, count: u64) {
    let begin = Instant::now();
    while server.stats().closed.get(name).copied().unwrap_or_default() < count {
        assert!(begin.elapsed() < PATIENT, "{name}: {:?}", server.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is logged while the guard lives, on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_wrong_key_is_named_on_both_sides_in_few_lines() {
    let log = Log::default();
    let _kept = log.keep();
    let (server, _at_primary) = server(server_settings(key("right")));
    let wrong = key("wrong");
    for n in 1..=30 {
        let mut raw = Raw::calling(server.local_address(), member(n), member(n), wrong.as_ref()).await;
        assert_eq!(raw.open().await, Err(Some(ChannelError::WrongKey)));
    }
    closed(&server, "wrong-key", 30).await;
    let lines = log.lines("wrong cluster key");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("%CLB-4-FEED: connection from 127.1.0.1 closed: wrong cluster key"),
        "{lines:?}"
    );
    assert_eq!(server.stats().members, 0);
}

#[tokio::test]
async fn one_side_without_a_key_is_named_on_both() {
    for (ours, theirs, at_primary, at_member) in [
        (key("k"), None, "peer-plain", ChannelError::PeerKeyed),
        (None, key("k"), "peer-keyed", ChannelError::PeerPlain),
    ] {
        let (server, _at_primary) = server(server_settings(ours));
        let (_client, mut heard) = client(server.local_address(), 1, theirs);
        assert_eq!(next(&mut heard).await, FeedEvent::PrimaryDown(Closed::Channel(at_member)));
        closed(&server, at_primary, 1).await;
    }
}

/// Bytes of a member's keyed opening and of its answer.
const OPENING: usize = 8 + 64;
const ANSWER: usize = 8 + 48;

async fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn one_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut frame = exactly(stream, 2).await;
    let length = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
    frame.extend(exactly(stream, length).await);
    frame
}

#[tokio::test]
async fn frames_that_are_replayed_cut_or_altered_on_the_way_close_the_connection() {
    type Meddle = fn(&[Vec<u8>]) -> Vec<u8>;
    let meddlers: [(&str, Meddle); 4] = [
        ("replayed", |f| [&f[0][..], &f[1], &f[1]].concat()),
        ("cut", |f| [&f[0][..], &f[2]].concat()),
        ("altered", |f| {
            let mut bytes = [&f[0][..], &f[1]].concat();
            *bytes.last_mut().unwrap() ^= 0x80;
            bytes
        }),
        ("truncated", |f| [&f[0][..], &f[1][..9]].concat()),
    ];
    let (server, mut at_primary) = server(server_settings(key("k")));
    let to = server.local_address();
    for (name, meddle) in meddlers {
        let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, mut at_member) = client(between.local_addr().unwrap(), 1, key("k"));
        let (mut from_member, _) = between.accept().await.unwrap();
        // Who sits between has the member's address too.
        let mut to_primary = connect(member(1), to).await.unwrap();
        let opening = exactly(&mut from_member, OPENING).await;
        to_primary.write_all(&opening).await.unwrap();
        let answer = exactly(&mut to_primary, ANSWER).await;
        from_member.write_all(&answer).await.unwrap();
        assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated: true });
        client.send(hello());
        client.send(Message::Update(report(1)));
        client.send(Message::Update(report(2)));
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.push(one_frame(&mut from_member).await);
        }
        to_primary.write_all(&meddle(&frames)).await.unwrap();
        to_primary.shutdown().await.unwrap();
        assert_eq!(down(&mut at_primary, member(1)).await.name(), name);
        // The whole record once more, from the same address and from another one.
        let record = [&opening[..], &frames.concat()].concat();
        for (from, name) in [(member(1), "altered"), (member(2), "wrong-address")] {
            let before = server.stats().closed.get(name).copied().unwrap_or_default();
            let mut stream = connect(from, to).await.unwrap();
            stream.write_all(&record).await.unwrap();
            closed(&server, name, before + 1).await;
        }
        drop(client);
        // Not the ten attempts of one address that are allowed at once.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(server.stats().members, 0);
}

#[tokio::test]
async fn a_member_reports_only_for_the_address_that_it_connects_from() {
    let (plain, _events) = server(server_settings(None));
    let mut raw = Raw::calling(plain.local_address(), member(1), member(1), None).await;
    raw.open().await.unwrap();
    raw.say(&hello_of(member(2))).await;
    closed(&plain, "wrong-address", 1).await;
    let Some(Message::Bye { reason }) = raw.hear().await else { panic!("no reason given") };
    assert!(reason.contains("127.1.0.2"), "{reason}");
    // With a key the lie is found before the primary does any Diffie-Hellman.
    let (keyed, _events) = server(server_settings(key("k")));
    let mut raw = Raw::calling(keyed.local_address(), member(1), member(2), key("k").as_ref()).await;
    assert_eq!(raw.open().await, Err(Some(ChannelError::Translated(member(2)))));
    closed(&keyed, "wrong-address", 1).await;
    // And a hello later on is held to it as well.
    let mut raw = Raw::joined(keyed.local_address(), member(1), key("k").as_ref()).await;
    raw.say(&hello_of(member(3))).await;
    closed(&keyed, "wrong-address", 2).await;
}

#[tokio::test]
async fn what_a_member_has_no_business_to_send_has_a_name() {
    let (server, mut at_primary) = server(server_settings(None));
    let to = server.local_address();
    let mut early = Raw::calling(to, member(1), member(1), None).await;
    early.open().await.unwrap();
    early.say(&Message::Update(report(1))).await;
    closed(&server, "out-of-place", 1).await;
    let mut acknowledging = Raw::joined(to, member(1), None).await;
    acknowledging.say(&ack(1)).await;
    assert_eq!(down(&mut at_primary, member(1)).await, Closed::OutOfPlace("an acknowledgement"));
    let mut garbled = Raw::joined(to, member(1), None).await;
    garbled.frame(&[0xff; 40]).await;
    let reason = down(&mut at_primary, member(1)).await;
    assert!(matches!(reason, Closed::Wire(WireError::Undecodable(_))), "{reason}");
    let mut long = Raw::joined(to, member(1), None).await;
    long.frame(&vec![0; MAX_MEMBER_FRAME + 1]).await;
    assert_eq!(down(&mut at_primary, member(1)).await.name(), "oversize");
    let mut other = connect(member(2), to).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    closed(&server, "stranger", 1).await;
    let mut leaving = Raw::joined(to, member(1), None).await;
    leaving.say(&Message::Bye { reason: "reload".to_owned() }).await;
    assert_eq!(down(&mut at_primary, member(1)).await, Closed::Bye("reload".to_owned()));
}

#[tokio::test]
async fn what_a_newer_node_adds_is_skipped_and_the_connection_stays() {
    let (server, mut at_primary) = server(server_settings(key("k")));
    let mut newer = Raw::joined(server.local_address(), member(1), key("k").as_ref()).await;
    // Version 9, body 12.
    newer.frame(&[8, 9, 0x62, 3, 1, 2, 3]).await;
    let mut update = Vec::new();
    Message::Update(report(5)).emit(&mut update).unwrap();
    // Field 40 of the frame.
    update.extend_from_slice(&[0xc2, 2, 2, 0xaa, 0xbb]);
    newer.frame(&update).await;
    let peer = member(1);
    assert!(matches!(next(&mut at_primary).await, FeedEvent::MemberUp { .. }));
    assert!(matches!(next(&mut at_primary).await, FeedEvent::FromMember { message: Message::Hello(_), .. }));
    let message = Message::Update(report(5));
    assert_eq!(next(&mut at_primary).await, FeedEvent::FromMember { peer, authenticated: true, message });
    assert_eq!((server.stats().skipped, server.stats().members), (1, 1));

    // The same at a member of a newer primary, which the test plays.
    let newer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_client, mut at_member) = client(newer.local_addr().unwrap(), 2, None);
    let (mut stream, _) = newer.accept().await.unwrap();
    let opening = exactly(&mut stream, 8).await;
    stream.write_all(&opening).await.unwrap();
    let mut frame = Vec::new();
    ack(4).emit(&mut frame).unwrap();
    frame.extend_from_slice(&[0xc2, 2, 2, 0xaa, 0xbb]);
    stream.write_all(&[0, 7, 8, 9, 0x62, 3, 1, 2, 3]).await.unwrap();
    stream.write_all(&(frame.len() as u16).to_be_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated: false });
    assert_eq!(next(&mut at_member).await, FeedEvent::FromPrimary { authenticated: false, message: ack(4) });
}

#[tokio::test]
async fn a_second_connection_replaces_the_first_only_with_the_key() {
    let (plain, mut events) = server(server_settings(None));
    let mut first = Raw::joined(plain.local_address(), member(1), None).await;
    let mut second = Raw::joined(plain.local_address(), member(1), None).await;
    closed(&plain, "taken", 1).await;
    assert!(matches!(second.hear().await, Some(Message::Bye { .. })));
    first.say(&Message::Update(report(1))).await;
    let message = Message::Update(report(1));
    loop {
        match next(&mut events).await {
            FeedEvent::FromMember { message: heard, .. } if heard == message => break,
            FeedEvent::MemberDown { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
    // Once the first has been silent for two of its hellos, the second may have the place.
    tokio::time::sleep(Duration::from_millis(250)).await;
    let _third = Raw::joined(plain.local_address(), member(1), None).await;
    assert_eq!(down(&mut events, member(1)).await, Closed::Replaced);
    assert!(matches!(next(&mut events).await, FeedEvent::MemberUp { .. }));

    let (keyed, mut events) = server(server_settings(key("k")));
    let _first = Raw::joined(keyed.local_address(), member(1), key("k").as_ref()).await;
    let _second = Raw::joined(keyed.local_address(), member(1), key("k").as_ref()).await;
    assert_eq!(down(&mut events, member(1)).await, Closed::Replaced);
    assert!(matches!(next(&mut events).await, FeedEvent::MemberUp { .. }));
    assert_eq!(keyed.stats().members, 1);
}

#[tokio::test]
async fn the_table_the_link_and_the_clock_turn_connections_away() {
    let link = Prefix { address: member(0), length: 24 };
    let settings = ServerSettings {
        max_members: 2,
        allowed: vec![link],
        idle: Duration::from_millis(400),
        ..server_settings(None)
    };
    let (server, mut events) = server(settings);
    let to = server.local_address();
    let _first = Raw::joined(to, member(1), None).await;
    let _second = Raw::joined(to, member(2), None).await;
    let mut third = Raw::joined(to, member(3), None).await;
    closed(&server, "full", 1).await;
    let Some(Message::Bye { reason }) = third.hear().await else { panic!("no reason given") };
    assert!(reason.contains("2 members") && reason.contains("max-nodes"), "{reason}");
    let _outside = connect(member(256), to).await;
    closed(&server, "not-allowed", 1).await;
    let _silent = connect(member(4), to).await.unwrap();
    assert_eq!(down(&mut events, member(1)).await, Closed::Idle(Duration::from_millis(400)));
    closed(&server, "no-hello", 1).await;
    for _ in 0..limits::ATTEMPTS_AT_ONCE + 3 {
        let _ = connect(member(5), to).await;
    }
    closed(&server, "too-often", 1).await;
}

#[tokio::test]
async fn it_listens_where_the_address_is_not_yet() {
    let settings = ServerSettings {
        listen: "192.0.2.1:0".parse().unwrap(),
        device: Some("lo".to_owned()),
        ..server_settings(None)
    };
    let (server, _events) = server(settings);
    assert_eq!(server.local_address().ip().to_string(), "192.0.2.1");
    let taken = ServerSettings { listen: server.local_address(), ..server_settings(None) };
    let error = Server::start(taken, mpsc::channel(1).0).unwrap_err().to_string();
    assert!(
        error.contains("cannot listen on 192.0.2.1:") && error.contains("Address already in use"),
        "{error}"
    );
}

#[tokio::test]
async fn clients_come_back_move_and_stop_and_a_dropped_server_leaves_nothing() {
    let (first, _events) = server(server_settings(None));
    let at = first.local_address();
    let (client, mut heard) = client(at, 1, None);
    assert!(matches!(next(&mut heard).await, FeedEvent::PrimaryUp { .. }));
    client.send(hello());
    // Stopped with a word, the port is free at once and the client comes back to whoever listens there next.
    first.stop("resigns").await;
    assert_eq!(next(&mut heard).await, FeedEvent::PrimaryDown(Closed::Bye("resigns".to_owned())));
    let (second, _events) = server(ServerSettings { listen: at, ..server_settings(None) });
    while next(&mut heard).await != (FeedEvent::PrimaryUp { authenticated: false }) {}
    // Told to move, it does at once.
    let (third, mut events) = server(server_settings(None));
    client.reconnect_now(third.local_address());
    assert_eq!(next(&mut heard).await, FeedEvent::PrimaryDown(Closed::Moved));
    assert!(matches!(next(&mut heard).await, FeedEvent::PrimaryUp { .. }));
    client.send(hello());
    assert!(matches!(next(&mut events).await, FeedEvent::MemberUp { .. }));
    drop((client, second, third));
    let begin = Instant::now();
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
        assert!(begin.elapsed() < PATIENT, "tasks are left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_waits_longer_and_longer_for_a_primary_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_client, mut heard) = client(nobody, 1, None);
    let begin = Instant::now();
    let mut attempts = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        match tokio::time::timeout(Duration::from_secs(2), heard.recv()).await {
            Ok(Some(FeedEvent::PrimaryDown(Closed::Io { step: "connecting", .. }))) => attempts += 1,
            other => panic!("{other:?}"),
        }
    }
    // 50, 100, 200, then 400 ms, each less up to a half.
    assert!((4..=15).contains(&attempts), "{attempts}");
}

/// A table of `rows` members with names as long as they may be.
fn crowd(rows: u16) -> Members {
    let report = Report { fqdn: "x".repeat(255), ..report(1) };
    (1..=rows).map(|n| (member(n), report.clone(), 10)).collect::<Vec<_>>().into()
}

fn crowded(seq: u64, members: &Members) -> Message {
    let rules = Rules::default();
    Message::Ack(Ack { seq, primary: member(9), orders: None, rules, members: members.clone() })
}

#[tokio::test]
async fn a_member_that_does_not_read_is_closed_and_the_others_do_not_wait() {
    let (server, mut at_primary) = server(server_settings(key("k")));
    let _deaf = Raw::joined(server.local_address(), member(1), key("k").as_ref()).await;
    let (client, mut at_member) = client(server.local_address(), 2, key("k"));
    assert!(matches!(next(&mut at_member).await, FeedEvent::PrimaryUp { .. }));
    client.send(hello());
    let (mut up, mut dropped, mut worst) = (0, false, Duration::ZERO);
    while up < 2 {
        up += u8::from(matches!(next(&mut at_primary).await, FeedEvent::MemberUp { .. }));
    }
    let members = crowd(64);
    let begin = Instant::now();
    let reason = 'deaf: loop {
        assert!(begin.elapsed() < limits::PATIENCE * 3, "it is not closed");
        dropped |= !server.send(member(1), crowded(1, &members));
        let asked = Instant::now();
        assert!(server.send(member(2), crowded(2, &members)));
        assert_eq!(
            next(&mut at_member).await,
            FeedEvent::FromPrimary { authenticated: true, message: crowded(2, &members) }
        );
        worst = worst.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(15)).await;
        while let Ok(event) = at_primary.try_recv() {
            if let FeedEvent::MemberDown { peer, reason } = event {
                assert_eq!(peer, member(1));
                break 'deaf reason;
            }
        }
    };
    println!("slow reader closed after {:?}; worst acknowledgement of the other {worst:?}", begin.elapsed());
    assert_eq!(reason, Closed::SlowReader);
    assert!(dropped, "messages for it had no bound");
    assert!(worst < Duration::from_millis(500), "{worst:?}");
}

/// What [`Primary`] has seen.
#[derive(Debug)]
struct Look {
    stats: Stats,
    down: Vec<(IpAddr, &'static str)>,
    /// Time of its thread on a processor
    cpu: Duration,
    /// How late a timer of 5 ms was in its runtime: at the 99th percentile, and at worst
    late: (Duration, Duration),
}

/// A primary as usherd is one: one thread, and every message is acknowledged with the whole table.
struct Primary {
    address: SocketAddr,
    ask: mpsc::UnboundedSender<oneshot::Sender<Look>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Primary {
    fn start(settings: ServerSettings, members: Members) -> Primary {
        let (ask, asked) = mpsc::unbounded_channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (server, events) = server(settings);
                tell.send(server.local_address()).unwrap();
                serve(server, events, asked, members).await;
            });
        });
        Primary { address: told.recv().unwrap(), ask, thread: Some(thread) }
    }

    async fn look(&self) -> Look {
        let (answer, answered) = oneshot::channel();
        self.ask.send(answer).unwrap();
        answered.await.unwrap()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        self.ask = mpsc::unbounded_channel().0;
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

async fn serve(
    server: Server,
    mut events: mpsc::Receiver<FeedEvent>,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Look>>,
    members: Members,
) {
    const TICK: Duration = Duration::from_millis(5);
    let (mut down, mut late) = (Vec::new(), Vec::new());
    let mut tick = Instant::now() + TICK;
    loop {
        tokio::select! {
            event = events.recv() => match event.unwrap() {
                FeedEvent::FromMember { peer, message, .. } => {
                    let seq = if let Message::Update(report) = message { report.version.1 } else { 0 };
                    server.send(peer, crowded(seq, &members));
                }
                FeedEvent::MemberDown { peer, reason } => down.push((peer, reason.name())),
                _ => {}
            },
            () = tokio::time::sleep_until(tick.into()) => {
                late.push(tick.elapsed());
                tick = Instant::now() + TICK;
            }
            answer = asked.recv() => {
                let Some(answer) = answer else { return };
                late.sort();
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                let cpu = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                let most = (late[late.len() * 99 / 100], *late.last().unwrap());
                let _ = answer.send(Look { stats: server.stats(), down: std::mem::take(&mut down), cpu, late: most });
                late.clear();
                tick = Instant::now() + TICK;
            }
        }
    }
}

/// A member that reports every 100 ms until told to `stop`: messages sent, acknowledgements heard, the longest wait for one,
/// and how often the connection was lost.
async fn well_behaved(
    to: SocketAddr,
    n: u16,
    key: Option<Secret>,
    mut stop: watch::Receiver<bool>,
) -> (u64, u64, Duration, u32) {
    let (client, mut heard) = client(to, n, key);
    let (mut sent, mut acked, mut worst, mut lost, mut up) = (0, 0, Duration::ZERO, 0, false);
    let mut at = Instant::now();
    let mut every = tokio::time::interval(Duration::from_millis(100));
    while !*stop.borrow_and_update() {
        tokio::select! {
            _ = stop.changed() => {}
            event = heard.recv() => match event.unwrap() {
                FeedEvent::PrimaryUp { .. } => {
                    client.send(hello());
                    (up, sent) = (true, sent + 1);
                    at = Instant::now();
                }
                FeedEvent::FromPrimary { message: Message::Ack(_), .. } => {
                    acked += 1;
                    worst = worst.max(at.elapsed());
                }
                FeedEvent::PrimaryDown(_) => {
                    lost += u32::from(up);
                    up = false;
                }
                _ => {}
            },
            _ = every.tick(), if up => {
                at = Instant::now();
                sent += u64::from(client.send(Message::Update(report(sent))));
            }
        }
    }
    (sent, acked, worst, lost)
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// HSRP's shortest timers: a hello every 50 ms.
const HELLO: Duration = Duration::from_millis(50);

#[tokio::test]
async fn ten_thousand_silent_connections_exhaust_nothing() {
    let primary = Primary::start(server_settings(key("k")), crowd(10));
    let to = primary.address;
    let (stop, stopped) = watch::channel(false);
    let member_before = tokio::spawn(well_behaved(to, 1, key("k"), stopped.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, cpu) = (resident(), primary.look().await.cpu);
    let begin = Instant::now();
    // Half of them from one address, and half of these begin an opening.
    let mut flood = JoinSet::new();
    let mut held = Vec::new();
    let mut member_amid = None;
    for n in 0..10_000u16 {
        if n == 3000 {
            member_amid = Some(tokio::spawn(well_behaved(to, 2, key("k"), stopped.clone())));
        }
        flood.spawn(async move {
            let from = if n % 2 == 0 { member(60_000) } else { member(10_000 + n / 2) };
            let mut stream = connect(from, to).await.ok()?;
            if n % 4 < 2 {
                let _ = stream.write_all(b"UCLB\x01\x01").await;
            }
            Some(stream)
        });
        if flood.len() >= 500 {
            held.extend(flood.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(stream) = flood.join_next().await {
        held.extend(stream.unwrap());
    }
    let took = begin.elapsed();
    let look = primary.look().await;
    stop.send_replace(true);
    let grown = resident().saturating_sub(before);
    let share = (look.cpu - cpu).as_secs_f64() / took.as_secs_f64();
    println!("{} connections in {took:?}: {grown} bytes more, {:.1} % of a core", held.len(), share * 100.0);
    println!("timers late by {:?}; {:?}", look.late, look.stats);
    assert!(held.len() == 10_000 && look.stats.accepted > 5_000, "{look:?}");
    assert!(look.stats.pending <= limits::MAX_PENDING);
    assert!(grown < 64 << 20, "this process, both ends: {grown}");
    assert!(look.late.0 < HELLO, "{:?}", look.late);
    for (name, member) in [("before", member_before), ("amid", member_amid.unwrap())] {
        let (sent, acked, worst, lost) = member.await.unwrap();
        println!("member that came {name}: {sent} sent, {acked} acknowledged, worst {worst:?}, lost {lost}");
        assert_eq!(lost, 0);
        assert!(sent > 20 && acked + 2 >= sent, "{name}: {sent} {acked}");
        assert!(worst < Duration::from_millis(500), "{name}: {worst:?}");
    }
    drop(held);
}

#[tokio::test]
async fn a_member_that_sends_a_thousand_updates_a_second_disturbs_nobody() {
    let primary = Primary::start(server_settings(key("k")), crowd(10));
    let to = primary.address;
    let until = Instant::now() + Duration::from_secs(4);
    let (stop, stopped) = watch::channel(false);
    let other = tokio::spawn(well_behaved(to, 1, key("k"), stopped));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut sent = 0u64;
    while Instant::now() < until {
        // It comes back as often as it is closed.
        let mut raw = Raw::calling(to, member(2), member(2), key("k").as_ref()).await;
        if raw.open().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        raw.say(&hello_of(member(2))).await;
        let mut every = tokio::time::interval(Duration::from_millis(1));
        while Instant::now() < until {
            every.tick().await;
            let mut frame = Vec::new();
            Message::Update(report(sent)).emit(&mut frame).unwrap();
            let mut out = Vec::new();
            raw.channel.seal(&frame, &mut out).unwrap();
            // What it is told is read away; an error is the end.
            let mut buffer = [0; 65_536];
            while raw.stream.try_read(&mut buffer).is_ok_and(|read| read > 0) {}
            if raw.stream.write_all(&out).await.is_err() {
                break;
            }
            sent += 1;
        }
    }
    let look = primary.look().await;
    stop.send_replace(true);
    let (updates, acked, worst, lost) = other.await.unwrap();
    println!(
        "{sent} updates sent, {} heard; {:?}; timers late by {:?}",
        look.stats.heard, look.stats.closed, look.late
    );
    println!("the other: {updates} sent, {acked} acknowledged, worst {worst:?}");
    assert!(look.down.contains(&(member(2), "too-fast")), "{look:?}");
    assert!(look.stats.heard < 800 && sent > 500, "{sent} {look:?}");
    assert_eq!(lost, 0);
    assert!(acked + 2 >= updates && worst < Duration::from_millis(500), "{updates} {acked} {worst:?}");
}

#[tokio::test]
async fn openings_at_once_wait_for_their_turn() {
    let primary = Primary::start(server_settings(key("k")), crowd(1));
    let to = primary.address;
    let begin = Instant::now();
    let mut knocking = JoinSet::new();
    for n in 1..=250 {
        knocking.spawn(async move {
            let mut raw = Raw::calling(to, member(n), member(n), key("k").as_ref()).await;
            raw.open().await.ok().map(|()| begin.elapsed())
        });
    }
    let mut opened: Vec<_> = knocking.join_all().await.into_iter().flatten().collect();
    opened.sort();
    let rate = f64::from(limits::OPENINGS_A_SECOND);
    for (n, after) in opened.iter().enumerate() {
        let most = f64::from(limits::OPENINGS_AT_ONCE) + rate * after.as_secs_f64() + 1.0;
        assert!((n as f64) < most, "opening {n} after {after:?}");
    }
    println!("{} openings, the last after {:?}", opened.len(), opened.last());
    assert!(opened.len() >= 200, "{}", opened.len());
}

#[tokio::test]
async fn sixty_four_nodes_that_report_every_100_ms_cost_little() {
    const MEMBERS: u16 = 63;
    let primary = Primary::start(server_settings(key("k")), {
        let report = Report { fqdn: "gateway-17.example.net".to_owned(), ..report(1) };
        (1..=MEMBERS + 1).map(|n| (member(n), report.clone(), 10)).collect::<Vec<_>>().into()
    });
    let (stop, stopped) = watch::channel(false);
    let mut members = JoinSet::new();
    for n in 1..=MEMBERS {
        members.spawn(well_behaved(primary.address, n, key("k"), stopped.clone()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, begin) = (primary.look().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (after, took) = (primary.look().await, begin.elapsed());
    stop.send_replace(true);
    let share = (after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64();
    let heard = (after.stats.heard - before.stats.heard) as f64 / took.as_secs_f64();
    println!(
        "feed members={} updates_per_s={heard:.0} core_percent={:.2} late={:?}",
        after.stats.members,
        share * 100.0,
        after.late
    );
    assert_eq!(after.stats.members, usize::from(MEMBERS));
    assert!(heard > 500.0, "{heard}");
    // An unoptimised build on a shared machine; the release build takes a fraction of it.
    assert!(share < 0.3, "{share}");
    for (sent, acked, _, lost) in members.join_all().await {
        assert_eq!(lost, 0);
        assert!(acked + 2 >= sent, "{sent} {acked}");
    }
}

/// A member that leaves is out of the primary's table at once, not after holdtime.
#[tokio::test]
async fn a_goodbye_is_sent_and_heard_within_50_ms() {
    let (server, mut at_primary) = server(server_settings(key("k")));
    let (client, mut at_member) = client(server.local_address(), 1, key("k"));
    assert!(matches!(next(&mut at_member).await, FeedEvent::PrimaryUp { .. }));
    client.send(hello());
    assert!(matches!(next(&mut at_primary).await, FeedEvent::MemberUp { .. }));
    assert!(matches!(next(&mut at_primary).await, FeedEvent::FromMember { .. }));
    let start = Instant::now();
    client.close("that node leaves the cluster").await;
    let reason = Closed::Bye("that node leaves the cluster".to_owned());
    assert_eq!(next(&mut at_primary).await, FeedEvent::MemberDown { peer: member(1), reason });
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_without_a_connection_closes_in_bounded_time() {
    // Nothing listens there.
    let (client, _at_member) = client("127.0.0.1:9".parse().unwrap(), 1, key("k"));
    let start = Instant::now();
    client.close("bye").await;
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
}

/// A change of the key: both are accepted, so a member may change before its primary and after it.
#[tokio::test]
async fn of_two_keys_the_primary_accepts_either_and_knows_which() {
    let keys: Vec<Secret> = ["new", "old"].into_iter().filter_map(key).collect();
    let (server, mut at_primary) = server(ServerSettings { keys, ..server_settings(None) });
    for (n, (text, index)) in [("new", 0), ("old", 1)].into_iter().enumerate() {
        let (client, mut at_member) = client(server.local_address(), n as u16 + 1, key(text));
        assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated: true });
        client.send(hello());
        let FeedEvent::MemberUp { key, .. } = next(&mut at_primary).await else { panic!() };
        assert_eq!(key, index);
        assert!(matches!(next(&mut at_primary).await, FeedEvent::FromMember { authenticated: true, .. }));
        drop(client);
        assert!(matches!(next(&mut at_primary).await, FeedEvent::MemberDown { .. }));
    }
    let (_client, mut at_member) = client(server.local_address(), 3, key("third"));
    let FeedEvent::PrimaryDown(reason) = next(&mut at_member).await else { panic!() };
    assert_eq!(reason, Closed::Channel(ChannelError::WrongKey));
    closed(&server, "wrong-key", 1).await;
    let refusal = server.stats().last_refusal.unwrap();
    assert_eq!((refusal.peer, refusal.reason), (member(3), reason));
}
