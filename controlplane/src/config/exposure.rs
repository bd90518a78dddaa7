//! Exposure of the keys in a configuration file to other users.

use super::{Config, Keys, render};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Why the keys in a configuration file are exposed, and the remedy; `None` where only root, the file's owner and the
/// administrators' group read it, or no key is in it.
#[must_use]
pub fn exposure(path: &Path, config: &Config, admins: &str) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    let admins_gid = nix::unistd::Group::from_name(admins).ok().flatten().map(|group| group.gid.as_raw());
    let readers = readers(meta.mode(), meta.gid(), admins_gid)?;
    let has_keys = render(config, Keys::Shown) != render(config, Keys::Masked);
    has_keys.then(|| {
        format!(
            "mode {:04o}: {readers} may read the keys in it: `chmod 640` it and give it to group root or {admins}",
            meta.mode() & 0o7777
        )
    })
}

/// The readers of a file of this mode and group that are neither root, its owner nor administrators.
fn readers(mode: u32, gid: u32, admins: Option<u32>) -> Option<String> {
    if mode & 0o004 != 0 {
        return Some("all users".to_owned());
    }
    let other_group = mode & 0o040 != 0 && gid != 0 && Some(gid) != admins;
    other_group.then(|| format!("group {gid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_readers_beside_root_and_administrators_count() {
        assert_eq!(readers(0o100_640, 0, None), None);
        assert_eq!(readers(0o100_640, 7, Some(7)), None);
        assert_eq!(readers(0o100_600, 9, None), None);
        assert_eq!(readers(0o100_640, 9, Some(7)).as_deref(), Some("group 9"));
        assert_eq!(readers(0o100_644, 0, Some(7)).as_deref(), Some("all users"));
    }

    #[test]
    fn a_file_without_keys_may_be_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usher.conf");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let config = |text: &str| parse(text).unwrap().config;
        assert_eq!(exposure(&path, &config("hostname a\n"), "no-such-group"), None);
        let exposed = exposure(&path, &config("crypto ikev2 cluster\n key a\n"), "no-such-group").unwrap();
        assert!(exposed.starts_with("mode 0644: all users may read the keys in it"), "{exposed}");
        assert_eq!(exposure(&dir.path().join("none"), &config("crypto ikev2 cluster\n key a\n"), "x"), None);
    }
}
