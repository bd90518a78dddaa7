//! Moves established sessions to other gateways, at a set pace (RFC 5685 section 5, gateway-initiated redirect).
//!
//! charon sends the REDIRECT only to a client that signalled support when it connected, but does not tell us which of
//! them did: who is still here some time after it was asked stays, and is listed. One that answered and does not go is ended
//! by charon itself after its `half_open_timeout` (30 s).
//!
//! pluto knows connections only: all clients of a connection are asked at once, those without support too (they take no
//! notice), and the pace decides when the next connection's turn is.
//!
//! [`Plan`] decides, without IO or clock; [`Drain`] runs it against the daemon.

use super::session::Session;
use super::vici::Client;
use super::whack::{self, States};
use super::{LIMIT, RETRY, SourceSpec};
use crate::types::{Nanos, nanos};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Of the sessions that stay so many are listed.
pub const MAX_LISTED: usize = 1000;
/// Who is still here so long after being asked stays: a little more than charon's own `half_open_timeout`.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The daemon's sessions are listed this often, or so much less often that it costs a twentieth of the time. Only a list
/// shows who has gone, so this is also how fresh the progress is.
const RELIST: Duration = Duration::from_secs(1);
const RELIST_SHARE: u32 = 20;
/// A pace that was not kept is made up for, as far as it was missed within this time.
const CATCH_UP_NS: Nanos = Nanos::from_millis(100);

/// A list of gateways for a connection of pluto's has at most so many entries.
const MAX_TARGETS: usize = 32;

/// The IKE daemon whose sessions are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// strongSwan's
    Charon {
        /// Its VICI socket
        socket: PathBuf,
    },
    /// libreswan's
    Pluto {
        /// `ipsec`, or `whack` itself; `None`: the distribution's
        program: Option<PathBuf>,
    },
}

impl Daemon {
    /// The daemon behind a load source; none behind a script or fixed figures, whose sessions nobody here can move.
    #[must_use]
    pub fn of(source: &SourceSpec) -> Option<Daemon> {
        match source {
            SourceSpec::Vici { socket } => Some(Daemon::Charon { socket: socket.clone() }),
            SourceSpec::Whack { program } => Some(Daemon::Pluto { program: program.clone() }),
            SourceSpec::Script { .. } | SourceSpec::Fixed(_) => None,
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        match self {
            Daemon::Charon { socket } => {
                let client = Client::connect(socket, LIMIT.1).await;
                client.map(Connection::Charon).map_err(|why| format!("vici {}: {why}", socket.display()))
            }
            Daemon::Pluto { program } => Ok(Connection::Pluto(program.clone())),
        }
    }
}

enum Connection {
    Charon(Client),
    Pluto(Option<PathBuf>),
}

impl Connection {
    async fn sessions(&mut self) -> Result<States, String> {
        match self {
            Connection::Charon(client) => {
                client.sessions().await.map(|sessions| States { sessions, problem: None })
            }
            Connection::Pluto(program) => whack::sessions(program.as_deref(), LIMIT.1).await,
        }
    }

    /// That a session has gone meanwhile shows in the next list.
    async fn ask(&mut self, step: &Step) -> Result<(), String> {
        match (self, step) {
            (Connection::Charon(client), Step::Ask { id, gateway }) => {
                client.redirect(*id, *gateway).await.map(drop)
            }
            (Connection::Pluto(program), Step::AskAll { connection, gateways }) => {
                whack::redirect(program.as_deref(), connection, gateways, LIMIT.1).await
            }
            _ => Ok(()),
        }
    }
}

/// Targets and pace of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Sessions a minute; 0 stops, and keeps what was done
    pub pace: u32,
    /// Gateways and their shares; a weight of 0 gets none. A session goes to a gateway of its own family
    pub targets: Vec<(IpAddr, u32)>,
}

/// Progress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The daemon's sessions have been listed at least once
    pub listed: bool,
    /// Established sessions that have not been asked yet
    pub waiting: u32,
    /// Asked, and still here
    pub asked: u32,
    /// Asked, and gone
    pub moved: u32,
    /// Sessions that stay
    pub staying: u32,
    /// The first [`MAX_LISTED`] of them
    pub stay: Vec<Stay>,
    /// Why it does not go on, and what to do
    pub problem: Option<String>,
}

impl Progress {
    /// Every session has gone or stays.
    #[must_use]
    pub fn done(&self) -> bool {
        self.listed && self.waiting == 0 && self.asked == 0 && self.problem.is_none()
    }
}

/// A session that is not moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stay {
    /// The daemon's own number of its IKE SA
    pub id: u32,
    /// The client's address, where the daemon says it
    pub peer: Option<IpAddr>,
    /// The client's identity
    pub identity: String,
    /// Why
    pub reason: &'static str,
}

/// A drain at work. It ends when this is dropped; sessions that were moved stay moved.
#[derive(Debug)]
pub struct Drain {
    orders: watch::Sender<Orders>,
    progress: watch::Receiver<Progress>,
    task: AbortHandle,
}

impl Drain {
    /// Starts to move the daemon's sessions. Who is still here `patience` after being asked stays: normally
    /// [`PATIENCE`]. To be called inside a tokio runtime with time and IO.
    #[must_use]
    pub fn start(daemon: Daemon, patience: Duration, orders: Orders) -> Drain {
        let (tell, progress) = watch::channel(Progress::default());
        let (orders, ordered) = watch::channel(orders);
        let task = tokio::spawn(run(daemon, Plan::new(patience), ordered, tell)).abort_handle();
        Drain { orders, progress, task }
    }

    /// Changes pace and targets; a pace of 0 stops it, another resumes.
    pub fn order(&self, orders: Orders) {
        self.orders.send_if_modified(|now| std::mem::replace(now, orders.clone()) != orders);
    }

    /// The newest; it never waits.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until it has changed.
    pub async fn changed(&mut self) {
        if self.progress.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    daemon: Daemon,
    mut plan: Plan,
    mut orders: watch::Receiver<Orders>,
    tell: watch::Sender<Progress>,
) {
    loop {
        let Err(why) = drain(&daemon, &mut plan, &mut orders, &tell).await;
        plan.disconnected(why);
        tell.send_if_modified(|told| plan.report(told));
        tokio::time::sleep(RETRY).await;
    }
}

async fn drain(
    daemon: &Daemon,
    plan: &mut Plan,
    orders: &mut watch::Receiver<Orders>,
    tell: &watch::Sender<Progress>,
) -> Result<Infallible, String> {
    let mut connection = daemon.connect().await?;
    let mut list_ns = Nanos::ZERO;
    loop {
        let began_ns = nanos::now();
        if began_ns >= list_ns {
            let States { sessions, problem } = connection.sessions().await?;
            let now_ns = nanos::now();
            plan.listed(sessions, problem, now_ns);
            let took = Duration::from(now_ns.since(began_ns));
            list_ns = now_ns + (took * RELIST_SHARE).max(RELIST);
        }
        let ordered = orders.borrow_and_update().clone();
        let step = plan.next(&ordered, nanos::now());
        tell.send_if_modified(|told| plan.report(told));
        match step {
            Step::Ask { .. } | Step::AskAll { .. } => connection.ask(&step).await?,
            Step::Wait { until_ns } => {
                let pause = Duration::from(until_ns.min(list_ns).since(nanos::now()));
                let _ = tokio::time::timeout(pause, orders.changed()).await;
            }
        }
    }
}

/// Next step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Have this session redirected
    Ask { id: u32, gateway: IpAddr },
    /// Have all sessions of this connection redirected, in turn to these gateways
    AskAll { connection: OsString, gateways: Vec<IpAddr> },
    /// There is nothing to do before
    Wait { until_ns: Nanos },
}

#[derive(Clone, Debug)]
struct Asked {
    at_ns: Nanos,
    peer: Option<SocketAddr>,
    identity: String,
}

/// Sessions that have been asked to move, and the next ones.
#[derive(Debug, Default)]
struct Plan {
    patience_ns: Nanos,
    waiting: VecDeque<Session>,
    /// Those that were asked and are still here
    asked: HashMap<u32, Asked>,
    /// Those of them that stay
    in_vain: u32,
    moved: u32,
    staying: u32,
    /// Those of the last list; none when they have been reported
    stay: Option<Vec<Stay>>,
    /// When the last one was asked, or should have been
    last_ns: Nanos,
    /// Debt to each gateway, in weights
    owed: BTreeMap<IpAddr, i64>,
    /// Why the daemon cannot be asked, or its list is not understood
    problem: Option<String>,
    /// Those that wait have no gateway of their family
    no_gateway: bool,
}

impl Plan {
    fn new(patience: Duration) -> Plan {
        Plan { patience_ns: patience.into(), ..Plan::default() }
    }

    /// Takes the daemon's list of all established sessions, and what of it is not understood.
    fn listed(&mut self, sessions: Vec<Session>, problem: Option<String>, now_ns: Nanos) {
        let here: HashSet<u32> = sessions.iter().map(|session| session.id).collect();
        let (asked, gone) =
            std::mem::take(&mut self.asked).into_iter().partition(|(id, _)| here.contains(id));
        self.asked = asked;
        // One that was rekeyed is still here, by another number.
        let others = sessions.iter().filter(|session| !self.asked.contains_key(&session.id));
        let others: HashMap<_, _> =
            others.map(|session| ((session.peer, session.identity.as_str()), session.id)).collect();
        for asked in gone.into_values() {
            match others.get(&(asked.peer, asked.identity.as_str())) {
                Some(id) => drop(self.asked.insert(*id, asked)),
                None => self.moved = self.moved.saturating_add(1),
            }
        }
        let mut families = HashMap::<&OsString, [bool; 2]>::new();
        for session in &sessions {
            if let (Some(connection), Some(peer)) = (&session.connection, session.peer) {
                families.entry(connection).or_default()[usize::from(peer.is_ipv4())] = true;
            }
        }
        let mixed: HashSet<OsString> = families
            .iter()
            .filter(|(_, both)| **both == [true; 2])
            .map(|(name, _)| (*name).clone())
            .collect();
        self.waiting.clear();
        (self.staying, self.in_vain, self.problem) = (0, 0, problem);
        let mut stay = Vec::new();
        for session in sessions {
            let reason = match self.asked.get(&session.id) {
                _ if !session.ikev2 => "IKEv1 has no redirect",
                _ if session.initiator => "this gateway is the initiator",
                _ if session.peer.is_none() => "the IKE daemon does not show its address",
                _ if session.connection.as_ref().is_some_and(|name| mixed.contains(name)) => {
                    "its connection serves IPv4 and IPv6: whack cannot redirect them apart"
                }
                Some(asked) if now_ns.since(asked.at_ns) < self.patience_ns => continue,
                Some(_) => {
                    self.in_vain += 1;
                    "the client supports no redirect, does not answer, or came back"
                }
                None => {
                    self.waiting.push_back(session);
                    continue;
                }
            };
            self.staying = self.staying.saturating_add(1);
            if stay.len() < MAX_LISTED {
                let Session { id, peer, identity, .. } = session;
                stay.push(Stay { id, peer: peer.map(|peer| peer.ip()), identity, reason });
            }
        }
        self.stay = Some(stay);
    }

    /// The connection is gone. The daemon may be another one with the same numbers: those asked are forgotten.
    fn disconnected(&mut self, why: String) {
        self.asked.clear();
        self.waiting.clear();
        self.in_vain = 0;
        self.problem = Some(why);
    }

    fn next(&mut self, orders: &Orders, now_ns: Nanos) -> Step {
        let usable = |v4| orders.targets.iter().any(|(to, weight)| *weight > 0 && to.is_ipv4() == v4);
        let families = [usable(false), usable(true)];
        let next = self
            .waiting
            .iter()
            .position(|session| session.peer.is_some_and(|peer| families[usize::from(peer.is_ipv4())]));
        self.no_gateway = next.is_none() && !self.waiting.is_empty();
        let Some(next) = next.filter(|_| orders.pace > 0) else { return Step::Wait { until_ns: Nanos::MAX } };
        let due_ns = self.last_ns + Nanos::from_secs(60) / u64::from(orders.pace);
        if now_ns < due_ns {
            return Step::Wait { until_ns: due_ns };
        }
        let Some(first) = self.waiting.remove(next) else { return Step::Wait { until_ns: now_ns } };
        let Some(peer) = first.peer.map(|peer| peer.ip()) else { return Step::Wait { until_ns: now_ns } };
        self.last_ns = due_ns.max(now_ns - CATCH_UP_NS);
        let Some(connection) = first.connection.clone() else {
            let Some(gateway) = self.target(peer, &orders.targets) else {
                return Step::Wait { until_ns: now_ns };
            };
            let id = first.id;
            self.ask(first, now_ns);
            return Step::Ask { id, gateway };
        };
        let (all, others): (VecDeque<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|session| session.connection.as_ref() == Some(&connection));
        self.waiting = others;
        // The others of the connection use up their share of the pace too.
        self.last_ns += Nanos::from_secs(60) / u64::from(orders.pace) * all.len() as u64;
        let turns = (all.len() + 1).min(MAX_TARGETS);
        let gateways = (0..turns).filter_map(|_| self.target(peer, &orders.targets)).collect();
        all.into_iter().chain([first]).for_each(|session| self.ask(session, now_ns));
        Step::AskAll { connection, gateways }
    }

    fn ask(&mut self, session: Session, now_ns: Nanos) {
        let Session { id, peer, identity, .. } = session;
        self.asked.insert(id, Asked { at_ns: now_ns, peer, identity });
    }

    /// The gateway whose turn it is, of the client's family: smooth weighted round robin, so that each has its share at any time.
    fn target(&mut self, peer: IpAddr, targets: &[(IpAddr, u32)]) -> Option<IpAddr> {
        let usable = || targets.iter().filter(|(to, weight)| *weight > 0 && to.is_ipv4() == peer.is_ipv4());
        self.owed.retain(|address, _| targets.iter().any(|(to, _)| to == address));
        for (to, weight) in usable() {
            *self.owed.entry(*to).or_default() += i64::from(*weight);
        }
        let chosen = usable()
            .map(|(to, _)| *to)
            .max_by_key(|to| (self.owed.get(to).copied(), std::cmp::Reverse(*to)))?;
        *self.owed.entry(chosen).or_default() -= usable().map(|(_, weight)| i64::from(*weight)).sum::<i64>();
        Some(chosen)
    }

    /// Brings the progress up to date; true if that changed it.
    fn report(&mut self, told: &mut Progress) -> bool {
        const NO_GATEWAY: &str =
            "no gateway takes those that wait: no member of their address family is usable";
        let kept = std::mem::take(&mut told.stay);
        let listed = self.stay.take();
        let now = Progress {
            listed: told.listed || listed.is_some(),
            waiting: count(self.waiting.len()),
            asked: count(self.asked.len()).saturating_sub(self.in_vain),
            moved: self.moved,
            staying: self.staying,
            stay: Vec::new(),
            problem: self.problem.clone().or_else(|| self.no_gateway.then(|| NO_GATEWAY.to_owned())),
        };
        let changed = now != *told || listed.as_ref().is_some_and(|listed| *listed != kept);
        *told = Progress { stay: listed.unwrap_or(kept), ..now };
        changed
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = Nanos::from_secs(1);

    fn session(id: u32, peer: &str) -> Session {
        Session {
            id,
            peer: Some(SocketAddr::new(peer.parse().unwrap(), 4500)),
            identity: format!("client{id}"),
            ikev2: true,
            initiator: false,
            connection: None,
        }
    }

    fn orders(pace: u32, targets: &[(&str, u32)]) -> Orders {
        Orders { pace, targets: targets.iter().map(|(to, weight)| (to.parse().unwrap(), *weight)).collect() }
    }

    fn progress(plan: &mut Plan) -> Progress {
        let mut progress = Progress::default();
        plan.report(&mut progress);
        progress
    }

    /// Asks whom it may until it has to wait.
    fn ask(plan: &mut Plan, orders: &Orders, now_ns: Nanos) -> Vec<(u32, String)> {
        let mut asked = Vec::new();
        while let Step::Ask { id, gateway } = plan.next(orders, now_ns) {
            asked.push((id, gateway.to_string()));
        }
        asked
    }

    #[test]
    fn who_goes_has_moved_and_who_does_not_stays() {
        let mut plan = Plan::new(Duration::from_secs(40));
        let orders = orders(60_000_000, &[("192.0.2.2", 1)]);
        let old = Session { ikev2: false, ..session(3, "198.51.100.3") };
        let ours = Session { initiator: true, ..session(4, "198.51.100.4") };
        plan.listed(
            vec![session(1, "198.51.100.1"), session(2, "198.51.100.2"), old, ours],
            None,
            Nanos::ZERO,
        );
        let asked = ask(&mut plan, &orders, SECOND);
        assert_eq!(asked, [(1, "192.0.2.2".to_owned()), (2, "192.0.2.2".to_owned())]);
        let first = progress(&mut plan);
        assert_eq!((first.asked, first.waiting, first.moved, first.staying), (2, 0, 0, 2));
        assert_eq!(
            first.stay.iter().map(|stay| stay.reason).collect::<Vec<_>>(),
            ["IKEv1 has no redirect", "this gateway is the initiator"]
        );

        plan.listed(vec![session(2, "198.51.100.2")], None, 30 * SECOND);
        let second = progress(&mut plan);
        assert_eq!((second.asked, second.moved, second.staying, second.done()), (1, 1, 0, false));

        plan.listed(vec![session(2, "198.51.100.2")], None, 41 * SECOND);
        let third = progress(&mut plan);
        assert_eq!((third.asked, third.moved, third.staying, third.done()), (0, 1, 1, true));
        assert_eq!(third.stay[0].reason, "the client supports no redirect, does not answer, or came back");
        assert!(ask(&mut plan, &orders, 100 * SECOND).is_empty(), "nobody is asked twice");
    }

    #[test]
    fn it_waits_without_pace_and_for_a_gateway_of_the_family() {
        let mut plan = Plan::new(PATIENCE);
        plan.listed(vec![session(1, "2001:db8::1"), session(2, "198.51.100.2")], None, Nanos::ZERO);
        assert!(ask(&mut plan, &orders(0, &[("192.0.2.2", 1)]), SECOND).is_empty());
        assert_eq!(ask(&mut plan, &orders(600, &[("192.0.2.2", 1)]), SECOND), [(2, "192.0.2.2".to_owned())]);
        let stuck = progress(&mut plan);
        assert!(stuck.problem.unwrap().contains("address family") && stuck.waiting == 1);
        assert!(
            ask(&mut plan, &orders(600, &[("2001:db8::2", 0)]), 2 * SECOND).is_empty(),
            "a weight of 0 gets none"
        );
        assert_eq!(
            ask(&mut plan, &orders(600, &[("2001:db8::2", 1)]), 2 * SECOND),
            [(1, "2001:db8::2".to_owned())]
        );
        assert_eq!(progress(&mut plan).problem, None);
    }

    #[test]
    fn one_that_is_rekeyed_has_not_moved() {
        let mut plan = Plan::new(PATIENCE);
        plan.listed(vec![session(1, "198.51.100.1")], None, Nanos::ZERO);
        assert_eq!(ask(&mut plan, &orders(600, &[("192.0.2.2", 1)]), SECOND).len(), 1);
        plan.listed(vec![Session { id: 9, ..session(1, "198.51.100.1") }], None, 50 * SECOND);
        let rekeyed = progress(&mut plan);
        assert_eq!((rekeyed.moved, rekeyed.staying, rekeyed.stay[0].id, rekeyed.waiting), (0, 1, 9, 0));
        plan.listed(Vec::new(), None, 51 * SECOND);
        assert_eq!(progress(&mut plan).moved, 1);
    }

    #[test]
    fn connections_that_cannot_be_parted_are_asked_as_a_whole_and_pay_for_all() {
        let mut plan = Plan::new(PATIENCE);
        let of = |name: &str, id, peer| Session { connection: Some(name.into()), ..session(id, peer) };
        let a = (1..=30).map(|id| of("a", id, "198.51.100.1"));
        let others = [of("b", 51, "198.51.100.2"), of("c", 61, "198.51.100.3"), of("c", 62, "2001:db8::3")];
        plan.listed(a.chain(others).collect(), None, Nanos::ZERO);
        let orders = orders(600, &[("192.0.2.2", 2), ("192.0.2.3", 1)]);
        let Step::AskAll { connection, gateways } = plan.next(&orders, 10 * SECOND) else {
            panic!("nobody is asked")
        };
        let second = gateways.iter().filter(|to| to.to_string() == "192.0.2.3").count();
        assert_eq!((connection.to_str(), gateways.len(), second), (Some("a"), 30, 10));
        assert!(matches!(plan.next(&orders, 12 * SECOND), Step::Wait { until_ns } if until_ns > 12 * SECOND));
        let next = plan.next(&orders, 13 * SECOND);
        assert!(matches!(&next, Step::AskAll { connection, .. } if connection == "b"), "{next:?}");
        let told = progress(&mut plan);
        assert_eq!((told.asked, told.waiting, told.staying), (31, 0, 2));
        assert!(told.stay[0].reason.contains("IPv4 and IPv6"));
    }

    #[test]
    fn another_daemon_starts_from_nothing() {
        let mut plan = Plan::new(PATIENCE);
        let orders = orders(60_000_000, &[("192.0.2.2", 1)]);
        plan.listed(vec![session(1, "198.51.100.1")], None, Nanos::ZERO);
        assert_eq!(ask(&mut plan, &orders, SECOND).len(), 1);
        plan.disconnected("gone".into());
        assert_eq!(progress(&mut plan).problem.as_deref(), Some("gone"));
        plan.listed(vec![session(1, "198.51.100.9")], None, 2 * SECOND);
        assert_eq!((ask(&mut plan, &orders, 3 * SECOND).len(), progress(&mut plan).moved), (1, 0));
    }

    proptest! {
        #[test]
        fn the_pace_is_kept_and_shares_are_as_the_weights_say(
            pace in 1u32..2000, weights in proptest::collection::vec(1u32..10, 1..5), clients in 1u32..400,
            pauses in proptest::collection::vec(0u64..3_000_000_000, 1..50)) {
            let mut plan = Plan::new(PATIENCE);
            let targets: Vec<_> = weights.iter().enumerate()
                .map(|(n, weight)| (IpAddr::from([192, 0, 2, n as u8]), *weight)).collect();
            let orders = Orders { pace, targets: targets.clone() };
            plan.listed((0..clients).map(|id| session(id, "198.51.100.1")).collect(), None, Nanos::ZERO);
            let (mut now, mut times, mut got) = (5 * SECOND, Vec::new(), BTreeMap::<IpAddr, u32>::new());
            for pause in pauses {
                now += Nanos::new(pause);
                while let Step::Ask { gateway, .. } = plan.next(&orders, now) {
                    times.push(now);
                    *got.entry(gateway).or_default() += 1;
                }
            }
            // Beside a minute's worth, one at its start, and what is made up for.
            let most = (pace + pace / 600 + 2) as usize;
            for window in times.windows(most + 1) {
                prop_assert!(window[most].since(window[0]) >= 60 * SECOND, "{most} a minute");
            }
            let total: u32 = weights.iter().sum();
            for (to, weight) in targets {
                let (found, fair) = (got.get(&to).copied().unwrap_or(0), times.len() as u32 * weight);
                prop_assert!((found * total).abs_diff(fair) <= total * weights.len() as u32, "{got:?} of {}", times.len());
            }
        }
    }
}
