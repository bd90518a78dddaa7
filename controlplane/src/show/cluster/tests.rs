use super::*;

fn percent(tenths: u64) -> Percent {
    Percent::hundredths(tenths * 10)
}

fn load(ike: u32, prioritized: u64) -> LoadView {
    let zero = percent(0);
    LoadView {
        ike,
        child: 0,
        max_session: 0,
        in_neg: zero,
        crypto: zero,
        cpu: zero,
        mem: zero,
        composite: percent(prioritized),
        prioritized: percent(prioritized),
    }
}

fn gateway(
    address: &str,
    role: GatewayRole,
    last_seen_ms: Option<u64>,
    load: Option<LoadView>,
) -> GatewayView {
    GatewayView {
        address: address.parse().unwrap(),
        node: address.parse().unwrap(),
        role,
        alive: true,
        mark: None,
        reason: None,
        last_seen_ms,
        priority: 100,
        load,
        fqdn: String::new(),
        usable: Some(true),
        is_self: false,
        slots: Some(0),
        redirects: 0,
    }
}

fn view(role: ClusterRole, cluster_ip: &str, gateways: Vec<GatewayView>) -> ClusterView {
    ClusterView {
        role,
        status: "Up",
        reasons: Vec::new(),
        secondaries: 2,
        primary: None,
        table_age_ms: None,
        cluster_ip: cluster_ip.split(' ').filter(|ip| !ip.is_empty()).map(|ip| ip.parse().unwrap()).collect(),
        groups: Vec::new(),
        hold_time_ms: 15_000,
        overload_limit: 80,
        hello_interval_ms: 5000,
        update_interval_ms: 6000,
        redirect_init: true,
        authenticated: Some(true),
        last_refusal: None,
        gateways,
        surge_ms: None,
        drains: Vec::new(),
        counters: Vec::new(),
        not_redirected: Vec::new(),
        notes: Vec::new(),
    }
}

fn primary() -> ClusterView {
    view(
        ClusterRole::Primary,
        "2001:db8::10",
        vec![
            gateway("2001:db8::1", GatewayRole::Primary, None, Some(load(3996, 266))),
            gateway("2001:db8::2", GatewayRole::Second, Some(1452), Some(load(3999, 266))),
            gateway("2001:db8::3", GatewayRole::Second, Some(271), Some(load(4006, 266))),
        ],
    )
}

/// The samples of the seed document, byte for byte; only its blank lines hold no space here.
const PRIMARY: &str = "\
Role           : CLB Primary
Status         : Up
CLB Secondary  : 2
Cluster IP     : 2001:DB8::10
Hold time      : 15000 msec
Overload limit : 80%
Codes          : '*' Least loaded, '-' Overloaded

Load statistics:
  Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
  -------------------------------------------------------------
2001:DB8::1        Primary     --      100   26.6%   3996
2001:DB8::2        Second  00:01.452   100   26.6%   3999
2001:DB8::3        Second  00:00.271   100   26.6%   4006
";

const SECONDARY: &str = "\
Role           : CLB Secondary
Status         : Up
Cluster IP     : 1:1:1::100
Hold time      : 15000 msec
Hello-interval : 5000 msec
Update-interval: 6000 msec

Load statistics:
  Gateway            Last-Ack  Prio   Load     IKE  FQDN
  ------------------------------------------------------
  1:1:1::2          00:02.671   100   51.0%   2793
";

const DETAILS: &str = "\
Gateway        Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized
  ---------------------------------------------------------------------------------------
  1:1:1::6     100         2.5%      17.4%    43%   20%      43.0%       43.0%
  1:1:1::3     100         0.0%      17.5%    39%   23%      39.0%       39.0%
  1:1:1::2     100         0.0%      17.0%    40%   18%      40.0%       40.0%
  1:1:1::5     100         0.0%      18.9%    43%   17%      43.0%       43.0%
  1:1:1::1     100         0.0%      16.3%    40%   19%      40.0%       40.0%
  1:1:1::4     100         0.0%      16.3%    42%   16%      42.0%       42.0%
";

fn details_view() -> ClusterView {
    let rows = [
        (6, 25, 174, 43, 20),
        (3, 0, 175, 39, 23),
        (2, 0, 170, 40, 18),
        (5, 0, 189, 43, 17),
        (1, 0, 163, 40, 19),
        (4, 0, 163, 42, 16),
    ];
    let gateways = rows.map(|(host, in_neg, crypto, cpu, mem)| {
        let load = LoadView {
            in_neg: percent(in_neg),
            crypto: percent(crypto),
            cpu: percent(cpu * 10),
            mem: percent(mem * 10),
            ..load(0, cpu * 10)
        };
        gateway(&format!("1:1:1::{host}"), GatewayRole::Second, None, Some(load))
    });
    view(ClusterRole::Primary, "1:1:1::100", gateways.to_vec())
}

#[test]
fn the_published_samples_come_out_byte_for_byte() {
    assert_eq!(summary(Some(&primary())), PRIMARY);
    let mut own = gateway("1:1:1::2", GatewayRole::Second, Some(2671), Some(load(2793, 510)));
    own.is_self = true;
    let other = gateway("1:1:1::1", GatewayRole::Primary, Some(10), Some(load(1, 10)));
    assert_eq!(summary(Some(&view(ClusterRole::Secondary, "1:1:1::100", vec![other, own]))), SECONDARY);
    assert_eq!(details(Some(&details_view())), DETAILS);
    assert_eq!(stats(Some(&details_view())).split_once("\n\n").unwrap().0, DETAILS.trim_end());
}

#[test]
fn groups_are_named_where_this_node_has_several_roles() {
    let group = |name: &str, address: &str, role| GroupRoleView {
        name: name.to_owned(),
        addresses: vec![address.parse().unwrap()],
        role,
    };
    let mut view = primary();
    view.groups = vec![
        group("vpn-a", "10.0.0.100", ClusterRole::Primary),
        group("vpn-b", "2001:db8::10", ClusterRole::Secondary),
    ];
    let text = summary(Some(&view));
    let lines = "Group          : vpn-a 10.0.0.100: CLB Primary\nGroup          : vpn-b 2001:DB8::10: CLB Secondary\n";
    assert!(text.contains(lines), "{text}");
    view.groups[1].role = ClusterRole::Primary;
    assert_eq!(summary(Some(&view)), PRIMARY);
}

#[test]
fn marks_names_and_notes_keep_the_columns() {
    let mut view = primary();
    view.cluster_ip.push("10.0.0.100".parse().unwrap());
    view.last_refusal = Some(RefusalView {
        peer: "2001:db8::f".parse().unwrap(),
        kind: "wrong-key",
        reason: "wrong cluster key".to_owned(),
        age_ms: 62_000,
    });
    view.gateways[0].mark = Some(Mark::Least);
    view.gateways[0].fqdn = "gw1.example".to_owned();
    view.gateways[1].mark = Some(Mark::Overloaded);
    view.gateways[1].load = Some(load(100_000, 1000));
    view.gateways[2].mark = Some(Mark::NotChosen);
    view.gateways[2].reason = Some("draining".to_owned());
    view.gateways.push(gateway("10.1.0.1", GatewayRole::Static, None, None));
    view.surge_ms = Some(12_345);
    view.drains.push(DrainView {
        address: "10.1.0.3".parse().unwrap(),
        addresses: vec!["10.1.0.3".parse().unwrap(), "2001:db8::3".parse().unwrap()],
        moved: Some(120),
        waiting: 30,
        staying: Some(2),
        examples: vec!["198.51.100.7 alice".to_owned()],
        problem: Some("vici /run/charon.vici: charon hangs".to_owned()),
    });
    view.drains.push(DrainView {
        address: "2001:db8::2".parse().unwrap(),
        addresses: vec!["2001:db8::2".parse().unwrap()],
        moved: None,
        waiting: 7,
        staying: None,
        examples: Vec::new(),
        problem: None,
    });
    insta::assert_snapshot!(summary(Some(&view)), @r"
        Role           : CLB Primary
        Status         : Up
        CLB Secondary  : 2
        Cluster IP     : 2001:DB8::10, 10.0.0.100
        Hold time      : 15000 msec
        Overload limit : 80%
        Codes          : '*' Least loaded, '-' Overloaded, '!' Not chosen

        Load statistics:
          Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
          -------------------------------------------------------------
        * 2001:DB8::1      Primary     --      100   26.6%   3996  gw1.example
        - 2001:DB8::2      Second  00:01.452   100  100.0% 100000
        ! 2001:DB8::3      Second  00:00.271   100   26.6%   4006
        10.1.0.1           Static      --      100      --     --

        Notes:
        Surge          : for 12 s: every usable gateway takes clients
        Draining       : 10.1.0.3, 2001:DB8::3: 120 sessions moved, 30 waiting, 2 stay (no redirect support)
        Drain problem  : vici /run/charon.vici: charon hangs
        Draining       : 2001:DB8::2: 7 sessions waiting (details on 2001:DB8::2)
        Last refusal   : 2001:DB8::F 00:01:02 ago: wrong cluster key
        Excluded       : 2001:DB8::3 gets no client: draining
        ");
    let stats = stats(Some(&view));
    assert!(stats.ends_with("(no redirect support):\n  198.51.100.7 alice\n  and 1 more\n"), "{stats}");
}

/// Fields that a script looks for, written for the published samples: of a row, the gateway, role, age, priority, load, SAs and
/// name; of a details row, the gateway, priority and six percentages.
#[test]
fn a_regular_expression_of_the_samples_reads_every_row_of_ours() {
    let row = r"^(?:[*!-] )?([0-9A-F:.]+) +(Primary|Second|Static) +(--|\d\d:\d\d\.\d{3}) +(\d+) +(--|[\d.]+%) +(--|\d+)(?: +(\S+))?$";
    let details_row = r"^  ([0-9A-F:.]+) +(\d+) +(--|[\d.]+%) +(--|[\d.]+%) +(--|\d+%) +(--|\d+%) +(--|[\d.]+%) +(--|[\d.]+%)$";
    let count = |pattern: &str, text: &str| {
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        text.lines().filter(|line| pattern.is_match(line)).count()
    };
    assert_eq!((count(row, PRIMARY), count(details_row, DETAILS)), (3, 6), "the samples themselves");
    let mut view = primary();
    view.gateways[0].mark = Some(Mark::Least);
    view.gateways[0].fqdn = "gw1.example".to_owned();
    view.gateways[1].mark = Some(Mark::Overloaded);
    view.gateways[1].load = Some(load(100_000, 1000));
    view.gateways[2].last_seen_ms = Some(86_400_000);
    view.gateways.push(gateway("10.1.0.1", GatewayRole::Static, None, None));
    view.gateways.push(gateway("2001:db8:ffff:ffff:ffff:ffff:ffff:fff1", GatewayRole::Second, Some(1), None));
    assert_eq!(count(row, &summary(Some(&view))), 5, "{}", summary(Some(&view)));
    assert_eq!(count(details_row, &details(Some(&view))), 5, "{}", details(Some(&view)));
}

#[test]
fn long_addresses_widen_the_first_column_only() {
    let long = "2001:db8:ffff:ffff:ffff:ffff:ffff:fff1";
    let mut view = primary();
    view.gateways[1].address = long.parse().unwrap();
    let text = summary(Some(&view));
    let at = |word: &str| {
        let line = text.lines().find(|line| line.contains(word)).unwrap();
        line.find(word).unwrap() + word.len()
    };
    assert_eq!(at("IKE"), at("3999"), "{text}");
    assert_eq!(at("Last-seen"), at("00:01.452"), "{text}");
}

#[test]
fn a_cluster_that_is_down_says_what_is_missing() {
    let view = ClusterView {
        status: "Down",
        reasons: vec!["no HSRP group is named: add `standby-group NAME`".to_owned()],
        secondaries: 0,
        authenticated: None,
        notes: vec!["no request is redirected: add `crypto ikev2 redirect gateway init`".to_owned()],
        ..view(ClusterRole::None, "", Vec::new())
    };
    insta::assert_snapshot!(summary(Some(&view)), @r"
        Role           : None
        Status         : Down
        CLB Secondary  : 0
        Cluster IP     : none
        Hold time      : 15000 msec
        Overload limit : 80%
        Codes          : '*' Least loaded, '-' Overloaded

        Load statistics:
          Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
          -------------------------------------------------------------

        Notes:
        Reason         : no HSRP group is named: add `standby-group NAME`
        Note           : no request is redirected: add `crypto ikev2 redirect gateway init`
        ");
    assert_eq!(summary(None), "No cluster is configured: enter `crypto ikev2 cluster`.\n");
}

#[test]
fn details_warn_of_a_member_without_room_for_rekeying() {
    let mut view = details_view();
    let full = LoadView { ike: 50, child: 46, max_session: 100, ..load(50, 960) };
    view.gateways[0].load = Some(full);
    assert!(details(Some(&view)).contains("1:1:1::6 holds 96 of 100 SAs: raise its max-session"));
}

#[test]
fn stats_count_the_redirects_of_each_gateway_and_what_else_happened() {
    let mut view = primary();
    (view.gateways[0].slots, view.gateways[0].redirects) = (Some(683), 1234);
    (view.gateways[1].slots, view.gateways[1].redirects) = (Some(341), 7);
    view.not_redirected.push(CounterView { name: "no_gateway".to_owned(), total: 3 });
    view.counters.push(CounterView { name: "updates".to_owned(), total: 99 });
    let text = stats(Some(&view));
    insta::assert_snapshot!(text.split_once("\n\n").unwrap().1, @r"
        Gateway      Priority  Slots  Share  Redirects
        2001:DB8::1       100    683  66.7%       1234
        2001:DB8::2       100    341  33.3%          7
        2001:DB8::3       100      0   0.0%          0

        Not redirected  Count
        no_gateway          3

        Event    Count
        updates     99
        ");
}

#[test]
fn json_has_numbers_where_the_table_has_percentages() {
    let value = serde_json::to_value(primary()).unwrap();
    assert_eq!(value["gateways"][0]["load"]["prioritized"], 26.6);
    assert_eq!((value["role"].as_str(), value["gateways"][0]["mark"].is_null()), (Some("primary"), true));
    assert_eq!(value["gateways"][0]["usable"], true);
    let mut secondary = gateway("2001:db8::3", GatewayRole::Second, None, None);
    (secondary.usable, secondary.slots) = (None, None);
    let value = serde_json::to_value(secondary).unwrap();
    assert!(value["usable"].is_null() && value["slots"].is_null(), "not known is not false");
}
