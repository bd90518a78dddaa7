//! Messages in and out, and the sockets for them.

use super::listeners::{Outcome, Place};
use super::role::{Phase, Refused, Role};
use super::runner::{FEW_LINES, Runner};
use crate::config::Interface;
use crate::hsrp::address::{AddressError, check_learned, check_source};
use crate::hsrp::machine::Event;
use crate::hsrp::message::{Message, State};
use crate::hsrp::packet::{self, MAX_LEN, Transport};
use crate::hsrp::ra::is_solicitation;
use crate::net::{announce, probe};
use crate::show::standby::dotted_mac;
use crate::types::{GroupKey, Nanos, PortIndex, Prefix, nanos};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

/// Messages read from one socket before anything else has its turn.
const BUDGET: usize = 64;
/// Between two readings of the sockets: a flood costs no more turns than this allows.
const READ_INTERVAL: Duration = Duration::from_millis(1);
/// A group that gives its addresses up holds no more messages back than this.
const MAX_HELD: usize = 8;

impl Runner {
    /// Sends a message, or holds it back while the addresses are being given up, so that a resign says no less than the
    /// truth.
    pub(super) fn post(&mut self, key: &GroupKey, message: Message, source: IpAddr, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        // Without a data plane that carries the port's frames nothing leaves; and from the queue of one that stands
        // still it would leave when that one wakes, and be a lie by then.
        if !role.carried || role.wedged.is_some() {
            return;
        }
        if matches!(role.phase, Phase::Withdrawing { .. } | Phase::Clearing(_)) {
            if role.held.len() == MAX_HELD {
                role.held.remove(0);
            }
            role.held.push((message, source));
            return;
        }
        self.send(key, &message, source, now);
    }

    /// Sends a message from `source`: the interface may have another address by now than when it was held back.
    pub(super) fn send(&mut self, key: &GroupKey, message: &Message, source: IpAddr, now: Nanos) {
        let Some(role) = self.roles.get(key) else { return };
        let (Some(machine), Some(transport)) = (&role.machine, role.transport()) else { return };
        let Some((exception, macvlan)) = self.settings.devices(&role.plan) else { return };
        let payload = match packet::emit(message, &role.auth, source) {
            Ok(payload) => payload,
            Err(error) => {
                if self.may_log("HSRP-3-MESSAGE", key, FEW_LINES, now) {
                    tracing::error!("%HSRP-3-MESSAGE: {key}: cannot be sent: {error}");
                }
                return;
            }
        };
        let (device, mac) = match machine.owns() {
            true => (macvlan, role.mac()),
            false => (exception.clone(), self.links.mac(&exception).unwrap_or_default()),
        };
        let out = |device: &str| {
            let to = self.links.packet(device).ok_or(ErrorKind::NotFound)?;
            self.sender.send(&to, transport, mac, source, &payload)
        };
        let sent = out(&device);
        // A macvlan that is only just being made: the hello must leave all the same.
        let again = sent.is_err().then(|| out(&exception));
        if self.debug.packets && self.debug_line(now) {
            tracing::info!("HSRP: {key} {} out from {device}", line(message));
        }
        if let Err(error) = sent
            && again.is_some_and(|again| again.is_err())
            && self.may_log("HSRP-4-SEND", key, FEW_LINES, now)
        {
            tracing::warn!("%HSRP-4-SEND: {key}: {device}: {error}: see `ip link show {exception}`");
        }
    }

    /// Has the sockets that are missing opened, and those that are not wanted closed.
    pub(super) fn listen(&mut self) {
        let mut wanted: BTreeMap<Place, String> = BTreeMap::new();
        for role in self.roles.values().filter(|role| role.plan.down.is_empty()) {
            let (Some(transport), Some((exception, macvlan)), Some(port)) =
                (role.transport(), self.settings.devices(&role.plan), role.plan.port)
            else {
                continue;
            };
            // The other version of IPv4 too, to tell the operator of a router that speaks it.
            let other = match transport {
                Transport::V1 => Some(Transport::V2),
                Transport::V2 => Some(Transport::V1),
                Transport::V2Ipv6 => None,
            };
            for transport in [Some(transport), other].into_iter().flatten() {
                wanted.insert(Place::Messages(port, transport), exception.clone());
            }
            if role.router.is_some() {
                wanted.insert(Place::Hosts(role.plan.key.clone()), macvlan);
            }
        }
        self.listeners.follow(wanted, &self.links, &self.outcomes.0);
    }

    /// Takes what a thread beside the loop has done.
    pub(super) fn outcome(&mut self, outcome: Outcome, now: Nanos) {
        match outcome {
            Outcome::Probed(key, address, holder) => self.probed(&key, address, holder, now),
            Outcome::Opened(place, device, open) => {
                if let Err((place, error)) = self.listeners.take(place, open) {
                    self.not_opened(&place, &device, &error, now);
                }
            }
        }
    }

    fn not_opened(&mut self, place: &Place, device: &str, error: &std::io::Error, now: Nanos) {
        match place {
            Place::Messages(_, transport) => {
                if self.limits.allow("HSRP-3-SOCKET", device, FEW_LINES, now) {
                    tracing::error!(
                        "%HSRP-3-SOCKET: {device}: port {}: {error}: no election is possible there; trying again",
                        transport.port()
                    );
                }
            }
            Place::Hosts(key) => {
                if self.may_log("HSRP-4-HOSTS", key, FEW_LINES, now) {
                    tracing::warn!(
                        "%HSRP-4-HOSTS: {key}: {device}: {error}: hosts that ask for a router wait for the next \
                         advertisement; trying again"
                    );
                }
            }
        }
    }

    /// Reads what has come, within bounds.
    pub(super) fn receive(&mut self, now: Nanos) {
        let mut buffer = [0; MAX_LEN + 1];
        let open = self.listeners.lend();
        let mut read = 0;
        for (place, socket) in &open {
            for _ in 0..BUDGET {
                let Some(heard) = socket.read(&mut buffer) else { break };
                read += 1;
                let payload = &buffer[..heard.len.min(MAX_LEN + 1)];
                match place {
                    Place::Messages(port, transport) => {
                        self.receive_message(*port, *transport, heard.source, heard.hop_limit, payload, now);
                    }
                    Place::Hosts(key) => {
                        let payload = &payload[..payload.len().min(MAX_LEN)];
                        if let IpAddr::V6(source) = heard.source
                            && is_solicitation(payload, source, heard.hop_limit)
                            && let Some(router) =
                                self.roles.get_mut(key).and_then(|role| role.router.as_mut())
                        {
                            // No two clocks agree to the nanosecond: their phase is as good as a random number.
                            router.solicited(now, now.get());
                        }
                    }
                }
            }
        }
        self.listeners.give_back(open);
        if read > 0 {
            self.read_at = now + READ_INTERVAL;
        }
    }

    fn receive_message(
        &mut self,
        port: PortIndex,
        transport: Transport,
        source: IpAddr,
        hop_limit: u8,
        payload: &[u8],
        now: Nanos,
    ) {
        let checked = transport.check(source, hop_limit);
        // Only a router of the link, by an address of its own, has a part in its elections.
        if checked.is_ok()
            && let Err(error) = check_source(source, self.subnets(port), self.virtuals(port, None))
        {
            *self.refused.entry((port, error.name())).or_default() += 1;
            if self.debug.errors && self.debug_line(now) {
                tracing::info!("HSRP: source address {source} {error}");
            }
            return;
        }
        let parsed = checked.and_then(|()| packet::parse(payload, transport));
        let settings = self.settings.clone();
        let Some((interface, configured)) = settings.interface(port) else { return };
        let version = configured.map_or(1, Interface::version);
        if transport.version() != version {
            *self.refused.entry((port, "other-version")).or_default() += 1;
            if parsed.is_ok() {
                self.other_version.insert(port, (source, transport.version(), now));
            }
            let place = settings.ports[port.get()].exception.as_deref().unwrap_or_default();
            if parsed.is_ok() && self.limits.allow("HSRP-4-VERSION", place, FEW_LINES, now) {
                tracing::warn!(
                    "%HSRP-4-VERSION: {interface}: {source} speaks version {}, this node version {version}: neither \
                     hears the other; enter the same `standby version` on both",
                    transport.version()
                );
            }
            return;
        }
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                *self.refused.entry((port, error.name())).or_default() += 1;
                if self.debug.errors && self.debug_line(now) {
                    tracing::info!("HSRP: from {source} on {interface}: {error}");
                }
                return;
            }
        };
        let key =
            GroupKey { interface: interface.clone(), group: parsed.group(), family: transport.family() };
        let Some(role) = self.roles.get_mut(&key).filter(|role| role.machine.is_some()) else {
            *self.refused.entry((port, "unknown-group")).or_default() += 1;
            return;
        };
        let active = parsed.claimed().state == State::Active;
        match parsed.authenticate(&role.auth, source, now) {
            Ok(received) => {
                if role.machine.as_ref().is_some_and(|machine| machine.config().own == source) {
                    // The machine names the duplicate.
                    role.refuse(AddressError::Own.name());
                }
                if self.debug.packets && self.debug_line(now) {
                    tracing::info!("HSRP: {key} {} in from {source}", line(&received.message));
                }
                self.handle(&key, Event::Received(received), now);
            }
            Err(error) => {
                role.refuse(error.name());
                role.last_refused = Some(Refused { source, active, reason: error.to_string(), at: now });
                if self.debug.errors && self.debug_line(now) {
                    tracing::info!("HSRP: {key} from {source}: {error}");
                } else if self.may_log("HSRP-4-BADAUTH", &key, FEW_LINES, now) {
                    tracing::warn!("%HSRP-4-BADAUTH: {key}: from {source}: {error}");
                }
            }
        }
    }

    /// The subnets of the interface on a port.
    fn subnets(&self, port: PortIndex) -> impl Iterator<Item = Prefix> {
        let interface = self.settings.interface(port).and_then(|(_, interface)| interface);
        interface.into_iter().flat_map(Interface::addresses)
    }

    /// The virtual addresses of the groups on a port, but for those of the group `except`.
    fn virtuals(&self, port: PortIndex, except: Option<&GroupKey>) -> impl Iterator<Item = IpAddr> {
        let on_port = move |role: &&Role| role.plan.port == Some(port) && Some(&role.plan.key) != except;
        self.roles
            .values()
            .filter(on_port)
            .flat_map(|role| role.addresses().into_iter().chain(role.link_local()))
    }

    /// Checks a virtual address that is to be learned, and has the link probed for another host that has it.
    pub(super) fn probe(&mut self, key: &GroupKey, address: IpAddr, now: Nanos) {
        let Some(role) = self.roles.get(key) else { return };
        let (Some(port), Some((exception, _))) = (role.plan.port, self.settings.devices(&role.plan)) else {
            return;
        };
        let peers = role.machine.iter().flat_map(|machine| [machine.active(), machine.standby()]);
        let routers = peers.flatten().map(|peer| peer.source);
        let own = self.settings.config.own_addresses();
        let checked =
            check_learned(address, self.subnets(port), own, self.virtuals(port, Some(key)), routers);
        let (mac, outcomes, of) = (role.mac(), self.outcomes.0.clone(), key.clone());
        let link = self.links.packet(&exception);
        match (checked, address) {
            (Ok(()), IpAddr::V4(host)) => drop(tokio::task::spawn_blocking(move || {
                let absent = || std::io::Error::new(ErrorKind::NotFound, format!("no device {exception}"));
                let holder = link.ok_or_else(absent).and_then(|link| probe::holder(&link, host, mac));
                // The loop may have ended.
                let _ = outcomes.blocking_send(Outcome::Probed(of, address, holder));
            })),
            (Err(error), _) => self.not_learned(key, address, &error.to_string(), now),
            (Ok(()), IpAddr::V6(_)) => {}
        }
    }

    /// Gives a group the outcome of its probe.
    fn probed(
        &mut self,
        key: &GroupKey,
        address: IpAddr,
        holder: std::io::Result<Option<[u8; 6]>>,
        now: Nanos,
    ) {
        match holder {
            Ok(None) => drop(self.handle(key, Event::Probed { address, free: true }, now)),
            Ok(Some(mac)) => {
                let reason = format!("is in use by the host with MAC {}", dotted_mac(mac));
                self.not_learned(key, address, &reason, now);
            }
            Err(error) => self.not_learned(key, address, &format!("cannot be probed: {error}"), now),
        }
    }

    fn not_learned(&mut self, key: &GroupKey, address: IpAddr, reason: &str, now: Nanos) {
        if self.may_log("HSRP-4-NOTLEARNED", key, FEW_LINES, now) {
            tracing::warn!(
                "%HSRP-4-NOTLEARNED: {key}: virtual address {address} of the active router {reason}: not learned; \
                 check that router, or enter `standby {} ip ADDRESS`",
                key.group
            );
        }
        self.handle(key, Event::Probed { address, free: false }, now);
    }

    /// Announces a group's addresses from its macvlan.
    pub(super) fn announce(&mut self, key: &GroupKey) {
        let Some(role) = self.roles.get(key) else { return };
        let mut addresses = role.addresses();
        addresses.extend(role.link_local().filter(|link_local| !role.addresses().contains(link_local)));
        let frames = addresses.into_iter().map(|address| announce::announcement(role.mac(), address));
        self.send_frames(key, frames.collect());
    }

    /// The last advertisement, before the resign: the next router advertises the same address and is to have the last
    /// word.
    pub(super) fn last_advertisement(&mut self, key: &GroupKey) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let heard = role.router.take().is_some() && role.plan.ra.lifetime > 0;
        if heard && role.carried {
            self.advertise(key, 0);
        }
    }

    /// Advertises an IPv6 group as a router for `lifetime` seconds.
    pub(super) fn advertise(&mut self, key: &GroupKey, lifetime: u16) {
        let Some(role) = self.roles.get(key) else { return };
        let Some(IpAddr::V6(address)) = role.link_local() else { return };
        let lifetime = Duration::from_secs(lifetime.into());
        let frame = announce::router_advertisement(role.mac(), address, lifetime);
        self.send_frames(key, vec![frame]);
    }

    fn send_frames(&mut self, key: &GroupKey, frames: Vec<Vec<u8>>) {
        let Some((_, device)) = self.roles.get(key).and_then(|role| self.settings.devices(&role.plan)) else {
            return;
        };
        let to = self.links.packet(&device).ok_or(std::io::Error::from(ErrorKind::NotFound));
        let sent = to.and_then(|to| frames.iter().try_for_each(|frame| self.sender.send_frame(&to, frame)));
        if let Err(error) = sent
            && self.may_log("HSRP-4-ANNOUNCE", key, FEW_LINES, nanos::now())
        {
            tracing::warn!("%HSRP-4-ANNOUNCE: {key}: {device}: {error}: see `ip link show {device}`");
        }
    }
}

fn line(message: &Message) -> String {
    let Message { opcode, state, priority, hello, hold, .. } = message;
    format!("{opcode:?} {} pri {priority} hello {hello:?} hold {hold:?}", state.name())
}
