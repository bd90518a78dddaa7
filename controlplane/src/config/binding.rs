//! Which port of the data plane an interface of the configuration is. The platform profile binds interfaces to ports and
//! lists VLANs; a subinterface says by `encapsulation dot1Q` which of them it is.

use super::{Config, IfName};
use crate::types::PortIndex;
use platform::profile::{Attach, Profile};

/// The interfaces of a profile, by the numbers that the data plane gives their ports.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    bound: Vec<Bound>,
}

#[derive(Clone, Debug)]
struct Bound {
    /// `None`: no name that the configuration knows, and bound to nothing
    interface: Option<IfName>,
    vlan: Option<u16>,
    attach: Attach,
    device: String,
}

impl Binding {
    /// Binding of interface names to a profile's ports.
    #[must_use]
    pub fn new(profile: &Profile) -> Binding {
        let of_port = |port: usize, vlan, device: Option<&str>| {
            let port = &profile.port[port];
            let interface = IfName::parse(&port.interface).ok();
            Bound { interface, vlan, attach: port.attach, device: device.unwrap_or_default().to_owned() }
        };
        let ports =
            (0..profile.port.len()).map(|port| of_port(port, None, profile.port[port].kernel_device()));
        let subinterfaces =
            profile.subinterfaces().map(|of| of_port(of.port, Some(of.vlan), Some(&of.exception)));
        Binding { bound: ports.chain(subinterfaces).collect() }
    }

    /// The number of an interface's port.
    #[must_use]
    pub fn port(&self, config: &Config, name: &IfName) -> Option<PortIndex> {
        match name.parent() {
            None => self.find(name, None).map(PortIndex::new),
            Some(parent) => {
                self.find(&parent, Some(config.interfaces.get(name)?.encapsulation?)).map(PortIndex::new)
            }
        }
    }

    /// The interface that a port is: of a VLAN's, the subinterface that has the VLAN.
    #[must_use]
    pub fn name(&self, config: &Config, port: PortIndex) -> Option<IfName> {
        let Bound { interface, vlan, .. } = self.bound.get(port.get())?;
        let interface = interface.as_ref()?;
        match vlan {
            None => Some(interface.clone()),
            Some(vlan) => subinterface(config, interface, *vlan).cloned(),
        }
    }

    /// Why a configuration with this interface cannot be in force with this profile.
    #[must_use]
    pub fn refusal(&self, config: &Config, name: &IfName) -> Option<String> {
        let port = name.parent().unwrap_or_else(|| name.clone());
        let Some(at) = self.find(&port, None) else {
            let whose = if port == *name { "" } else { ", whose subinterface it is" };
            return Some(format!(
                "no port of the platform profile is bound to {port}{whose}: add a [[port]] with interface = \"{port}\", or \
                 name one that it has"
            ));
        };
        let vlan = config.interfaces.get(name)?.encapsulation.filter(|_| port != *name)?;
        if self.find(&port, Some(vlan)).is_some() {
            return None;
        }
        let listed = self.bound.iter().filter(|bound| bound.interface.as_ref() == Some(&port));
        let mut wanted: Vec<u16> = listed.filter_map(|bound| bound.vlan).collect();
        wanted.push(vlan);
        Some(match self.bound[at].attach {
            Attach::Owned => format!(
                "the platform profile lists no VLAN {vlan} for {port}: set vlans = {wanted:?} in its [[port]], then restart \
                 usher-dataplane and usherd"
            ),
            Attach::Bifurcated => format!(
                "the kernel keeps {port} (attach = \"bifurcated\"), and its own VLAN devices with it: let the switch hand VLAN \
                 {vlan} over untagged, or set attach = \"owned\" and vlans = [{vlan}] in the platform profile"
            ),
        })
    }

    /// The profile's VLANs that no subinterface has.
    #[must_use]
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let idle = self.bound.iter().filter_map(|bound| {
            let (interface, vlan) = (bound.interface.as_ref()?, bound.vlan?);
            subinterface(config, interface, vlan).is_none().then(|| {
                format!(
                    "the platform profile lists VLAN {vlan} for {interface}, and no subinterface has it: its frames end on {} \
                     without an address; add `encapsulation dot1Q {vlan}` under `interface {}`, or take it out of `vlans`",
                    bound.device,
                    free(config, interface, vlan)
                )
            })
        });
        idle.collect()
    }

    fn find(&self, interface: &IfName, vlan: Option<u16>) -> Option<usize> {
        self.bound.iter().position(|bound| bound.interface.as_ref() == Some(interface) && bound.vlan == vlan)
    }
}

fn subinterface<'a>(config: &'a Config, interface: &IfName, vlan: u16) -> Option<&'a IfName> {
    let mut of = config.interfaces.iter().filter(|(_, of)| of.encapsulation == Some(vlan));
    of.find(|(name, _)| name.parent().as_ref() == Some(interface)).map(|(name, _)| name)
}

/// A subinterface for a VLAN: the one of its number, unless another VLAN has that.
fn free(config: &Config, interface: &IfName, vlan: u16) -> IfName {
    let taken = |name: &IfName| config.interfaces.get(name).is_some_and(|of| of.encapsulation.is_some());
    let mut names = (u32::from(vlan)..).map(|number| interface.subinterface(number));
    names.find(|name| !taken(name)).unwrap_or_else(|| interface.subinterface(vlan.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use std::path::Path;

    fn binding(keys: &str) -> Binding {
        let port = |number: u8, keys: &str| {
            format!("[[port]]\ninterface = \"Te0/0/{number}\"\ndevice = \"netdev:eth{number}\"\n{keys}\n")
        };
        let text = port(0, keys) + &port(1, "");
        Binding::new(&Profile::parse(&text, Path::new("p.toml")).unwrap())
    }

    fn config(text: &str) -> Config {
        parse(text).unwrap().config
    }

    fn name(text: &str) -> IfName {
        IfName::parse(text).unwrap()
    }

    #[test]
    fn a_subinterface_is_the_port_of_its_vlan_whatever_its_number() {
        let binding = binding("vlans = [100, 200]");
        let config = config("interface Te0/0/0.5\n encapsulation dot1Q 200\ninterface Te0/0/1\n");
        assert_eq!(binding.port(&config, &name("Te0/0/0")), Some(PortIndex::new(0)));
        assert_eq!(binding.port(&config, &name("Te0/0/1")), Some(PortIndex::new(1)));
        assert_eq!(binding.port(&config, &name("Te0/0/0.5")), Some(PortIndex::new(3)));
        assert_eq!(binding.port(&config, &name("Te0/0/0.100")), None);
        assert_eq!(binding.port(&config, &name("Te0/0/2")), None);
        assert_eq!(binding.name(&config, PortIndex::new(3)), Some(name("Te0/0/0.5")));
        assert_eq!(
            (binding.name(&config, PortIndex::new(0)), binding.name(&config, PortIndex::new(2))),
            (Some(name("Te0/0/0")), None)
        );
        let [warning] = &binding.warnings(&config)[..] else { panic!("one VLAN has no subinterface") };
        assert!(
            warning.contains("VLAN 100 for TenGigabitEthernet0/0/0, and no subinterface")
                && warning.contains("exc0.100")
                && warning.contains("under `interface TenGigabitEthernet0/0/0.100`"),
            "{warning}"
        );
    }

    #[test]
    fn what_the_profile_does_not_have_is_named_with_the_remedy() {
        let text = "interface Te0/0/0.100\n encapsulation dot1Q 300\ninterface Te0/0/7.1\n encapsulation dot1Q 1\n\
                    interface Te0/0/1.1\n";
        let config = config(text);
        let owned = binding("vlans = [100]");
        let refusal = |binding: &Binding, of: &str| binding.refusal(&config, &name(of)).unwrap_or_default();
        assert!(refusal(&owned, "Te0/0/0.100").contains("set vlans = [100, 300] in its [[port]]"));
        assert!(
            refusal(&owned, "Te0/0/7.1")
                .contains("bound to TenGigabitEthernet0/0/7, whose subinterface it is")
        );
        assert_eq!(refusal(&owned, "Te0/0/1.1"), "", "it has no VLAN yet: that is told elsewhere");
        assert!(refusal(&owned, "Te0/0/2").contains("interface = \"TenGigabitEthernet0/0/2\""));
        let shared = binding("attach = \"bifurcated\"");
        assert!(
            refusal(&shared, "Te0/0/0.100")
                .contains("hand VLAN 300 over untagged, or set attach = \"owned\"")
        );
    }
}
