//! `usher platform` on machines other than this one: each shipped profile on the hardware it is for, and machines that lack
//! something. `machines/README.md` says how one is described.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use platform::host::check::{Finding, Level, check, render};
use platform::host::show::Machine;
use platform::host::suggest::suggest;
use platform::host::{nics, preflight};
use platform::profile::{Attach, Device, Profile};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines");

/// A machine's files, gone with this value.
struct Tree(tempfile::TempDir);

impl Tree {
    fn named(name: &str) -> Tree {
        Tree::from(&description(name))
    }

    /// # Panics
    /// A line that is none of those that README.md names.
    fn from(text: &str) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.write("sys/devices/system/cpu/isolated", "\n");
        tree.write("dev/net/tun", "");
        let (mut caps, mut uid, mut flags) = ("0000000000000000", "1000", "flags\t\t: fpu sse2".to_owned());
        let (mut allowed, mut isolated, mut online) = (String::new(), String::new(), 0);
        let mut routes = "Iface\tDestination\tGateway\n".to_owned();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["cpus", nodes, cores, threads] => {
                    let number = |word: &&str| word.parse::<usize>().unwrap();
                    online = tree.cpus(number(nodes), number(cores), number(threads));
                    allowed = format!("0-{}", online - 1);
                }
                ["isolated", list] => isolated = (*list).to_owned(),
                ["governor", word] => {
                    for cpu in 0..online {
                        tree.write(
                            &format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"),
                            word,
                        );
                    }
                }
                ["pages", node, kib, total, free] => {
                    for place in
                        [format!("devices/system/node/node{node}/hugepages"), "kernel/mm/hugepages".into()]
                    {
                        let dir = format!("sys/{place}/hugepages-{kib}kB");
                        tree.write(&format!("{dir}/nr_hugepages"), total);
                        tree.write(&format!("{dir}/free_hugepages"), free);
                    }
                }
                ["iommu"] => tree.write("sys/class/iommu/dmar0/intel-iommu/version", "1:0"),
                ["guest"] => flags += " hypervisor",
                ["vhost"] => tree.write("dev/vhost-net", ""),
                ["vfio"] => tree.write("sys/bus/pci/drivers/vfio-pci/bind", ""),
                ["verbs"] => tree.write("sys/class/infiniband/mlx5_0/node_type", "1: CA"),
                ["root"] => (caps, uid) = ("000001ffffffffff", "0"),
                ["route", interface] => routes += &format!("{interface}\t00000000\t010200C0\n"),
                ["nic", address, id, node, driver, rest @ ..] => tree.nic(address, id, node, driver, rest),
                [] => {}
                other => panic!("{other:?}: machines/README.md says what a line may be"),
            }
        }
        tree.write("sys/devices/system/cpu/isolated", &isolated);
        tree.write("sys/devices/system/cpu/nohz_full", &isolated);
        tree.write("proc/cpuinfo", &format!("vendor_id\t: GenuineIntel\n{flags}\n"));
        tree.write("proc/net/route", &routes);
        tree.write(
            "proc/self/status",
            &format!("Uid:\t{uid}\t{uid}\nCapEff:\t{caps}\nCpus_allowed_list:\t{allowed}\n"),
        );
        tree
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{}\n", text.trim())).unwrap();
    }

    fn cpus(&self, nodes: usize, cores: usize, threads: usize) -> usize {
        let first = nodes * cores;
        self.write("sys/devices/system/cpu/online", &format!("0-{}", first * threads - 1));
        for cpu in 0..first * threads {
            let siblings: Vec<_> =
                (0..threads).map(|thread| (cpu % first + thread * first).to_string()).collect();
            let file = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            self.write(&file, &siblings.join(","));
        }
        for node in 0..nodes {
            let of = |thread| {
                format!("{}-{}", thread * first + node * cores, thread * first + (node + 1) * cores - 1)
            };
            let dir = format!("sys/devices/system/node/node{node}");
            self.write(&format!("{dir}/cpulist"), &(0..threads).map(of).collect::<Vec<_>>().join(","));
            let distance = |other| if other == node { "10" } else { "21" };
            self.write(&format!("{dir}/distance"), &(0..nodes).map(distance).collect::<Vec<_>>().join(" "));
        }
        first * threads
    }

    fn nic(&self, address: &str, id: &str, node: &str, driver: &str, interface: &[&str]) {
        let dir = format!("sys/bus/pci/devices/{address}");
        let (vendor, device) = id.split_once(':').unwrap();
        for (file, text) in
            [("class", "0x020000"), ("vendor", vendor), ("device", device), ("numa_node", node)]
        {
            self.write(&format!("{dir}/{file}"), text);
        }
        let drivers = format!("sys/bus/pci/drivers/{driver}");
        fs::create_dir_all(self.path().join(&drivers)).unwrap();
        symlink(format!("../../../../{drivers}"), self.path().join(&dir).join("driver")).unwrap();
        if driver == "vfio-pci" {
            self.write(&format!("{dir}/iommu_group/type"), "DMA-FQ");
        }
        if let [name, speed, queues] = interface {
            self.write(&format!("{dir}/net/{name}/ifindex"), "2");
            let dir = format!("sys/class/net/{name}");
            for (file, text) in [("speed", *speed), ("carrier", "1")] {
                self.write(&format!("{dir}/{file}"), text);
            }
            for queue in 0..queues.parse().unwrap() {
                self.write(&format!("{dir}/queues/rx-{queue}/rps_cpus"), "0");
            }
        }
    }
}

fn description(name: &str) -> String {
    fs::read_to_string(Path::new(TESTS).join(name).with_extension("txt")).unwrap()
}

fn shipped(name: &str) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles").join(name).with_extension("toml");
    Profile::load(path).unwrap_or_else(|err| panic!("{err}"))
}

/// The profiles with hardware of their own: all but those of laboratories and tests.
fn with_machines() -> Vec<String> {
    let entries = fs::read_dir(TESTS).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// What `check` says of a shipped profile on its machine with lines exchanged.
fn on(name: &str, changes: &[(&str, &str)]) -> Vec<Finding> {
    let mut text = description(name);
    for (line, instead) in changes {
        assert!(text.contains(line), "{name}: no line {line:?}");
        text = text.replace(line, instead);
    }
    check(&shipped(name), Tree::from(&text).path()).0
}

/// The one finding of this level.
fn only(found: &[Finding], level: Level) -> &Finding {
    let of: Vec<&Finding> = found.iter().filter(|finding| finding.level == level).collect();
    assert_eq!(of.len(), 1, "{}", render(found, None, &[]));
    of[0]
}

#[test]
fn every_profile_for_hardware_has_a_description_of_it() {
    let profiles = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")).unwrap();
    let mut names: Vec<String> = profiles
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !matches!(name.as_str(), "README" | "bench" | "lab" | "replay"))
        .collect();
    names.sort();
    assert_eq!(with_machines(), names);
}

#[test]
fn each_shipped_profile_runs_on_its_hardware_with_nothing_to_mend() {
    for name in with_machines() {
        let tree = Tree::named(&name);
        let profile = shipped(&name);
        let (found, plan) = check(&profile, tree.path());
        let plan = plan.unwrap_or_else(|| panic!("{name}: {}", render(&found, None, &[])));
        assert_eq!(found, [], "{name}: {}", render(&found, None, &[]));
        // A worker a queue, each on its port's node and on a physical core of its own.
        let queues: usize = profile.port.iter().map(|port| usize::from(port.queues)).sum();
        assert!(plan.workers.len() == queues || name.starts_with("virtio"), "{name}: {plan:?}");
        let mut resolved = profile.clone();
        preflight(&mut resolved, tree.path()).unwrap();
        for port in &resolved.port {
            assert!(
                port.devices().iter().all(|device| matches!(device, Device::Pci(_) | Device::Vdev(_))),
                "{name}: {} is not resolved",
                port.device
            );
        }
        assert_eq!(
            suggest(tree.path()).map(|text| Profile::parse(&text, Path::new("s.toml")).err()).unwrap(),
            None
        );
    }
}

#[test]
fn twelve_ports_of_two_sockets_get_cores_of_their_nodes_and_leave_the_hyperthreads() {
    let tree = Tree::named("c8500-12x-2w");
    let plan = check(&shipped("c8500-12x-2w"), tree.path()).1.unwrap();
    assert_eq!(plan.workers.len(), 24);
    for worker in &plan.workers {
        let (port, _) = worker.queues[0];
        assert_eq!(worker.node, usize::from(port >= 8), "port {port}");
        assert!(worker.core < 40, "core {} is a hyperthread", worker.core);
    }
    assert!(
        !plan.main.iter().any(|core| (41..57).contains(core) || (60..68).contains(core)),
        "beside a worker: {:?}",
        plan.main
    );
    assert_eq!(plan.node_ports, [8, 4]);
}

#[test]
fn a_bond_has_its_members_node_and_names_each_that_is_not_as_it_should_be() {
    let plan = check(&shipped("c8500-12x-bond"), Tree::named("c8500-12x-bond").path()).1.unwrap();
    assert_eq!((plan.workers.len(), plan.node_ports.as_slice()), (12, [4, 2].as_slice()));
    let line = "port Port-channel1: bond lacp of 0000:01:00.0 (link not known to the kernel), 0000:41:00.0 (link not known to \
                the kernel)";
    assert!(plan.reasons.iter().any(|reason| reason == line), "{:?}", plan.reasons);

    let (taken, kernels) =
        ("nic 0000:41:00.0 8086:1572 0 vfio-pci", "nic 0000:41:00.0 8086:1572 0 i40e ens2 10000 8");
    let found = on("c8500-12x-bond", &[(taken, kernels)]);
    let finding = only(&found, Level::Missing);
    assert!(
        finding.what == "port Port-channel1"
            && finding.problem.contains("0000:41:00.0 is bound to i40e")
            && finding.remedy.contains("--bind=vfio-pci 0000:41:00.0"),
        "{finding:?}"
    );
    let found = on("c8500-12x-bond", &[(taken, "nic 0000:41:00.0 8086:1563 1 vfio-pci")]);
    let slow: Vec<&str> = found.iter().map(|finding| finding.problem.as_str()).collect();
    assert!(slow[0].contains("on NUMA nodes 0-1") && slow[1].contains("NICs of i40e and ixgbe"), "{slow:?}");

    let mut twice = shipped("c8500-12x-bond");
    twice.port.push(shipped("x710").port.remove(0));
    let tree = Tree::named("c8500-12x-bond");
    let errors: Vec<String> =
        nics::resolve(&mut twice, tree.path()).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "port TenGigabitEthernet0/0/0: 0000:01:00.0 belongs to port Port-channel1 already: name each NIC once, in one [[port]]"
        ]
    );
}

#[test]
fn one_page_of_two_mib_too_few_is_told_for_its_node() {
    // 1,024 MiB for 12 ports: 8 of them at node 0, 4 at node 1.
    let (enough, short) = ("pages 1 2048 171 171", "pages 1 2048 171 170");
    assert_eq!(on("c8500-12x", &[("pages 1 2048 512 512", enough)]), []);
    let found = on("c8500-12x", &[("pages 1 2048 512 512", short)]);
    let finding = only(&found, Level::Missing);
    assert_eq!(finding.what, "hugepages on NUMA node 1");
    assert_eq!(finding.problem, "342 MiB are needed, 340 MiB are free");
    assert_eq!(
        finding.remedy,
        "echo 172 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
    );
}

#[test]
fn a_missing_iommu_is_told_once_with_the_kernel_argument() {
    let changes: Vec<_> = [("iommu\n", ""), ("vfio\n", ""), ("vfio-pci\n", "i40e ens1 -1 1\n")].into();
    let found = on("xxv710", &changes);
    assert!(found.iter().any(|finding| finding.what == "vfio-pci" && finding.remedy == "modprobe vfio-pci"));
    let iommu: Vec<_> = found.iter().filter(|finding| finding.what == "IOMMU").collect();
    assert_eq!(iommu.len(), 1);
    assert!(iommu[0].remedy.contains("intel_iommu=on iommu=pt") && iommu[0].remedy.contains("reboot"));
    // In a guest there is another way.
    let found = on(
        "vmxnet3",
        &[("iommu\n", ""), ("0000:0b:00.0 15ad:07b0 -1 vfio-pci", "0000:0b:00.0 15ad:07b0 -1 vmxnet3")],
    );
    let iommu = found.iter().find(|finding| finding.what == "IOMMU").unwrap();
    assert!(iommu.remedy.contains("enable_unsafe_noiommu_mode"), "{}", iommu.remedy);
}

#[test]
fn each_thing_that_is_missing_is_named_with_the_command_that_mends_it() {
    for (name, change, what, problem, remedy) in [
        (
            "x710",
            [("nic 0000:3b:00.2 8086:1572 0 vfio-pci", "nic 0000:3b:00.2 8086:1572 0 i40e ens2 10000 8")],
            "port TenGigabitEthernet0/0/2",
            "0000:3b:00.2 is bound to i40e",
            "dpdk-devbind.py --bind=vfio-pci 0000:3b:00.2",
        ),
        (
            "x710",
            [("nic 0000:3b:00.3 8086:1572 0 vfio-pci\n", "")],
            "port TenGigabitEthernet0/0/3",
            "driver:i40e/3 is not there: this machine has 3",
            "usher platform show",
        ),
        (
            "c8500-12x",
            [("nic 0000:41:00.1 8086:1572 0 vfio-pci\n", "")],
            "port TenGigabitEthernet0/0/5",
            "0000:41:00.1 is no PCI device",
            "dpdk-devbind.py",
        ),
        ("mlx5", [("verbs\n", "")], "mlx5_ib", "verbs", "modprobe mlx5_ib"),
        (
            "af-xdp",
            [("igb eth1 1000 1", "igb eth1 1000 4")],
            "port GigabitEthernet0/0/0 (eth1)",
            "has 4 receive queues, 1 of them are read",
            "ethtool -L eth1 combined 1",
        ),
        (
            "af-xdp",
            [("igb eth1 1000 1", "igb eth9 1000 1")],
            "port GigabitEthernet0/0/0",
            "eth1 does not exist",
            "ip link",
        ),
    ] {
        let found = on(name, &change);
        let finding = only(&found, Level::Missing);
        assert!(
            finding.what == what && finding.problem.contains(problem) && finding.remedy.contains(remedy),
            "{finding:?}"
        );
    }
}

#[test]
fn what_costs_speed_is_told_apart() {
    for (name, change, what, problem, remedy) in [
        ("x710", ("vhost\n", ""), "/dev/vhost-net", "TAPs", "modprobe vhost-net"),
        (
            "x710",
            ("governor performance", "governor powersave"),
            "cores 1-4",
            "powersave",
            "scaling_governor",
        ),
        (
            "e810",
            ("isolated 12-15", "isolated 0-3"),
            "cores",
            "port TwentyFiveGigE0/0/0 is on NUMA node 1, its worker",
            "node 1",
        ),
    ] {
        let found = if name == "e810" {
            let mut profile = shipped(name);
            profile.worker.cores = platform::profile::Cores::List(vec![0, 1, 2, 3]);
            check(&profile, Tree::from(&description(name).replace(change.0, change.1)).path()).0
        } else {
            on(name, &[change])
        };
        let finding =
            found.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{found:?}"));
        assert!(
            finding.level == Level::Slow
                && finding.problem.contains(problem)
                && finding.remedy.contains(remedy),
            "{finding:?}"
        );
        assert!(name != "e810" || finding.problem.contains("at distance 21"), "{finding:?}");
    }
    let found = on("x710", &[("isolated 1-4\n", "")]);
    let remedies: Vec<&str> = found.iter().map(|finding| finding.remedy.as_str()).collect();
    assert!(
        remedies[0].contains("isolcpus=managed_irq,domain,1-4")
            && remedies[1].contains("nohz_full=1-4 rcu_nocbs=1-4")
    );
    // Whoever only asks needs not be root.
    let found = on("x710", &[("root\n", "")]);
    assert!(only(&found, Level::Slow).problem.contains("CAP_NET_ADMIN"));
}

#[test]
fn the_suggestion_takes_free_nics_and_leaves_the_one_with_routes() {
    let of =
        |text: &str| Profile::parse(&suggest(Tree::from(text).path()).unwrap(), Path::new("s.toml")).unwrap();
    let x710 = of(&description("x710"));
    let devices: Vec<String> = x710.port.iter().map(|port| port.device.to_string()).collect();
    assert_eq!(devices, ["pci:0000:3b:00.0", "pci:0000:3b:00.1", "pci:0000:3b:00.2", "pci:0000:3b:00.3"]);
    assert!(
        x710.eal.huge && x710.port.iter().all(|port| port.queues == 1 && port.interface.starts_with("Ten"))
    );
    let mlx5 = of(&description("mlx5"));
    assert_eq!((mlx5.port.len(), mlx5.port[0].queues, mlx5.port[0].attach), (2, 4, Attach::Bifurcated));
    assert_eq!(mlx5.port[0].device, Device::Netdev("enp59s0f0np0".into()));
    let vmware = of(&description("vmxnet3"));
    assert_eq!((vmware.port.len(), vmware.port[0].device.name()), (1, "0000:0b:00.0"));
    // Without an IOMMU a server's NIC stays with the kernel; so does the only NIC there is.
    let bare = description("ixgbe").replace("iommu\n", "").replace("vfio-pci\n", "ixgbe ens1 10000 8\n");
    let bare = of(&bare.lines().filter(|line| !line.contains("00.1")).collect::<Vec<_>>().join("\n"));
    assert_eq!((bare.port.len(), bare.port[0].attach, bare.eal.huge), (1, Attach::Bifurcated, false));
    let lone = of("cpus 1 2 1\nguest\nnic 0000:00:03.0 1af4:1041 -1 virtio-pci eth0 -1 1\nroute eth0\n");
    assert_eq!((lone.port[0].device.to_string().as_str(), lone.eal.huge), ("netdev:eth0", false));
    let none = suggest(Tree::from("cpus 1 2 1\n").path()).unwrap_err().to_string();
    assert!(none.contains("profiles/lab.toml"), "{none}");
}

#[test]
fn what_is_suggested_is_what_check_is_content_with() {
    for name in with_machines().into_iter().filter(|name| name != "af-xdp" && name != "mlx5") {
        let tree = Tree::named(&name);
        let profile = Profile::parse(&suggest(tree.path()).unwrap(), Path::new("s.toml")).unwrap();
        let missing: Vec<_> = check(&profile, tree.path())
            .0
            .into_iter()
            .filter(|finding| finding.level == Level::Missing)
            .collect();
        assert_eq!(missing, [], "{name}");
    }
}

#[test]
fn show_tells_nodes_cores_pages_and_nics() {
    let tree = Tree::named("c8500-12x");
    let machine = Machine::read(tree.path()).unwrap();
    assert_eq!((machine.nodes.len(), machine.physical_cores, machine.nics.len()), (2, 32, 13));
    let text = machine.render();
    for line in [
        "Physical cores  : 32",
        "Isolated        : 1-8,16-19",
        "NUMA node 1     : cores 16-31,48-63; distances 21 10; 512 of 512 pages of 2 MiB free",
        "0000:01:00.0    : Intel X710, XL710, XXV710, X722 [8086:1572] driver:i40e/0, node 0, bound to vfio-pci",
        "0000:c1:00.0    : Intel 82599, X540, X550 [8086:1563] driver:ixgbe/0, node 1, bound to ixgbe, interface mgmt0, 1000 Mbit/s, in use",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    assert_eq!(nics::all(tree.path()).len(), 13);
}
