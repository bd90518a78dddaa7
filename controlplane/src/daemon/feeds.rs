//! The connections of cluster load balancing: a group's listener where this node is the primary, its connection to the
//! primary where it is not, and what they bring.

use super::Daemon;
use super::cluster::{Clusters, FEW_LINES, One, TURN};
use crate::clb;
use crate::clb::channel::Secret;
use crate::clb::feed::{Client, ClientSettings, FeedEvent, Server, ServerSettings};
use crate::clb::node::Event;
use crate::clb::wire::Message;
use crate::config::{self, Cluster, is_link_local};
use crate::types::GroupKey;
use platform::clock::monotonic_ns;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Messages of a group's feed that wait for the loop, and are taken at once. They do not wake it: those of 63 members that
/// report ten times a second would, more than a thousand times.
pub(super) const HEARD: usize = 256;
/// A connection to the primary that takes longer is tried anew: the address may have been on its way to the new primary when
/// the first segment left, and the kernel would repeat that only after a second.
const CONNECT: Duration = Duration::from_millis(300);
/// Pause before the second attempt to connect, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A virtual address that cannot be listened on is tried again after this, ns.
const LISTEN_AGAIN: u64 = 1_000_000_000;

/// Where the load feed is and this node's address, the cluster key, how long a peer may be silent, and `max-nodes`.
pub(super) type Opened = (Option<(SocketAddr, IpAddr)>, Option<config::Secret>, Duration, Option<usize>);

/// What is to be said to members at the end of a look at the feeds.
#[derive(Default)]
pub(super) struct Post(BTreeMap<IpAddr, Message>);

impl Post {
    /// Adds a message, and gives one that has to leave before it. An acknowledgement, which carries the whole table, takes
    /// the place of one that has not left yet: a hello and an update that came together are acknowledged once.
    fn put(&mut self, member: IpAddr, mut message: Message) -> Option<Message> {
        let before = match (&mut message, self.0.remove(&member)) {
            (Message::Ack(ack), Some(Message::Ack(before))) => {
                ack.seq = ack.seq.max(before.seq);
                None
            }
            (_, before) => before,
        };
        self.0.insert(member, message);
        before
    }
}

impl One {
    /// Has a message sent to a member, now or with the next look at the feeds.
    pub(super) fn post(&mut self, member: IpAddr, message: Message) {
        if let Some(before) = self.post.put(member, message) {
            self.send(member, before);
        }
    }

    fn deliver(&mut self) {
        while let Some((member, message)) = self.post.0.pop_first() {
            self.send(member, message);
        }
    }

    fn send(&self, member: IpAddr, message: Message) {
        if let Some(server) = &self.server {
            server.send(member, message);
        }
    }
}

impl Daemon {
    /// Takes what the feeds have brought since.
    pub(super) fn hear_clusters(&mut self, now: u64) {
        for key in self.clusters.all.keys().cloned().collect::<Vec<_>>() {
            for _ in 0..HEARD {
                let one = self.clusters.all.get_mut(&key);
                let Some(event) = one.and_then(|one| one.heard.try_recv().ok()) else { break };
                self.cluster_heard(&key, event, now);
            }
            if let Some(one) = self.clusters.all.get_mut(&key) {
                one.deliver();
            }
        }
    }

    /// Takes a message or a change of a connection.
    fn cluster_heard(&mut self, key: &GroupKey, event: FeedEvent, now: u64) {
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        let mut count = |name| *one.counts.entry(name).or_default() += 1;
        if self.clusters.debug && self.election.limits.allow("CLB-7-DEBUG", &key.to_string(), 200, now) {
            tracing::info!("CLB: {key}: {event:?}");
        }
        let event = match event {
            FeedEvent::MemberUp { authenticated, .. } => {
                count("members_connected");
                one.authenticated = Some(authenticated);
                return;
            }
            FeedEvent::FromMember { peer, mut message } => {
                // In the clear anybody on the LAN can call itself a member: it gives no orders.
                if let (Some(false), Message::Hello(hello)) = (one.authenticated, &mut message) {
                    hello.order = clb::wire::Order::default();
                }
                count(match &message {
                    Message::Hello(_) => "hellos_heard",
                    Message::Update(_) => "updates_heard",
                    _ => "others_heard",
                });
                Event::Member(peer, message)
            }
            FeedEvent::MemberDown { peer, reason } => {
                count("members_disconnected");
                if self.election.limits.allow("CLB-5-FEED", &key.to_string(), FEW_LINES, now) {
                    tracing::info!("%CLB-5-FEED: {key}: member {peer} is no longer connected: {reason}");
                }
                return;
            }
            FeedEvent::PrimaryUp { authenticated } => {
                count("primary_connected");
                one.authenticated = Some(authenticated);
                Event::PrimaryUp
            }
            FeedEvent::FromPrimary(message) => {
                count("acks_heard");
                Event::Primary(message)
            }
            FeedEvent::PrimaryDown(reason) => {
                count("primary_disconnected");
                // The connection itself has told of a fault.
                let ordinary = !reason.is_fault();
                if ordinary && self.election.limits.allow("CLB-5-FEED", &key.to_string(), FEW_LINES, now) {
                    tracing::info!("%CLB-5-FEED: {key}: the connection to the primary has ended: {reason}");
                }
                Event::PrimaryDown
            }
        };
        let peer = match &event {
            Event::Member(peer, _) => Some(*peer),
            _ => None,
        };
        let takes = |clusters: &Clusters| {
            let one = clusters.all.get(key).zip(peer);
            one.map(|(one, peer)| one.node.takes(peer, now))
        };
        let before = takes(&self.clusters);
        self.cluster_event(key, event, now);
        // A member that cannot take clients any more gets none from this moment on, not from the next turn on.
        if before != takes(&self.clusters) {
            self.choose(key, now);
        }
    }

    /// The cluster's address for members, and this node's.
    pub(super) fn target(&self, key: &GroupKey) -> Option<(SocketAddr, IpAddr)> {
        let cluster = self.config.cluster.as_ref()?;
        let address = self.roles.get(key)?.addresses().into_iter().find(|address| !is_link_local(address))?;
        Some((SocketAddr::new(address, cluster.port()), self.plan.group(key)?.own?))
    }

    /// The cluster key, where there is one. `None`: it cannot be used, and nothing is said in the clear instead.
    #[allow(clippy::option_option)] // a key that fails is not the same as none
    fn secret(&mut self, now: u64) -> Option<Option<Secret>> {
        let Some(key) = self.config.cluster.as_ref()?.key.clone() else { return Some(None) };
        match Secret::new(&key.0) {
            Ok(secret) => Some(Some(secret)),
            Err(error) => {
                if self.election.limits.allow("CLB-3-KEY", "", 1, now) {
                    tracing::error!(
                        "%CLB-3-KEY: the cluster key cannot be used: {error}; the load feed stays closed"
                    );
                }
                None
            }
        }
    }

    pub(super) fn connect(&mut self, key: &GroupKey) {
        let Some((to, from)) = self.target(key) else { return };
        let Some(secret) = self.secret(monotonic_ns()) else { return };
        let idle = self.idle();
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        let settings = ClientSettings {
            to,
            from,
            device: None,
            key: secret,
            connect: CONNECT,
            backoff: BACKOFF.0,
            max_backoff: BACKOFF.1,
            idle,
        };
        let _enter = self.clusters.background.enter();
        one.client = Some(Client::start(settings, one.told.clone()));
    }

    /// A peer that says nothing for so long is left.
    fn idle(&self) -> Duration {
        let holdtime = self.config.cluster.as_ref().map_or(0, Cluster::holdtime);
        Duration::from_millis(u64::from(holdtime).max(1000) * 2)
    }

    pub(super) fn listen_again(&mut self, key: &GroupKey, now: u64) {
        let due = |one: &One| one.wants_server && one.server.is_none() && now >= one.listen_at;
        let (true, Some((listen, _))) = (self.clusters.all.get(key).is_some_and(due), self.target(key))
        else {
            return;
        };
        let (Some(secret), idle) = (self.secret(now), self.idle()) else { return };
        let Some(cluster) = self.config.cluster.as_ref().filter(|cluster| cluster.max_session.is_some())
        else {
            return;
        };
        let interface = self.config.interfaces.get(&key.interface);
        let settings = ServerSettings {
            listen,
            device: None,
            key: secret,
            max_members: cluster.max_nodes().saturating_sub(1),
            allowed: interface.iter().flat_map(|interface| interface.addresses()).collect(),
            idle,
        };
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        let _enter = self.clusters.background.enter();
        match Server::start(settings, one.told.clone()) {
            Ok(server) => one.server = Some(server),
            Err(error) => {
                one.listen_at = now + LISTEN_AGAIN;
                if self.election.limits.allow("CLB-3-LISTEN", &key.to_string(), 1, now) {
                    tracing::error!("%CLB-3-LISTEN: {key}: {error}; trying again every second");
                }
            }
        }
    }

    /// Opens the connections anew where the configuration has changed what they were opened with.
    pub(super) fn open_again(&mut self, key: &GroupKey, now: u64) {
        let with = self.opened_with(key);
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        if one.opened == with {
            return;
        }
        one.opened = with;
        // The socket is free when the server's task has ended: the next turn opens it.
        one.server = None;
        one.listen_at = now + TURN;
        if one.client.take().is_some() {
            self.connect(key);
        }
    }

    /// What the connections are opened with.
    pub(super) fn opened_with(&self, key: &GroupKey) -> Opened {
        let cluster = self.config.cluster.as_ref();
        (
            self.target(key),
            cluster.and_then(|cluster| cluster.key.clone()),
            self.idle(),
            cluster.map(Cluster::max_nodes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clb::load::Rules;
    use crate::clb::wire::{Ack, Members, Order};

    #[test]
    fn what_came_together_is_acknowledged_once() {
        let ack = |seq, primary: u8| {
            let primary = IpAddr::from([192, 0, 2, primary]);
            let (order, rules, members) = (Order::default(), Rules::default(), Members::default());
            Message::Ack(Ack { seq, primary, order, rules, members })
        };
        let (member, other) = (IpAddr::from([192, 0, 2, 8]), IpAddr::from([192, 0, 2, 9]));
        let mut post = Post::default();
        for (to, message) in [(member, ack(7, 1)), (other, ack(3, 1)), (member, ack(0, 2))] {
            assert_eq!(post.put(to, message), None);
        }
        assert_eq!(post.0, BTreeMap::from([(member, ack(7, 2)), (other, ack(3, 1))]), "the later table");
        let bye = Message::Bye { reason: "moved".to_owned() };
        assert_eq!(post.put(member, bye.clone()), Some(ack(7, 2)), "nothing else is taken for another");
        assert_eq!(post.put(member, ack(8, 1)), Some(bye));
    }
}
