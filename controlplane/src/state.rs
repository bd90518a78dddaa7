//! What outlives a restart, in `run-dir/state`: the hash key, the slots and the epochs, so that an identical
//! retransmission gets the identical gateway from the next usherd.

use crate::publish::Assignment;
use platform::snapshot::{MAX_GATEWAYS, NO_GATEWAY, SLOTS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

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
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    hash_key: [u64; 2],
    epochs: BTreeMap<String, u64>,
    assignments: BTreeMap<IpAddr, StoredAssignment>,
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
        Ok(Some(State { hash_key: stored.hash_key, epochs: stored.epochs, assignments }))
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
            assignments: self
                .assignments
                .iter()
                .map(|(address, a)| {
                    (*address, StoredAssignment { gateways: a.gateways.clone(), slots: a.slots.clone() })
                })
                .collect(),
        };
        let text = serde_json::to_vec(&stored)?;
        let draft = path.with_extension("new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)?;
        fs::rename(&draft, path)
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
        let gateways = vec![Some("192.0.2.1".parse().unwrap()), None];
        state
            .assignments
            .insert("2001:db8::1".parse().unwrap(), Assignment { gateways, slots: vec![0; SLOTS] });
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), Ok(Some(state.clone())));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(State::load(&path).is_err());
        state.assignments.values_mut().for_each(|a| a.slots[5] = 2);
        state.save(&path).unwrap();
        assert!(State::load(&path).unwrap_err().contains("do not add up"));
    }
}
