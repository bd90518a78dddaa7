//! State that outlives a restart, in `run-dir/state`: the hash key, the slots and the epochs, so that an identical
//! retransmission gets the identical gateway from the next usherd; and the leases, within which it goes on as active.

use crate::clb::orders::{MAX_COUNTER, Orders, Register};
use crate::files::{self, Survives};
use crate::publish::Assignment;
use crate::types::Nanos;
use platform::snapshot::{MAX_GATEWAYS, NO_GATEWAY, SLOTS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc;

const VERSION: u32 = 1;
const MAX_BYTES: u64 = 1 << 20;

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Key of the hash that picks a slot
    pub hash_key: [u64; 2],
    /// Epoch of each group's last gain
    pub epochs: BTreeMap<String, u64>,
    /// Slots of each virtual address
    pub assignments: BTreeMap<IpAddr, Assignment>,
    /// End of the lease of each group that this node is active in, ns of CLOCK_MONOTONIC, by the group's text
    pub leases: BTreeMap<String, Nanos>,
    /// Orders of the operator for the cluster, by the group's text
    pub orders: BTreeMap<String, Orders>,
}

/// Tells one boot's monotonic clock from another's; empty where the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    hash_key: [u64; 2],
    epochs: BTreeMap<String, u64>,
    assignments: BTreeMap<IpAddr, StoredAssignment>,
    #[serde(default)]
    leases: BTreeMap<String, Nanos>,
    #[serde(default)]
    orders: BTreeMap<String, StoredOrders>,
    #[serde(default)]
    boot_id: String,
}

/// `epoch` and `shutdown` are the register of `shutdown`, as in the files of versions that had one register for all.
#[derive(Serialize, Deserialize)]
struct StoredOrders {
    epoch: u64,
    shutdown: bool,
    #[serde(default)]
    drains: BTreeMap<IpAddr, Register>,
}

impl From<&Orders> for StoredOrders {
    fn from(orders: &Orders) -> StoredOrders {
        let Register { counter: epoch, on: shutdown } = orders.shutdown();
        StoredOrders { epoch, shutdown, drains: orders.drains().clone() }
    }
}

/// The orders that are sound. One with an impossible counter would stand against every later order of the operator.
fn sound_orders(stored: BTreeMap<String, StoredOrders>) -> BTreeMap<String, Orders> {
    let read = stored.into_iter().map(|(group, StoredOrders { epoch, shutdown, drains })| {
        (group, Orders::new(Register { counter: epoch, on: shutdown }, drains))
    });
    let (sound, absurd): (BTreeMap<_, _>, BTreeMap<_, _>) = read.partition(|(_, orders)| orders.is_sound());
    for group in absurd.keys() {
        tracing::warn!(
            "%SYS-4-STATE: the cluster orders kept for {group} have a counter beyond {MAX_COUNTER}: dropped; \
             check `show crypto ikev2 cluster`"
        );
    }
    sound
}

#[derive(Serialize, Deserialize)]
struct StoredAssignment {
    gateways: Vec<Option<IpAddr>>,
    slots: Vec<u8>,
}

impl State {
    /// A first start: a random key and nothing else.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn fresh() -> std::io::Result<State> {
        let mut bytes = [0u8; 16];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got != bytes.len() {
            return Err(std::io::Error::other("the kernel gave too few random bytes"));
        }
        let (words, _) = bytes.as_chunks::<8>();
        Ok(State {
            hash_key: [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])],
            epochs: BTreeMap::new(),
            assignments: BTreeMap::new(),
            leases: BTreeMap::new(),
            orders: BTreeMap::new(),
        })
    }

    /// Reads the state of the run before; `None` where there is none.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn load(path: &Path) -> Result<Option<State>, String> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err("it is not a file of a reasonable size".to_owned());
        }
        let text = fs::read(path).map_err(|e| e.to_string())?;
        let stored: Stored = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        if stored.version != VERSION {
            return Err(format!("it has version {}, this is {VERSION}", stored.version));
        }
        let mut assignments = BTreeMap::new();
        for (address, StoredAssignment { gateways, slots }) in stored.assignments {
            let fits = gateways.len() <= MAX_GATEWAYS
                && slots.len() == SLOTS
                && slots.iter().all(|slot| *slot == NO_GATEWAY || usize::from(*slot) < gateways.len());
            if !fits {
                return Err(format!("the slots of {address} do not add up"));
            }
            assignments.insert(address, Assignment { gateways, slots });
        }
        let same_boot = !stored.boot_id.is_empty() && stored.boot_id == boot_id();
        let leases = if same_boot { stored.leases } else { BTreeMap::new() };
        Ok(Some(State {
            hash_key: stored.hash_key,
            epochs: stored.epochs,
            assignments,
            leases,
            orders: sound_orders(stored.orders),
        }))
    }

    /// Writes the state, readable by its owner alone: who knows the key can choose a gateway.
    ///
    /// # Errors
    /// When the file cannot be written; the one before is intact then.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let stored = Stored {
            version: VERSION,
            hash_key: self.hash_key,
            epochs: self.epochs.clone(),
            leases: self.leases.clone(),
            orders: self.orders.iter().map(|(group, orders)| (group.clone(), orders.into())).collect(),
            boot_id: boot_id(),
            assignments: self
                .assignments
                .iter()
                .map(|(address, a)| {
                    (*address, StoredAssignment { gateways: a.gateways.clone(), slots: a.slots.clone() })
                })
                .collect(),
        };
        let text = serde_json::to_vec(&stored)?;
        files::replace(path, &text, 0o600, Survives::Process)
    }
}

/// State of the elections for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elections {
    /// Epoch of each group's last gain
    pub epochs: BTreeMap<String, u64>,
    /// End of the lease of each group that this node is active in, ns of CLOCK_MONOTONIC
    pub leases: BTreeMap<String, Nanos>,
}

/// A part of the state, as its owner has it.
#[derive(Clone, Debug)]
pub enum Part {
    /// Of the HSRP runner
    Elections(Elections),
    /// Of the publisher
    Assignments(BTreeMap<IpAddr, Assignment>),
    /// Of the cluster's runner
    Orders(BTreeMap<String, Orders>),
}

/// Parts that wait for the disk. A disk that hangs costs no more memory than these.
const QUEUE: usize = 16;

/// The way to the thread that writes the state: no owner of a part ever waits for a disk.
#[derive(Clone)]
pub struct Saver {
    parts: mpsc::SyncSender<Part>,
}

/// Tells when everything is written.
pub struct Ended(mpsc::Receiver<()>);

impl Saver {
    /// Starts the thread, which writes to `path`; of parts that come faster than it writes, the last. `state` is what is
    /// there already.
    #[must_use]
    pub fn start(path: std::path::PathBuf, mut state: State) -> (Saver, Ended) {
        let (parts, queue) = mpsc::sync_channel::<Part>(QUEUE);
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut failed = false;
            while let Ok(part) = queue.recv() {
                for part in std::iter::once(part).chain(queue.try_iter()) {
                    match part {
                        Part::Elections(of) => (state.epochs, state.leases) = (of.epochs, of.leases),
                        Part::Assignments(of) => state.assignments = of,
                        Part::Orders(of) => state.orders = of,
                    }
                }
                match state.save(&path) {
                    Ok(()) => failed = false,
                    Err(error) => {
                        if !std::mem::replace(&mut failed, true) {
                            tracing::error!("%SYS-3-STATE: {}: {error}: free space there", path.display());
                        }
                    }
                }
            }
            let _ = end.send(());
        });
        (Saver { parts }, Ended(ended))
    }

    /// Has a part written; false where the disk does not keep up, and it has to be given again.
    #[must_use]
    pub fn save(&self, part: Part) -> bool {
        self.parts.try_send(part).is_ok()
    }
}

impl Ended {
    /// Waits until everything is written, a second at most, after every [`Saver`] has gone.
    pub fn wait(self) {
        let _ = self.0.recv_timeout(std::time::Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_back_and_a_broken_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(State::load(&path), Ok(None));
        let mut state = State::fresh().unwrap();
        state.epochs.insert("x".to_owned(), 3);
        state.leases.insert("x".to_owned(), Nanos::new(77));
        let gateways = vec![Some("192.0.2.1".parse().unwrap()), None];
        state
            .assignments
            .insert("2001:db8::1".parse().unwrap(), Assignment { gateways, slots: vec![0; SLOTS] });
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), Ok(Some(state.clone())));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        let last = Register { counter: MAX_COUNTER, on: true };
        state
            .orders
            .insert("g1".to_owned(), Orders::new(last, [("192.0.2.7".parse().unwrap(), last)].into()));
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), Ok(Some(state.clone())));
        let absurd =
            fs::read_to_string(&path).unwrap().replace(&MAX_COUNTER.to_string(), &u64::MAX.to_string());
        fs::write(&path, absurd).unwrap();
        assert!(State::load(&path).unwrap().unwrap().orders.is_empty(), "healed");
        let old = r#""orders":{"g1":{"epoch":2,"shutdown":true,"draining":["192.0.2.7"]}}"#;
        let before = fs::read_to_string(&path).unwrap();
        let (head, tail) = (before.find(r#""orders""#).unwrap(), before.find(r#","boot_id""#).unwrap());
        fs::write(&path, format!("{}{old}{}", &before[..head], &before[tail..])).unwrap();
        let read = State::load(&path).unwrap().unwrap().orders;
        assert_eq!(read["g1"].shutdown(), Register { counter: 2, on: true }, "a file of the version before");
        state.orders.clear();
        state.save(&path).unwrap();

        let text = fs::read_to_string(&path).unwrap();
        let other_boot = text.replace(&boot_id(), "another");
        fs::write(&path, other_boot).unwrap();
        assert!(State::load(&path).unwrap().unwrap().leases.is_empty(), "another boot's clock");
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(State::load(&path).is_err());
        state.assignments.values_mut().for_each(|a| a.slots[5] = 2);
        state.save(&path).unwrap();
        assert!(State::load(&path).unwrap_err().contains("do not add up"));
    }
}
