//! Files of the reconciler in the run directory. It is about the running kernel: it survives the death of usherd, and is
//! worth nothing after a boot.

use crate::files::{self, Survives};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// More than is ever written.
const LONGEST: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    /// The kernel's identity since it was booted
    boot: String,
    content: T,
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Reads a file; one that is not there, is of another boot or is not understood is empty.
pub(super) fn load<T: DeserializeOwned + Default>(path: &Path) -> T {
    let length = fs::metadata(path).map_or(0, |of| of.len());
    let Ok(text) = fs::read(path) else { return T::default() };
    let read = match length {
        0..=LONGEST => serde_json::from_slice::<Stored<T>>(&text).map_err(|error| error.to_string()),
        _ => Err("too long".to_owned()),
    };
    match read {
        Ok(stored) if stored.boot == boot() => stored.content,
        Ok(_) => T::default(),
        Err(error) => {
            tracing::warn!(
                "%NET-4-STORE: {}: {error}: what an earlier usherd has changed stays as it is",
                path.display()
            );
            T::default()
        }
    }
}

/// Replaces a file as a whole.
///
/// # Errors
/// When it cannot be written.
pub(super) fn save<T: Serialize>(path: &Path, content: &T) -> std::io::Result<()> {
    let text = serde_json::to_vec(&Stored { boot: boot(), content })?;
    files::replace(path, &text, 0o600, Survives::Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_boot_or_not_understood_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(load::<Vec<u8>>(&path).is_empty());
        save(&path, &[1u8, 2]).unwrap();
        assert_eq!(load::<Vec<u8>>(&path), [1, 2]);
        let other = fs::read_to_string(&path).unwrap().replace(&boot(), "another");
        fs::write(&path, other).unwrap();
        assert!(load::<Vec<u8>>(&path).is_empty());
        fs::write(&path, "{").unwrap();
        assert!(load::<Vec<u8>>(&path).is_empty());
    }
}
