//! The sockets for messages and for hosts that ask for a router.

use crate::hsrp::link::{Heard, Listening, Solicitations};
use crate::hsrp::packet::{MAX_LEN, Transport};
use crate::net::links::LinkTable;
use crate::types::{GroupKey, IfIndex, PortIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// A socket to be open: for messages of the groups on a port, or for hosts that ask an IPv6 group for a router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Messages(PortIndex, Transport),
    Hosts(GroupKey),
}

#[derive(Debug)]
pub(super) enum Open {
    Messages(Listening),
    Hosts(Solicitations),
}

impl Open {
    fn device(&self) -> &(String, IfIndex) {
        match self {
            Open::Messages(socket) => &socket.device,
            Open::Hosts(socket) => &socket.device,
        }
    }

    /// Reads the next payload; `None` when there is none.
    pub(super) fn read(&self, buffer: &mut [u8; MAX_LEN + 1]) -> Option<Heard> {
        match self {
            Open::Messages(socket) => socket.read(buffer),
            Open::Hosts(socket) => socket.read(buffer),
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Open::Messages(socket) => socket.poll_readable(context),
            Open::Hosts(socket) => socket.poll_readable(context),
        }
    }
}

/// The sockets. Joining and leaving a multicast group takes the kernel's RTNL, so they are opened and closed by a thread
/// beside the loop.
#[derive(Default)]
pub(super) struct Listeners {
    open: BTreeMap<Place, Open>,
    opening: BTreeSet<Place>,
}

impl Listeners {
    /// Waits until a message can be read, and at least `pause`.
    pub(super) async fn readable(&self, pause: Duration) {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        std::future::poll_fn(|context| {
            let ready = self.open.values().any(|socket| socket.poll_readable(context).is_ready());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Has the sockets that are missing opened, and those that are not wanted closed; the outcome of each goes to
    /// `outcomes`.
    pub(super) fn follow(
        &mut self,
        wanted: BTreeMap<Place, String>,
        links: &LinkTable,
        outcomes: &mpsc::Sender<Outcome>,
    ) {
        let right = |place: &Place, open: &Open| {
            let (name, index) = open.device();
            wanted.get(place) == Some(name) && links.index(name) == Some(*index)
        };
        let old: Vec<Open> =
            self.open.extract_if(.., |place, open| !right(place, open)).map(|(_, open)| open).collect();
        if !old.is_empty() {
            tokio::task::spawn_blocking(move || drop(old));
        }
        for (place, device) in wanted {
            let known = self.open.contains_key(&place) || self.opening.contains(&place);
            // One that failed is tried again with the next look, four times a second.
            if known || links.index(&device).is_none() {
                continue;
            }
            self.opening.insert(place.clone());
            let outcomes = outcomes.clone();
            tokio::task::spawn_blocking(move || {
                let open = match &place {
                    Place::Messages(_, transport) => Listening::open(*transport, &device).map(Open::Messages),
                    Place::Hosts(_) => Solicitations::open(&device).map(Open::Hosts),
                };
                // The loop may have ended.
                let _ = outcomes.blocking_send(Outcome::Opened(place, device, open));
            });
        }
    }

    /// Takes a socket that was opened.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub(super) fn take(
        &mut self,
        place: Place,
        open: std::io::Result<Open>,
    ) -> Result<(), (Place, std::io::Error)> {
        self.opening.remove(&place);
        match open {
            Ok(open) => drop(self.open.insert(place, open)),
            Err(error) => return Err((place, error)),
        }
        Ok(())
    }

    /// Lends the open sockets to be read; [`Listeners::give_back`] takes them again.
    pub(super) fn lend(&mut self) -> BTreeMap<Place, Open> {
        std::mem::take(&mut self.open)
    }

    /// Takes lent sockets back.
    pub(super) fn give_back(&mut self, open: BTreeMap<Place, Open>) {
        self.open = open;
    }
}

/// Result of work that a thread beside the loop has done for it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A probe for a virtual address: the MAC of another host that has it
    Probed(GroupKey, IpAddr, std::io::Result<Option<[u8; 6]>>),
    /// A socket
    Opened(Place, String, std::io::Result<Open>),
}
