//! The load feed over loopback: members and a primary, and what a LAN can do to them.

use controlplane::clb::channel::Secret;
use controlplane::clb::feed::{Client, ClientSettings, Closed, FeedEvent, Server, ServerSettings};
use controlplane::clb::load::Rules;
use controlplane::clb::member::{Load, Percent, Report};
use controlplane::clb::wire::{Ack, Hello, Message, Order};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;

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
        key,
        max_members: 64,
        allowed: Vec::new(),
        idle: Duration::from_secs(10),
    }
}

fn server(settings: ServerSettings) -> (Server, mpsc::Receiver<FeedEvent>) {
    let (events, heard) = mpsc::channel(1024);
    (Server::start(settings, events).unwrap(), heard)
}

fn client(to: SocketAddr, n: u16, key: Option<Secret>) -> (Client, mpsc::Receiver<FeedEvent>) {
    let settings = ClientSettings {
        to,
        from: member(n),
        device: None,
        key,
        connect: Duration::from_secs(2),
        backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(400),
        idle: Duration::from_secs(10),
    };
    let (events, heard) = mpsc::channel(1024);
    (Client::start(settings, events), heard)
}

async fn next(events: &mut mpsc::Receiver<FeedEvent>) -> FeedEvent {
    tokio::time::timeout(PATIENT, events.recv()).await.expect("an event in time").expect("a sender")
}

fn hello() -> Message {
    let address = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    Message::Hello(Hello { incarnation: 7, address, hello_ms: 100, update_ms: 100, order: Order::default() })
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
    let order = Order { epoch: 2, shutdown: false, draining: [member(2)].into() };
    Message::Ack(Ack { seq, primary: member(2), order, rules: Rules::default(), members })
}

async fn converse(key: Option<Secret>) {
    let authenticated = key.is_some();
    let (server, mut at_primary) = server(server_settings(key.clone()));
    let (client, mut at_member) = client(server.local_address(), 1, key);
    assert_eq!(next(&mut at_member).await, FeedEvent::PrimaryUp { authenticated });
    assert!(client.send(hello()));
    let peer = member(1);
    assert_eq!(next(&mut at_primary).await, FeedEvent::MemberUp { peer, authenticated, version: 1 });
    let FeedEvent::FromMember { message: Message::Hello(heard), .. } = next(&mut at_primary).await else {
        panic!("no hello")
    };
    assert_eq!((heard.address, heard.incarnation), (peer, 7));
    for count in 1..=3 {
        assert!(client.send(Message::Update(report(count))));
        let message = Message::Update(report(count));
        assert_eq!(next(&mut at_primary).await, FeedEvent::FromMember { peer, message });
        assert!(server.send(peer, ack(count)));
        assert_eq!(next(&mut at_member).await, FeedEvent::FromPrimary(ack(count)));
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
