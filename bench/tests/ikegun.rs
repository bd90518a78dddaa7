//! `ikegun` as a program: against itself over a ring, and against the data plane by captures. No privilege is needed.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use bench::answer::{Checker, Expect, Received};
use bench::request::{Kind, Size, Spec, Template};
use clap::Parser;
use dataplane::{capture, replay};
use serde_json::Value;

fn ikegun(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ikegun"));
    command.args(["--no-huge", "--memory", "128"]).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// What is sent into the ring comes back, as from testpmd's macswap.
const MIRROR: [&str; 8] = [
    "--vdev",
    "net_ring0",
    "--mac",
    "02:00:00:00:00:07",
    "--from-mac",
    "02:00:00:00:00:07",
    "--expect",
    "echo",
];

#[test]
fn a_rate_is_kept_and_every_request_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (hdr, csv) = (path("latency.hdr"), path("runs.csv"));
    let more = ["--rate", "20k", "--seconds", "1.5", "--sources", "100", "--json"];
    let output = ikegun(&[&MIRROR[..], &more, &["--hdr", &hdr, "--csv", &csv]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = json(&output);
    let count = |name: &str| result[name].as_u64().unwrap();
    assert_eq!(count("sent"), count("answered") + count("lost"));
    assert_eq!((count("wrong"), count("late")), (0, 0));
    // A busy machine may take the generator off its core, and says so; it never sends more than asked for.
    let sent = count("sent") + count("behind");
    assert!((29_900..=30_100).contains(&sent), "{result}");
    assert!(count("sent") <= 30_100, "{result}");
    let log = std::fs::read_to_string(hdr).unwrap();
    assert_eq!(log.lines().filter(|line| !line.starts_with('#')).count(), 2, "{log}");
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(csv.starts_with("size,rate,") && csv.lines().count() == 2, "{csv}");
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(progress.contains("1 s  sent"), "{progress}");
}

/// A mirror sends both halves of a datagram back: it is answered once, when both are there.
#[test]
fn an_echo_of_fragments_counts_datagrams() {
    for (vip, more) in [
        ("192.0.2.1", &["--size", "pair"][..]),
        ("2001:db8::1", &["--size", "pair", "--copies", "2"]),
        ("192.0.2.1", &["--pairs", "50", "--nonce", "200"]),
    ] {
        let fixed =
            ["--vip", vip, "--rate", "5k", "--count", "1000", "--timeout", "1000", "--json", "--quiet"];
        let output = ikegun(&[&MIRROR[..], &fixed, more].concat());
        let result = json(&output);
        assert!(output.status.success(), "{result}");
        let count = |name: &str| result[name].as_u64().unwrap();
        let copies = if more.contains(&"--copies") { 2 } else { 1 };
        assert_eq!((count("sent"), count("wrong"), count("foreign")), (1000 * copies, 0, 0), "{result}");
        assert_eq!(count("answered") + count("lost"), count("sent"), "{result}");
        assert!(count("answered") > 900 * copies, "{result}");
        assert!((1400 * copies..=2000 * copies).contains(&count("frames")), "{result}");
    }
}

#[test]
fn a_search_ends_with_a_rate() {
    let more = ["--search", "--rate", "10k", "--trial", "0.2", "--loss", "1", "--json", "--quiet"];
    let output = ikegun(&[&MIRROR[..], &more].concat());
    let result = json(&output);
    assert!(output.status.success(), "{result}");
    assert!(result["no_drop_rate"].as_f64().unwrap() <= 10_000.0);
    assert!(!result["trials"].as_array().unwrap().is_empty());
}

#[test]
fn what_cannot_be_done_is_said_with_what_can() {
    let refused = |arguments: &[&str]| {
        let output = ikegun(arguments);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["--vdev", "net_ring0", "--size", "188"]).contains("choose 186, or 190"));
    assert!(refused(&["--vdev", "net_ring0", "--sources", "65536"]).contains("choose at most 64896"));
    assert!(refused(&["--vdev", "net_ring0", "--gateway", "2001:db8::1"]).contains("leave it out"));
    assert!(refused(&["--vdev", "net_ring0", "--rate", "fast"]).contains("k or M"));
    assert!(refused(&["--vdev", "net_ring0", "--unsignalled", "60", "--malformed", "60"]).contains("100 %"));
    let silent = ["--vdev", "net_ring0", "--warm-up", "0.1", "--count", "10"];
    assert!(!ikegun(&silent).status.success(), "its own requests are no answers");
}

#[derive(Parser)]
struct Replay {
    #[command(flatten)]
    args: replay::Args,
}

/// Requests of every kind through the data plane's own loop: each one that must be answered is, rightly, and no other.
#[test]
fn the_data_plane_answers_what_ikegun_sends_and_ikegun_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let runs: [(&str, &str, &[&str]); 6] = [
        ("192.0.2.128", "192.0.2.1", &["--sources", "7", "--unsignalled", "10", "--malformed", "5"]),
        ("2001:db8::8000", "2001:db8::1", &["--size", "400", "--nonce", "77", "--unsignalled", "50"]),
        ("192.0.2.128", "192.0.2.1", &["--vlan", "9", "--size", "922", "--copies", "3"]),
        ("192.0.2.128", "192.0.2.1", &["--size", "pair", "--sources", "300"]),
        ("2001:db8::8000", "2001:db8::1", &["--size", "pair"]),
        ("192.0.2.128", "192.0.2.1", &["--pairs", "30", "--unsignalled", "10", "--sources", "7"]),
    ];
    let (mac, node) = ([2, 0x70, 0x63, 0x61, 0x70, 0], [2, 0, 0, 0, 0, 1]);
    let mut frames = Vec::new();
    let mut expected = Vec::new();
    for (index, (_, vip, more)) in runs.iter().enumerate() {
        let file = path(&format!("requests{index}.pcap"));
        let (vdev, seed) = (format!("net_pcap0,tx_pcap={}", file.display()), index.to_string());
        let fixed = ["--vdev", &vdev, "--vip", vip, "--seed", &seed, "--count", "500"];
        let fixed =
            [&fixed[..], &["--expect", "nothing", "--from-mac", "02:70:63:61:70:00", "--json"]].concat();
        let result = json(&ikegun(&[&fixed, *more].concat()));
        let captured = capture::read(&file).unwrap();
        assert_eq!(captured.len() as u64, result["frames"].as_u64().unwrap(), "{result}");
        frames.extend(captured);
        expected.push(result["sent"].as_u64().unwrap() as usize);
    }
    let (input, output) = (path("in.pcap"), path("out.pcap"));
    capture::write(&input, frames.iter().map(|captured| (captured.time, captured.frame.as_slice()))).unwrap();
    let gateways = ["192.0.2.21", "192.0.2.22", "2001:db8::21"];
    let mut command =
        vec!["replay", "--vip", "192.0.2.1", "--vip", "2001:db8::1", "--mac", "02:00:00:00:00:01"];
    command.extend(gateways.iter().flat_map(|gateway| ["--redirect-to", gateway]));
    let files = [input.display().to_string(), output.display().to_string()];
    command.extend(files.iter().map(String::as_str));
    replay::replay(&Replay::parse_from(command).args).unwrap();

    let answers = capture::read(Path::new(&output)).unwrap();
    assert_eq!(answers.len(), expected.iter().sum::<usize>());
    let mut rest = answers.as_slice();
    for ((source, vip, more), count) in runs.iter().zip(expected) {
        let (these, others) = rest.split_at(count);
        rest = others;
        let option = |name: &str| more.iter().position(|word| *word == name).map(|at| more[at + 1]);
        let spec = Spec {
            from_mac: mac,
            to_mac: node,
            source: source.parse().unwrap(),
            destination: vip.parse().unwrap(),
            size: option("--size")
                .map_or(Size::Frame(186), |size| size.parse().map_or(Size::Pair, Size::Frame)),
            nonce_len: option("--nonce").map_or(32, |nonce| nonce.parse().unwrap()),
            vlan: option("--vlan").map(|vlan| vlan.parse().unwrap()),
        };
        let template = Template::new(&spec, Kind::Request).unwrap();
        let named = gateways.map(|gateway| gateway.parse::<IpAddr>().unwrap());
        let mut checker = Checker::new(&spec, &[&template], Expect::Redirect, &named);
        let mut gateway_of = std::collections::HashMap::new();
        for answer in these {
            let Received::Answer { spi, gateway, .. } = checker.check(&answer.frame) else {
                panic!("{more:?}: {:?}", checker.check(&answer.frame))
            };
            assert_eq!(*gateway_of.entry(spi).or_insert(gateway), gateway, "copies get the same gateway");
        }
        let copies = option("--copies").map_or(1, |copies| copies.parse().unwrap());
        assert_eq!(gateway_of.len() * copies, count, "{more:?}");
    }
}

/// The capture for other generators holds what ikegun makes today.
#[test]
fn the_committed_capture_has_not_drifted() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("pktgen/requests.pcap");
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("requests.pcap");
    let vdev = format!("net_pcap0,tx_pcap={}", fresh.display());
    let fixed = ["--vdev", &vdev, "--expect", "nothing", "--seed", "0", "--count", "64", "--sources", "64"];
    let output = ikegun(&[&fixed[..], &["--from-mac", "02:00:00:00:00:09"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frames = |path: &Path| -> Vec<Vec<u8>> {
        capture::read(path).unwrap().into_iter().map(|captured| captured.frame).collect()
    };
    assert_eq!(frames(&committed), frames(&fresh), "run bench/pktgen/make.sh and commit what it writes");
}
