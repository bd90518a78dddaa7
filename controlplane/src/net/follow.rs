//! The reconciler's knowledge of the kernel: lists, and the events since.

use super::device::{BACKOFF, Device, Wanted};
use super::engine::{Engine, MOST_REPAIRS};
use super::events::Event;
use super::links::{Link, LinkTable};
use super::wanted::Owner;
use super::{NetError, routes};
use crate::types::{IfIndex, Prefix};
use rtnetlink::packet_route::AddressFamily;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes by others are put right this long after the first of them: what belongs together comes together.
const TOGETHER: Duration = Duration::from_millis(5);
/// All devices are listed anew at most so often.
const RESYNC: Duration = Duration::from_millis(100);
/// The kernel has made a link-local address this long after it told that a device runs.
const LINK_LOCAL: Duration = Duration::from_millis(5);
/// Events that are read before something else has its turn.
const MOST_EVENTS: usize = 64;

impl Engine {
    /// Reads the kernel's events, and has what they touch compared.
    pub fn follow(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            self.route_events.read(&mut self.waiting, MOST_EVENTS);
        }
        let mut events = Vec::new();
        let more = self.link_events.read(&mut events, MOST_EVENTS);
        let mut touched = BTreeSet::new();
        for event in &events {
            self.apply(event, &mut touched);
        }
        // That a device went down comes before the routes that it lost, if all is read that came before them.
        if !more {
            for event in std::mem::take(&mut self.waiting) {
                self.apply_route(&event);
            }
            // One that was added just before may be lost, too.
            for name in std::mem::take(&mut self.disturbed) {
                self.routes.disturb(&name);
            }
        }
        self.touch(&touched, now);
        self.more = more || !self.waiting.is_empty();
    }

    /// Has devices compared that others have changed, and the groups' devices over them.
    fn touch(&mut self, touched: &BTreeSet<String>, now: Instant) {
        let mut any = false;
        for (name, device) in &mut self.devices {
            let below =
                matches!(&device.wanted, Wanted::Group(Some(group)) if touched.contains(&group.parent));
            if !below && !touched.contains(name) {
                continue;
            }
            any = true;
            device.dirty = true;
            // Something has changed: another attempt may be worth it, but not at once, for it may have been its own.
            if !self.stepped
                && let (Some(at), Some(tried)) = (device.not_before, device.tried_at)
                && device.repairs.len() < MOST_REPAIRS
            {
                device.not_before = Some(at.min(tried + BACKOFF[0]));
            }
        }
        if any && !self.stepped && self.repair_at.is_none() {
            self.repair_at = Some(now + TOGETHER);
        }
    }

    fn apply(&mut self, event: &Event, touched: &mut BTreeSet<String>) {
        let name_of = |links: &LinkTable, index: IfIndex| links.by_index(index).map(|link| link.name.clone());
        let was_up = |links: &LinkTable, index: IfIndex| links.by_index(index).is_some_and(|link| link.up);
        let (index, changed) = match event {
            Event::Link(message) => {
                let index = IfIndex::new(message.header.index);
                let before = (name_of(&self.links, index), was_up(&self.links, index));
                touched.extend(before.0.iter().cloned());
                let was_running = self.links.by_index(index).is_some_and(|link| link.running);
                let changed = Arc::make_mut(&mut self.links).put_link(message);
                if before.1 && !was_up(&self.links, index) {
                    before.0.iter().for_each(|name| self.disturb(name));
                }
                // Of a link-local address that the kernel makes now it tells a second later, when the search for
                // duplicates is over; its list has it at once.
                let lacks = |link: &&Link| link.running && !was_running && link.link_local().is_none();
                if let Some(link) = self.links.by_index(index).filter(lacks)
                    && self.devices.get(&link.name).is_some_and(Device::is_port)
                {
                    (self.lost, self.resync_at) = (true, Some(Instant::now() + LINK_LOCAL));
                }
                (index, changed)
            }
            Event::LinkGone(message) => {
                let name = name_of(&self.links, IfIndex::new(message.header.index));
                let changed = Arc::make_mut(&mut self.links).remove_link(message);
                if let Some(name) = name.filter(|_| changed) {
                    self.disturb(&name);
                    touched.insert(name);
                }
                (IfIndex::new(message.header.index), changed)
            }
            Event::Address(message) => {
                (IfIndex::new(message.header.index), Arc::make_mut(&mut self.links).put_address(message))
            }
            Event::AddressGone(message) => {
                let changed = Arc::make_mut(&mut self.links).remove_address(message);
                if changed && let Some(name) = name_of(&self.links, IfIndex::new(message.header.index)) {
                    self.disturb(&name);
                }
                (IfIndex::new(message.header.index), changed)
            }
            Event::Lost | Event::Route(..) | Event::RouteGone(_) => {
                self.lost = true;
                return;
            }
        };
        self.unreported |= changed;
        if let Some(name) = name_of(&self.links, index) {
            self.note_link_local(&name);
            touched.insert(name);
        }
    }

    /// The kernel may have dropped routes over a device, also one whose event is yet to be read.
    fn disturb(&mut self, name: &str) {
        self.routes.disturb(name);
        self.disturbed.insert(name.to_owned());
    }

    /// Takes note of the link-local address of a port's device.
    pub fn note_link_local(&mut self, name: &str) {
        let device = self.devices.get_mut(name).filter(|device| device.is_port());
        let link = self.links.get(name).filter(|link| link.up);
        if let (Some(device), Some(link)) = (device, link)
            && let Some(lowest) = link.link_local()
        {
            let is_lowest = |prefix: &&Prefix| prefix.address == IpAddr::V6(lowest);
            device.link_local = link.addresses.iter().find(is_lowest).copied();
        }
    }

    fn apply_route(&mut self, event: &Event) {
        // Devices of the host have their routes from the host.
        let port = |engine: &Engine, message| {
            let name = &engine.links.by_index(routes::device_of(message)?)?.name;
            let ours =
                |device: &Device| matches!(&device.wanted, Wanted::Port(port) if port.owner != Owner::Host);
            engine.devices.get(name).is_some_and(ours).then(|| name.clone())
        };
        match event {
            Event::Route(message, replaces) => match port(self, message) {
                Some(name) => self.routes.put(&name, message, *replaces),
                None if *replaces => self.routes.replaced(message),
                None => {}
            },
            Event::RouteGone(message) => {
                if let Some(name) = port(self, message) {
                    self.routes.remove(&name, message);
                }
            }
            _ => {
                let ports = self.devices.iter().filter(|(_, device)| device.is_port());
                self.unlisted.extend(ports.map(|(name, _)| name.clone()));
            }
        }
    }

    /// Lists all devices anew where events were lost.
    pub async fn resync(&mut self, now: Instant) {
        if self.lost && self.resync_at.is_none_or(|at| now >= at) {
            self.lost = false;
            // What waits is older than the list; events that come later are read after it.
            let mut old = Vec::new();
            while self.link_events.read(&mut old, MOST_EVENTS) {
                old.clear();
            }
            match self.list().await {
                Ok(table) => self.replace_links(table, now),
                Err(error) => {
                    self.lost = true;
                    self.warn("devices", &error);
                }
            }
            // Where there are thousands, listing them is not to be all that is done.
            let after = Instant::now();
            self.resync_at = Some(after + RESYNC.max(4 * after.saturating_duration_since(now)));
        }
        for name in std::mem::take(&mut self.unlisted) {
            self.list_routes(&name).await;
        }
    }

    async fn list(&mut self) -> Result<LinkTable, NetError> {
        let mut table = LinkTable::default();
        for link in self.requests.links().await? {
            table.put_link(&link);
        }
        for address in self.requests.addresses().await? {
            table.put_address(&address);
        }
        Ok(table)
    }

    fn replace_links(&mut self, table: LinkTable, now: Instant) {
        let old = std::mem::replace(&mut self.links, Arc::new(table));
        let links = Arc::make_mut(&mut self.links);
        for link in old.iter() {
            if let Some(packet) = link.packet {
                links.put_packet(&link.name, packet);
            }
        }
        let names = self.devices.keys().cloned();
        let changed: BTreeSet<String> = names.filter(|name| old.get(name) != self.links.get(name)).collect();
        for name in &changed {
            let lost = old.get(name).is_some_and(|old| {
                self.links.get(name).is_none_or(|new| {
                    new.index != old.index
                        || old.up && !new.up
                        || old.addresses.iter().any(|prefix| !new.addresses.contains(prefix))
                })
            });
            if lost {
                self.routes.disturb(name);
            }
        }
        self.unreported = true;
        changed.iter().for_each(|name| self.note_link_local(name));
        self.touch(&changed, now);
    }

    async fn list_routes(&mut self, name: &str) {
        let Some(index) = self.links.index(name) else { return };
        let mut listed = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            match self.requests.routes(name, index, family).await {
                Ok(routes) => listed.extend(routes),
                Err(error) => return self.warn(name, &error),
            }
        }
        listed.retain(|message| routes::device_of(message) == Some(index));
        self.routes.refresh(name, &listed);
    }
}
