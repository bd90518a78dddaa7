use super::*;
use crate::hsrp::message::Received;
use std::net::Ipv4Addr;
use std::time::Duration;

const SECOND: Nanos = Nanos::from_secs(1);
const T: Nanos = Nanos::from_secs(1001);
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const HIGHER: (u8, u32) = (9, 200);
const LOWER: (u8, u32) = (1, 50);
const STATES: [State; 6] =
    [State::Init, State::Learn, State::Listen, State::Speak, State::Standby, State::Active];

fn ip(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, host).into()
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn config() -> Config {
    Config { virtual_ip: Some(VIP), ..Config::new(1, 7, ip(5)) }
}

fn says(opcode: Opcode, state: State, (host, priority): (u8, u32)) -> Event {
    let message = Message {
        opcode,
        state,
        version: 1,
        group: 7,
        priority,
        hello: seconds(6),
        hold: seconds(20),
        virtual_ip: Some(VIP),
        identifier: [0; 6],
    };
    Event::Received(Received { message, source: ip(host) })
}

fn probed(address: IpAddr, free: bool) -> Event {
    Event::Probed { address, free }
}

fn hello(state: State, from: (u8, u32)) -> Event {
    says(Opcode::Hello, state, from)
}

/// Calls when asked to, up to and at `until`.
fn run(group: &mut Group, until: Nanos) {
    while let Some(at) = group.next_deadline().filter(|at| *at <= until) {
        group.handle(Event::Tick, at);
    }
}

/// A group that reached `state` at 1000 s, and whose active router (while there is one) is HIGHER.
fn group_in(state: State, mut config: Config) -> Group {
    config.timers = Some(DEFAULT_TIMERS);
    if state == State::Learn {
        config.virtual_ip = None;
    }
    let mut group = Group::new(config, Nanos::ZERO);
    let active = || hello(State::Active, HIGHER);
    let enable = || Event::Enable { reload: false };
    let script: Vec<(u64, Event)> = match state {
        State::Disabled | State::Init => vec![],
        State::Learn => vec![(1000, enable())],
        State::Listen => vec![(1000, enable()), (1000, active())],
        State::Speak => vec![(990, enable()), (1000, active())],
        State::Standby => vec![(980, enable()), (995, active())],
        State::Active => vec![(980, enable())],
    };
    for (at, event) in script {
        run(&mut group, at * SECOND);
        group.handle(event, at * SECOND);
    }
    run(&mut group, 1000 * SECOND);
    assert_eq!(group.state(), state);
    group
}

/// Returns what an event did in words: actions in order, then timers that changed, relative to `now`.
fn told(group: &mut Group, event: Event, now: Nanos) -> String {
    let before = [group.active_timer, group.standby_timer];
    let mut words: Vec<String> = Vec::new();
    for action in group.handle(event, now) {
        match action {
            Action::Send { message, .. } => words.push(format!("{:?}", message.opcode).to_lowercase()),
            Action::Become(state) => words.push(format!(">{state}")),
            Action::GainVirtual => words.push("gain".into()),
            Action::LoseVirtual => words.push("lose".into()),
            Action::UpdateVirtual => words.push("update".into()),
            Action::Announce => words.push("announce".into()),
            Action::Probe(ip) => words.push(format!("probe {ip}")),
            Action::LearnVirtual(ip) => words.push(format!("learn {ip}")),
            Action::Lease { until: Nanos::ZERO, .. } => words.push("fence".into()),
            Action::Lease { .. } => {}
            Action::Log(note) => words.push(format!("{note:?}")),
        }
    }
    for (name, before, after) in [("A", before[0], group.active_timer), ("B", before[1], group.standby_timer)]
    {
        match after {
            _ if before == after => {}
            None => words.push(format!("{name}-")),
            Some(at) => {
                words.push(format!("{name}{:+}", (at.get() as i64 - now.get() as i64) / SECOND.get() as i64))
            }
        }
    }
    words.join(" ")
}

#[test]
fn every_cell_of_the_state_table() {
    let take = ">Active hello gain announce A-";
    let learn = "probe 10.0.0.100";
    let speak = ">Speak hello A+10 B+10";
    let coup = "coup >Active hello A- B+10";
    let two = "coup AnotherActive(10.0.0.1)";
    let quit = "fence lose resign >Speak hello A+10 B+10";
    // Columns: Initial, Learn, Listen, Speak, Standby, Active.
    let table: &[(&str, [&str; 6])] = &[
        ("a", [">Listen A+10 B+10", "", "", "", "", ""]),
        ("b", ["", ">Init", ">Init A- B-", ">Init A- B-", ">Init A-", "fence lose resign >Init"]),
        ("c", ["", "", speak, "A-", take, "A-"]),
        ("d", ["", "", ">Speak hello B+10", ">Standby hello B-", "B-", "B-"]),
        ("e", ["", "", "", "hello", "hello", "hello"]),
        ("f", ["", "", "", ">Listen B+10", ">Listen B+10", ""]),
        ("f lower", ["", "", "", "", "", ""]),
        ("g", ["", learn, "A+20", "A+20", "A+20", "fence lose resign >Speak hello A+20 B+10"]),
        ("h", ["", learn, "A+20", "A+20", "A+20", two]),
        ("h preempt", ["", learn, coup, coup, coup, two]),
        ("i", ["", "", speak, "A+10", take, ""]),
        ("i not the active", ["", "", "", "", "", ""]),
        ("j", ["", "", "", "", "", quit]),
        ("j lower", ["", "", "", "", "", ""]),
        ("k", ["", "", "B+20", ">Listen B+20", ">Listen B+20", "B+20"]),
        ("l", ["", "", ">Speak hello B+20", ">Standby hello B-", "", "B+20"]),
        ("hello in Learn", ["", "", "", "", "", ""]),
        ("hello in Listen", ["", "", "", "", "", ""]),
        ("hello in Init", ["", "", "", "", "", ""]),
        ("hello in Disabled", ["", "", "", "", "", ""]),
    ];
    for (row, cells) in table {
        for (state, cell) in STATES.into_iter().zip(cells) {
            let mut config = config();
            if *row == "h preempt" {
                config.preempt = Some(PreemptDelay::default());
            }
            let mut group = group_in(state, config);
            let mut now = T;
            let event = match *row {
                "a" => Event::Enable { reload: false },
                "b" => Event::Disable,
                "c" | "d" => {
                    let running =
                        matches!(state, State::Listen | State::Speak | State::Standby | State::Active);
                    if running && *row == "c" {
                        group.active_timer = Some(T);
                    } else if running {
                        group.standby_timer = Some(T);
                    }
                    Event::Tick
                }
                "e" => {
                    now = 1003 * SECOND;
                    if state == State::Active {
                        // The second announcement waits.
                        group.announcements = [None; 2];
                    }
                    Event::Tick
                }
                "f" => hello(State::Speak, HIGHER),
                "f lower" => hello(State::Speak, LOWER),
                "g" => hello(State::Active, HIGHER),
                "h" | "h preempt" => hello(State::Active, LOWER),
                "i" => says(Opcode::Resign, State::Active, HIGHER),
                "i not the active" => says(Opcode::Resign, State::Active, LOWER),
                "j" => says(Opcode::Coup, State::Standby, HIGHER),
                "j lower" => says(Opcode::Coup, State::Standby, LOWER),
                "k" => hello(State::Standby, HIGHER),
                "l" => hello(State::Standby, LOWER),
                "hello in Learn" => hello(State::Learn, HIGHER),
                "hello in Listen" => hello(State::Listen, HIGHER),
                "hello in Init" => hello(State::Init, HIGHER),
                "hello in Disabled" => hello(State::Disabled, HIGHER),
                other => panic!("row {other}"),
            };
            assert_eq!(told(&mut group, event, now), *cell, "event {row} in {state}");
        }
    }
}

#[test]
fn a_group_without_an_address_starts_in_learn_and_forgets_what_it_learned_when_it_ends() {
    let mut group = Group::new(Config { virtual_ip: None, ..config() }, Nanos::ZERO);
    assert_eq!(told(&mut group, Event::Enable { reload: true }, Nanos::ZERO), ">Learn");
    assert_eq!(told(&mut group, hello(State::Active, HIGHER), SECOND), "probe 10.0.0.100");
    assert_eq!(group.virtual_ip(), None);
    let learned = told(&mut group, probed(VIP, true), 2 * SECOND);
    assert_eq!(learned, "learn 10.0.0.100 >Listen A+19 B+20");
    assert_eq!(group.timers(), Timers { hello: seconds(6), hold: seconds(20) });
    assert_eq!(group.virtual_ip(), Some(VIP));
    group.handle(Event::Disable, 2 * SECOND);
    assert_eq!(group.virtual_ip(), None);
}

#[test]
fn equal_priority_is_decided_by_the_address() {
    for (host, expected) in [(9, "fence lose resign >Speak hello A+20 B+10"), (1, "AnotherActive")] {
        let mut group = group_in(State::Active, config());
        assert!(told(&mut group, hello(State::Active, (host, 100)), T).contains(expected));
    }
}

#[test]
fn cold_start_takes_two_hold_times() {
    let mut group = Group::new(config(), Nanos::ZERO);
    group.handle(Event::Enable { reload: false }, Nanos::ZERO);
    let mut seen = vec![];
    while let Some(at) = group.next_deadline().filter(|at| *at <= 30 * SECOND) {
        for action in group.handle(Event::Tick, at) {
            if let Action::Become(state) = action {
                seen.push((at / SECOND, state));
            }
        }
    }
    assert_eq!(seen, [(10, State::Speak), (20, State::Standby), (20, State::Active)]);
}

#[test]
fn a_lease_is_long_alone_and_hold_less_hello_with_a_peer() {
    let mut group = group_in(State::Active, config());
    assert_eq!(group.lease(), (1010 * SECOND, false));
    let out = group.handle(hello(State::Standby, LOWER), T);
    assert_eq!(out, [Action::Lease { until: 1007 * SECOND, peer_known: true }]);
    let hello_at = group.next_deadline().unwrap();
    group.handle(Event::Tick, hello_at);
    let hello_at = group.next_hello().unwrap() - 3 * SECOND;
    assert_eq!(group.lease(), (hello_at + 7 * SECOND, true));
}

#[test]
fn a_lapsed_lease_gives_the_role_up_even_before_a_waiting_hello_is_read() {
    for event in [Event::Tick, hello(State::Active, LOWER)] {
        let mut group = group_in(State::Active, config());
        group.handle(hello(State::Standby, LOWER), T);
        let told = told(&mut group, event, 1012 * SECOND);
        assert!(told.starts_with("LeaseLapsed { late: 5000000000 } fence lose resign >Listen"), "{told}");
        assert_eq!(group.state(), State::Listen);
    }
    let mut alone = group_in(State::Active, config());
    let told = told(&mut alone, Event::Tick, 1050 * SECOND);
    assert_eq!(told, "LeaseLapsed { late: 40000000000 } fence lose hello");
    run(&mut alone, 1056 * SECOND);
    assert_eq!((alone.state(), alone.owns(), alone.lease()), (State::Active, true, (1066 * SECOND, false)));
}

#[test]
fn a_stalled_standby_hears_out_what_waits_in_its_socket() {
    let mut group = group_in(State::Standby, config());
    let told = told(&mut group, Event::Tick, 1030 * SECOND);
    assert_eq!(told, "Stalled { silence: 30000000000 } hello A+1");
    group.handle(hello(State::Active, HIGHER), 1030 * SECOND);
    group.handle(Event::Tick, 1032 * SECOND);
    assert_eq!(group.state(), State::Standby);
}

#[test]
fn the_preempting_router_owns_the_address_when_the_other_has_resigned_or_its_hello_expired() {
    let preempting = || {
        let mut group =
            group_in(State::Listen, Config { preempt: Some(PreemptDelay::default()), ..config() });
        assert_eq!(told(&mut group, hello(State::Active, LOWER), T), "coup >Active hello A- B+10");
        assert!(!group.owns());
        group
    };
    let mut group = preempting();
    let resign = says(Opcode::Resign, State::Active, LOWER);
    assert_eq!(told(&mut group, resign, T + SECOND), "gain hello announce");
    let mut group = preempting();
    run(&mut group, T + 20 * SECOND - Nanos::new(1));
    assert!(!group.owns());
    assert_eq!(told(&mut group, Event::Tick, T + 20 * SECOND), "gain hello announce");
    let mut group = preempting();
    assert_eq!(told(&mut group, hello(State::Active, HIGHER), T + Nanos::new(1)), ">Speak hello A+20 B+10");
}

#[test]
fn preempt_delays_postpone_the_coup() {
    let delay = |minimum, reload, sync| {
        let [minimum, reload, sync] = [minimum, reload, sync].map(seconds);
        Config { preempt: Some(PreemptDelay { minimum, reload, sync }), ..config() }
    };
    for (config, reload, synced, expected) in [
        (delay(5, 0, 0), false, true, Some(6)),
        (delay(5, 30, 0), false, true, Some(6)),
        (delay(5, 30, 0), true, true, Some(30)),
        (delay(0, 0, 9), true, false, Some(10)),
        (delay(0, 0, 9), true, true, None),
    ] {
        let mut group = Group::new(config, Nanos::ZERO);
        group.handle(Event::Synced(synced), Nanos::ZERO);
        group.handle(Event::Enable { reload }, Nanos::ZERO);
        group.handle(hello(State::Active, LOWER), SECOND);
        let Some(expected) = expected else {
            assert_eq!(group.state(), State::Active);
            continue;
        };
        assert_eq!(group.preempt_at(), Some(expected * SECOND));
        for at in 2..expected {
            group.handle(hello(State::Active, LOWER), at * SECOND);
            group.handle(Event::Tick, at * SECOND);
            assert_ne!(group.state(), State::Active);
        }
        group.handle(Event::Tick, expected * SECOND);
        assert_eq!(group.state(), State::Active);
    }
    let mut group = Group::new(delay(5, 0, 0), Nanos::ZERO);
    group.handle(Event::Enable { reload: false }, Nanos::ZERO);
    group.handle(hello(State::Active, LOWER), SECOND);
    group.handle(hello(State::Active, HIGHER), 4 * SECOND);
    group.handle(hello(State::Active, LOWER), 5 * SECOND);
    assert_eq!(group.preempt_at(), Some(10 * SECOND), "the wish began anew");
}

#[test]
fn standby_delay_keeps_a_group_in_init() {
    for (reload, at) in [(false, 2), (true, 5)] {
        let delays = Config { delay_minimum: seconds(2), delay_reload: seconds(5), ..config() };
        let mut group = Group::new(delays, Nanos::ZERO);
        assert_eq!(told(&mut group, Event::Enable { reload }, Nanos::ZERO), "");
        assert_eq!(group.next_deadline(), Some(at * SECOND));
        assert_eq!(told(&mut group, Event::Tick, at * SECOND), ">Listen A+10 B+10");
    }
}

#[test]
fn a_dead_data_plane_keeps_the_group_in_init_until_a_hold_time_was_listened_through() {
    let mut group = group_in(State::Active, config());
    assert_eq!(told(&mut group, Event::DataplaneDown, T), "fence lose resign >Init");
    assert_eq!(group.next_deadline(), None);
    group.handle(Event::DataplaneUp, T);
    assert_eq!(told(&mut group, Event::Tick, T + 9 * SECOND), "");
    assert_eq!(group.state(), State::Init);
    // Nobody was heard: the time counts as the one in Listen.
    let told_alone = told(&mut group.clone(), Event::Tick, T + 10 * SECOND);
    assert_eq!(told_alone, ">Listen >Speak hello A+10 B+10");
    group.handle(hello(State::Active, LOWER), T + 9 * SECOND);
    assert_eq!(told(&mut group, Event::Tick, T + 10 * SECOND), ">Listen >Speak hello B+10");
    assert_eq!(group.active().map(|peer| peer.expires), Some(T + 29 * SECOND));
}

#[test]
fn tracking_lowers_the_priority_or_shuts_the_group() {
    let tracks =
        vec![(1, TrackEffect::Decrement(30)), (2, TrackEffect::Decrement(90)), (3, TrackEffect::Shutdown)];
    let mut group = group_in(State::Active, Config { tracks, ..config() });
    let mut track = |object, down| {
        let told = told(&mut group, Event::Track { object, down }, T);
        (told, group.priority())
    };
    assert_eq!(track(1, true), ("hello".into(), 70), "peers hear of it at once, as of a changed priority");
    assert_eq!(track(2, true), ("hello".into(), 0));
    assert_eq!(track(2, false), ("hello".into(), 70));
    assert_eq!(track(4, true), (String::new(), 70));
    assert_eq!(track(3, true), ("fence lose resign >Init".into(), 70));
    assert_eq!(track(3, false), (">Listen A+10 B+10".into(), 70));
}

#[test]
fn a_changed_priority_address_or_timer_keeps_the_role_and_another_version_does_not() {
    let mut group = group_in(State::Active, config());
    let at = |config: Config| {
        Event::Configure(Config { timers: config.timers.or(Some(DEFAULT_TIMERS)), ..config })
    };
    assert_eq!(told(&mut group, at(config()), T), "");
    assert_eq!(told(&mut group, at(Config { priority: 20, ..config() }), T), "hello");
    let other = Config { virtual_ip: Some(ip(77)), ..config() };
    assert_eq!(told(&mut group, at(other.clone()), T), "update announce hello");
    let fast = Timers { hello: Duration::from_millis(50), hold: Duration::from_millis(150) };
    assert_eq!(told(&mut group, at(Config { timers: Some(fast), ..other.clone() }), T), "hello");
    assert_eq!(group.next_hello(), Some(T + 50 * MILLISECOND));
    let version = Config { version: 2, ..other };
    assert_eq!(told(&mut group, at(version), T), "fence lose resign >Init >Listen A+10 B+10");
}

#[test]
fn failover_hands_over_to_the_standby_and_holds_preempting_back() {
    let mut group = group_in(State::Active, Config { preempt: Some(PreemptDelay::default()), ..config() });
    assert_eq!(told(&mut group, Event::Failover, T), "FailoverNoStandby");
    group.handle(hello(State::Standby, LOWER), T);
    assert_eq!(told(&mut group, Event::Failover, T), "fence lose resign >Listen A+10 B+10");
    assert_eq!(told(&mut group, hello(State::Standby, LOWER), T), "resign", "the first was lost");
    assert_eq!(told(&mut group, hello(State::Active, LOWER), T), "A+20", "no preempting");
    assert_eq!(told(&mut group, Event::Failover, T), "FailoverNotActive");
}

#[test]
fn a_daemon_back_within_its_lease_goes_on_and_settles_with_whoever_is_active() {
    let resume = |at: Nanos| {
        let mut group = Group::new(config(), at);
        let told = told(&mut group, Event::Resume { until: 1007 * SECOND }, at);
        (group, told)
    };
    let (mut group, told_early) = resume(T);
    assert_eq!(told_early, ">Active hello gain announce");
    assert_eq!(group.lease(), (T + 7 * SECOND, true), "somebody may be there: fence");
    assert_eq!(
        told(&mut group, hello(State::Active, HIGHER), T + Nanos::new(1)),
        "fence lose resign >Speak hello A+20 B+10"
    );
    assert_eq!(resume(1007 * SECOND).1, ">Listen A+10 B+10");
}

#[test]
fn hostile_and_odd_hellos_do_no_harm() {
    let with = |change: fn(&mut Received)| {
        let Event::Received(mut received) = hello(State::Active, HIGHER) else { unreachable!() };
        change(&mut received);
        let mut group = group_in(State::Listen, Config { timers: None, ..config() });
        (told(&mut group, Event::Received(received), T), group.timers())
    };
    let own = Note::DuplicateAddress(ip(5));
    assert_eq!(with(|r| r.source = ip(5)).0, format!("{own:?}"));
    assert_eq!(with(|r| r.message.hold = Duration::ZERO).0, format!("{:?} A+10", Note::BadTimers(ip(9))));
    let long = Note::LongHold { source: ip(9), claimed: 4_000_000 * SECOND, counted: 30 * SECOND };
    assert_eq!(with(|r| r.message.hold = Duration::from_secs(4_000_000)).0, format!("{long:?} A+30"));
    assert_eq!(with(|r| r.message.group = 8).0, "");
    assert_eq!(with(|r| r.message.version = 2).0, "");
    assert_eq!(with(|r| r.source = "fe80::1".parse().unwrap()).0, "");
    let bad = Note::BadVirtualAddress { source: ip(9), theirs: ip(66) };
    assert_eq!(with(|r| r.message.virtual_ip = Some(ip(66))).0, format!("{bad:?} A+20"));
    let mut group = group_in(State::Listen, config());
    assert_eq!(told(&mut group, hello(State::Active, (5, 200)), T), format!("{own:?}"));
    assert_eq!(told(&mut group, hello(State::Active, (5, 200)), T + SECOND), "", "rate limited");
}

#[test]
fn hold_under_three_hellos_makes_the_active_say_hello_more_often() {
    let timers = Some(Timers { hello: seconds(3), hold: seconds(5) });
    let mut group = group_in(State::Active, config());
    group.handle(hello(State::Standby, LOWER), T);
    group.handle(Event::Configure(Config { timers, ..config() }), T);
    for _ in 0..20 {
        let at = group.next_deadline().unwrap();
        group.handle(Event::Tick, at);
        group.handle(hello(State::Standby, LOWER), at);
        assert_eq!(group.state(), State::Active);
    }
    assert_eq!(group.next_hello().unwrap() - group.last_hello, SECOND);
}

/// Returns what was sent, with its source.
fn sent(actions: &[Action]) -> Vec<(Opcode, State, IpAddr)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { message, source } => Some((message.opcode, message.state, *source)),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_router_that_lets_go_of_the_address_resigns_even_if_the_coup_was_lost() {
    // The preempting one's hello is the first that this one hears of it.
    let mut old = group_in(State::Active, config());
    let out = old.handle(hello(State::Active, HIGHER), T);
    assert!(sent(&out).contains(&(Opcode::Resign, State::Speak, ip(5))), "{out:?}");
    // Not yet the owner: there is nothing to resign.
    let preempting = Config { preempt: Some(PreemptDelay::default()), ..config() };
    let mut second = group_in(State::Listen, preempting);
    second.handle(hello(State::Active, LOWER), T);
    let out = second.handle(hello(State::Active, HIGHER), T + Nanos::new(1));
    assert!(sent(&out).iter().all(|(opcode, ..)| *opcode != Opcode::Resign), "{out:?}");
}

#[test]
fn a_resign_counts_only_if_no_other_router_has_said_since_that_it_is_active() {
    let standby = || {
        let mut group = group_in(State::Standby, config());
        group.handle(hello(State::Active, HIGHER), T);
        group.handle(hello(State::Active, LOWER), T + SECOND);
        group
    };
    let resign = || says(Opcode::Resign, State::Active, HIGHER);
    let mut group = standby();
    group.handle(resign(), T + 2 * SECOND);
    assert_eq!(group.state(), State::Standby);
    // The other one was displaced, and its hello late.
    let mut group = standby();
    group.handle(hello(State::Active, HIGHER), T + 2 * SECOND);
    group.handle(resign(), T + 3 * SECOND);
    assert_eq!(group.state(), State::Active);
}

#[test]
fn a_resign_leaves_from_the_address_that_said_the_hellos_before() {
    let mut group = group_in(State::Active, config());
    let out = group.handle(Event::Configure(Config { own: ip(6), ..config() }), T);
    assert_eq!(sent(&out), [(Opcode::Resign, State::Active, ip(5))]);
    run(&mut group, T + 20 * SECOND);
    let out = group.handle(Event::Configure(Config { own: ip(6), priority: 7, ..config() }), T + 20 * SECOND);
    assert_eq!(sent(&out), [(Opcode::Hello, State::Active, ip(6))]);
}

#[test]
fn standby_delay_minimum_holds_whenever_the_data_plane_or_the_link_comes_back() {
    let delays = Config { delay_minimum: seconds(120), ..config() };
    let mut group = group_in(State::Active, config());
    group.handle(Event::Configure(Config { timers: Some(DEFAULT_TIMERS), ..delays }), T);
    group.handle(Event::DataplaneDown, T);
    group.handle(Event::DataplaneUp, T + SECOND);
    run(&mut group, T + 121 * SECOND - Nanos::new(1));
    assert_eq!(group.state(), State::Init);
    run(&mut group, T + 121 * SECOND);
    assert_ne!(group.state(), State::Init);
    // A shorter one than the hold time that is listened through changes nothing, nor does one that goes on.
    let mut group = group_in(State::Active, config());
    let short = Config { delay_minimum: seconds(3), timers: Some(DEFAULT_TIMERS), ..config() };
    group.handle(Event::Configure(short), T);
    group.handle(Event::DataplaneUp, T);
    assert_eq!(group.state(), State::Active);
    group.handle(Event::DataplaneDown, T);
    group.handle(Event::DataplaneUp, T);
    assert_eq!(group.next_deadline(), Some(T + 10 * SECOND));
}

/// A hello with these times.
fn timed(state: State, from: (u8, u32), hello: Duration, hold: Duration) -> Event {
    let Event::Received(mut received) = says(Opcode::Hello, state, from) else { unreachable!() };
    (received.message.hello, received.message.hold) = (hello, hold);
    Event::Received(received)
}

#[test]
fn one_forged_hello_costs_three_hold_times_at_most() {
    let years = Duration::from_millis(u64::from(u32::MAX));
    for state in [State::Active, State::Standby] {
        for timers in [None, Some(DEFAULT_TIMERS)] {
            let mut group = group_in(State::Active, config());
            group.handle(Event::Configure(Config { timers, ..config() }), T);
            group.handle(timed(state, (9, 255), seconds(1), years), T);
            let gone = |group: &Group| group.active().is_none() && group.standby().is_none();
            assert!(!gone(&group));
            run(&mut group, T + 30 * SECOND);
            assert!(gone(&group), "{state} {timers:?}");
            run(&mut group, T + 50 * SECOND);
            assert!(group.owns(), "{state} {timers:?}");
        }
    }
    // In the name of a router that is known, too.
    let mut group = group_in(State::Active, config());
    group.handle(timed(State::Standby, LOWER, seconds(3), seconds(10)), T);
    group.handle(timed(State::Active, (LOWER.0, 255), seconds(1), years), T + SECOND);
    run(&mut group, T + 51 * SECOND);
    assert!(group.owns());
}

#[test]
fn a_router_of_slower_timers_is_heard_out_once_its_pace_is_known() {
    let fast = Timers { hello: Duration::from_millis(50), hold: Duration::from_millis(150) };
    let mut group = group_in(State::Standby, config());
    // Its hellos were valid for 20 s before this one's timers became fast.
    group.handle(hello(State::Active, HIGHER), T);
    group.handle(Event::Configure(Config { timers: Some(fast), ..config() }), T);
    group.handle(hello(State::Active, HIGHER), T + SECOND);
    assert_eq!(group.active().map(|peer| peer.hold), Some(20 * SECOND));
    // One of 3 s and 10 s, not known before: the second hello shows its pace.
    let mut group = group_in(State::Standby, config());
    group.handle(Event::Configure(Config { timers: Some(fast), ..config() }), T);
    let slow = || timed(State::Active, (8, 200), seconds(3), seconds(10));
    for (at, hold) in [(0, 450), (3, 10_000), (6, 10_000), (9, 10_000)] {
        group.handle(slow(), T + at * SECOND);
        assert_eq!(group.heard[0].map(|heard| heard.hold), Some(hold * MILLISECOND), "at {at} s");
    }
}

#[test]
fn an_address_is_learned_when_it_was_probed_and_is_free() {
    let learns = || group_in(State::Learn, config());
    let told_by = |address: IpAddr| {
        let Event::Received(mut received) = hello(State::Active, HIGHER) else { unreachable!() };
        received.message.virtual_ip = Some(address);
        Event::Received(received)
    };
    let mut group = learns();
    assert_eq!(told(&mut group, told_by(VIP), T), "probe 10.0.0.100");
    assert_eq!(told(&mut group, told_by(VIP), T + SECOND), "", "asked once");
    assert_eq!(told(&mut group, probed(ip(66), true), T + SECOND), "", "nobody asked for this one");
    assert_eq!(told(&mut group, probed(VIP, false), T + SECOND), "");
    assert_eq!((group.state(), group.virtual_ip()), (State::Learn, None));
    group.handle(Event::Tick, T + 29 * SECOND);
    assert_eq!(told(&mut group, told_by(VIP), T + 29 * SECOND), "", "refused");
    assert_eq!(told(&mut group, told_by(ip(101)), T + 29 * SECOND), "probe 10.0.0.101", "another one");
    assert_eq!(told(&mut group, told_by(ip(102)), T + 29 * SECOND), "", "one at a time");
    assert_eq!(
        told(&mut group, probed(ip(101), true), T + 30 * SECOND),
        "learn 10.0.0.101 >Listen A+19 B+10"
    );
    // Another address is probed while the first is kept.
    assert_eq!(told(&mut group, told_by(VIP), T + 31 * SECOND), "probe 10.0.0.100 A+20");
    assert_eq!(group.virtual_ip(), Some(ip(101)));
    assert_eq!(told(&mut group, probed(VIP, true), T + 31 * SECOND), "learn 10.0.0.100");
    // An answer that comes when the group has ended, or has an address of its own, is too late.
    for event in [Event::Disable, Event::Configure(config())] {
        let mut group = learns();
        group.handle(told_by(ip(77)), T);
        group.handle(event, T);
        assert_eq!(told(&mut group, probed(ip(77), true), T), "");
        assert_ne!(group.virtual_ip(), Some(ip(77)));
    }
}

#[test]
fn resigns_played_back_cost_the_role_once_a_minute() {
    let resign = || says(Opcode::Resign, State::Active, HIGHER);
    let mut group = group_in(State::Standby, config());
    group.handle(hello(State::Active, HIGHER), T);
    assert!(told(&mut group, resign(), T).contains(">Active"));
    // The true active router goes on: its coup and its hello say so.
    group.handle(says(Opcode::Coup, State::Active, HIGHER), T + Nanos::new(1));
    let back = told(&mut group, hello(State::Active, HIGHER), T + Nanos::new(2));
    assert!(back.contains("FalseResign"), "{back}");
    run(&mut group, T + 10 * SECOND);
    group.handle(hello(State::Active, HIGHER), T + 10 * SECOND);
    run(&mut group, T + 11 * SECOND);
    assert_eq!(group.state(), State::Standby);
    for step in 1..40 {
        let now = T + 11 * SECOND + step * SECOND / 10;
        group.handle(resign(), now);
        run(&mut group, now);
        if step % 30 == 0 {
            group.handle(hello(State::Active, HIGHER), now);
        }
        assert_eq!(group.state(), State::Standby, "step {step}");
    }
    // A true one is followed by no hello: 7.5 s, its hello time and a quarter, not the 20 s of its hold time.
    let start = T + 16 * SECOND;
    group.handle(hello(State::Active, HIGHER), start);
    group.handle(resign(), start);
    run(&mut group, start + 8 * SECOND);
    assert_eq!(group.state(), State::Active);
}

#[test]
fn a_router_that_hands_the_role_over_and_takes_it_back_is_not_doubted() {
    let mut group = group_in(State::Standby, config());
    group.handle(hello(State::Active, HIGHER), T);
    group.handle(says(Opcode::Resign, State::Active, HIGHER), T);
    assert_eq!(group.state(), State::Active);
    group.handle(says(Opcode::Coup, State::Listen, HIGHER), T + SECOND);
    let back = told(&mut group, hello(State::Active, HIGHER), T + SECOND + Nanos::new(1));
    assert!(!back.contains("FalseResign"), "{back}");
    group.handle(Event::Tick, T + 2 * SECOND);
    assert_eq!(group.doubted, None);
}

#[test]
fn a_machine_that_stood_still_fences_first_and_listens() {
    let paused = |length| Event::Paused { length };
    // The lease has 7 s: a pause that ended it counts, one that did not is answered by a hello.
    let with_peer = || {
        let mut group = group_in(State::Active, config());
        group.handle(hello(State::Standby, LOWER), T);
        group
    };
    let told_of = |mut group: Group, length| told(&mut group, paused(length), T + SECOND);
    assert_eq!(told_of(with_peer(), 2 * SECOND), "hello");
    let lapsed = told_of(with_peer(), 3600 * SECOND);
    assert!(lapsed.contains("fence lose resign >Listen A+10 B+10"), "{lapsed}");
    let alone = told_of(group_in(State::Active, config()), 3600 * SECOND);
    assert!(alone.contains("fence lose hello"), "{alone}");
    assert_eq!(told_of(with_peer(), Nanos::ZERO), "hello");
    // Any other router listens for a hold time before it acts.
    for state in [State::Listen, State::Speak, State::Standby] {
        let mut group = group_in(state, config());
        group.handle(paused(3600 * SECOND), T);
        run(&mut group, T + 10 * SECOND - Nanos::new(1));
        assert_eq!(group.state(), state);
    }
    assert_eq!(told(&mut group_in(State::Init, config()), paused(SECOND), T), "");
}

#[test]
fn another_active_router_is_named() {
    let mut group = group_in(State::Active, config());
    assert_eq!(told(&mut group, hello(State::Active, LOWER), T), "coup AnotherActive(10.0.0.1)");
    assert_eq!(told(&mut group, hello(State::Active, LOWER), T + SECOND), "coup", "rate limited");
}
