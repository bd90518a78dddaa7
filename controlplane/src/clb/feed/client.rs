//! The member's side: keeps a connection to the cluster's virtual address.

use super::super::channel::{Channel, Secret};
use super::super::wire::Message;
use super::connection::{Connection, Step};
use super::limits::{self, Bucket, Lines};
use super::{Closed, FeedEvent};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The cluster's virtual address and `port`
    pub to: SocketAddr,
    /// This node's own address: where clients are sent
    pub from: IpAddr,
    /// Connect through this device alone
    pub device: Option<String>,
    /// `cluster key`
    pub key: Option<Secret>,
    /// For the connection and again for the opening
    pub connect: Duration,
    /// Before the second attempt; doubled at each further one, less up to a half by chance
    pub backoff: Duration,
    /// Never longer than this
    pub max_backoff: Duration,
    /// A primary that says nothing for so long is left
    pub idle: Duration,
}

/// A running client. Dropped, it stops without a goodbye.
#[derive(Debug)]
pub struct Client {
    queue: mpsc::Sender<Command>,
    target: watch::Sender<SocketAddr>,
    running: JoinHandle<()>,
}

enum Command {
    Send(Message),
    Close(String),
}

impl Drop for Client {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Client {
    /// Connects, and connects again, until dropped. To be called in a tokio runtime. `events` is waited for.
    #[must_use]
    pub fn start(settings: ClientSettings, events: mpsc::Sender<FeedEvent>) -> Client {
        let (queue, messages) = mpsc::channel(limits::QUEUE);
        let (target, targets) = watch::channel(settings.to);
        let running = tokio::spawn(run(settings, messages, targets, events));
        Client { queue, target, running }
    }

    /// Sends to the primary; false if there is no room. What waits when a connection comes up is dropped: it was for
    /// the connection before.
    pub fn send(&self, message: Message) -> bool {
        self.queue.try_send(Command::Send(message)).is_ok()
    }

    /// Says goodbye to the primary and stops; waits for that at most [`limits::FAREWELL`].
    pub async fn close(mut self, reason: &str) {
        let asked = self.queue.try_send(Command::Close(reason.to_owned())).is_ok();
        // Without a connection nothing is taken from the queue: there is nothing to say goodbye to.
        if asked {
            let _ = tokio::time::timeout(limits::FAREWELL, &mut self.running).await;
        }
    }

    /// Leaves the connection that there is and connects to `to` at once: the role or the address has moved.
    pub fn reconnect_now(&self, to: SocketAddr) {
        self.target.send_replace(to);
    }
}

/// A length between half of `whole` and `whole`.
fn by_chance(whole: Duration) -> Duration {
    let half = whole / 2;
    half + half.mul_f64(f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX))
}

async fn run(
    settings: ClientSettings,
    mut messages: mpsc::Receiver<Command>,
    mut targets: watch::Receiver<SocketAddr>,
    events: mpsc::Sender<FeedEvent>,
) {
    let mut backoff = settings.backoff;
    let mut lines = Lines::default();
    loop {
        let to = *targets.borrow_and_update();
        let mut up_since = None;
        let closed = tokio::select! {
            closed = attempt(&settings, to, &mut messages, &events, &mut up_since, &mut lines) => closed,
            changed = targets.changed() => match changed {
                Ok(()) => Closed::Moved,
                Err(_) => return,
            },
        };
        if let Closed::Local(_) = closed {
            return;
        }
        let moved = closed == Closed::Moved;
        if closed.is_fault()
            && let Some(held) = lines.allow(closed.name())
        {
            let more =
                if held > 0 { format!(" ({held} more like it since the last line)") } else { String::new() };
            tracing::warn!("%CLB-4-FEED: no connection to the primary at {to}: {closed}{more}");
        }
        // A move away from an attempt that had not come up yet is no news.
        if (up_since.is_some() || !moved) && events.send(FeedEvent::PrimaryDown(closed)).await.is_err() {
            return;
        }
        if moved || up_since.is_some_and(|since: Instant| since.elapsed() >= settings.max_backoff) {
            backoff = settings.backoff;
        }
        if !moved {
            let pause = by_chance(backoff);
            backoff = (backoff * 2).min(settings.max_backoff);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = targets.changed() => match changed {
                    Ok(()) => backoff = settings.backoff,
                    Err(_) => return,
                },
            }
        }
    }
}

async fn connect(settings: &ClientSettings, to: SocketAddr) -> Result<TcpStream, Closed> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(Closed::io("socket"))?;
    if let Some(device) = &settings.device {
        socket.bind_device(Some(device.as_bytes())).map_err(Closed::io("SO_BINDTODEVICE"))?;
    }
    socket.set_tcp_nodelay(true).map_err(Closed::io("TCP_NODELAY"))?;
    let from = SockAddr::from(SocketAddr::new(settings.from, 0));
    socket.bind(&from).map_err(Closed::io("binding this node's address"))?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    match tokio::time::timeout(settings.connect, connecting).await {
        Ok(stream) => stream.map_err(Closed::io("connecting")),
        Err(_) => Err(Closed::Io { step: "connecting", error: "no answer in time".to_owned() }),
    }
}

/// One connection, from the attempt to its end.
async fn attempt(
    settings: &ClientSettings,
    to: SocketAddr,
    messages: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<FeedEvent>,
    up_since: &mut Option<Instant>,
    lines: &mut Lines,
) -> Closed {
    let stream = match connect(settings, to).await {
        Ok(stream) => stream,
        Err(closed) => return closed,
    };
    let mut opening = Vec::new();
    let channel = match Channel::member(settings.key.as_ref(), settings.from, &mut opening) {
        Ok(channel) => channel,
        Err(error) => return error.into(),
    };
    let mut connection = Connection::new(stream, channel, opening);
    let ended = exchange(&mut connection, settings, messages, events, up_since, lines).await;
    let closed = match ended {
        Err(closed) => closed,
        Ok(never) => match never {},
    };
    connection.close(&closed).await;
    closed
}

/// Exchanges messages with the primary until the connection ends.
async fn exchange(
    connection: &mut Connection,
    settings: &ClientSettings,
    messages: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<FeedEvent>,
    up_since: &mut Option<Instant>,
    lines: &mut Lines,
) -> Result<std::convert::Infallible, Closed> {
    let no_receiver = |_| Closed::Local("nobody listens to the feed".to_owned());
    let mut rate = Bucket::new(limits::MESSAGES_A_SECOND, limits::MESSAGES_AT_ONCE);
    let mut until = Instant::now() + settings.connect;
    // Until the channel is open nothing is taken from the queue.
    let (_closed_queue, mut nothing) = mpsc::channel(1);
    loop {
        match connection.step()? {
            Step::Handshake => {}
            Step::Open => {
                while messages.try_recv().is_ok() {}
                *up_since = Some(Instant::now());
                until = Instant::now() + settings.idle;
                let authenticated = connection.channel.keyed();
                events.send(FeedEvent::PrimaryUp { authenticated }).await.map_err(no_receiver)?;
            }
            Step::More => {
                let open = connection.channel.is_open();
                let queue = if open { &mut *messages } else { &mut nothing };
                let late = Closed::Idle(if open { settings.idle } else { settings.connect });
                if let Some(command) = connection.wait(queue, until, late).await? {
                    let mut message = match command {
                        Command::Send(message) => message,
                        Command::Close(reason) => return Err(Closed::Local(reason)),
                    };
                    if let Message::Hello(hello) = &mut message {
                        hello.address = settings.from;
                    }
                    if let Err(error) = connection.push(&message)?
                        && lines.allow("unsendable").is_some()
                    {
                        tracing::warn!("%CLB-4-FEED: a message to the primary is not sent: {error}");
                    }
                }
            }
            Step::Frame(parsed) => {
                let now = Instant::now();
                if !rate.allow(now.into_std()) {
                    return Err(Closed::TooFast);
                }
                until = now + settings.idle;
                match parsed.message {
                    None => {}
                    Some(Message::Bye { reason }) => return Err(Closed::Bye(reason)),
                    Some(message @ Message::Ack(_)) => {
                        let authenticated = connection.channel.keyed();
                        events
                            .send(FeedEvent::FromPrimary { authenticated, message })
                            .await
                            .map_err(no_receiver)?;
                    }
                    Some(_) => return Err(Closed::OutOfPlace("a member's message")),
                }
            }
        }
    }
}
