//! The connections of cluster load balancing: a group's listener where this node is the primary, its connection to the
//! primary where it is not, and what they bring.

use super::super::Daemon;
use super::{CHOICE_INTERVAL, Clusters, GroupCluster, LOG_LIMIT};
use crate::clb::channel::Secret;
use crate::clb::feed::{Client, ClientSettings, Closed, FeedEvent, Server, ServerSettings};
use crate::clb::node::Event;
use crate::clb::wire::Message;
use crate::config::{self, Cluster, is_link_local};
use crate::types::{GroupKey, Nanos, Prefix, nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Messages of a group's feed that wait for the loop, and are taken at once. They do not wake it: those of 63 members that
/// report ten times a second would, more than a thousand times.
pub(in crate::daemon) const QUEUE_LENGTH: usize = 256;
/// A connection to the primary that takes longer is tried anew: the address may have been on its way to the new primary when
/// the first segment left, and the kernel would repeat that only after a second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// Pause before the second attempt to connect, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A virtual address that cannot be listened on is tried again after this, ns.
const LISTEN_RETRY: Nanos = Nanos::from_secs(1);

/// Address of the load feed and of this node, the cluster keys, how long a peer may be silent,
/// `max-nodes`, and the members by name.
pub(in crate::daemon) type FeedParameters =
    (Option<(SocketAddr, IpAddr)>, Vec<config::Secret>, Duration, Option<usize>, BTreeSet<IpAddr>);

/// Messages for members, sent at the end of a look at the feeds.
#[derive(Default)]
pub(in crate::daemon) struct Outbox(BTreeMap<IpAddr, Message>);

impl Outbox {
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

impl GroupCluster {
    /// Has a message sent to a member, now or with the next look at the feeds.
    pub(in crate::daemon) fn queue(&mut self, member: IpAddr, message: Message) {
        if let Some(before) = self.outbox.put(member, message) {
            self.send(member, before);
        }
    }

    fn flush(&mut self) {
        while let Some((member, message)) = self.outbox.0.pop_first() {
            self.send(member, message);
        }
    }

    /// Closes the server without a goodbye; what it counted stays.
    fn close_server(&mut self) {
        drop(self.take_server());
    }

    /// Takes the server, and keeps what it counted.
    pub(super) fn take_server(&mut self) -> Option<Server> {
        let server = self.server.take()?;
        self.on_other_key.clear();
        for (name, total) in server.stats().closed {
            *self.closed.entry(name).or_default() += total;
        }
        Some(server)
    }

    /// Connections that ended, by [`Closed::name`].
    pub(in crate::daemon) fn closed(&self) -> BTreeMap<&'static str, u64> {
        let mut closed = self.closed.clone();
        for (name, total) in self.server.iter().flat_map(|server| server.stats().closed) {
            *closed.entry(name).or_default() += total;
        }
        closed
    }

    /// The last peer that was refused, or that refused this node: its address, why, and how long ago, ns.
    pub(in crate::daemon) fn last_refusal(&self, now: Nanos) -> Option<(IpAddr, Closed, Nanos)> {
        let failure = self.last_failure.as_ref().zip(self.feed.0);
        let of_primary = failure.map(|((reason, at), (to, _))| (to.ip(), reason.clone(), now.since(*at)));
        let of_member = self
            .server
            .as_ref()
            .and_then(|server| server.stats().last_refusal)
            .map(|refusal| (refusal.peer, refusal.reason, refusal.at.elapsed().into()));
        of_member.or(of_primary)
    }

    fn send(&self, member: IpAddr, message: Message) {
        if let Some(server) = &self.server {
            server.send(member, message);
        }
    }
}

impl Daemon {
    /// Takes what the feeds have brought since.
    pub(in crate::daemon) fn poll_feeds(&mut self, now: Nanos) {
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            for _ in 0..QUEUE_LENGTH {
                let group = self.clusters.groups.get_mut(&key);
                let Some(event) = group.and_then(|group| group.events_rx.try_recv().ok()) else { break };
                self.feed_event(&key, event, now);
            }
            if let Some(group) = self.clusters.groups.get_mut(&key) {
                group.flush();
            }
        }
    }

    /// Takes a message or a change of a connection.
    fn feed_event(&mut self, key: &GroupKey, event: FeedEvent, now: Nanos) {
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        let mut count = |name| *group.counts.entry(name).or_default() += 1;
        if self.clusters.debug && self.limits.allow("CLB-7-DEBUG", &key.to_string(), 200, now) {
            tracing::info!("CLB: {key}: {event:?}");
        }
        let event = match event {
            FeedEvent::MemberUp { peer, authenticated, key: index, .. } => {
                count("members_connected");
                group.authenticated = Some(authenticated);
                if index > 0 {
                    group.on_other_key.insert(peer);
                } else {
                    group.on_other_key.remove(&peer);
                }
                return;
            }
            FeedEvent::FromMember { peer, authenticated, message } => {
                count(match &message {
                    Message::Hello(_) => "hellos_heard",
                    Message::Update(_) => "updates_heard",
                    _ => "others_heard",
                });
                Event::Member { peer, authenticated, message }
            }
            FeedEvent::MemberDown { peer, reason } => {
                count("members_disconnected");
                group.on_other_key.remove(&peer);
                if self.limits.allow("CLB-5-FEED", &key.to_string(), LOG_LIMIT, now) {
                    tracing::info!("%CLB-5-FEED: {key}: member {peer} is no longer connected: {reason}");
                }
                // Only a goodbye is an end: who merely loses its connection has holdtime to come back.
                let Closed::Bye(reason) = reason else { return };
                Event::MemberLeft(peer, reason)
            }
            FeedEvent::PrimaryUp { authenticated } => {
                count("primary_connected");
                group.last_failure = None;
                group.authenticated = Some(authenticated);
                Event::PrimaryUp
            }
            FeedEvent::FromPrimary { authenticated, message } => {
                count("acks_heard");
                Event::Primary { authenticated, message }
            }
            FeedEvent::PrimaryDown(reason) => {
                count("primary_disconnected");
                if reason.is_fault() {
                    *group.closed.entry(reason.name()).or_default() += 1;
                    group.last_failure = Some((reason.clone(), now));
                }
                // The connection itself has told of a fault.
                let ordinary = !reason.is_fault();
                if ordinary && self.limits.allow("CLB-5-FEED", &key.to_string(), LOG_LIMIT, now) {
                    tracing::info!("%CLB-5-FEED: {key}: the connection to the primary has ended: {reason}");
                }
                Event::PrimaryDown
            }
        };
        let peer = match &event {
            Event::Member { peer, .. } | Event::MemberLeft(peer, _) => Some(*peer),
            _ => None,
        };
        let takes = |clusters: &Clusters| {
            let group = clusters.groups.get(key).zip(peer);
            group.map(|(group, peer)| group.node.takes(peer, now))
        };
        if self.clusters.groups.len() > 1
            && let Event::Member { peer, message: Message::Update(report), .. } = &event
        {
            self.in_other_groups(key, &Event::NodeReport(report.node(*peer), report.clone()), now);
        }
        let before = takes(&self.clusters);
        self.cluster_event(key, event, now);
        // A member that cannot take clients any more gets none from this moment on, not from the next turn on.
        if before != takes(&self.clusters) {
            self.choose(key, now);
        }
    }

    /// The cluster's address for members, and this node's.
    pub(in crate::daemon) fn feed_endpoint(&self, key: &GroupKey) -> Option<(SocketAddr, IpAddr)> {
        let cluster = self.config.cluster.as_ref()?;
        let address =
            self.view.roles.get(key)?.addresses().into_iter().find(|address| !is_link_local(address))?;
        Some((SocketAddr::new(address, cluster.port()), self.plan.group(key)?.own?))
    }

    /// The cluster keys that are accepted, the one in use first. `None`: one cannot be used, and nothing is sent in the clear
    /// instead.
    fn cluster_keys(&mut self, now: Nanos) -> Option<Vec<Secret>> {
        let keys = self.config.cluster.as_ref()?.accepted_keys();
        match keys.into_iter().map(|key| Secret::new(&key.0)).collect() {
            Ok(secrets) => Some(secrets),
            Err(error) => {
                if self.limits.allow("CLB-3-KEY", "", 1, now) {
                    tracing::error!(
                        "%CLB-3-KEY: the cluster key cannot be used: {error}; the load feed stays closed"
                    );
                }
                None
            }
        }
    }

    pub(in crate::daemon) fn connect(&mut self, key: &GroupKey) {
        let Some((to, from)) = self.feed_endpoint(key) else { return };
        let Some(keys) = self.cluster_keys(nanos::now()) else { return };
        let idle = self.idle();
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        let settings = ClientSettings {
            to,
            from,
            device: None,
            key: keys.into_iter().next(),
            connect: CONNECT_TIMEOUT,
            backoff: BACKOFF.0,
            max_backoff: BACKOFF.1,
            idle,
        };
        let _enter = self.clusters.background.enter();
        group.client = Some(Client::start(settings, group.events_tx.clone()));
    }

    /// A peer that says nothing for so long is left.
    fn idle(&self) -> Duration {
        let holdtime = self.config.cluster.as_ref().map_or(0, Cluster::holdtime);
        Duration::from_millis(u64::from(holdtime).max(1000) * 2)
    }

    pub(in crate::daemon) fn ensure_listening(&mut self, key: &GroupKey, now: Nanos) {
        let due =
            |group: &GroupCluster| group.wants_server && group.server.is_none() && now >= group.listen_at;
        let (true, Some((listen, _))) =
            (self.clusters.groups.get(key).is_some_and(due), self.feed_endpoint(key))
        else {
            return;
        };
        let (Some(keys), idle) = (self.cluster_keys(now), self.idle()) else { return };
        let Some(cluster) = self.config.cluster.as_ref().filter(|cluster| cluster.max_session.is_some())
        else {
            return;
        };
        let interface = self.config.interfaces.get(&key.interface);
        let members: Vec<Prefix> = cluster.members.iter().map(|address| Prefix::host(*address)).collect();
        let settings = ServerSettings {
            listen,
            device: None,
            keys,
            max_members: cluster.max_nodes().saturating_sub(1),
            allowed: if members.is_empty() {
                interface.iter().flat_map(|interface| interface.addresses()).collect()
            } else {
                members
            },
            idle,
        };
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        let _enter = self.clusters.background.enter();
        match Server::start(settings, group.events_tx.clone()) {
            Ok(server) => group.server = Some(server),
            Err(error) => {
                group.listen_at = now + LISTEN_RETRY;
                if self.limits.allow("CLB-3-LISTEN", &key.to_string(), 1, now) {
                    tracing::error!("%CLB-3-LISTEN: {key}: {error}; trying again every second");
                }
            }
        }
    }

    /// Opens the connections anew where the configuration has changed what they were opened with.
    pub(in crate::daemon) fn refresh_feed(&mut self, key: &GroupKey, now: Nanos) {
        let with = self.feed_parameters(key);
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        if group.feed == with {
            return;
        }
        group.feed = with;
        // The socket is free when the server's task has ended: the next turn opens it.
        group.close_server();
        group.listen_at = now + CHOICE_INTERVAL;
        if group.client.take().is_some() {
            self.connect(key);
        }
    }

    /// Returns the parameters of the connections.
    pub(in crate::daemon) fn feed_parameters(&self, key: &GroupKey) -> FeedParameters {
        let cluster = self.config.cluster.as_ref();
        (
            self.feed_endpoint(key),
            cluster.map(Cluster::accepted_keys).into_iter().flatten().cloned().collect(),
            self.idle(),
            cluster.map(Cluster::max_nodes),
            cluster.map(|cluster| cluster.members.clone()).unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clb::load::Rules;
    use crate::clb::wire::{Ack, Members};

    #[test]
    fn what_came_together_is_acknowledged_once() {
        let ack = |seq, primary: u8| {
            let primary = IpAddr::from([192, 0, 2, primary]);
            let (rules, members) = (Rules::default(), Members::default());
            Message::Ack(Ack { seq, primary, orders: None, rules, members })
        };
        let (member, other) = (IpAddr::from([192, 0, 2, 8]), IpAddr::from([192, 0, 2, 9]));
        let mut outbox = Outbox::default();
        for (to, message) in [(member, ack(7, 1)), (other, ack(3, 1)), (member, ack(0, 2))] {
            assert_eq!(outbox.put(to, message), None);
        }
        assert_eq!(outbox.0, BTreeMap::from([(member, ack(7, 2)), (other, ack(3, 1))]), "the later table");
        let bye = Message::Bye { reason: "moved".to_owned() };
        assert_eq!(outbox.put(member, bye.clone()), Some(ack(7, 2)), "nothing else is taken for another");
        assert_eq!(outbox.put(member, ack(8, 1)), Some(bye));
    }
}
