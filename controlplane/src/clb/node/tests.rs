//! Nodes that talk to each other under a virtual clock; who is active is told to them as HSRP would.

use super::*;
use std::collections::VecDeque;

const MS: Nanos = Nanos::from_millis(1);
const SECOND: Nanos = Nanos::from_secs(1);

fn at(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

fn settings(host: u8) -> Settings {
    Settings {
        own: at(host),
        node: at(host),
        holdtime: 3 * SECOND,
        hello: SECOND,
        update: 3 * SECOND,
        rules: Rules::default(),
        max_session: 1000,
        max_in_negotiation: 40,
        priority: 100,
        load_normalization: 5,
        selection: Selection::Spread,
        fqdn: String::new(),
        max_nodes: 10,
        statics: BTreeMap::new(),
        members: BTreeSet::new(),
        shutdown: false,
        group_down: false,
    }
}

fn sample(ike: u32) -> Sample {
    Sample { ike, child: ike, ..Sample::default() }
}

/// The nodes of a cluster on one LAN.
struct World {
    now: Nanos,
    nodes: BTreeMap<IpAddr, Node>,
    /// Who is active, and whom the members' connections lead to
    active: Option<IpAddr>,
    connected: BTreeMap<IpAddr, IpAddr>,
    /// These are dead: they say and hear nothing
    dead: BTreeSet<IpAddr>,
    logs: Vec<(IpAddr, Log)>,
    kept: BTreeMap<IpAddr, Orders>,
    /// The nodes share a cluster key
    keyed: bool,
    moving: BTreeMap<IpAddr, bool>,
}

impl World {
    fn new(hosts: &[u8]) -> World {
        let nodes = hosts.iter().map(|host| (at(*host), Node::new(settings(*host), Orders::default(), 1)));
        let mut world = World {
            now: 100 * SECOND,
            nodes: nodes.collect(),
            active: None,
            connected: BTreeMap::new(),
            dead: BTreeSet::new(),
            logs: Vec::new(),
            kept: BTreeMap::new(),
            keyed: true,
            moving: BTreeMap::new(),
        };
        for host in hosts {
            world.tell(at(*host), Event::Local(Ok(sample(100))));
        }
        world
    }

    fn tell(&mut self, to: IpAddr, event: Event) {
        self.deliver(VecDeque::from([(to, event)]));
    }

    fn drain(&mut self, by: u8, node: IpAddr, on: bool) {
        let actions = self.nodes.get_mut(&at(by)).unwrap().drain(node, on, self.now).unwrap();
        let mut queue = VecDeque::new();
        actions.into_iter().for_each(|action| self.act(at(by), action, &mut queue));
        self.deliver(queue);
    }

    fn deliver(&mut self, mut queue: VecDeque<(IpAddr, Event)>) {
        while let Some((to, event)) = queue.pop_front() {
            if self.dead.contains(&to) {
                continue;
            }
            let now = self.now;
            let Some(node) = self.nodes.get_mut(&to) else { continue };
            let actions = node.handle(event.clone(), now);
            actions.into_iter().for_each(|action| self.act(to, action, &mut queue));
        }
    }

    fn act(&mut self, node: IpAddr, action: Action, queue: &mut VecDeque<(IpAddr, Event)>) {
        let authenticated = self.keyed;
        match action {
            Action::Send(member, message) if self.connected.get(&member) == Some(&node) => {
                queue.push_back((member, Event::Primary { authenticated, message }));
            }
            Action::SendPrimary(message) => {
                if let Some(primary) = self.connected.get(&node) {
                    queue.push_back((*primary, Event::Member { peer: node, authenticated, message }));
                }
            }
            Action::Connect | Action::Reconnect => {
                self.connected.remove(&node);
                if let Some(active) = self.active.filter(|active| !self.dead.contains(active)) {
                    self.connected.insert(node, active);
                    queue.push_back((node, Event::PrimaryUp));
                }
            }
            Action::Disconnect(reason) => {
                if let Some(primary) = self.connected.remove(&node) {
                    queue.push_back((primary, Event::MemberLeft(node, reason.to_string())));
                }
            }
            Action::Keep(orders) => drop(self.kept.insert(node, orders)),
            Action::Move(on) => drop(self.moving.insert(node, on)),
            Action::Log(log) => self.logs.push((node, log)),
            Action::Send(..) | Action::Listen | Action::StopListening(_) | Action::NodeSilent(_) => {}
        }
    }

    /// HSRP has settled on this active router.
    fn elect(&mut self, host: u8) {
        self.active = Some(at(host));
        let others: Vec<IpAddr> = self.nodes.keys().copied().collect();
        self.tell(at(host), Event::Role(Role::Primary));
        for other in others.into_iter().filter(|other| *other != at(host)) {
            self.tell(other, Event::Role(Role::Secondary(Some(at(host)))));
        }
    }

    fn run(&mut self, time: Nanos) {
        let end = self.now + time;
        while self.now < end {
            self.now += 50 * MS;
            for node in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.tell(node, Event::Tick);
            }
        }
    }

    fn weights(&self, host: u8) -> BTreeMap<IpAddr, u32> {
        let node = &self.nodes[&at(host)];
        let chosen = node.choice(&node.standings(self.now));
        chosen.into_iter().filter(|chosen| chosen.weight > 0).map(|c| (c.address, c.weight)).collect()
    }

    fn chosen(&self, host: u8) -> Vec<IpAddr> {
        self.weights(host).into_keys().collect()
    }
}

#[test]
fn the_primary_hears_the_members_and_they_learn_the_table() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.tell(at(2), Event::Local(Ok(sample(200))));
    world.run(4 * SECOND);
    assert_eq!(world.chosen(1), [at(1), at(3)], "20 % is beyond 5 points over 40 %");
    for host in [1, 2, 3] {
        let standings = world.nodes[&at(host)].standings(world.now);
        let seen: Vec<_> = standings.iter().map(|s| (s.address, s.load.map(|load| load.1))).collect();
        let percent = |tenths: u64| Some(Percent::hundredths(tenths * 10));
        assert_eq!(seen, [(at(1), percent(200)), (at(2), percent(400)), (at(3), percent(200))], "at {host}");
        assert!(standings.iter().all(|s| s.alive && s.usable));
        assert_eq!(standings.iter().filter(|s| s.is_primary).map(|s| s.address).collect::<Vec<_>>(), [at(1)]);
    }
    assert!(world.weights(2).is_empty(), "a member that is well serves its own address");
}

#[test]
fn a_silent_member_is_dead_after_holdtime_and_back_at_its_first_word() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(2 * SECOND);
    world.dead.insert(at(3));
    world.run(2 * SECOND);
    assert_eq!(world.chosen(1), [at(1), at(2), at(3)], "within holdtime");
    world.run(1500 * MS);
    assert_eq!(world.chosen(1), [at(1), at(2)]);
    assert!(world.logs.contains(&(at(1), Log::MemberDead(at(3)))));
    world.dead.clear();
    world.run(1100 * MS);
    assert_eq!(world.chosen(1), [at(1), at(2), at(3)]);
}

#[test]
fn the_next_primary_starts_warm_and_without_the_dead_one() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.tell(at(3), Event::Local(Ok(sample(120))));
    world.run(4 * SECOND);
    world.dead.insert(at(1));
    // With the timers 3 and 10 of HSRP it takes longer than holdtime until somebody is active again.
    world.run(8 * SECOND);
    world.elect(2);
    assert_eq!(world.chosen(2), [at(2), at(3)], "at once");
    world.run(10 * SECOND);
    assert_eq!(world.chosen(2), [at(2), at(3)], "and for good");
    // The old primary comes back as a member.
    world.dead.clear();
    world.tell(at(1), Event::Role(Role::Secondary(Some(at(2)))));
    world.run(SECOND);
    assert_eq!(world.chosen(2), [at(1), at(2), at(3)]);
}

#[test]
fn the_primarys_shutdown_is_everyones_and_outlives_it() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(4 * SECOND);
    world.tell(at(1), Event::Shutdown(true));
    // The primary speaks last: it answers hellos as long as it is the active router.
    world.run(2 * SECOND);
    assert!(!world.nodes[&at(1)].is_up() && !world.nodes[&at(2)].is_up());
    world.dead.insert(at(1));
    world.elect(2);
    world.run(5 * SECOND);
    assert!(!world.nodes[&at(2)].is_up(), "a new primary does not lift it");
    world.tell(at(2), Event::Shutdown(false));
    assert!(world.nodes[&at(2)].is_up(), "`no shutdown` there does");
    assert_eq!(world.kept[&at(2)].shutdown().counter, 2);
}

#[test]
fn a_group_that_cannot_run_on_the_primary_is_nobody_elses_affair() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(2 * SECOND);
    // `shutdown` under the primary's interface: it leaves, and comes back as a member.
    world.tell(at(1), Event::Configure(Settings { group_down: true, ..settings(1) }));
    assert!(!world.nodes[&at(1)].is_up() && world.nodes[&at(1)].role() == Role::None);
    world.tell(at(1), Event::Role(Role::None));
    world.elect(2);
    world.tell(at(1), Event::Configure(settings(1)));
    world.run(2 * SECOND);
    assert!(world.nodes.values().all(Node::is_up), "{:?}", world.kept);
    assert!(world.kept.is_empty(), "it has ordered nothing: {:?}", world.kept);
    // Nor does its end lift an order.
    world.tell(at(2), Event::Shutdown(true));
    world.tell(at(2), Event::Configure(Settings { shutdown: true, group_down: true, ..settings(2) }));
    world.tell(at(2), Event::Configure(Settings { shutdown: true, ..settings(2) }));
    assert!(world.nodes[&at(2)].orders().is_shutdown());
}

#[test]
fn orders_reach_a_primary_that_starts_cold() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(2 * SECOND);
    world.drain(1, at(2), true);
    world.run(2 * SECOND);
    assert_eq!(world.moving.get(&at(2)), Some(&true), "the member moves its sessions away");
    assert_eq!(world.chosen(1), [at(1)]);
    world.nodes.insert(at(1), Node::new(settings(1), Orders::default(), 2));
    world.tell(at(1), Event::Local(Ok(sample(100))));
    world.connected.clear();
    world.elect(2);
    world.elect(1);
    world.run(SECOND);
    assert!(world.nodes[&at(1)].orders().is_draining(at(2)));
    world.drain(1, at(2), false);
    world.run(2 * SECOND);
    assert_eq!((world.moving.get(&at(2)), world.chosen(1).len()), (Some(&false), 2));
}

#[test]
fn a_member_that_cannot_serve_sheds_to_the_others() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    world.tell(at(2), Event::Local(Err("charon does not answer".to_owned())));
    world.run(50 * MS);
    assert_eq!(world.chosen(1), [at(1), at(3)], "the primary knows at once");
    assert_eq!(world.chosen(2), [at(1), at(3)], "and the member sheds");
    world.tell(at(2), Event::Local(Ok(sample(600))));
    world.run(50 * MS);
    assert_eq!(world.chosen(2), [at(1), at(3)], "120 % of max-session is overloaded");
    world.tell(at(2), Event::Local(Ok(sample(100))));
    world.run(4 * SECOND);
    assert_eq!((world.chosen(1).len(), world.chosen(2).len()), (3, 0));
}

#[test]
fn when_all_are_overloaded_nobody_is_chosen_and_it_is_said_once() {
    let mut world = World::new(&[1, 2]);
    for host in [1, 2] {
        world.tell(at(host), Event::Local(Ok(sample(500))));
    }
    world.elect(1);
    world.run(4 * SECOND);
    assert!(world.chosen(1).is_empty());
    assert_eq!(world.logs.iter().filter(|(_, log)| *log == Log::NobodyLeft).count(), 1);
}

#[test]
fn in_a_surge_every_usable_member_takes_clients() {
    let mut world = World::new(&[1, 2, 3]);
    world.tell(at(2), Event::Local(Ok(sample(200))));
    world.tell(at(3), Event::Local(Ok(sample(499))));
    world.elect(1);
    world.run(4 * SECOND);
    assert_eq!(world.chosen(1), [at(1)], "20, 40 and 99.8 percent");
    // 25 clients fill the 5 percent of the least loaded; a hundred at once are on their way to far more.
    world.tell(at(1), Event::Sent(at(1), 0));
    world.tell(at(1), Event::Sent(at(1), 100));
    world.run(SECOND / 20);
    assert_eq!(world.chosen(1), [at(1), at(2)], "not who is overloaded");
    world.run(7 * SECOND);
    assert_eq!(world.chosen(1), [at(1)]);
    let surge = |log: &&(IpAddr, Log)| matches!(log.1, Log::Surge(_));
    let said: Vec<_> = world.logs.iter().filter(surge).collect();
    assert_eq!(said, [&(at(1), Log::Surge(true)), &(at(1), Log::Surge(false))]);
    // It is the primary's, and goes with the role. (Nothing confirmed the clients of the first one, so a second one is not
    // believed until that is forgotten.)
    world.run(6 * SECOND);
    world.tell(at(1), Event::Sent(at(1), 200));
    world.run(SECOND / 20);
    assert!(world.nodes[&at(1)].surge().age(world.now).is_some());
    world.elect(2);
    assert_eq!(world.nodes[&at(1)].surge().age(world.now), None);
}

#[test]
fn a_member_speaks_only_for_itself_and_only_to_a_primary() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(SECOND);
    let report = Report { version: (9, 9), priority: 100, ..Report::default() };
    world.tell(
        at(2),
        Event::Member { peer: at(3), authenticated: true, message: Message::Update(report.clone()) },
    );
    assert!(world.nodes[&at(2)].standings(world.now).iter().all(|s| s.address != at(3)));
    world.tell(at(1), Event::Member { peer: at(1), authenticated: true, message: Message::Update(report) });
    let own = world.nodes[&at(1)].standings(world.now);
    assert_ne!(own[0].report.as_ref().unwrap().version, (9, 9), "nobody reports in our name");
}

#[test]
fn static_gateways_come_and_go_with_their_probe() {
    let mut world = World::new(&[1]);
    world.elect(1);
    let mut with = settings(1);
    with.statics = BTreeMap::from([(at(50), 100), (at(51), 50)]);
    world.tell(at(1), Event::Configure(with));
    world.run(SECOND);
    assert_eq!(world.chosen(1), [at(1), at(50), at(51)], "no probe: taken to be there");
    world.tell(at(1), Event::Probe(at(50), false));
    assert_eq!(world.chosen(1), [at(1), at(51)]);
    world.tell(at(1), Event::Probe(at(50), true));
    assert_eq!(world.chosen(1).len(), 3);
}

#[test]
fn drains_given_on_two_members_at_once_are_both_kept() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    // Both before either has heard of the other.
    let cut = std::mem::take(&mut world.connected);
    world.drain(2, at(2), true);
    world.drain(3, at(3), true);
    world.connected = cut;
    world.run(2 * SECOND);
    assert_eq!(world.chosen(1), [at(1)]);
    for node in world.nodes.values() {
        assert_eq!(node.orders().draining().collect::<Vec<_>>(), [at(2), at(3)]);
    }
    let back = |log: &&(IpAddr, Log)| matches!(log.1, Log::Draining(_, false));
    assert_eq!(world.logs.iter().filter(back).count(), 0, "nobody is back in service");
}

#[test]
fn orders_are_told_at_once() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    // No time passes.
    world.drain(2, at(2), true);
    assert!(world.nodes.values().all(|node| node.orders().is_draining(at(2))), "from a member to all");
    world.drain(1, at(3), true);
    assert!(world.nodes[&at(3)].is_draining() && world.moving[&at(3)], "from the primary to all");
    world.tell(at(1), Event::Shutdown(true));
    assert!(world.nodes.values().all(|node| !node.is_up()));
}

#[test]
fn a_drain_during_a_shutdown_outlives_it_and_does_not_bring_it_back() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(4 * SECOND);
    world.tell(at(1), Event::Shutdown(true));
    let cut = std::mem::take(&mut world.connected);
    world.drain(2, at(2), true);
    world.tell(at(1), Event::Shutdown(false));
    world.connected = cut;
    world.run(4 * SECOND);
    assert!(world.nodes.values().all(Node::is_up));
    assert_eq!(world.chosen(1), [at(1)]);
}

#[test]
fn a_node_that_is_shut_down_and_becomes_the_primary_shuts_the_members_down() {
    let mut world = World::new(&[1, 2, 3]);
    world.tell(at(1), Event::Configure(Settings { shutdown: true, ..settings(1) }));
    world.elect(1);
    world.run(2 * SECOND);
    assert!(world.nodes.values().all(|node| !node.is_up()));
    world.tell(at(1), Event::Shutdown(false));
    assert!(world.nodes.values().all(Node::is_up));
}

/// The attack: one acknowledgement at the virtual address, without a key.
#[test]
fn orders_and_rules_without_a_key_are_never_taken() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(4 * SECOND);
    let register = crate::clb::orders::Register { counter: 9, on: true };
    let orders = Some(Orders::new(register, [(at(2), register)].into()));
    let rules = Rules { overload_limit: 50, ..Rules::default() };
    let forged = Message::Ack(Ack {
        seq: 0,
        primary: at(66),
        orders: orders.clone(),
        rules,
        members: Members::default(),
    });
    for _ in 0..3 {
        world.tell(at(2), Event::Primary { authenticated: false, message: forged.clone() });
    }
    let hello = Hello { incarnation: 1, address: at(3), hello_ms: 1000, update_ms: 3000, orders };
    world.tell(at(1), Event::Member { peer: at(3), authenticated: false, message: Message::Hello(hello) });
    for node in world.nodes.values() {
        assert_eq!((node.orders(), node.rules()), (&Orders::default(), Rules::default()));
    }
    assert!(world.kept.is_empty());
    let logged: Vec<_> =
        world.logs.iter().filter(|(_, log)| matches!(log, Log::OrdersUnauthenticated(_))).collect();
    let expected =
        [(at(2), at(66)), (at(1), at(3))].map(|(node, peer)| (node, Log::OrdersUnauthenticated(peer)));
    assert_eq!(logged, expected.iter().collect::<Vec<_>>(), "once a peer");
}

#[test]
fn an_impossible_counter_is_refused_and_logged_with_its_sender() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(4 * SECOND);
    let register = crate::clb::orders::Register { counter: u64::from(u32::MAX), on: true };
    let orders = Some(Orders::new(register, BTreeMap::new()));
    let ack = Ack { seq: 0, primary: at(66), orders, rules: Rules::default(), members: Members::default() };
    world.tell(at(2), Event::Primary { authenticated: true, message: Message::Ack(ack) });
    assert!(world.nodes[&at(2)].is_up());
    let refused = |(_, log): &(IpAddr, Log)| matches!(log, Log::OrdersRefused(peer, OrderError::Ahead { .. }) if *peer == at(66));
    assert_eq!(world.logs.iter().filter(|log| refused(log)).count(), 1);
}

#[test]
fn who_answers_at_the_virtual_address_is_compared_with_hsrp() {
    let mut world = World::new(&[1, 2]);
    world.elect(1);
    world.run(4 * SECOND);
    assert_eq!(
        (world.nodes[&at(2)].primary(), world.nodes[&at(2)].other_primary(world.now)),
        (Some(at(1)), None)
    );
    world.connected.clear();
    let ack =
        Ack { seq: 0, primary: at(66), orders: None, rules: Rules::default(), members: Members::default() };
    for _ in 0..8 {
        world.run(SECOND / 2);
        world.tell(at(2), Event::Primary { authenticated: false, message: Message::Ack(ack.clone()) });
    }
    assert!(world.nodes[&at(2)].other_primary(world.now).is_some());
    let log = (at(2), Log::OtherPrimary { answers: at(66), active: at(1) });
    assert_eq!(world.logs.iter().filter(|logged| **logged == log).count(), 1);
}

#[test]
fn a_goodbye_empties_the_share_at_once() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    world.tell(at(2), Event::Configure(Settings { shutdown: true, ..settings(2) }));
    assert_eq!(world.chosen(1), [at(1), at(3)], "no time has passed");
    assert!(world.logs.contains(&(at(1), Log::MemberLeft(at(2), Leave::Shutdown.to_string()))));
    world.tell(at(3), Event::Stop);
    assert_eq!(world.chosen(1), [at(1)]);
    world.tell(at(2), Event::Configure(settings(2)));
    world.run(SECOND);
    assert_eq!(world.chosen(1), [at(1), at(2)]);
    world.run(5 * SECOND);
    assert!(!world.logs.iter().any(|(_, log)| matches!(log, Log::MemberDead(_))), "who left is not dead");
}

#[test]
fn the_old_primary_is_not_called_dead_at_a_takeover() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    for active in [2, 1, 2] {
        world.elect(active);
        world.run(4 * SECOND);
    }
    let dead: Vec<_> = world.logs.iter().filter(|(_, log)| matches!(log, Log::MemberDead(_))).collect();
    assert_eq!(dead, Vec::<&(IpAddr, Log)>::new());
}

#[test]
fn the_dead_are_cleared_by_the_operator_and_after_an_hour() {
    let mut world = World::new(&[1, 2, 3]);
    world.elect(1);
    world.run(4 * SECOND);
    world.dead.extend([at(2), at(3)]);
    world.run(4 * SECOND);
    let members = |world: &World| -> Vec<IpAddr> {
        world.nodes[&at(1)].standings(world.now).iter().map(|standing| standing.address).collect()
    };
    assert_eq!(members(&world), [at(1), at(2), at(3)]);
    let now = world.now;
    let node = world.nodes.get_mut(&at(1)).unwrap();
    assert_eq!(node.clear(Some(at(9)), now), Vec::<IpAddr>::new());
    assert_eq!(node.clear(Some(at(2)), now), [at(2)]);
    assert_eq!(members(&world), [at(1), at(3)]);
    world.now += 3600 * SECOND;
    world.tell(at(1), Event::Tick);
    assert_eq!(members(&world), [at(1)]);
}

/// `preempt delay sync`: connected, and an acknowledgement younger than holdtime.
#[test]
fn a_node_is_synced_while_its_primary_acknowledges() {
    let mut world = World::new(&[1, 2]);
    let synced = |world: &World| world.nodes[&at(2)].is_synced(world.now);
    assert!(!synced(&world), "not at the start");
    world.elect(1);
    world.run(SECOND);
    assert!(synced(&world));
    world.tell(at(2), Event::PrimaryDown);
    assert!(!synced(&world), "not without a connection");
    world.tell(at(2), Event::PrimaryUp);
    world.run(SECOND);
    assert!(synced(&world));
    world.dead.insert(at(1));
    world.run(4 * SECOND);
    assert!(!synced(&world), "not when nothing was acknowledged for holdtime");
}

/// A node is one member with all its addresses: an order for one of them reaches the others through its node.
#[test]
fn a_drain_concerns_every_address_of_a_node() {
    let v6 = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
    let mut node = Node::new(Settings { own: v6(1), node: at(1), ..settings(1) }, Orders::default(), 1);
    let now = 100 * SECOND;
    node.handle(Event::Local(Ok(sample(1))), now);
    node.handle(Event::Role(Role::Primary), now);
    let report = Report {
        version: (1, 1),
        max_session: 1000,
        priority: 100,
        load_normalization: 5,
        node: Some(at(2)),
        ..Report::default()
    };
    node.handle(Event::Member { peer: v6(2), authenticated: true, message: Message::Update(report) }, now);
    assert!(node.takes(v6(2), now));
    // As another group of this node has learned it, for the IPv4 address.
    let mut orders = Orders::default();
    orders.set_drain(at(2), true).unwrap();
    node.handle(Event::Drains(orders), now);
    assert!(!node.takes(v6(2), now));
    let standings = node.standings(now);
    let of: Vec<_> = standings.iter().map(|s| (s.address, s.node, s.draining)).collect();
    assert_eq!(of, [(v6(1), at(1), false), (v6(2), at(2), true)]);
}

/// Without a key whoever answers at the virtual address may list anyone.
#[test]
fn strangers_in_an_acknowledgement_are_not_members_where_the_members_are_named() {
    let mut world = World::new(&[1, 2]);
    let named = Settings { members: [at(1), at(2), at(3)].into(), ..settings(2) };
    world.tell(at(2), Event::Configure(named));
    world.elect(1);
    world.run(SECOND);
    let report = Report {
        version: (1, 1),
        max_session: 1000,
        priority: 100,
        load_normalization: 5,
        ..Report::default()
    };
    let members = vec![(at(3), report.clone(), 0), (at(66), report, 0)].into();
    let ack = Ack { seq: 0, primary: at(1), orders: None, rules: Rules::default(), members };
    world.tell(at(2), Event::Primary { authenticated: false, message: Message::Ack(ack) });
    let known: Vec<IpAddr> = world.nodes[&at(2)].standings(world.now).iter().map(|s| s.address).collect();
    assert_eq!(known, [at(1), at(2), at(3)]);
}

/// A goodbye names what ended this node's part, not whatever usually does.
#[test]
fn who_leaves_says_why() {
    let primary = || {
        let mut node = Node::new(settings(1), Orders::default(), 1);
        node.handle(Event::Role(Role::Primary), Nanos::ZERO);
        node
    };
    let said = |mut node: Node, event: Event| {
        let of = |action: Action| match action {
            Action::StopListening(reason) | Action::Disconnect(reason) => Some(reason),
            _ => None,
        };
        node.handle(event, Nanos::new(1)).into_iter().find_map(of)
    };
    let secondary = || {
        let mut node = Node::new(settings(1), Orders::default(), 1);
        node.handle(Event::Role(Role::Secondary(Some(at(2)))), Nanos::ZERO);
        node
    };
    assert_eq!(said(primary(), Event::Stop), Some(Leave::Stop), "SIGTERM");
    assert_eq!(said(primary(), Event::Role(Role::None)), Some(Leave::Init), "no link, or no data plane");
    assert_eq!(said(primary(), Event::Role(Role::Secondary(Some(at(2))))), Some(Leave::OtherActive));
    assert_eq!(said(primary(), Event::Shutdown(true)), None, "the members hear the order, and its end");
    assert_eq!(said(secondary(), Event::Stop), Some(Leave::Stop));
    assert_eq!(said(secondary(), Event::Shutdown(true)), Some(Leave::Shutdown));
    assert_eq!(said(secondary(), Event::Role(Role::Primary)), Some(Leave::Primary));
    assert_eq!(said(secondary(), Event::Role(Role::None)), Some(Leave::Init));
    let down = Settings { group_down: true, ..settings(1) };
    assert_eq!(said(secondary(), Event::Configure(down)), Some(Leave::GroupDown));
    let without = Settings { max_session: 0, ..settings(1) };
    assert_eq!(said(primary(), Event::Configure(without)), Some(Leave::NoFeed));
}
