//! The load of strongSwan's charon: one connection polls `stats`, another one follows the CHILD_SAs.
//!
//! `stats` costs charon the same at 10 and at 50,000 SAs, but counts no CHILD_SAs; `list-sas` does and walks them all. So
//! they are listed once when the connection is made, and kept count of by the events child-updown and child-rekey.

use super::vici::{Client, item};
use super::{Counts, LIMIT, RETRY};
use futures_util::StreamExt as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// CHILD_SAs that are followed: ten times what a headend of this kind holds.
const MAX_CHILDREN: usize = 1 << 20;
/// All are listed anew this often, should an event ever have been missed.
const RELIST: Duration = Duration::from_secs(3600);

/// The answer to `stats`.
#[derive(Deserialize)]
pub(super) struct Stats {
    pub(super) ikesas: IkeSas,
}

#[derive(Deserialize)]
pub(super) struct IkeSas {
    pub(super) total: u32,
    #[serde(rename = "half-open")]
    pub(super) half_open: u32,
}

/// charon, as far as it is connected.
pub(super) struct Charon {
    polled: Option<Client>,
    children: Children,
}

/// Asks for the counts, over the connection of the last time if that was good.
pub(super) async fn counts(
    charon: &mut Option<Charon>,
    socket: &Path,
    limit: Duration,
) -> Result<Counts, String> {
    let charon =
        charon.get_or_insert_with(|| Charon { polled: None, children: Children::start(socket.to_owned()) });
    let mut client = match charon.polled.take() {
        Some(client) => client,
        None => Client::connect(socket, limit).await?,
    };
    let Stats { ikesas } = client.request("stats", ()).await?;
    let established = ikesas.total.saturating_sub(ikesas.half_open);
    let child = match charon.children.known.borrow().clone()? {
        Known { children, listed: true } => children,
        // A client has one at least, and a restart of usherd is no reason to say that this gateway is unwell.
        Known { children, listed: false } => children.max(established),
    };
    charon.polled = Some(client);
    Ok(Counts { half_open: ikesas.half_open, ike: established, child, cpu: None, mem: None })
}

/// Knowledge of the CHILD_SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    children: u32,
    /// All of them have been listed: at 50,000 SAs that takes seconds
    listed: bool,
}

/// A task that keeps count of the CHILD_SAs.
struct Children {
    known: watch::Receiver<Result<Known, String>>,
    task: AbortHandle,
}

impl Children {
    fn start(socket: PathBuf) -> Children {
        let (tell, known) = watch::channel(Ok(Known::default()));
        let task = tokio::spawn(async move {
            loop {
                let Err(why) = follow(&socket, &tell).await;
                tell.send_modify(|known| *known = Err(why));
                tokio::time::sleep(RETRY).await;
            }
        });
        Children { known, task: task.abort_handle() }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps count until the connection ends.
async fn follow(socket: &Path, tell: &watch::Sender<Result<Known, String>>) -> Result<Infallible, String> {
    let mut client = Client::connect(socket, LIMIT.1).await?;
    tell.send_modify(|known| *known = Ok(Known::default()));
    let mut ended = pin!(client.ended());
    // In the order in which they are asked for first: charon tells of changes before it lists.
    let mut updown = pin!(client.subscribe::<UpDown>("child-updown"));
    let mut rekeyed = pin!(client.subscribe::<HashMap<String, RekeyedSa>>("child-rekey"));
    let mut ids = Ids::default();
    let mut listed = false;
    loop {
        let mut list = pin!(client.list_sas::<HashMap<String, Sa>>());
        let mut again = pin!(tokio::time::sleep(RELIST));
        ids.listed = Some(HashSet::new());
        loop {
            tokio::select! {
                biased;
                why = &mut ended => return Err(why),
                event = updown.next() => ids.updown(item(event)?.ok_or("ends its events")?),
                event = rekeyed.next() => ids.rekeyed(item(event)?.ok_or("ends its events")?),
                sa = list.next(), if ids.listed.is_some() => match item(sa)? {
                    Some(sa) => ids.list(sa),
                    None => ids.children = ids.listed.take().unwrap_or_default(),
                },
                () = &mut again, if ids.listed.is_none() => break,
            }
            listed |= ids.listed.is_none();
            // While the first listing goes on, as far as it has come.
            let counted = if listed { &ids.children } else { ids.listed.as_ref().unwrap_or(&ids.children) };
            if counted.len() > MAX_CHILDREN {
                return Err(format!("more than {MAX_CHILDREN} CHILD_SAs"));
            }
            let known = Ok(Known { children: u32::try_from(counted.len()).unwrap_or(u32::MAX), listed });
            tell.send_if_modified(|told| std::mem::replace(told, known.clone()) != known);
        }
    }
}

/// The unique ids of the CHILD_SAs.
#[derive(Default)]
struct Ids {
    children: HashSet<u32>,
    /// Those of the listing that is under way; what happens meanwhile happens to both
    listed: Option<HashSet<u32>>,
}

impl Ids {
    fn sets(&mut self) -> impl Iterator<Item = &mut HashSet<u32>> {
        std::iter::once(&mut self.children).chain(self.listed.as_mut())
    }

    fn updown(&mut self, event: UpDown) {
        for set in self.sets() {
            for id in &event.children {
                if event.up {
                    set.insert(*id)
                } else {
                    set.remove(id)
                };
            }
        }
    }

    fn rekeyed(&mut self, event: HashMap<String, RekeyedSa>) {
        for set in self.sets() {
            for pair in event.values().flat_map(|sa| sa.children.values()) {
                set.remove(&pair.old.uniqueid);
                set.insert(pair.new.uniqueid);
            }
        }
    }

    fn list(&mut self, sa: HashMap<String, Sa>) {
        // Of one that was rekeyed or deleted no event will tell the end.
        let lives = |child: &Child| !matches!(child.state.as_str(), "REKEYED" | "DELETED");
        let children = sa.into_values().flat_map(|sa| sa.children.into_values()).filter(lives);
        if let Some(set) = &mut self.listed {
            set.extend(children.map(|child| child.uniqueid));
        }
    }
}

#[derive(Deserialize)]
struct Sa {
    #[serde(rename = "child-sas", default)]
    children: HashMap<String, Child>,
}

#[derive(Deserialize)]
struct Child {
    uniqueid: u32,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct RekeyedSa {
    #[serde(rename = "child-sas", default)]
    children: HashMap<String, Pair>,
}

#[derive(Deserialize)]
struct Pair {
    old: Child,
    new: Child,
}

/// child-updown: `up` where they came up, beside a section for the IKE SA that is named by its connection.
#[derive(Default)]
pub(super) struct UpDown {
    pub(super) up: bool,
    pub(super) children: Vec<u32>,
}

enum Entry {
    Value,
    Section(Sa),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Entry;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value or a section")
            }

            fn visit_bytes<E>(self, _: &[u8]) -> Result<Entry, E> {
                Ok(Entry::Value)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Sa::deserialize(MapAccessDeserializer::new(map)).map(Entry::Section)
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for UpDown {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<UpDown, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UpDown;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UpDown, A::Error> {
                let mut event = UpDown::default();
                while let Some((_, entry)) = map.next_entry::<String, Entry>()? {
                    match entry {
                        Entry::Value => event.up = true,
                        Entry::Section(sa) => {
                            event.children.extend(sa.children.values().map(|child| child.uniqueid))
                        }
                    }
                }
                Ok(event)
            }
        }
        from.deserialize_map(Entries)
    }
}
