//! Profiles: what ships loads, and what is wrong is told with its place and its remedy.

use std::path::{Path, PathBuf};

use platform::host::cores::CorePlan;
use platform::profile::{BondMode, Cores, Device, Idle, Profile};

fn shipped() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

fn named(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles").join(name).with_extension("toml")
}

fn wrong(text: &str) -> String {
    match Profile::parse(text, Path::new("p.toml")) {
        Err(err) => err.to_string(),
        Ok(profile) => panic!("{text:?} passed: {profile:?}"),
    }
}

const PORT: &str = "[[port]]\ninterface = \"Gi0/0/0\"\ndevice = \"vdev:net_null0\"\n";

#[test]
fn every_shipped_profile_loads_under_its_own_name() {
    let names: Vec<String> = shipped()
        .iter()
        .map(|path| {
            let profile = Profile::load(path).unwrap_or_else(|err| panic!("{err}"));
            assert_eq!(profile.name, path.file_stem().unwrap().to_str().unwrap());
            profile.name
        })
        .collect();
    assert_eq!(
        names,
        [
            "af-xdp",
            "bench",
            "c8500-12x-2w",
            "c8500-12x-bond",
            "c8500-12x",
            "e810",
            "ixgbe",
            "lab",
            "mlx5",
            "replay",
            "virtio",
            "vmxnet3",
            "x710",
            "xxv710"
        ]
    );
}

#[test]
fn the_c8500_profile_has_twelve_ports_of_a_queue_each() {
    let path = named("c8500-12x");
    let profile = Profile::load(path).unwrap();
    assert_eq!(profile.port.len(), 12);
    assert!(profile.eal.huge && profile.worker.idle == Idle::Spin && profile.worker.cores == Cores::Auto);
    for (index, port) in profile.port.iter().enumerate() {
        assert_eq!(port.interface, format!("TenGigabitEthernet0/0/{index}"));
        assert_eq!((port.queues, port.exception()), (1, Some(format!("exc{index}").as_str())));
        assert!(matches!(port.device, Device::Pci(_)));
    }
}

#[test]
fn an_absent_key_has_its_default() {
    let profile = Profile::parse(PORT, Path::new("/etc/usher/site.toml")).unwrap();
    assert_eq!(profile.name, "site");
    let port = &profile.port[0];
    assert_eq!((port.mtu, port.queues, port.exception(), port.rss), (1500, 1, Some("exc0"), true));
    assert_eq!((profile.worker.burst, profile.mempool.data_room, profile.reassembly.entries), (32, 2176, 64));
    assert_eq!((profile.answer_limit.rate, profile.police.rest.rate), (0, 0));
    assert_eq!((port.device.name(), port.device.arg("iface")), ("net_null0", None));
    let metered =
        Profile::parse("[police]\nike = { rate = 1000 }\nrest = { rate = 7, burst = 9 }", Path::new("p"))
            .unwrap();
    assert_eq!((metered.police.ike.burst(), metered.police.rest.burst()), (100, 9));
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_the_nearest_known_one() {
    for (text, place, hint) in [
        ("[worker]\nbrust = 32\n", "p.toml:2:1: unknown key `brust`", "did you mean `burst`?"),
        ("[worker]\n  idle_max = 5\n", "p.toml:2:3: unknown key `idle_max`", "did you mean `idle_max_us`?"),
        ("name = \"x\"\n[workers]\n", "p.toml:2:2: unknown key `workers`", "did you mean `worker`?"),
        (
            "[[port]]\ninterfaces = \"a\"\n",
            "p.toml:2:1: unknown key `interfaces`",
            "did you mean `interface`?",
        ),
        ("[police]\narp = { rate = 1 }\n", "p.toml:2:1: unknown key `arp`", "`arp_nd`"),
        ("[eal]\nzzz = 1\n", "p.toml:2:1: unknown key `zzz`: known here: ", "`memory_mib`"),
        ("[worker]\nidle = \"spn\"\n", "p.toml:2:8: unknown value `spn`", "did you mean `spin`?"),
        ("[police]\nike = { rat = 1 }", "p.toml:2:9: unknown key `rat`", "did you mean `rate`?"),
    ] {
        let err = wrong(text);
        assert!(err.contains(place) && err.contains(hint), "{text:?}: {err}");
    }
}

#[test]
fn a_value_out_of_range_is_shown_with_the_range() {
    for (line, range) in [
        ("[worker]\nburst = 65", "2:9: 65 is out of range: choose 1 to 64"),
        ("[worker]\nburst = 0", "choose 1 to 64"),
        ("[worker]\nidle_max_us = -1", "choose 1 to 100000"),
        ("[worker]\ncores = []", "1 to 64 entries"),
        ("[worker]\ncores = [1, 1]", "stands in the list once"),
        ("[worker]\ncores = [4096]", "0 to 1023"),
        ("[worker]\ncores = \"all\"", "write \"auto\" or a list"),
        ("[worker]\ncores = 3", "\"auto\" or a list of core numbers"),
        ("[eal]\nmemory_mib = 8", "choose 16 to 1048576"),
        ("[eal]\nfile_prefix = \"../x\"", "at most 32 letters"),
        ("[mempool]\ndata_room = 1500", "choose 2048 to 16384"),
        ("[reassembly]\ntimeout_ms = 9999", "choose 10 to 5000"),
        ("[answer_limit]\nv4_prefix = 33", "choose 8 to 32"),
        ("[police]\nike = { rate = 1, burst = 0 }", "choose 1 to 1000000"),
    ] {
        let err = wrong(line);
        assert!(err.starts_with("profile p.toml:2:") && err.contains(range), "{line:?}: {err}");
    }
    for (line, range) in [
        ("mtu = 1279", "p.toml:4:7: 1279 is out of range: choose 1280 to 9600"),
        ("queues = 0", "choose 1 to 64"),
        ("rx_descriptors = 32", "choose 64 to 32768"),
        ("exception = \"a/b\"", "no name the kernel takes"),
        ("exception = \"sixteen-letters-\"", "1 to 15 letters"),
        ("numa = 64", "choose -1 to 63"),
        ("rss = 1", "invalid type"),
    ] {
        let err = wrong(&format!("{PORT}{line}"));
        assert!(err.contains(range), "{line:?}: {err}");
    }
}

#[test]
fn a_key_without_effect_is_refused() {
    for (keys, word) in [
        (
            "bond = { mode = \"lacp\", members = [\"pci:0000:01:00.0\"] }",
            "a `device` or a `bond`: remove one",
        ),
        (
            "vlan = 7",
            "p.toml:4:8: `vlan` is no key: list the VLANs that have a subinterface, `vlans = [100, 200]`",
        ),
        ("vlans = 7", "p.toml:4:9: "),
        ("vlans = [0]", "p.toml:4:9: a VLAN is a number from 1 to 4094"),
        ("vlans = [4095]", "a number from 1 to 4094"),
        ("vlans = [7, 7]", "stands in the list once"),
        ("vlans = [7]\nexception = \"\"", "vlans: each VLAN's exception device is named after the port's"),
        (
            "vlans = [4094]\nexception = \"outside-wan\"",
            "\"outside-wan.4094\", the exception device of a VLAN, has more",
        ),
        ("vlans = [1, 2, 3]\nqueues = 2", "may hold 11264 buffers, [mempool] has mbufs = 8191"),
        ("vrf = \"red\"", "VRFs are not proven in this release"),
        ("queues = 2\nrss = false", "the first would get everything"),
        ("queues = 16", "may hold 65536 buffers, [mempool] has mbufs = 8191"),
        ("attach = \"bifurcated\"", "vdev:net_null0 names no interface of the kernel's to share"),
        ("attach = \"shared\"", "unknown value `shared`"),
    ] {
        let err = wrong(&format!("{PORT}{keys}"));
        assert!(err.contains(word), "{keys:?}: {err}");
    }
    for (keys, word) in [
        ("exception = \"\"", "name one in `exception`"),
        ("exception_kind = \"virtio_user\"", "goes back through a TAP"),
        ("promiscuous = \"on\"", "remove `promiscuous`"),
        ("vlans = [7]", "the kernel keeps the port, and its own VLAN devices with it: remove `vlans`"),
    ] {
        let port = "[[port]]\ninterface = \"Gi0\"\ndevice = \"netdev:eth1\"\nattach = \"bifurcated\"\n";
        let err = wrong(&format!("{port}{keys}"));
        let named = err.contains("attach = \"bifurcated\": ") || err.contains("port Gi0, vlans: ");
        assert!(named && err.contains(word), "{keys:?}: {err}");
    }
}

#[test]
fn a_bond_is_of_devices_that_nobody_else_has() {
    let port =
        |bond: &str, more: &str| format!("[[port]]\ninterface = \"Port-channel1\"\nbond = {bond}\n{more}");
    let text = port(
        "{ mode = \"lacp\", members = [\"0000:0A:00.0\", \"driver:i40e/1\", \"net_null16\"] }",
        "exception = \"\"",
    );
    let profile = Profile::parse(&text, Path::new("p.toml")).unwrap();
    let bond = profile.port[0].bond().unwrap();
    assert_eq!(bond.mode, BondMode::Lacp);
    let members: Vec<String> = bond.members.iter().map(Device::to_string).collect();
    assert_eq!(members, ["pci:0000:0a:00.0", "driver:i40e/1", "vdev:net_null16"]);
    assert_eq!(profile.port[0].device.to_string(), format!("bond lacp of {}", members.join(" and ")));
    let nine = format!("{{ mode = \"balance-xor\", members = [{}] }}", "\"net_null16\", ".repeat(9));
    for (bond, more, word) in [
        ("[\"a\"]", "", "p.toml:3:8: invalid type: sequence, expected a device like"),
        ("{ mode = \"lacp\" }", "", "missing field `members`"),
        ("{ mode = \"lacp\", members = [] }", "", "p.toml:3:35: a bond has 1 to 8 members, not 0"),
        (&nine, "", "a bond has 1 to 8 members, not 9"),
        (
            "{ mode = \"lapc\", members = [\"a\"] }",
            "",
            "did you mean `lacp`? Known here: `lacp`, `active-backup`",
        ),
        ("{ mode = \"lacp\", rate = 1, members = [\"a\"] }", "", "unknown key `rate`"),
        ("{ mode = \"lacp\", members = [\"a b\"] }", "", "p.toml:3:35: member \"a b\" is none of `pci:"),
        ("{ mode = \"lacp\", members = [\"netdev:eth1\"] }", "", "set device = \"netdev:bond0\""),
        ("{ mode = \"lacp\", members = [\"net_null16\", \"net_null16\"] }", "", "stands in its bond twice"),
        ("{ mode = \"lacp\", members = [\"net_af_xdp16,iface=a\"] }", "", "takes no MAC address of a bond's"),
        ("{ mode = \"lacp\", members = [\"net_tap0,iface=a\"] }", "", "number it from 16 on"),
        ("{ mode = \"lacp\", members = [\"net_bonding1,mode=1\"] }", "", "write bond = { mode ="),
        ("{ mode = \"lacp\", members = [\"0000:01:00.0\"] }", "[eal]\nhuge = false", "set `huge = true`"),
        (
            "{ mode = \"lacp\", members = [\"net_null16\", \"net_null17\", \"net_null18\", \"net_null19\"] }",
            "",
            "may hold 10240 buffers, [mempool] has mbufs = 8191",
        ),
        (
            "{ mode = \"lacp\", members = [\"net_null16\"] }",
            "attach = \"bifurcated\"",
            "attach = \"bifurcated\": a bond of the data plane owns its members: bond them in the kernel",
        ),
        (
            "{ mode = \"lacp\", members = [\"net_null16\"] }",
            "[worker]\nidle = \"adaptive\"\nidle_max_us = 50001",
            "write at most 50000",
        ),
        (
            "{ mode = \"lacp\", members = [\"net_null16\"] }",
            "[[port]]\ninterface = \"Gi0\"\ndevice = \"vdev:net_null16\"",
            "belongs to port Port-channel1 and to port Gi0",
        ),
    ] {
        let err = wrong(&port(bond, more));
        assert!(err.contains(word), "{bond} {more}: {err}");
    }
    assert!(wrong("[[port]]\ninterface = \"Gi0\"\n").contains("a port needs a `device`"));
    let by_hand = wrong("[[port]]\ninterface = \"Gi0\"\ndevice = \"vdev:net_bonding0,mode=1\"");
    assert!(by_hand.contains("write bond = { mode ="), "{by_hand}");
    let many: String = (0..6)
        .map(|n| {
            let members: Vec<String> = (0..4).map(|m| format!("\"net_null{}\"", 16 + n * 4 + m)).collect();
            let bond = format!("{{ mode = \"lacp\", members = [{}] }}", members.join(", "));
            format!("[[port]]\ninterface = \"Gi{n}\"\nbond = {bond}\n")
        })
        .collect();
    assert!(wrong(&many).contains("are 36, DPDK has room for 32"), "{}", wrong(&many));
}

#[test]
fn vlans_are_numbered_behind_the_ports_and_named_after_their_exception_devices() {
    let port = |number: usize, keys: &str| {
        format!("[[port]]\ninterface = \"Gi{number}\"\ndevice = \"vdev:net_null{number}\"\n{keys}\n")
    };
    let text =
        [port(0, "vlans = [200, 7]"), port(1, ""), port(2, "exception = \"wan\"\nvlans = [7]")].concat();
    let profile = Profile::parse(&text, Path::new("p.toml")).unwrap();
    let found: Vec<_> =
        profile.subinterfaces().map(|of| (of.index, of.port, of.vlan, of.exception)).collect();
    let of = |index, port, vlan, name: &str| (index, port, vlan, name.to_owned());
    assert_eq!(found, [of(3, 0, 200, "exc0.200"), of(4, 0, 7, "exc0.7"), of(5, 2, 7, "wan.7")]);
    let clash = [port(0, "vlans = [7]"), port(1, "exception = \"exc0.7\"")].concat();
    assert!(
        wrong(&clash)
            .contains("exception \"exc0.7\" is what the exception device of VLAN 7 of port Gi0 is named")
    );
    let many: Vec<u16> = (1..=31).collect();
    let many = format!("[mempool]\nmbufs = 65535\n{}", port(0, &format!("vlans = {many:?}")));
    assert!(wrong(&many).contains("DPDK has room for 32"), "{}", wrong(&many));
    let err = wrong("[[port]]\ninterface = \"Te0/0/0.100\"\ndevice = \"vdev:net_null0\"\n");
    assert!(
        err.contains("is a subinterface: name its port, interface = \"Te0/0/0\"")
            && err.contains("vlans = [100]"),
        "{err}"
    );
    let err =
        wrong("[[port]]\ninterface = \"Gi0\"\ndevice = \"vdev:net_af_packet0,iface=v0\"\nvlans = [7]\n");
    assert!(err.contains("without their tags: bind the port by net_af_xdp"), "{err}");
}

#[test]
fn a_device_is_a_pci_address_a_driver_an_interface_or_a_vdev() {
    for device in [
        "",
        "v0",
        "vdev:",
        "vdev:0a",
        "vdev:net null",
        "pci:03:00.0",
        "pci:0000:03:00:0",
        "pci:zzzz:03:00.0",
        "driver:i40e",
        "driver:/0",
        "driver:i40e/16",
        "netdev:",
        "netdev:a b",
        "netdev:sixteen-letters-",
    ] {
        let err = wrong(&format!("[[port]]\ninterface = \"Gi0\"\ndevice = \"{device}\""));
        assert!(err.contains("p.toml:3:10: device ") && err.contains("pci:0000:03:00.0"), "{device}: {err}");
    }
    let device: Device = "pci:0000:0A:00.1".parse().unwrap();
    assert_eq!(device, Device::Pci("0000:0a:00.1".into()));
    let device: Device = "driver:i40e/3".parse().unwrap();
    assert_eq!(device, Device::Family { driver: "i40e".into(), index: 3 });
    for text in ["driver:virtio-pci/0", "netdev:enp1s0f0np0", "pci:0000:01:00.0", "vdev:net_null0"] {
        assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
    }
    let device: Device = "vdev:net_af_xdp0,iface=v0,queue_count=2".parse().unwrap();
    assert_eq!(
        (device.name(), device.arg("iface"), device.arg("queue_count")),
        ("net_af_xdp0", Some("v0"), Some("2"))
    );
    assert_eq!(device.arg("queue"), None);
}

#[test]
fn contradictions_are_told() {
    let twice = format!("{PORT}{PORT}");
    assert!(wrong(&twice).contains("interface \"Gi0/0/0\" stands in [[port]] 1 and 2"));
    let nic = "[eal]\nhuge = false\n[[port]]\ninterface = \"a\"\ndevice = \"pci:0000:03:00.0\"";
    assert!(wrong(nic).contains("set `huge = true`"));
    assert!(wrong("[mempool]\nmbufs = 600\ncache = 500").contains("lower cache or raise mbufs"));
    assert!(
        wrong("[eal]\nmemory_mib = 16\n[mempool]\nmbufs = 65535").contains("raise memory_mib or lower mbufs")
    );
    let many: String = (0..17)
        .map(|n| format!("[[port]]\ninterface = \"Gi{n}\"\ndevice = \"vdev:net_null{n}\"\n"))
        .collect();
    assert!(wrong(&many).contains("17 ports are more than 16"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let err = Profile::load("/absent/profile.toml").unwrap_err().to_string();
    assert!(err.contains("/absent/profile.toml") && err.contains("--profile FILE"), "{err}");
    let err = Profile::load("/proc").unwrap_err().to_string();
    assert!(err.contains("not a regular file"), "{err}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
    assert!(Profile::load(file.path()).unwrap_err().to_string().contains("UTF-8"));
    for text in ["[worker", "name = ", "name = \"a\"\nname = \"b\"", "[[port]]\n", "= = ="] {
        assert!(wrong(text).starts_with("profile p.toml:"), "{text:?}: {}", wrong(text));
    }
}

#[test]
fn eal_arguments_follow_from_the_profile_each_with_its_reason() {
    let args = |profile: &Profile, plan: &CorePlan| {
        let args = profile.eal_args("usher-7", &["net_null9".to_owned()], plan);
        assert!(args.iter().all(|arg| !arg.why.is_empty()));
        args.into_iter().map(|arg| arg.arg).collect::<Vec<_>>()
    };
    let one_node = CorePlan { main: vec![0, 2], node_ports: vec![1], ..CorePlan::default() };
    let lab = Profile::load(named("lab")).unwrap();
    assert_eq!(
        args(&lab, &one_node),
        [
            "--no-huge",
            "--no-shconf",
            "-m128",
            "--file-prefix=usher-7",
            "--no-telemetry",
            "--no-pci",
            "--iova-mode=va",
            "--vdev=net_af_xdp0,iface=v0",
            "--vdev=net_null9",
            "--lcores=0@(0,2)",
        ]
    );
    let alone = args(&lab, &CorePlan::default());
    assert!(alone.last().unwrap().starts_with("--lcores=0@("), "EAL never takes all cores: {alone:?}");
    let two_nodes = CorePlan { main: vec![0], node_ports: vec![8, 4], ..CorePlan::default() };
    let server = args(&Profile::load(named("c8500-12x")).unwrap(), &two_nodes);
    for arg in ["--in-memory", "--socket-mem=683,342", "--allow=0000:01:00.0", "--allow=0000:81:00.3"] {
        assert!(server.iter().any(|given| given == arg), "{arg} is not in {server:?}");
    }
    assert!(!server.iter().any(|arg| arg == "--no-pci" || arg == "--no-huge" || arg.starts_with("-m")));
}
