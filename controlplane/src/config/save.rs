//! Writing the configuration file: whole or not at all, also when the power goes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Mode of a file that was not there: keys are in it.
const MODE: u32 = 0o640;

/// Puts `text` in the place of the file at `path`, or of the one that a link there names. Mode and owner stay.
/// It may wait for the disk.
///
/// # Errors
/// What the system refused; the file before is intact then.
pub fn save(path: &Path, text: &str) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let before = fs::metadata(&path).ok();
    if before.as_ref().is_some_and(|meta| !meta.is_file()) {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_file_name(format!(".{name}.{}-{next}", std::process::id()));
    let written = write(&draft, text, before.as_ref()).and_then(|()| fs::rename(&draft, &path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
        return written;
    }
    // The new name is on the disk only with its directory.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

fn write(draft: &Path, text: &str, before: Option<&fs::Metadata>) -> std::io::Result<()> {
    let mode = before.map_or(MODE, |meta| meta.permissions().mode() & 0o777);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    if let Some(meta) = before {
        std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usher.conf");
        save(&path, "new\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), MODE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        save(&link, "newer\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays a link");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("newer\n", 0o600));
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "no draft is left: {left:?}");
        assert!(save(dir.path(), "x").is_err() && save(&dir.path().join("no/where"), "x").is_err());
    }
}
