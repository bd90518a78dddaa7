//! Interfaces, subinterfaces and router advertisements.

use super::super::health::assess;
use super::{error, loaded, rendered};
use crate::config::*;

#[test]
fn a_subinterface_has_one_vlan_and_its_port_has_it_once() {
    let text = "interface te0/0/0.5\n encapsulation dot1q 100\n description customers\n ip address 10.0.0.1 255.255.255.0\n";
    let config = loaded(text).config;
    let running = render(&config, Keys::Shown);
    let part =
        "interface TenGigabitEthernet0/0/0.5\n description customers\n encapsulation dot1Q 100\n ip address ";
    assert!(running.contains(part), "{running}");
    let without = loaded(&format!("{text} no encapsulation dot1Q 100\n standby 1 ip 10.0.0.9\n")).config;
    let plan = assess(&without, None);
    assert_eq!(
        plan.groups[0].down,
        ["TenGigabitEthernet0/0/0.5 has no VLAN: add `encapsulation dot1Q VLAN` under it"]
    );
    assert!(plan.warnings[0].contains("nothing under it is in force"), "{:?}", plan.warnings);
    for (lines, message) in [
        ("interface te0/0/0.6\n encapsulation dot1Q 100\n", "TenGigabitEthernet0/0/0.5 has VLAN 100 already"),
        ("interface te0/0/0.6\n encapsulation dot1Q 0\n", "the VLAN is 1 to 4094"),
        ("interface te0/0/0.6\n encapsulation dot1Q 4095\n", "the VLAN is 1 to 4094"),
        ("interface te0/0/0.6\n encapsulation dot1Q 7 native\n", "configure VLAN 7 on the interface itself"),
        ("interface te0/0/0.6\n encapsulation dot1Q 7 second-dot1q 8\n", "two tags is not supported"),
        (
            "interface te0/0/0\n encapsulation dot1Q 7\n",
            "under a subinterface, as `interface TenGigabitEthernet0/0/0.7`",
        ),
        ("interface Loopback0.1\n", "Loopback has no subinterfaces"),
        ("encapsulation dot1Q 7\n", "this line belongs under `interface"),
    ] {
        let said = error(&format!("{text}!\nexit\n{lines}"));
        assert!(said.contains(message), "{lines}{said}");
    }
    let two = "interface te0/0/1.6\n encapsulation dot1Q 100\ninterface te0/0/0.5\n encapsulation dot1Q 7\n encapsulation dot1Q 100\n";
    assert_eq!(
        loaded(&format!("{text}{two}")).config.interfaces.len(),
        2,
        "another port has its own VLAN 100"
    );
}

#[test]
fn a_shutdown_of_the_interface_keeps_its_subinterfaces_down() {
    let text = "interface te0/0/0\n shutdown\ninterface te0/0/0.5\n encapsulation dot1Q 100\n ip address 10.0.0.1 255.255.255.0\n \
                standby 1 ip 10.0.0.9\n";
    let down = |text: &str| assess(&loaded(text).config, None).groups.remove(0).down;
    assert_eq!(
        down(text),
        ["TenGigabitEthernet0/0/0 is shut down, and its subinterfaces with it: enter `no shutdown` under it"]
    );
    assert_eq!(down(&format!("{text} exit\ninterface te0/0/0\n no shutdown\n")), [""; 0]);
}

#[test]
fn router_advertisements_are_asked_for() {
    assert_eq!(rendered(&["standby version 2"]), ["standby version 2"]);
    assert_eq!(rendered(&["ipv6 nd ra lifetime 1800"]), ["ipv6 nd ra lifetime 1800"]);
    assert!(rendered(&["ipv6 nd ra lifetime 1800", "no ipv6 nd ra lifetime"]).is_empty());
    assert!(rendered(&["ipv6 nd ra lifetime 0"]).is_empty(), "the default");
    assert_eq!(rendered(&["ipv6 nd ra suppress all"]), ["ipv6 nd ra suppress all"]);
    assert_eq!(rendered(&["ipv6 nd ra suppress all", "ipv6 nd ra suppress"]), ["ipv6 nd ra suppress"]);
    assert!(rendered(&["ipv6 nd ra suppress", "no ipv6 nd ra suppress"]).is_empty());
}
