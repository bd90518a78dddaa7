//! Files that are replaced as a whole: a reader sees the file of before or the new one, also after a crash.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

/// Crash that a file that was replaced survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// The death of this process
    Process,
    /// The loss of power: waits for the disk
    PowerLoss,
}

/// Puts `content` in place of the file at `path`, or of the one that a symbolic link there names. Mode and owner stay; a
/// new file gets `mode`.
///
/// # Errors
/// Refusal of the system; the file of before is intact then.
pub fn replace(path: &Path, content: &[u8], mode: u32, survives: Survives) -> std::io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let before = fs::metadata(&path).ok();
    if before.as_ref().is_some_and(|meta| !meta.is_file()) {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Readable by its owner alone until it has its content; removed on error.
    let mut draft = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(directory)?;
    draft.write_all(content)?;
    if let Some(meta) = &before {
        fchown(draft.as_file(), Some(meta.uid()), Some(meta.gid()))?;
    }
    let mode = before.map_or(mode, |meta| meta.permissions().mode() & 0o777);
    draft.as_file().set_permissions(Permissions::from_mode(mode))?;
    if survives == Survives::PowerLoss {
        draft.as_file().sync_all()?;
    }
    draft.persist(&path)?;
    if survives == Survives::PowerLoss {
        // The new name is on the disk only with its directory.
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usher.conf");
        let save = |path: &Path, text: &str| replace(path, text.as_bytes(), 0o640, Survives::PowerLoss);
        save(&path, "new\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o640);
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        save(&link, "newer\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays a link");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("newer\n", 0o604));
        assert!(save(dir.path(), "x").is_err() && save(&dir.path().join("no/where"), "x").is_err());
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "no draft is left: {left:?}");
    }

    /// Needs root.
    #[test]
    fn a_file_keeps_its_owner() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(1), Some(2)).unwrap();
        replace(&path, b"new", 0o600, Survives::Process).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1, 2));
    }

    #[test]
    fn readers_never_see_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let texts = [vec![b'a'; 100_000], vec![b'b'; 50_000]];
        replace(&path, &texts[0], 0o600, Survives::Process).unwrap();
        std::thread::scope(|scope| {
            let writers: Vec<_> = texts
                .iter()
                .map(|text| {
                    let path = &path;
                    scope.spawn(move || {
                        (0..100).for_each(|_| replace(path, text, 0o600, Survives::Process).unwrap())
                    })
                })
                .collect();
            while !writers.iter().all(|writer| writer.is_finished()) {
                assert!(texts.contains(&fs::read(&path).unwrap()));
            }
        });
    }
}
