//! The primary's side: listens on the cluster's virtual address, and keeps one connection a member.

use super::super::channel::{Channel, ChannelError, Secret};
use super::super::wire::{Hello, Message};
use super::connection::{Connection, Step};
use super::limits::{self, Bucket, Lines, Sources};
use super::{Closed, FeedError, FeedEvent};
use crate::types::Prefix;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// The kernel's buffers of a connection, in bytes; it doubles them.
const RECEIVE_BUFFER: usize = 16 << 10;
const SEND_BUFFER: usize = 64 << 10;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The virtual address and `port`. The address need not be there yet
    pub listen: SocketAddr,
    /// Listen on this device alone
    pub device: Option<String>,
    /// The keys of which a member has to hold one; empty: in the clear, from anyone who may connect
    pub keys: Vec<Secret>,
    /// Members connected at once: `max-nodes` less this node
    pub max_members: usize,
    /// Prefixes that may connect; empty: any
    pub allowed: Vec<Prefix>,
    /// A member that says nothing for so long is closed
    pub idle: Duration,
}

/// A connection that was closed for a fault of its peer.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// From where it came
    pub peer: IpAddr,
    /// Why
    pub reason: Closed,
    /// When
    pub at: std::time::Instant,
}

/// Statistics of a server.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Connections accepted
    pub accepted: u64,
    /// Messages heard from members
    pub heard: u64,
    /// Messages for members
    pub sent: u64,
    /// Messages for members that were not connected, or whose queue was full
    pub dropped: u64,
    /// Messages whose body only a later version knows
    pub skipped: u64,
    /// Connections closed, by [`Closed::name`]
    pub closed: BTreeMap<&'static str, u64>,
    /// Connected members
    pub members: usize,
    /// Connections that have not said hello
    pub pending: usize,
    /// The last connection that was closed for a fault of its peer
    pub last_refusal: Option<Refusal>,
}

enum Command {
    Send(Message),
    Close(String),
}

/// A connection that has not said hello.
#[derive(Debug)]
struct Pending {
    id: u64,
    source: IpAddr,
    /// Its handshake was good: with a key, it comes from one who holds it or has recorded it
    opened: bool,
    abort: AbortHandle,
}

/// The connection of a member that has said hello, as the server holds it.
#[derive(Debug)]
struct SessionHandle {
    id: u64,
    queue: mpsc::Sender<Command>,
    abort: AbortHandle,
    heard: Instant,
    hello: Duration,
}

#[derive(Debug)]
struct State {
    pending: VecDeque<Pending>,
    members: BTreeMap<IpAddr, SessionHandle>,
    sources: Sources,
    openings: Bucket,
    lines: Lines,
    stats: Stats,
    /// Why, once it stops
    stopping: Option<String>,
    next_id: u64,
}

#[derive(Debug)]
struct Shared {
    settings: ServerSettings,
    state: Mutex<State>,
}

/// A running server. Dropped, it stops: the port is free and all connections are closed as soon as the runtime turns.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    local: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listener(settings: &ServerSettings) -> Result<TcpListener, FeedError> {
    let listen = settings.listen;
    let refused = |step: &'static str| move |error: std::io::Error| FeedError { listen, step, error };
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(refused("socket"))?;
    socket.set_reuse_address(true).map_err(refused("SO_REUSEADDR"))?;
    match listen {
        SocketAddr::V4(_) => socket.set_freebind_v4(true),
        SocketAddr::V6(_) => socket.set_only_v6(true).and_then(|()| socket.set_freebind_v6(true)),
    }
    .map_err(refused("IP_FREEBIND"))?;
    if let Some(device) = &settings.device {
        socket.bind_device(Some(device.as_bytes())).map_err(refused("SO_BINDTODEVICE"))?;
    }
    // Accepted connections inherit them.
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(refused("SO_RCVBUF"))?;
    socket.set_send_buffer_size(SEND_BUFFER).map_err(refused("SO_SNDBUF"))?;
    socket.bind(&SockAddr::from(listen)).map_err(refused("bind"))?;
    socket.listen(BACKLOG).map_err(refused("listen"))?;
    TcpListener::from_std(socket.into()).map_err(refused("the runtime"))
}

impl Server {
    /// Listens, and serves until dropped. To be called in a tokio runtime. `events` is waited for: a connection whose
    /// event finds no room is not read meanwhile.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub fn start(settings: ServerSettings, events: mpsc::Sender<FeedEvent>) -> Result<Server, FeedError> {
        let listener = listener(&settings)?;
        let failed = |error| FeedError { listen: settings.listen, step: "getsockname", error };
        let local = listener.local_addr().map_err(failed)?;
        let state = State {
            pending: VecDeque::new(),
            members: BTreeMap::new(),
            sources: Sources::default(),
            openings: Bucket::new(limits::OPENINGS_A_SECOND, limits::OPENINGS_AT_ONCE),
            lines: Lines::default(),
            stats: Stats::default(),
            stopping: None,
            next_id: 0,
        };
        let shared = Arc::new(Shared { settings, state: Mutex::new(state) });
        let accepting = tokio::spawn(accept(listener, shared.clone(), events));
        Ok(Server { shared, local, accepting })
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sends to a member. False, and the message is dropped, if the member is not connected or [`limits::QUEUE`] messages
    /// wait for it already; if it goes on not reading it is closed.
    pub fn send(&self, peer: IpAddr, message: Message) -> bool {
        let mut state = self.shared.state();
        let session = state.members.get(&peer);
        let sent = session.is_some_and(|session| session.queue.try_send(Command::Send(message)).is_ok());
        if sent {
            state.stats.sent += 1;
        } else {
            state.stats.dropped += 1;
        }
        sent
    }

    /// Says goodbye to a member and closes; its `MemberDown` follows.
    pub fn close(&self, peer: IpAddr, reason: &str) {
        if let Some(session) = self.shared.state().members.get(&peer) {
            let _ = session.queue.try_send(Command::Close(reason.to_owned()));
        }
    }

    /// Says goodbye to all members and stops; waits for that at most 0.2 s. The port is free then.
    pub async fn stop(mut self, reason: &str) {
        let until = Instant::now() + limits::FAREWELL;
        {
            let mut state = self.shared.state();
            state.stopping = Some(reason.to_owned());
            for session in state.members.values() {
                let _ = session.queue.try_send(Command::Close(reason.to_owned()));
            }
        }
        // A connection is one of its tasks until its last words have left.
        while Arc::strong_count(&self.shared) > 2 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// Returns its statistics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        Stats { members: state.members.len(), pending: state.pending.len(), ..state.stats.clone() }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the end of a connection, and writes its line.
    fn ended(&mut self, peer: IpAddr, closed: &Closed) {
        *self.stats.closed.entry(closed.name()).or_default() += 1;
        if !closed.is_fault() {
            return;
        }
        self.stats.last_refusal =
            Some(Refusal { peer, reason: closed.clone(), at: Instant::now().into_std() });
        match self.lines.allow(closed.name()) {
            None => {}
            Some(0) => tracing::warn!("%CLB-4-FEED: connection from {peer} closed: {closed}"),
            Some(held) => tracing::warn!(
                "%CLB-4-FEED: connection from {peer} closed: {closed} ({held} more like it since the last line)"
            ),
        }
    }

    /// Makes room for a connection from `source` that has not said hello.
    fn make_room(&mut self, source: IpAddr) {
        let of_source = |pending: &Pending| pending.source == source;
        while self.pending.iter().filter(|pending| of_source(pending)).count() >= limits::MAX_PENDING_OF_ONE {
            let oldest = self.pending.iter().position(of_source);
            self.push_out(oldest);
        }
        while self.pending.len() >= limits::MAX_PENDING {
            let oldest = self.pending.iter().position(|pending| !pending.opened).or(Some(0));
            self.push_out(oldest);
        }
    }

    fn push_out(&mut self, place: Option<usize>) {
        if let Some(pending) = place.and_then(|place| self.pending.remove(place)) {
            pending.abort.abort();
            self.ended(pending.source, &Closed::PushedOut);
        }
    }

    fn forget(&mut self, id: u64) -> Option<Pending> {
        let place = self.pending.iter().position(|pending| pending.id == id)?;
        self.pending.remove(place)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, events: mpsc::Sender<FeedEvent>) {
    // Dropped with this task, it ends all connections.
    let mut tasks = JoinSet::new();
    let mut accepted = 0u32;
    loop {
        tokio::select! {
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            connection = listener.accept() => match connection {
                Ok((stream, from)) => {
                    admit(stream, from.ip(), &shared, &events, &mut tasks);
                    accepted = accepted.wrapping_add(1);
                    if accepted.is_multiple_of(limits::ACCEPTS_AT_ONCE) {
                        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    }
                }
                Err(error) => {
                    if shared.state().lines.allow("accept").is_some() {
                        tracing::warn!("%CLB-4-FEED: a connection cannot be accepted: {error}: raise the limit of open files");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: IpAddr,
    shared: &Arc<Shared>,
    events: &mpsc::Sender<FeedEvent>,
    tasks: &mut JoinSet<()>,
) {
    let mut state = shared.state();
    state.stats.accepted += 1;
    let allowed = &shared.settings.allowed;
    if !allowed.is_empty() && !allowed.iter().any(|prefix| prefix.covers(peer)) {
        return state.ended(peer, &Closed::NotAllowed);
    }
    if !state.sources.attempt(peer, Instant::now().into_std()) {
        return state.ended(peer, &Closed::TooOften);
    }
    let _ = stream.set_nodelay(true);
    state.make_room(peer);
    let id = state.next_id;
    state.next_id += 1;
    let abort = tasks.spawn(serve(stream, peer, id, shared.clone(), events.clone()));
    state.pending.push_back(Pending { id, source: peer, opened: false, abort });
}

/// Serves one connection, from its handshake to its end.
async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    id: u64,
    shared: Arc<Shared>,
    events: mpsc::Sender<FeedEvent>,
) {
    let channel = Channel::primary(&shared.settings.keys, peer);
    let mut session =
        Session { connection: Connection::new(stream, channel, Vec::new()), peer, id, shared, events };
    let closed = match session.run().await {
        Err(closed) => closed,
        Ok(never) => match never {},
    };
    let was_member = {
        let shared = &session.shared;
        let mut state = shared.state();
        state.forget(id);
        let was_member = state.members.get(&peer).is_some_and(|session| session.id == id);
        if was_member {
            state.members.remove(&peer);
        }
        state.ended(peer, &closed);
        was_member
    };
    if was_member {
        let _ = session.report(FeedEvent::MemberDown { peer, reason: closed.clone() }).await;
    }
    session.connection.close(&closed).await;
}

/// A connection with one peer, as its task runs it.
struct Session {
    connection: Connection,
    peer: IpAddr,
    id: u64,
    shared: Arc<Shared>,
    events: mpsc::Sender<FeedEvent>,
}

impl Session {
    async fn run(&mut self) -> Result<std::convert::Infallible, Closed> {
        let (queue, mut commands) = mpsc::channel(limits::QUEUE);
        let mut until = Instant::now() + limits::OPENING;
        let mut joined = false;
        loop {
            match self.connection.step()? {
                Step::Handshake => self.answer().await?,
                Step::Open => {}
                Step::More => {
                    let late = if joined { Closed::Idle(self.shared.settings.idle) } else { Closed::NoHello };
                    match self.connection.wait(&mut commands, until, late).await? {
                        None => {}
                        Some(Command::Send(message)) => self.send(&message)?,
                        Some(Command::Close(reason)) => return Err(Closed::Local(reason)),
                    }
                }
                Step::Frame(parsed) => {
                    let now = Instant::now();
                    if !self.shared.state().sources.message(self.peer, now.into_std()) {
                        return Err(Closed::TooFast);
                    }
                    match parsed.message {
                        None => self.shared.state().stats.skipped += 1,
                        Some(Message::Hello(hello)) if hello.address != self.peer => {
                            return Err(ChannelError::WrongAddress(hello.address).into());
                        }
                        Some(message) => {
                            if !joined {
                                let Message::Hello(hello) = &message else {
                                    return Err(Closed::OutOfPlace("a message before the hello"));
                                };
                                self.join(hello, &queue, parsed.version).await?;
                                joined = true;
                            }
                            self.receive(message, now).await?;
                        }
                    }
                    if joined {
                        until = now + self.shared.settings.idle;
                    }
                }
            }
        }
    }

    /// Answers the member's handshake when its turn has come.
    async fn answer(&mut self) -> Result<(), Closed> {
        let wait = {
            let mut state = self.shared.state();
            if let Some(pending) = state.pending.iter_mut().find(|pending| pending.id == self.id) {
                pending.opened = true;
            }
            let now = Instant::now().into_std();
            let wait = state.openings.wait(now);
            if wait > limits::OPENING {
                return Err(Closed::Busy);
            }
            if self.connection.channel.keyed() {
                state.openings.take(now);
            }
            wait
        };
        if self.connection.channel.keyed() && !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.connection.answer()
    }

    /// Makes this the session of its member, in place of an older one.
    async fn join(
        &mut self,
        hello: &Hello,
        queue: &mpsc::Sender<Command>,
        version: u32,
    ) -> Result<(), Closed> {
        let (peer, authenticated) = (self.peer, self.connection.channel.keyed());
        let replaced = {
            let mut state = self.shared.state();
            let now = Instant::now();
            let most = self.shared.settings.max_members;
            if let Some(reason) = &state.stopping {
                return Err(Closed::Local(reason.clone()));
            }
            match state.members.get(&peer) {
                Some(old) if !authenticated && now < old.heard + old.hello * 2 => return Err(Closed::Taken),
                Some(_) => {}
                None if state.members.len() >= most => return Err(Closed::Full(most)),
                None => {}
            }
            let Some(pending) = state.forget(self.id) else { return Err(Closed::PushedOut) };
            let session = SessionHandle {
                id: self.id,
                queue: queue.clone(),
                abort: pending.abort,
                heard: now,
                hello: Duration::from_millis(u64::from(hello.hello_ms)),
            };
            let old = state.members.insert(peer, session);
            if let Some(old) = &old {
                old.abort.abort();
                state.ended(peer, &Closed::Replaced);
            }
            old.is_some()
        };
        if replaced {
            self.report(FeedEvent::MemberDown { peer, reason: Closed::Replaced }).await?;
        }
        let key = self.connection.channel.key();
        self.report(FeedEvent::MemberUp { peer, authenticated, key, version }).await
    }

    async fn receive(&mut self, message: Message, now: Instant) -> Result<(), Closed> {
        {
            let mut state = self.shared.state();
            state.stats.heard += 1;
            if let Some(session) = state.members.get_mut(&self.peer).filter(|session| session.id == self.id) {
                session.heard = now;
                if let Message::Hello(hello) = &message {
                    session.hello = Duration::from_millis(u64::from(hello.hello_ms));
                }
            }
        }
        match message {
            Message::Bye { reason } => Err(Closed::Bye(reason)),
            Message::Ack(_) => Err(Closed::OutOfPlace("an acknowledgement")),
            message => {
                let (peer, authenticated) = (self.peer, self.connection.channel.keyed());
                self.report(FeedEvent::FromMember { peer, authenticated, message }).await
            }
        }
    }

    async fn report(&mut self, event: FeedEvent) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed::Local("nobody listens to the feed".to_owned()))
    }

    fn send(&mut self, message: &Message) -> Result<(), Closed> {
        if let Err(error) = self.connection.push(message)? {
            let mut state = self.shared.state();
            if state.lines.allow("unsendable").is_some() {
                tracing::warn!("%CLB-4-FEED: a message to {} is not sent: {error}", self.peer);
            }
        }
        Ok(())
    }
}
