//! One node's part in a cluster, for one virtual address: a pure state machine. It is told what is heard, measured and
//! ordered, and says what to send; time is an argument, ns of CLOCK_MONOTONIC.
//!
//! The active router of the group is the **primary**: it keeps the table of members, is a candidate itself, and
//! answers each hello and update with the whole table. Every other router is a **secondary**: it says hello and reports
//! its load, and keeps the table that it is told, so that the next primary starts with loads at most one update old.

use super::choice::{self, Candidate, Chosen, Selection};
use super::load::{self, Rules};
use super::member::{Health, Percent, Report};
use super::pending::Pending;
use super::surge::{self, Surge};
use super::table::{Heard, Table};
use super::wire::{Ack, Hello, MAX_MEMBERS, Members, Message, Order};
use crate::load::Sample;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const MS: u64 = 1_000_000;
/// Acknowledgements within this time carry the same table, ns.
const SHARED: u64 = 20 * MS;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// This node's address in the cluster: clients are sent here
    pub own: IpAddr,
    /// Silence after which a member is dead, ns
    pub holdtime: u64,
    /// Time between a member's hellos, ns
    pub hello: u64,
    /// Time between a member's updates, ns
    pub update: u64,
    /// How composite loads are made and judged, where this node is primary
    pub rules: Rules,
    /// IKE and IPsec SAs that this node takes
    pub max_session: u32,
    /// Half-open IKE SAs that this node takes
    pub max_in_negotiation: u16,
    /// 1-100
    pub priority: u8,
    /// Percentage points above the least load that still belong to the least-loaded set
    pub load_normalization: u8,
    /// How the least-loaded set shares the clients
    pub selection: Selection,
    /// Empty for none
    pub fqdn: String,
    /// Nodes in the cluster, this one included, 2-64
    pub max_nodes: usize,
    /// Gateways that report nothing: address and priority
    pub statics: BTreeMap<IpAddr, u8>,
    /// `shutdown` of the cluster; entered on the primary it holds for all
    pub shutdown: bool,
    /// The group cannot run here, as when its interface is shut down: this node's own affair
    pub group_down: bool,
}

/// What this node is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Neither: the group has no active router yet, or the cluster is down here
    #[default]
    None,
    /// The active router of the group
    Primary,
    /// Another router of the group; the active one, as HSRP knows it
    Secondary(Option<IpAddr>),
}

/// What a node is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another configuration
    Configure(Settings),
    /// HSRP has decided
    Role(Role),
    /// The load source has measured, or says why it cannot
    Local(Result<Sample, String>),
    /// A member has said something. (A connection that breaks is no death: the member has holdtime to come back.)
    Member(IpAddr, Message),
    /// The connection to the primary stands
    PrimaryUp,
    /// The primary has said something
    Primary(Message),
    /// The connection to the primary has gone
    PrimaryDown,
    /// So many clients have been sent to a gateway so far
    Sent(IpAddr, u64),
    /// A gateway that reports nothing answers its probe, or not
    Probe(IpAddr, bool),
    /// The operator shuts the cluster down, or brings it back
    Shutdown(bool),
    /// The operator takes a member out of service, or back
    Drain(IpAddr, bool),
    /// So many sessions of this node still wait to be moved away
    ToMove(u32),
    /// Time has passed; at least ten times a second
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this to a member
    Send(IpAddr, Message),
    /// Send this to the primary
    SendPrimary(Message),
    /// Take members' connections, or no longer
    Listen(bool),
    /// Hold a connection to the primary, or no longer
    Connect(bool),
    /// Give up the connection to the primary for a new one, at once
    Reconnect,
    /// The orders have changed: they outlive a restart
    Keep(Order),
    /// This node is to move its sessions away, or to stop doing so
    Move(bool),
    /// Something for the log
    Log(Log),
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the texts say it
pub enum Log {
    Role(Role),
    MemberUp(IpAddr),
    MemberDead(IpAddr),
    Full(IpAddr),
    Unhealthy(String),
    Healthy,
    Shutdown(bool),
    Draining(IpAddr, bool),
    NobodyLeft,
    SomebodyAgain,
    Surge(bool),
}

impl Log {
    /// Its mnemonic, whose digit is the severity as on IOS (0-3 errors, 4 warnings), and its text.
    #[must_use]
    pub fn line(&self) -> (&'static str, String) {
        match self {
            Log::Role(Role::Primary) => ("CLB-5-ROLE", "this node is the primary".to_owned()),
            Log::Role(Role::Secondary(Some(active))) => {
                ("CLB-5-ROLE", format!("this node is a secondary, {active} is active"))
            }
            Log::Role(Role::Secondary(None)) => ("CLB-5-ROLE", "this node is a secondary, no router is active".to_owned()),
            Log::Role(Role::None) => ("CLB-5-ROLE", "HSRP has not settled".to_owned()),
            Log::MemberUp(address) => ("CLB-5-MEMBERUP", format!("member {address} is alive")),
            Log::MemberDead(address) => (
                "CLB-4-MEMBERDEAD",
                format!("member {address} has been silent for holdtime: no client is sent there"),
            ),
            Log::Full(address) => (
                "CLB-4-MAXNODES",
                format!("{address} is one more than `max-nodes` allows: raise it, or take a node out"),
            ),
            Log::Unhealthy(reason) => {
                ("CLB-4-UNHEALTHY", format!("this node takes no new clients, its load is not known: {reason}"))
            }
            Log::Healthy => ("CLB-5-HEALTHY", "this node's load source answers again".to_owned()),
            Log::Shutdown(true) => (
                "CLB-4-SHUTDOWN",
                "the cluster is shut down by its primary: `no shutdown` under `crypto ikev2 cluster` there brings it back"
                    .to_owned(),
            ),
            Log::Shutdown(false) => ("CLB-5-UP", "the cluster is up again".to_owned()),
            Log::Draining(address, true) => ("CLB-5-DRAIN", format!("{address} is taken out of service")),
            Log::Draining(address, false) => ("CLB-5-DRAIN", format!("{address} is back in service")),
            Log::NobodyLeft => (
                "CLB-3-NOGATEWAY",
                "every member is overloaded, unhealthy, draining or dead: requests go to the local IKE daemon".to_owned(),
            ),
            Log::Surge(true) => (
                "CLB-5-SURGE",
                "more clients come at once than `load-normalization` of the least loaded: every usable member takes them"
                    .to_owned(),
            ),
            Log::Surge(false) => {
                ("CLB-5-SURGE", "the surge of clients is over: the least loaded members take them".to_owned())
            }
            Log::SomebodyAgain => ("CLB-5-GATEWAY", "there is a member again that takes clients".to_owned()),
        }
    }
}

/// How a member stands, as `show` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing<'a> {
    /// Its address
    pub address: IpAddr,
    /// Its report; `None` of a gateway that reports nothing, and of one that has not reported yet
    pub report: Option<&'a Report>,
    /// Age of its last sign of life, ns; `None` of this node and of static gateways
    pub age: Option<u64>,
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
}

/// One node of one cluster.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    role: Role,
    order: Order,
    table: Table,
    pending: Pending,
    surge: Surge,
    /// The primary's rules, as a secondary was told them
    told: Option<Rules>,
    /// The primary that the table came from, when the acknowledgement came
    acked: Option<(IpAddr, u64)>,
    connected: bool,
    local: Option<Result<Sample, String>>,
    incarnation: u64,
    count: u64,
    to_move: u32,
    moving: bool,
    next_hello: u64,
    next_update: u64,
    probes: BTreeMap<IpAddr, bool>,
    shared: Option<(u64, Members)>,
    nobody: bool,
    alive: BTreeSet<IpAddr>,
    listening: bool,
    connecting: bool,
}

impl Node {
    /// A node with the orders that it kept. `incarnation` grows with each start of this node's usherd.
    #[must_use]
    pub fn new(settings: Settings, order: Order, incarnation: u64) -> Node {
        Node {
            table: Table::new(settings.max_nodes, settings.holdtime),
            pending: Pending::new(settings.update),
            surge: Surge::default(),
            settings,
            role: Role::None,
            order,
            told: None,
            acked: None,
            connected: false,
            local: None,
            incarnation,
            count: 0,
            to_move: 0,
            moving: false,
            next_hello: 0,
            next_update: 0,
            probes: BTreeMap::new(),
            shared: None,
            nobody: false,
            alive: BTreeSet::new(),
            listening: false,
            connecting: false,
        }
    }
}

impl Node {
    /// Takes what has happened; gives what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: u64) -> Vec<Action> {
        let mut out = Vec::new();
        let turn = event == Event::Tick;
        match event {
            Event::Configure(settings) => self.configure(settings, now, &mut out),
            Event::Role(role) => self.become_(role, now, &mut out),
            Event::Local(reading) => self.measure(reading, now, &mut out),
            Event::Member(address, message) => self.member(address, message, now, &mut out),
            Event::PrimaryUp => {
                self.connected = true;
                (self.next_hello, self.next_update) = (now, now);
            }
            Event::Primary(message) => self.primary(message, now, &mut out),
            Event::PrimaryDown => self.connected = false,
            Event::Sent(address, total) => {
                let new = self.pending.sent(address, total, now);
                self.surge.sent(new, now);
            }
            Event::Probe(address, up) => {
                self.probes.insert(address, up);
            }
            Event::Shutdown(shutdown) => self.shut_down(shutdown, &mut out),
            Event::Drain(address, on) => self.drain(address, on, &mut out),
            Event::ToMove(sessions) => self.to_move = sessions,
            Event::Tick => {}
        }
        self.settle(now, &mut out);
        // Every member is looked at once a turn, not at each message of each member.
        if turn && self.role == Role::Primary {
            self.watch(now, &mut out);
        }
        out
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.runs() { self.role } else { Role::None }
    }

    /// What HSRP says that this node is, whether or not the cluster is up.
    #[must_use]
    pub fn hsrp(&self) -> Role {
        self.role
    }

    /// Whether clients are redirected: the cluster is not shut down, here or by the primary's order.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.runs() && !self.order.shutdown
    }

    /// Whether this node itself takes part.
    fn runs(&self) -> bool {
        !self.settings.shutdown && !self.settings.group_down
    }

    /// The orders in force.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// When the primary last acknowledged something, ns.
    #[must_use]
    pub fn last_ack(&self) -> Option<u64> {
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
    pub fn standings(&self, now: u64) -> Vec<Standing<'_>> {
        let rules = self.rules();
        let primary = match self.role {
            Role::Primary => Some(self.settings.own),
            Role::Secondary(_) => self.acked.map(|(primary, _)| primary),
            Role::None => None,
        };
        let reporting = self.table.iter().map(|(address, entry)| {
            let report = &entry.report;
            let is_self = address == self.settings.own;
            let age = now.saturating_sub(entry.heard_ns);
            let alive = is_self || self.table.alive(address, now);
            let composite = load::composite(&report.load, &rules);
            let overloaded = load::overloaded(composite, &rules);
            let draining = report.draining || self.order.draining.contains(&address);
            Standing {
                address,
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
            let draining = self.order.draining.contains(address);
            all.push(Standing {
                address: *address,
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

    /// Whether clients may be sent to a member now.
    #[must_use]
    pub fn takes(&self, address: IpAddr, now: u64) -> bool {
        self.table.get(address).is_some_and(|entry| {
            let report = &entry.report;
            self.table.alive(address, now)
                && report.health == Health::Healthy
                && !report.draining
                && !self.order.draining.contains(&address)
                && !load::overloaded(load::composite(&report.load, &self.rules()), &self.rules())
        })
    }

    /// Who of `standings` is chosen with which weight: on the primary for the virtual address; on another member that is
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

    fn configure(&mut self, settings: Settings, now: u64, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.table.configure(self.settings.max_nodes, self.settings.holdtime);
        self.pending.configure(self.settings.update);
        if before.own != self.settings.own {
            self.table.remove(before.own);
        }
        if before.shutdown != self.settings.shutdown {
            self.shut_down(self.settings.shutdown, out);
        }
        self.next_hello = self.next_hello.min(now.saturating_add(self.settings.hello));
        self.next_update = self.next_update.min(now.saturating_add(self.settings.update));
    }

    fn become_(&mut self, role: Role, now: u64, out: &mut Vec<Action>) {
        if role == self.role {
            return;
        }
        let before = std::mem::replace(&mut self.role, role);
        out.push(Action::Log(Log::Role(role)));
        (self.next_hello, self.next_update) = (now, now);
        // Whoever is the primary now sees its clients.
        self.surge = Surge::default();
        match (before, role) {
            (_, Role::Primary) => {
                self.connected = false;
                // No primary heard anyone since the last acknowledgement: that time is nobody's silence. The old primary
                // itself has gone, or it will say hello as a member.
                if let Some((primary, at)) = self.acked.take() {
                    self.table.skip(now.saturating_sub(at));
                    if primary != self.settings.own {
                        self.table.remove(primary);
                    }
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

    fn measure(&mut self, reading: Result<Sample, String>, now: u64, out: &mut Vec<Action>) {
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

    /// What this node says of itself now.
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
            draining: self.order.draining.contains(&settings.own),
            to_move: self.to_move,
            fqdn: settings.fqdn.clone(),
        }
    }

    /// A member has said something. It can only speak of the address that it connects from.
    fn member(&mut self, address: IpAddr, message: Message, now: u64, out: &mut Vec<Action>) {
        // A message that was under way when the role went is of no use here; the member will find the new primary.
        if self.role != Role::Primary || address == self.settings.own {
            return;
        }
        let seq = match message {
            Message::Hello(hello) => {
                self.learn(hello.order, out);
                self.table.touch(address, now);
                0
            }
            Message::Update(report) => {
                let count = report.version.1;
                match self.table.hear(address, report, now) {
                    Heard::New | Heard::Later => {
                        let entry = self.table.get(address);
                        entry
                            .into_iter()
                            .for_each(|entry| self.pending.reported(address, &entry.report, now));
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
            Message::Bye { .. } => {
                self.table.remove(address);
                self.pending.forget(address);
                return;
            }
            Message::Ack(_) => return,
        };
        let ack = Ack {
            seq,
            primary: self.settings.own,
            order: self.order.clone(),
            rules: self.settings.rules,
            members: self.members(now),
        };
        out.push(Action::Send(address, Message::Ack(ack)));
    }

    /// The table as acknowledgements carry it: made, and encoded, once for all that leave within a short while.
    fn members(&mut self, now: u64) -> Members {
        if self.shared.as_ref().is_none_or(|(at, _)| now.saturating_sub(*at) >= SHARED) {
            self.shared = Some((now, self.table.snapshot(now).into()));
        }
        self.shared.as_ref().map(|(_, members)| members.clone()).unwrap_or_default()
    }

    fn primary(&mut self, message: Message, now: u64, out: &mut Vec<Action>) {
        let Role::Secondary(_) = self.role else { return };
        match message {
            Message::Ack(ack) => {
                self.learn(ack.order, out);
                self.told = Some(ack.rules);
                self.acked = Some((ack.primary, now));
                let own = self.settings.own;
                let others = ack.members.iter().filter(|(address, ..)| *address != own);
                self.table
                    .merge(others.map(|(a, report, age)| (*a, report.clone(), u64::from(*age) * MS)), now);
            }
            Message::Bye { .. } => {
                self.connected = false;
                out.push(Action::Reconnect);
            }
            Message::Hello(_) | Message::Update(_) => {}
        }
    }

    /// Takes the greater of two orders.
    fn learn(&mut self, order: Order, out: &mut Vec<Action>) {
        if order > self.order {
            self.command(order, out);
        }
    }

    fn command(&mut self, order: Order, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.order, order);
        if before.shutdown != self.order.shutdown {
            out.push(Action::Log(Log::Shutdown(self.order.shutdown)));
        }
        for address in before.draining.symmetric_difference(&self.order.draining) {
            out.push(Action::Log(Log::Draining(*address, self.order.draining.contains(address))));
        }
        out.push(Action::Keep(self.order.clone()));
    }

    /// On the primary an order for all; on another node only its own affair.
    fn shut_down(&mut self, shutdown: bool, out: &mut Vec<Action>) {
        self.settings.shutdown = shutdown;
        if self.role == Role::Primary && self.order.shutdown != shutdown {
            let order = Order { epoch: self.order.epoch + 1, shutdown, ..self.order.clone() };
            self.command(order, out);
        }
        if shutdown && self.connected {
            let reason = "the cluster is shut down here".to_owned();
            out.push(Action::SendPrimary(Message::Bye { reason }));
        }
    }

    fn drain(&mut self, address: IpAddr, on: bool, out: &mut Vec<Action>) {
        let mut order = self.order.clone();
        if on && order.draining.len() >= MAX_MEMBERS {
            return;
        }
        let changed = if on { order.draining.insert(address) } else { order.draining.remove(&address) };
        if changed {
            order.epoch += 1;
            self.command(order, out);
        }
    }

    /// What follows from the state as it is now.
    fn settle(&mut self, now: u64, out: &mut Vec<Action>) {
        let up = self.runs();
        let feeds = self.settings.max_session > 0;
        // A primary that is shut down goes on listening: the members have to hear of it, and of the end.
        let listen = feeds && self.role == Role::Primary;
        if std::mem::replace(&mut self.listening, listen) != listen {
            out.push(Action::Listen(listen));
        }
        let connect = feeds && up && matches!(self.role, Role::Secondary(_));
        if std::mem::replace(&mut self.connecting, connect) != connect {
            out.push(Action::Connect(connect));
        }
        let moving = self.order.draining.contains(&self.settings.own);
        if std::mem::replace(&mut self.moving, moving) != moving {
            out.push(Action::Move(moving));
            self.next_update = now;
        }
        // The hello comes first: it is what a connection begins with.
        if up && self.connected && now >= self.next_hello {
            self.next_hello = now.saturating_add(self.settings.hello);
            let ms = |ns: u64| (ns / MS) as u32;
            out.push(Action::SendPrimary(Message::Hello(Hello {
                incarnation: self.incarnation,
                address: self.settings.own,
                hello_ms: ms(self.settings.hello),
                update_ms: ms(self.settings.update),
                order: self.order.clone(),
            })));
        }
        if up && now >= self.next_update && self.local.is_some() && self.role != Role::None {
            self.next_update = now.saturating_add(self.settings.update);
            let report = self.report();
            let own = self.settings.own;
            self.pending.reported(own, &report, now);
            self.table.hear(own, report.clone(), now);
            if self.connected {
                out.push(Action::SendPrimary(Message::Update(report)));
            }
        }
    }

    /// Says who has come and who has gone silent, and when nobody is left to be chosen.
    fn watch(&mut self, now: u64, out: &mut Vec<Action>) {
        let own = self.settings.own;
        // It is alive between its own updates, however far apart they are.
        self.table.touch(own, now);
        let members = self.table.iter().map(|(address, _)| address);
        let alive: BTreeSet<IpAddr> =
            members.filter(|address| *address != own && self.table.alive(*address, now)).collect();
        out.extend(self.alive.difference(&alive).map(|address| Action::Log(Log::MemberDead(*address))));
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
