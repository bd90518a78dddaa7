//! `crypto ikev2 cluster`.

use super::command::{Command, Effect, row};
use super::values::{add, address, indexed_key, number, secret, set};
use crate::config::builder::{Builder, Fault, Order};
use crate::config::mode::Mode;
use crate::config::model::{Cluster, IndexedKey, LoadSource, Probe, Selection, StaticGateway};
use crate::grammar::Matched;
use crate::types::is_link_local;
use Effect::{Now, Slip};
use Mode::{Cluster as C, Global as G};

/// The table.
pub(super) const TABLE: &[Command] = &[
    row(
        G,
        "crypto ikev2 cluster",
        "crypto ikev2 cluster",
        Now,
        "enter the submode of the load balancing cluster, making it where it is new",
        cluster,
    ),
    row(
        C,
        "holdtime HOLDTIME",
        "holdtime [HOLDTIME]",
        Now,
        "a member that is silent for so long is dead",
        |b, m, no| {
            b.cluster()?.holdtime = set(no, m.number("HOLDTIME"));
            Ok(())
        },
    ),
    row(
        C,
        "{primary|master} overload-limit LIMIT",
        "{primary|master} overload-limit [LIMIT]",
        Now,
        "load from which a gateway gets no more clients",
        |b, m, no| {
            b.cluster()?.overload_limit = set(no, m.number("LIMIT"));
            Ok(())
        },
    ),
    row(
        C,
        "{primary|master} weight {crypto-load|system-load} WEIGHT",
        "{primary|master} weight {crypto-load|system-load} [WEIGHT]",
        Now,
        "weight of a part of the load",
        weight,
    ),
    row(C, "{primary|master} {crypto-load|system-load} WEIGHT", "", Slip, "", |b, m, no| {
        weight(b, m, no)?;
        let role = if m.has("master") { "master" } else { "primary" };
        let load = if m.has("crypto-load") { "crypto-load" } else { "system-load" };
        let exact = format!("{role} weight {load} {}", number::<u8>(m, "WEIGHT")?);
        b.slip(m.column(load), &format!("\"weight\" is missing before \"{load}\""), &exact);
        Ok(())
    }),
    row(C, "port PORT", "port [PORT]", Now, "TCP port of the members' load reports", |b, m, no| {
        b.cluster()?.port = set(no, m.number("PORT"));
        Ok(())
    }),
    row(
        C,
        "{secondary|slave|subordinate} hello HELLOMS",
        "{secondary|slave|subordinate} hello [HELLOMS]",
        Now,
        "time between signs of life to the primary",
        |b, m, no| {
            b.cluster()?.hello = set(no, m.number("HELLOMS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} update UPDATEMS",
        "{secondary|slave|subordinate} update [UPDATEMS]",
        Now,
        "time between load reports to the primary",
        |b, m, no| {
            b.cluster()?.update = set(no, m.number("UPDATEMS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} max-session SESSIONS",
        "{secondary|slave|subordinate} max-session [SESSIONS]",
        Now,
        "IKE and IPsec SAs that are a full load; mandatory; leave 10-20 % of it for SAs in rekey and retransmission",
        |b, m, no| {
            b.cluster()?.max_session = set(no, m.number("SESSIONS"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} priority SHARE",
        "{secondary|slave|subordinate} priority [SHARE]",
        Now,
        "this node's share of the clients: 50 counts a load twice",
        |b, m, no| {
            b.cluster()?.priority = set(no, m.number("SHARE"));
            Ok(())
        },
    ),
    row(
        C,
        "{secondary|slave|subordinate} load-normalization NORMALIZATION",
        "{secondary|slave|subordinate} load-normalization [NORMALIZATION]",
        Now,
        "gateways whose loads differ by so little share the clients",
        |b, m, no| {
            b.cluster()?.load_normalization = set(no, m.number("NORMALIZATION"));
            Ok(())
        },
    ),
    row(
        C,
        "standby-group NAME",
        "standby-group [NAME]",
        Now,
        "HSRP group whose address is the cluster's; may be repeated",
        |b, m, no| {
            let groups = &mut b.cluster()?.standby_groups;
            match (no, m.text("NAME")) {
                (true, None) => groups.clear(),
                (true, Some(name)) => groups.retain(|group| *group != name),
                (false, Some(name)) => add(groups, name),
                (false, None) => {}
            }
            Ok(())
        },
    ),
    row(
        C,
        "member ADDRESS",
        "member [ADDRESS]",
        Now,
        "an address that a member may report from; without any, every address on the link may",
        |b, m, no| {
            let members = &mut b.cluster()?.members;
            match m.address("ADDRESS") {
                Some(address) if !no => drop(members.insert(address)),
                Some(address) => drop(members.remove(&address)),
                None => members.clear(),
            }
            Ok(())
        },
    ),
    row(
        C,
        "static-gateway ADDRESS [priority SHARE] [probe [interval PROBEMS] [up UP] [down DOWN]]",
        "static-gateway ADDRESS [priority [SHARE] [probe [LINE]]|probe [LINE]]",
        Now,
        "a gateway that reports no load, and whether its health is probed",
        |b, m, no| {
            let address = address(m, "ADDRESS")?;
            if is_link_local(&address) {
                return Err(Fault::at(
                    "ADDRESS",
                    format!("{address} is link-local, clients cannot reach it: use a global address"),
                ));
            }
            let gateways = &mut b.cluster()?.static_gateways;
            // `no` with the probe alone leaves the gateway.
            match (no, m.has("probe") && (!no || !m.has("priority"))) {
                (true, false) => {
                    gateways.remove(&address);
                }
                (true, true) => {
                    gateways.entry(address).and_modify(|gateway| gateway.probe = None);
                }
                (false, probed) => {
                    let default = Probe::default();
                    let probe = Probe {
                        interval: m.number("PROBEMS").unwrap_or(default.interval),
                        up: m.number("UP").unwrap_or(default.up),
                        down: m.number("DOWN").unwrap_or(default.down),
                    };
                    let priority = m.number("SHARE").unwrap_or(Cluster::PRIORITY);
                    gateways.insert(address, StaticGateway { priority, probe: probed.then_some(probe) });
                }
            }
            let most = platform::snapshot::MAX_GATEWAYS;
            if gateways.keys().filter(|other| other.is_ipv4() == address.is_ipv4()).count() > most {
                return Err(Fault::at(
                    "ADDRESS",
                    format!("{most} gateways of a family is the most: take one out with `no static-gateway`"),
                ));
            }
            Ok(())
        },
    ),
    row(
        C,
        "key KEY",
        "key [KEY]",
        Now,
        "key that authenticates and encrypts the load feed, the same on all nodes",
        |b, m, no| {
            let text = m.text("KEY").unwrap_or_default();
            let keys = &mut b.cluster()?.keys;
            match (no, text.parse::<u8>().ok().filter(|index| keys.contains_key(index))) {
                (true, Some(index)) => drop(keys.remove(&index)),
                (true, None) => keys.clear(),
                (false, _) => *keys = [(1, IndexedKey { key: secret("KEY", text)?, active: true })].into(),
            }
            Ok(())
        },
    ),
    row(
        C,
        "key KEYINDEX {[active] KEY|ACTIVEKEY active}",
        "key KEYINDEX {[active] KEY|ACTIVEKEY active}",
        Now,
        "one of two keys of the load feed: the active one is used, the other one is accepted as well",
        |b, m, no| indexed_key(b, m, no, |b| Ok(&mut b.cluster()?.keys), "is accepted as well"),
    ),
    row(
        C,
        "max-nodes NODES",
        "max-nodes [NODES]",
        Now,
        "nodes of the cluster, this one among them",
        |b, m, no| {
            b.cluster()?.max_nodes = set(no, m.number("NODES"));
            Ok(())
        },
    ),
    row(
        C,
        "selection {spread|strict}",
        "selection [spread|strict]",
        Now,
        "share the clients among the least loaded gateways, or send all to the least loaded one",
        |b, m, no| {
            let selection = if m.has("strict") { Selection::Strict } else { Selection::Spread };
            b.cluster()?.selection = set(no, Some(selection));
            Ok(())
        },
    ),
    row(
        C,
        "load-source {vici [SOCKET]|whack [PROGRAM]|script SCRIPT|fixed half-open SAS ike IKESAS child CHILDSAS [cpu CPU mem MEM]}",
        "load-source [LINE]",
        Now,
        "where this node's load comes from: strongSwan, libreswan, a script or fixed numbers; programs run as user usher-load and only from paths that root alone can change",
        load_source,
    ),
    row(
        C,
        "drain pace PACE",
        "drain pace [PACE]",
        Now,
        "sessions that a drain moves away in a minute",
        |b, m, no| {
            b.cluster()?.drain_pace = set(no, m.number("PACE"));
            Ok(())
        },
    ),
    row(C, "fqdn NAME", "fqdn [NAME]", Now, "this node's name in show; no redirect names it", |b, m, no| {
        b.cluster()?.fqdn = set(no, m.text("NAME"));
        Ok(())
    }),
    row(C, "shutdown", "shutdown", Now, "take the cluster down", |b, _, no| {
        b.cluster()?.shutdown = !no;
        b.orders.push(Order::ClusterShutdown(!no));
        Ok(())
    }),
];

fn cluster(b: &mut Builder, _: &Matched, no: bool) -> Result<(), Fault> {
    if no {
        b.config.cluster = None;
        return b.leave();
    }
    b.enter_cluster()
}

fn load_source(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let path = |name: &'static str| match m.text(name) {
        Some(path) if !path.starts_with('/') => {
            Err(Fault::at(name, format!("\"{path}\" is no absolute path: write it from / on")))
        }
        path => Ok(path),
    };
    let source = if no {
        None
    } else if m.has("vici") {
        Some(LoadSource::Vici(path("SOCKET")?))
    } else if m.has("whack") {
        Some(LoadSource::Whack(path("PROGRAM")?))
    } else if m.has("script") {
        path("SCRIPT")?.map(LoadSource::Script)
    } else {
        Some(LoadSource::Fixed {
            half_open: number(m, "SAS")?,
            ike: number(m, "IKESAS")?,
            child: number(m, "CHILDSAS")?,
            cpu: m.number("CPU"),
            mem: m.number("MEM"),
        })
    };
    b.cluster()?.load_source = source;
    Ok(())
}

fn weight(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let weight = set(no, m.number("WEIGHT"));
    let cluster = b.cluster()?;
    if m.has("crypto-load") {
        cluster.weight_crypto = weight;
    } else {
        cluster.weight_system = weight;
    }
    Ok(())
}
