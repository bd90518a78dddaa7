//! One node's part in a cluster, for one virtual address: a pure state machine. It is told what is heard, measured and
//! ordered, and says what to send; time is an argument, ns of CLOCK_MONOTONIC.
//!
//! The active router of the group is the **primary**: it keeps the table of members, is a candidate itself, and
//! answers each hello and update with the whole table. Every other router is a **secondary**: it says hello and reports
//! its load, and keeps the table that it is told, so that the next primary starts with loads at most one update old.

mod event;

use crate::types::Nanos;
pub use event::{Action, Event, Leave, Log, Role};

use super::choice::{self, Candidate, Chosen, Selection};
use super::load::{self, Rules};
use super::member::{Health, Percent, Report};
use super::orders::{OrderError, Orders};
use super::pending::Pending;
use super::surge::{self, Surge};
use super::table::{Heard, Table};
use super::wire::{Ack, Hello, MAX_MEMBERS, Members, Message};
use crate::load::Sample;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Acknowledgements within this time carry the same table, ns.
const SHARED: Nanos = Nanos::from_millis(20);

/// Configuration of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This node's address in this group: clients are sent here
    pub own: IpAddr,
    /// The node itself: the lowest of its addresses in all groups of the cluster
    pub node: IpAddr,
    /// Silence after which a member is dead, ns
    pub holdtime: Nanos,
    /// Time between a member's hellos, ns
    pub hello: Nanos,
    /// Time between a member's updates, ns
    pub update: Nanos,
    /// Rules for composite loads, where this node is primary
    pub rules: Rules,
    /// IKE and IPsec SAs that this node takes
    pub max_session: u32,
    /// Half-open IKE SAs that this node takes
    pub max_in_negotiation: u16,
    /// 1-100
    pub priority: u8,
    /// Percentage points above the least load that still belong to the least-loaded set
    pub load_normalization: u8,
    /// Share-out of clients among the least-loaded set
    pub selection: Selection,
    /// Empty for none
    pub fqdn: String,
    /// Nodes in the cluster, this one included, 2-64
    pub max_nodes: usize,
    /// Gateways that report nothing: address and priority
    pub statics: BTreeMap<IpAddr, u8>,
    /// The only addresses that members may have; empty: any
    pub members: BTreeSet<IpAddr>,
    /// `shutdown` of the cluster; entered on the primary it holds for all
    pub shutdown: bool,
    /// The group cannot run here, as when its interface is shut down: this node's own affair
    pub group_down: bool,
}

/// State of a member, for `show`.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing<'a> {
    /// Its address
    pub address: IpAddr,
    /// The node that it is an address of
    pub node: IpAddr,
    /// Its report; `None` of a gateway that reports nothing, and of one that has not reported yet
    pub report: Option<&'a Report>,
    /// Age of its last sign of life, ns; `None` of this node and of static gateways
    pub age: Option<Nanos>,
    /// Composite and prioritized load
    pub load: Option<(Percent, Percent)>,
    /// 1-100
    pub priority: u8,
    /// Clients that it was sent and that its report does not show yet, as a share of its sessions in hundredths of a
    /// percent
    pub pending: u32,
    /// It is this node
    pub is_self: bool,
    /// It is the primary
    pub is_primary: bool,
    /// It reports nothing
    pub is_static: bool,
    /// Alive
    pub alive: bool,
    /// Its load is at the limit
    pub overloaded: bool,
    /// It is being taken out of service
    pub draining: bool,
    /// It may be chosen
    pub usable: bool,
    /// It said goodbye: why
    pub left: Option<&'a str>,
}

/// One node of one cluster.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    role: Role,
    orders: Orders,
    table: Table,
    pending: Pending,
    surge: Surge,
    /// The primary's rules, as a secondary was told them
    told: Option<Rules>,
    /// The primary that the table came from, when the acknowledgement came
    acked: Option<(IpAddr, Nanos)>,
    /// Time since which a router other than HSRP's active one has answered, ns, and whether that was logged
    other_primary: Option<(Nanos, bool)>,
    connected: bool,
    local: Option<Result<Sample, String>>,
    incarnation: u64,
    count: u64,
    to_move: u32,
    moving: bool,
    next_hello: Nanos,
    next_update: Nanos,
    probes: BTreeMap<IpAddr, bool>,
    shared: Option<(Nanos, Members)>,
    nobody: bool,
    alive: BTreeSet<IpAddr>,
    listening: bool,
    connecting: bool,
    stopping: bool,
    /// Peers whose orders are not taken, as far as logged
    warned: BTreeSet<IpAddr>,
}

impl Node {
    /// A node with the orders that it kept. `incarnation` grows with each start of this node's usherd.
    #[must_use]
    pub fn new(settings: Settings, orders: Orders, incarnation: u64) -> Node {
        Node {
            table: Table::new(settings.max_nodes, settings.holdtime),
            pending: Pending::new(settings.update),
            surge: Surge::default(),
            settings,
            role: Role::None,
            orders,
            told: None,
            acked: None,
            other_primary: None,
            connected: false,
            local: None,
            incarnation,
            count: 0,
            to_move: 0,
            moving: false,
            next_hello: Nanos::ZERO,
            next_update: Nanos::ZERO,
            probes: BTreeMap::new(),
            shared: None,
            nobody: false,
            alive: BTreeSet::new(),
            listening: false,
            connecting: false,
            stopping: false,
            warned: BTreeSet::new(),
        }
    }

    /// Takes what has happened; gives what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: Nanos) -> Vec<Action> {
        let mut out = Vec::new();
        let turn = event == Event::Tick;
        match event {
            Event::Configure(settings) => self.configure(settings, now, &mut out),
            Event::Role(role) => self.become_(role, now, &mut out),
            Event::Local(reading) => self.measure(reading, now, &mut out),
            Event::Member { peer, authenticated, message } => {
                self.member(peer, authenticated, message, now, &mut out);
            }
            Event::MemberLeft(address, reason) => self.member_left(address, reason, now, &mut out),
            Event::PrimaryUp => {
                self.connected = true;
                (self.next_hello, self.next_update) = (now, now);
            }
            Event::Primary { authenticated, message } => {
                if let Message::Ack(ack) = message {
                    self.acknowledged(ack, authenticated, now, &mut out);
                }
            }
            Event::PrimaryDown => self.connected = false,
            Event::Sent(address, total) => {
                let new = self.pending.sent(address, total, now);
                self.surge.sent(new, now);
            }
            Event::Probe(address, up) => {
                self.probes.insert(address, up);
            }
            Event::Shutdown(shutdown) => self.shut_down(shutdown, now, &mut out),
            Event::Drains(orders) => self.order(now, &mut out, |own| Ok(own.merge_drains(&orders))),
            Event::ToMove(sessions) => self.to_move = sessions,
            Event::Stop => self.stopping = true,
            Event::NodeReport(node, report) => self.table.update_node(node, &report, now),
            Event::NodeSilent(node) => self.table.node_silent(node, now),
            Event::Tick => self.table.expire(now),
        }
        self.settle(now, &mut out);
        // Every member is looked at once a turn, not at each message of each member.
        if turn && self.role == Role::Primary {
            self.watch(now, &mut out);
        }
        out
    }

    /// Returns this node's role.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.runs() { self.role } else { Role::None }
    }

    /// Returns what HSRP says that this node is, whether or not the cluster is up.
    #[must_use]
    pub fn hsrp(&self) -> Role {
        self.role
    }

    /// Returns whether clients are redirected: the cluster is not shut down, here or by the primary's order.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.runs() && !self.orders.is_shutdown()
    }

    /// Returns whether this node itself takes part.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.settings.shutdown && !self.settings.group_down && !self.stopping
    }

    /// The orders in force.
    #[must_use]
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// This node is being taken out of service.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.orders.is_draining(self.settings.node)
    }

    /// The primary that last acknowledged something.
    #[must_use]
    pub fn primary(&self) -> Option<IpAddr> {
        self.acked.map(|(primary, _)| primary)
    }

    /// Returns how long a router other than HSRP's active one has answered at the virtual address, ns.
    #[must_use]
    pub fn other_primary(&self, now: Nanos) -> Option<Nanos> {
        self.other_primary.map(|(since, _)| now.since(since))
    }

    /// Returns whether this node's table is the primary's: `preempt delay sync` waits for it.
    #[must_use]
    pub fn is_synced(&self, now: Nanos) -> bool {
        let fresh = |at: Nanos| now.since(at) < self.settings.holdtime;
        match self.role {
            Role::Primary => true,
            Role::Secondary(_) => self.connected && self.last_ack().is_some_and(fresh),
            Role::None => false,
        }
    }

    /// When the primary last acknowledged something, ns.
    #[must_use]
    pub fn last_ack(&self) -> Option<Nanos> {
        self.acked.map(|(_, at)| at)
    }

    /// The configuration that it works by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules in force: the primary's.
    #[must_use]
    pub fn rules(&self) -> Rules {
        match (self.role, self.told) {
            (Role::Secondary(_), Some(told)) => told,
            _ => self.settings.rules,
        }
    }

    /// Every gateway of the cluster as it stands now, in the order of addresses.
    #[must_use]
    pub fn standings(&self, now: Nanos) -> Vec<Standing<'_>> {
        let rules = self.rules();
        let primary = match self.role {
            Role::Primary => Some(self.settings.own),
            Role::Secondary(_) => self.acked.map(|(primary, _)| primary),
            Role::None => None,
        };
        let reporting = self.table.iter().map(|(address, entry)| {
            let report = &entry.report;
            let is_self = address == self.settings.own;
            let age = now.since(entry.heard_ns);
            let alive = is_self || self.table.alive(address, now);
            let composite = load::composite(&report.load, &rules);
            let overloaded = load::overloaded(composite, &rules);
            let node = report.node(address);
            let draining = report.draining || self.orders.is_draining(node);
            Standing {
                address,
                node,
                age: (!is_self).then_some(age),
                load: Some((composite, load::prioritized(composite, report.priority))),
                priority: report.priority,
                pending: self.pending.points(address, report, now),
                is_self,
                is_primary: primary == Some(address),
                is_static: false,
                alive,
                overloaded,
                draining,
                usable: alive && !overloaded && !draining && report.health == Health::Healthy,
                left: entry.left.as_deref(),
                report: Some(report),
            }
        });
        let mut all: Vec<Standing<'_>> = reporting.collect();
        for (address, priority) in &self.settings.statics {
            // A gateway that reports is known better than one that is only configured.
            if all.iter().any(|standing| standing.address == *address) {
                continue;
            }
            let alive = self.probes.get(address).copied().unwrap_or(true);
            let draining = self.orders.is_draining(*address);
            all.push(Standing {
                address: *address,
                node: *address,
                report: None,
                age: None,
                load: None,
                priority: *priority,
                pending: 0,
                is_self: *address == self.settings.own,
                is_primary: false,
                is_static: true,
                alive,
                overloaded: false,
                draining,
                usable: alive && !draining,
                left: None,
            });
        }
        all.sort_by_key(|standing| standing.address);
        all
    }

    /// More clients come at once than the least-loaded set is to take alone.
    #[must_use]
    pub fn surge(&self) -> &Surge {
        &self.surge
    }

    /// Returns whether clients may be sent to a member now.
    #[must_use]
    pub fn takes(&self, address: IpAddr, now: Nanos) -> bool {
        self.table.get(address).is_some_and(|entry| {
            let report = &entry.report;
            self.table.alive(address, now)
                && report.health == Health::Healthy
                && !report.draining
                && !self.orders.is_draining(report.node(address))
                && !load::overloaded(load::composite(&report.load, &self.rules()), &self.rules())
        })
    }

    /// Returns who of `standings` is chosen with which weight: on the primary for the virtual address; on another member that is
    /// overloaded, draining or unhealthy for requests to its own address, which it sheds to the others. Empty where this
    /// node serves its own address itself.
    #[must_use]
    pub fn choice(&self, standings: &[Standing<'_>]) -> Vec<Chosen> {
        let own = self.settings.own;
        let without = match self.role {
            Role::Primary => None,
            Role::Secondary(_) if standings.iter().any(|s| s.address == own && !s.usable && !s.is_static) => {
                Some(own)
            }
            _ => return Vec::new(),
        };
        let candidates: Vec<Candidate> = standings
            .iter()
            .filter(|standing| Some(standing.address) != without)
            .map(|standing| Candidate {
                address: standing.address,
                is_self: standing.is_self,
                priority: standing.priority,
                load: standing.load.map(|(_, prioritized)| prioritized),
                max_session: standing.report.map_or(0, |report| report.max_session),
                pending: standing.pending,
                usable: standing.usable,
            })
            .collect();
        let all = self.surge.is_on() && self.role == Role::Primary;
        let points = if all { surge::ALL } else { self.settings.load_normalization };
        choice::choose(&candidates, points, self.settings.selection)
    }

    fn configure(&mut self, settings: Settings, now: Nanos, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.table.configure(self.settings.max_nodes, self.settings.holdtime);
        self.pending.configure(self.settings.update);
        if before.own != self.settings.own {
            self.table.remove(before.own);
        }
        if before.shutdown != self.settings.shutdown {
            self.shut_down(self.settings.shutdown, now, out);
        }
        // The drain of a node whose lowest address changes goes with it.
        if before.node != self.settings.node && self.orders.is_draining(before.node) {
            let node = self.settings.node;
            self.order(now, out, |orders| orders.set_drain(node, true));
        }
        self.next_hello = self.next_hello.min(now + self.settings.hello);
        self.next_update = self.next_update.min(now + self.settings.update);
    }

    fn become_(&mut self, role: Role, now: Nanos, out: &mut Vec<Action>) {
        if role == self.role {
            return;
        }
        let before = std::mem::replace(&mut self.role, role);
        out.push(Action::Log(Log::Role(role)));
        (self.next_hello, self.next_update) = (now, now);
        // Whoever is the primary now sees its clients.
        self.surge = Surge::default();
        self.other_primary = None;
        self.warned.clear();
        match (before, role) {
            (_, Role::Primary) => {
                self.connected = false;
                // No primary heard anyone since the last acknowledgement: that time is nobody's silence. The old primary
                // itself has gone, or it will say hello as a member.
                if let Some((primary, at)) = self.acked.take() {
                    self.table.skip(now.since(at));
                    if primary != self.settings.own {
                        self.table.remove(primary);
                    }
                }
                // Those that were alive when it was last the primary are no news.
                self.alive = self.living(now);
                // The configuration of whoever becomes the primary holds for all.
                if self.settings.shutdown && !self.settings.group_down {
                    self.order(now, out, |orders| orders.set_shutdown(true));
                }
            }
            // Another router is active: the connection to the one before says nothing any more.
            (Role::Secondary(_), Role::Secondary(Some(_))) => {
                self.connected = false;
                out.push(Action::Reconnect);
            }
            _ => self.connected = false,
        }
    }

    fn measure(&mut self, reading: Result<Sample, String>, now: Nanos, out: &mut Vec<Action>) {
        match (&self.local, &reading) {
            (Some(Ok(_)) | None, Err(reason)) => {
                out.push(Action::Log(Log::Unhealthy(reason.clone())));
                // Clients are on their way here: the others must know at once.
                self.next_update = now;
            }
            (Some(Err(_)), Ok(_)) => {
                out.push(Action::Log(Log::Healthy));
                self.next_update = now;
            }
            _ => {}
        }
        if self.local.is_none() {
            self.next_update = now;
        }
        self.local = Some(reading);
    }

    /// Returns what this node says of itself now.
    fn report(&mut self) -> Report {
        self.count += 1;
        let settings = &self.settings;
        let sample = self.local.as_ref().and_then(|local| local.as_ref().ok()).copied();
        let measured = sample.unwrap_or_default();
        Report {
            version: (self.incarnation, self.count),
            load: load::load_of(&measured, settings.max_session, settings.max_in_negotiation),
            ike: measured.ike,
            child: measured.child,
            max_session: settings.max_session,
            priority: settings.priority,
            load_normalization: settings.load_normalization,
            health: if sample.is_some() { Health::Healthy } else { Health::Unhealthy },
            draining: self.orders.is_draining(settings.node),
            to_move: self.to_move,
            fqdn: settings.fqdn.clone(),
            node: (settings.node != settings.own).then_some(settings.node),
        }
    }

    /// A message from a member, which can only speak of the address that it connects from.
    fn member(
        &mut self,
        address: IpAddr,
        authenticated: bool,
        message: Message,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        // A message that was under way when the role went is of no use here; the member will find the new primary.
        if self.role != Role::Primary || address == self.settings.own {
            return;
        }
        let seq = match message {
            Message::Hello(hello) => {
                self.learn(address, authenticated, hello.orders.as_ref(), now, out);
                self.table.touch(address, now);
                0
            }
            Message::Update(report) => {
                let count = report.version.1;
                match self.table.hear(address, report, now) {
                    Heard::New | Heard::Later => {
                        if let Some(entry) = self.table.get(address) {
                            self.surge.confirmed(self.pending.reported(address, &entry.report, now), now);
                        }
                    }
                    // The same again says that it lives.
                    Heard::Stale => self.table.touch(address, now),
                    Heard::Full => {
                        out.push(Action::Log(Log::Full(address)));
                        return;
                    }
                }
                count
            }
            Message::Bye { .. } | Message::Ack(_) => return,
        };
        let ack = self.ack(seq, now);
        out.push(Action::Send(address, ack));
    }

    fn ack(&mut self, seq: u64, now: Nanos) -> Message {
        Message::Ack(Ack {
            seq,
            primary: self.settings.own,
            orders: Some(self.orders.clone()),
            rules: self.settings.rules,
            members: self.members(now),
        })
    }

    /// The member's share is empty from this moment on.
    fn member_left(&mut self, address: IpAddr, reason: String, now: Nanos, out: &mut Vec<Action>) {
        let is_member = self.role == Role::Primary && address != self.settings.own;
        if is_member && self.table.leave(address, reason.clone(), now) {
            self.drop_member(address);
            out.push(Action::Log(Log::MemberLeft(address, reason)));
        }
    }

    fn drop_member(&mut self, address: IpAddr) {
        self.pending.forget(address);
        self.alive.remove(&address);
        self.shared = None;
    }

    /// `clear crypto ikev2 cluster member`: removes a member from the table, or without an address all dead ones. Returns the
    /// removed addresses; a living member is back with its next report.
    pub fn clear(&mut self, address: Option<IpAddr>, now: Nanos) -> Vec<IpAddr> {
        let own = self.settings.own;
        let cleared =
            |member: &IpAddr| address.map_or_else(|| !self.table.alive(*member, now), |one| one == *member);
        let members = self.table.iter().map(|(member, _)| member).filter(|member| *member != own);
        let gone: Vec<IpAddr> = members.filter(cleared).collect();
        for member in &gone {
            self.table.remove(*member);
            self.drop_member(*member);
        }
        gone
    }

    /// The table as acknowledgements carry it: made, and encoded, once for all that leave within a short while.
    fn members(&mut self, now: Nanos) -> Members {
        if self.shared.as_ref().is_none_or(|(at, _)| now.since(*at) >= SHARED) {
            self.shared = Some((now, self.table.snapshot(now).into()));
        }
        self.shared.as_ref().map(|(_, members)| members.clone()).unwrap_or_default()
    }

    /// An acknowledgement from whoever answers at the virtual address.
    fn acknowledged(&mut self, ack: Ack, authenticated: bool, now: Nanos, out: &mut Vec<Action>) {
        let Role::Secondary(active) = self.role else { return };
        self.learn(ack.primary, authenticated, ack.orders.as_ref(), now, out);
        self.told = authenticated.then_some(ack.rules);
        self.acked = Some((ack.primary, now));
        self.compare_primary(ack.primary, active, now, out);
        let own = self.settings.own;
        let members = &self.settings.members;
        let may_be_member = |address: &IpAddr| members.is_empty() || members.contains(address);
        let others = ack.members.iter().filter(|(address, ..)| *address != own && may_be_member(address));
        self.table.merge(
            others.map(|(a, report, age)| (*a, report.clone(), Nanos::from_millis(u64::from(*age)))),
            now,
        );
    }

    /// Returns whether the primary is HSRP's active router; a link-local source (IPv6) does not say.
    fn compare_primary(
        &mut self,
        primary: IpAddr,
        active: Option<IpAddr>,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        let other = active.filter(|active| {
            *active != primary
                && active.is_ipv4() == primary.is_ipv4()
                && !crate::types::is_link_local(active)
        });
        let Some(active) = other else {
            self.other_primary = None;
            return;
        };
        let (since, logged) = self.other_primary.unwrap_or((now, false));
        // While the role moves both answer for a moment.
        let log = !logged && now.since(since) >= self.settings.holdtime;
        if log {
            out.push(Action::Log(Log::OtherPrimary { answers: primary, active }));
        }
        self.other_primary = Some((since, logged || log));
    }

    /// Takes a peer's orders, if it has proven to hold the cluster key.
    fn learn(
        &mut self,
        peer: IpAddr,
        authenticated: bool,
        told: Option<&Orders>,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        let Some(told) = told else {
            if self.warns_of(peer) {
                out.push(Action::Log(Log::OldVersion(peer)));
            }
            return;
        };
        if !authenticated {
            let news = self.orders.clone().merge(told).unwrap_or(true);
            if news && self.warns_of(peer) {
                out.push(Action::Log(Log::OrdersUnauthenticated(peer)));
            }
            return;
        }
        if let Err(error) = self.change_orders(now, out, |own| own.merge(told)) {
            out.push(Action::Log(Log::OrdersRefused(peer, error)));
        }
    }

    /// Returns whether a peer whose orders are not taken is yet to be logged, once in a role.
    fn warns_of(&mut self, peer: IpAddr) -> bool {
        self.warned.len() < MAX_MEMBERS && self.warned.insert(peer)
    }

    /// Changes the orders, and makes what has changed known at once: to the members, or to the primary.
    fn change_orders(
        &mut self,
        now: Nanos,
        out: &mut Vec<Action>,
        change: impl FnOnce(&mut Orders) -> Result<bool, OrderError>,
    ) -> Result<(), OrderError> {
        let before = self.orders.clone();
        if !change(&mut self.orders)? {
            return Ok(());
        }
        if before.is_shutdown() != self.orders.is_shutdown() {
            out.push(Action::Log(Log::Shutdown(self.orders.is_shutdown())));
        }
        for (node, register) in self.orders.drains() {
            if before.is_draining(*node) != register.on {
                out.push(Action::Log(Log::Draining(*node, register.on)));
            }
        }
        out.push(Action::Keep(self.orders.clone()));
        self.next_hello = now;
        if self.role == Role::Primary {
            for member in self.living(now) {
                let seq = self.table.get(member).map_or(0, |entry| entry.report.version.1);
                let ack = self.ack(seq, now);
                out.push(Action::Send(member, ack));
            }
        }
        Ok(())
    }

    fn order(
        &mut self,
        now: Nanos,
        out: &mut Vec<Action>,
        change: impl FnOnce(&mut Orders) -> Result<bool, OrderError>,
    ) {
        if let Err(error) = self.change_orders(now, out, change) {
            out.push(Action::Log(Log::OrderFailed(error)));
        }
    }

    /// On the primary an order for all; on another node only its own affair.
    fn shut_down(&mut self, shutdown: bool, now: Nanos, out: &mut Vec<Action>) {
        self.settings.shutdown = shutdown;
        if self.role == Role::Primary {
            self.order(now, out, |orders| orders.set_shutdown(shutdown));
        }
    }

    /// `[no] cluster drain`: takes a node out of service, or returns it.
    ///
    /// # Errors
    /// When the order cannot be given.
    pub fn drain(&mut self, node: IpAddr, on: bool, now: Nanos) -> Result<Vec<Action>, OrderError> {
        let mut out = Vec::new();
        self.change_orders(now, &mut out, |orders| orders.set_drain(node, on))?;
        self.settle(now, &mut out);
        Ok(out)
    }

    /// Members that are alive, without this node.
    fn living(&self, now: Nanos) -> BTreeSet<IpAddr> {
        let members = self.table.iter().map(|(address, _)| address);
        members.filter(|address| *address != self.settings.own && self.table.alive(*address, now)).collect()
    }

    /// Why this node is no primary of the feed any more.
    fn stops_listening(&self) -> Leave {
        match self.role {
            _ if self.stopping => Leave::Stop,
            Role::None if self.settings.group_down => Leave::GroupDown,
            Role::None => Leave::Init,
            Role::Secondary(_) => Leave::OtherActive,
            Role::Primary => Leave::NoFeed,
        }
    }

    /// Why this node is no member any more.
    fn disconnects(&self) -> Leave {
        match self.role {
            _ if self.stopping => Leave::Stop,
            Role::Primary => Leave::Primary,
            _ if self.settings.group_down => Leave::GroupDown,
            Role::None => Leave::Init,
            Role::Secondary(_) if self.settings.shutdown => Leave::Shutdown,
            Role::Secondary(_) => Leave::NoFeed,
        }
    }

    /// Returns what follows from the state as it is now.
    fn settle(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let up = self.runs();
        let feeds = self.settings.max_session > 0;
        // A primary that is shut down goes on listening: the members have to hear of it, and of the end.
        let listen = feeds && self.role == Role::Primary && !self.stopping;
        if std::mem::replace(&mut self.listening, listen) != listen {
            out.push(if listen { Action::Listen } else { Action::StopListening(self.stops_listening()) });
        }
        let connect = feeds && up && matches!(self.role, Role::Secondary(_));
        if std::mem::replace(&mut self.connecting, connect) != connect {
            out.push(if connect { Action::Connect } else { Action::Disconnect(self.disconnects()) });
        }
        self.connected &= connect;
        let moving = self.orders.is_draining(self.settings.node);
        if std::mem::replace(&mut self.moving, moving) != moving {
            out.push(Action::Move(moving));
            self.next_update = now;
        }
        // The hello comes first: it is what a connection begins with.
        if up && self.connected && now >= self.next_hello {
            self.next_hello = now + self.settings.hello;
            let ms = |span: Nanos| span.as_millis() as u32;
            out.push(Action::SendPrimary(Message::Hello(Hello {
                incarnation: self.incarnation,
                address: self.settings.own,
                hello_ms: ms(self.settings.hello),
                update_ms: ms(self.settings.update),
                orders: Some(self.orders.clone()),
            })));
        }
        if up && now >= self.next_update && self.local.is_some() && self.role != Role::None {
            self.next_update = now + self.settings.update;
            let report = self.report();
            let own = self.settings.own;
            self.surge.confirmed(self.pending.reported(own, &report, now), now);
            self.table.hear(own, report.clone(), now);
            if self.connected {
                out.push(Action::SendPrimary(Message::Update(report)));
            }
        }
    }

    /// Says who has come and who has gone silent, and when nobody is left to be chosen.
    fn watch(&mut self, now: Nanos, out: &mut Vec<Action>) {
        let own = self.settings.own;
        // It is alive between its own updates, however far apart they are.
        self.table.touch(own, now);
        let alive = self.living(now);
        for address in self.alive.difference(&alive) {
            out.push(Action::Log(Log::MemberDead(*address)));
            out.extend(self.table.get(*address).map(|entry| Action::NodeSilent(entry.report.node(*address))));
        }
        out.extend(alive.difference(&self.alive).map(|address| Action::Log(Log::MemberUp(*address))));
        self.alive = alive;
        let standings = self.standings(now);
        let nobody = self.is_up() && !standings.iter().any(|standing| standing.usable);
        let reporting = standings.iter().filter(|s| s.usable).filter_map(|s| Some((s.load?.1, s.report?)));
        let spreads = self.settings.selection == Selection::Spread;
        let room = spreads.then(|| surge::room(reporting, self.settings.load_normalization)).flatten();
        let before = self.surge.is_on();
        self.surge.judge(room, self.settings.update, now);
        if self.surge.is_on() != before {
            out.push(Action::Log(Log::Surge(!before)));
        }
        if std::mem::replace(&mut self.nobody, nobody) != nobody {
            out.push(Action::Log(if nobody { Log::NobodyLeft } else { Log::SomebodyAgain }));
        }
    }
}

#[cfg(test)]
mod tests;
