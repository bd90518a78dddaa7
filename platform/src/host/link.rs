//! The kernel's network devices, through `ip` of iproute2: what is done here is what an operator can do by hand.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{HostError, PATIENCE};
use crate::profile::is_kernel_name;

/// Programs that libxdp, libbpf or DPDK put on a device for AF_XDP: a killed data plane leaves one behind.
const OWN_XDP: [&str; 4] = ["xsk_def_prog", "xsk_def_xdp_prog", "xdp_dispatcher", "xdp_sock_prog"];
/// More than any answer about one device.
const OUTPUT_MAX: u64 = 256 * 1024;

/// Runs `ip` with `arguments` and returns what it wrote, within five seconds.
///
/// # Errors
/// It is not installed, said no, or took too long.
pub fn ip(arguments: &[&str]) -> Result<String, HostError> {
    run("ip", "apt install iproute2", arguments)
}

fn run(program: &str, install: &str, arguments: &[&str]) -> Result<String, HostError> {
    let failed = |said: String, remedy: &str| HostError::Ip {
        command: format!("{program} {}", arguments.join(" ")),
        said: said.trim().replace('\n', " / "),
        remedy: remedy.to_owned(),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| failed(err.to_string(), install))?;
    // Both pipes are drained while it runs, or a long answer would block it.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Ok(None) => break Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Err(err) => break Err(err.to_string()),
        }
    };
    if status.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    match status {
        Ok(status) if status.success() => Ok(out),
        Ok(_) if err.contains("not permitted") => Err(failed(err, "run this as root or with CAP_NET_ADMIN")),
        Ok(_) => Err(failed(err, "check the device with `ip -d link`")),
        Err(said) => Err(failed(said, "run it by hand to see what holds it up")),
    }
}

/// What `ip -d -json link show` tells of a device; None when there is none of this name.
///
/// # Errors
/// The name cannot be one, or `ip` failed.
pub fn details(name: &str) -> Result<Option<Value>, HostError> {
    let arguments = ["-d", "-json", "link", "show", "dev", named(name)?];
    match ip(&arguments) {
        Ok(text) => {
            let list: Value = serde_json::from_str(&text).map_err(|err| HostError::Ip {
                command: format!("ip {}", arguments.join(" ")),
                said: format!("its answer is no JSON: {err}"),
                remedy: "install iproute2 5 or newer".into(),
            })?;
            Ok(list.get(0).filter(|device| device.is_object()).cloned())
        }
        Err(HostError::Ip { said, .. }) if said.contains("does not exist") => Ok(None),
        Err(err) => Err(err),
    }
}

/// Makes a persistent multi-queue TAP, or finds that there is one: addresses and macvlans on it outlive the data plane.
///
/// # Errors
/// A device of another kind has the name, or `ip` failed.
pub fn ensure_tap(name: &str) -> Result<(), HostError> {
    if details(name)?.is_none() {
        match ip(&["tuntap", "add", "dev", named(name)?, "mode", "tap", "multi_queue"]) {
            // Another process was faster: look at what it made.
            Err(HostError::Ip { said, .. }) if said.contains("busy") || said.contains("exists") => {}
            other => {
                other?;
            }
        }
    }
    let device = details(name)?.unwrap_or(Value::Null);
    let data = &device["linkinfo"]["info_data"];
    let is = |key: &str| data[key] == Value::Bool(true);
    if data["type"] == "tap" && is("multi_queue") && is("persist") {
        return Ok(());
    }
    Err(HostError::Device {
        user: "the exception device".into(),
        device: name.to_owned(),
        problem: "exists and is not a persistent multi-queue TAP".into(),
        remedy: format!("ip link del dev {name}, or name another in `exception`"),
    })
}

/// Makes a TAP the way back into the kernel for what was steered out of another interface: it sends nothing of its own, and
/// takes what the routes to its sources say comes elsewhere.
///
/// # Errors
/// `ip` failed, or /proc/sys is not writable.
pub fn way_back(name: &str) -> Result<(), HostError> {
    ip(&["link", "set", "dev", named(name)?, "addrgenmode", "none"])?;
    // Without any address the kernel would hold even loose filtering strictly: the dummy address of RFC 7600 section 4.8,
    // never a source, for its scope is the host.
    ip(&["address", "replace", "192.0.0.8/32", "dev", name, "scope", "host"])?;
    // Loose, whatever is set for all interfaces: the greater of both numbers holds.
    let path = Path::new("/proc/sys/net/ipv4/conf").join(name).join("rp_filter");
    std::fs::write(&path, "2").map_err(|err| HostError::System { path, reason: err.to_string() })
}

/// Takes back what [`way_back`] did that would keep a link-local address off the kernel's side of an owned port.
///
/// # Errors
/// `ip` failed.
pub fn own_side(name: &str) -> Result<(), HostError> {
    match details(name)? {
        Some(device) if device["inet6_addr_gen_mode"] == "none" => {
            ip(&["link", "set", "dev", named(name)?, "addrgenmode", "eui64"]).map(drop)
        }
        _ => Ok(()),
    }
}

/// Takes off the XDP program that a killed data plane left on a device. Nothing happens when there is none.
///
/// # Errors
/// A program of somebody else is there, named in the message; or `ip` failed.
pub fn xdp_off(name: &str) -> Result<(), HostError> {
    let Some(device) = details(name)? else { return Ok(()) };
    let Some(program) = xdp_program(&device) else { return Ok(()) };
    if !OWN_XDP.contains(&program) && !program.starts_with("usher") {
        return Err(HostError::Device {
            user: "the data plane".into(),
            device: name.to_owned(),
            problem: format!("carries a foreign XDP program ({program})"),
            remedy: format!("stop its owner, or: ip link set dev {name} xdp off"),
        });
    }
    ip(&["link", "set", "dev", name, "xdp", "off"]).map(drop)
}

fn xdp_program(device: &Value) -> Option<&str> {
    let xdp = device.get("xdp").filter(|xdp| xdp.is_object())?;
    Some(xdp["prog"]["name"].as_str().unwrap_or("without a name"))
}

/// Has a NIC leave VLAN tags in the frames that it receives: beside the frame, where it would put them, AF_XDP shows none.
///
/// # Errors
/// `ethtool` failed.
pub fn keep_tags(name: &str) -> Result<(), HostError> {
    run("ethtool", "apt install ethtool", &["-K", named(name)?, "rxvlan", "off"]).map(drop)
}

/// Sets the MTU, bytes.
///
/// # Errors
/// `ip` failed.
pub fn set_mtu(name: &str, mtu: u16) -> Result<(), HostError> {
    ip(&["link", "set", "dev", named(name)?, "mtu", &mtu.to_string()]).map(drop)
}

/// Sets the MAC address.
///
/// # Errors
/// `ip` failed.
pub fn set_mac(name: &str, mac: [u8; 6]) -> Result<(), HostError> {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    ip(&["link", "set", "dev", named(name)?, "address", &mac]).map(drop)
}

/// Sets the device up.
///
/// # Errors
/// `ip` failed.
pub fn up(name: &str) -> Result<(), HostError> {
    ip(&["link", "set", "dev", named(name)?, "up"]).map(drop)
}

/// Removes a device; that there is none is no error.
///
/// # Errors
/// `ip` failed.
pub fn delete(name: &str) -> Result<(), HostError> {
    match ip(&["link", "del", "dev", named(name)?]) {
        Err(HostError::Ip { said, .. }) if said.contains("Cannot find device") => Ok(()),
        other => other.map(drop),
    }
}

/// Only what is a name reaches the command line of `ip`.
fn named(name: &str) -> Result<&str, HostError> {
    if is_kernel_name(name) {
        return Ok(name);
    }
    Err(HostError::Device {
        user: "the configuration".into(),
        device: format!("{name:?}"),
        problem: "is no name of a network device".into(),
        remedy: "choose 1 to 15 letters, digits, `_`, `-` or `.`".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_details_and_an_absent_device_none() {
        assert_eq!(details("lo").unwrap().unwrap()["ifname"], "lo");
        assert!(details("usher-absent").unwrap().is_none());
        xdp_off("lo").unwrap();
        xdp_off("usher-absent").unwrap();
    }

    #[test]
    fn an_xdp_program_is_known_by_its_name() {
        let killed = r#"{"ifname":"v0","xdp":{"mode":1,"prog":{"id":371,"name":"xsk_def_prog","jited":1}}}"#;
        let killed: Value = serde_json::from_str(killed).unwrap();
        assert!(xdp_program(&killed).is_some_and(|name| OWN_XDP.contains(&name)));
        assert_eq!(xdp_program(&serde_json::json!({"xdp": {"mode": 1}})), Some("without a name"));
        assert_eq!(xdp_program(&serde_json::json!({"ifname": "v0"})), None);
    }

    #[test]
    fn nothing_but_a_name_reaches_the_command_line() {
        for name in ["", "-d", "a b", "a/b", "sixteen-letters-", "exc0;reboot", "ä"] {
            let err = set_mtu(name, 1500).unwrap_err().to_string();
            assert!(err.contains("no name of a network device"), "{name}: {err}");
        }
    }

    #[test]
    fn what_ip_says_is_in_the_error() {
        let err = up("usher-absent").unwrap_err().to_string();
        assert!(
            err.contains("`ip link set dev usher-absent up` failed: ") && err.contains("Cannot find device"),
            "{err}"
        );
        assert!(ensure_tap("lo").unwrap_err().to_string().contains("ip link del dev lo"));
    }
}
