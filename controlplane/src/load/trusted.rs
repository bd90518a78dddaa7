//! Paths that only root can change.
//!
//! A program that usherd starts must be what root put there. Every directory on the way to it, every symbolic link and the
//! file belong to root and cannot be written by anyone else. The walk opens each of them relative to the one before.
//! Only root could replace a part of such a path afterwards, so the path that comes out can be executed without a race.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// Symbolic links in one path; the kernel's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Reason why a program is not started.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Depends on the working directory
    #[error("{} is no absolute path: write it from / on", .0.display())]
    Relative(PathBuf),
    /// Missing, or hidden from usherd
    #[error("{}: {source}: give the path of an executable file", path.display())]
    Lookup {
        /// The part of the path that failed
        path: PathBuf,
        /// Refusal of the system
        source: std::io::Error,
    },
    /// Links that lead in a circle
    #[error("{}: more than {MAX_LINKS} symbolic links: name the file itself", .0.display())]
    Links(PathBuf),
    /// Its owner could replace it
    #[error("{} belongs to user {uid}: programs run only from paths that root alone can change: chown it to root, or copy the program to /usr/local/sbin", path.display())]
    Owner {
        /// The part of the path
        path: PathBuf,
        /// Its owner
        uid: u32,
    },
    /// Its group, or anyone, could replace it
    #[error("{} can be written by others than root (mode {mode:04o}): programs run only from paths that root alone can change: chmod go-w it, or copy the program to /usr/local/sbin", path.display())]
    Writable {
        /// The part of the path
        path: PathBuf,
        /// Its mode
        mode: u32,
    },
    /// A directory, device, socket or pipe
    #[error("{} is no regular file: give the path of an executable file", .0.display())]
    NotAFile(PathBuf),
    /// No execute permission at all
    #[error("{} is not executable (mode {mode:04o}): chmod +x it", path.display())]
    NotExecutable {
        /// The file
        path: PathBuf,
        /// Its mode
        mode: u32,
    },
}

/// Follows `path` to the file that it names, and returns that file's path without symbolic links.
///
/// # Errors
/// The first part that anyone but root could change, or that is no executable file.
pub fn resolve(path: &Path) -> Result<PathBuf, Untrusted> {
    if !path.is_absolute() {
        return Err(Untrusted::Relative(path.to_owned()));
    }
    let mut pending: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    let mut real = PathBuf::from("/");
    let mut directories = vec![root()?];
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            if directories.len() > 1 {
                directories.pop();
                real.pop();
            }
            continue;
        }
        let Some(directory) = directories.last() else { break };
        let here = real.join(&name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(directory, &name, flags, Mode::empty()).map_err(|error| lookup(&here, error))?;
        let stat = fstat(&opened).map_err(|error| lookup(&here, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                // Its own mode says nothing; who may replace it is decided by its directory.
                owned(&here, &stat)?;
                links += 1;
                if links > MAX_LINKS {
                    return Err(Untrusted::Links(path.to_owned()));
                }
                let target =
                    readlinkat(directory, &name, Vec::new()).map_err(|error| lookup(&here, error))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    directories.truncate(1);
                    real = PathBuf::from("/");
                }
                names(&target).rev().for_each(|name| pending.push_front(name));
            }
            FileType::Directory => {
                private(&here, &stat)?;
                directories.push(opened);
                real = here;
            }
            kind if pending.is_empty() && kind == FileType::RegularFile => {
                private(&here, &stat)?;
                let mode = mode(&stat);
                return match mode & 0o111 {
                    0 => Err(Untrusted::NotExecutable { path: here, mode }),
                    _ => Ok(here),
                };
            }
            _ if pending.is_empty() => return Err(Untrusted::NotAFile(here)),
            _ => return Err(lookup(&here, rustix::io::Errno::NOTDIR)),
        }
    }
    Err(Untrusted::NotAFile(real))
}

fn root() -> Result<OwnedFd, Untrusted> {
    let path = Path::new("/");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(path, flags, Mode::empty()).map_err(|error| lookup(path, error))?;
    private(path, &fstat(opened.as_fd()).map_err(|error| lookup(path, error))?)?;
    Ok(opened)
}

/// Names of files and `..`, in order.
fn names(path: &Path) -> std::vec::IntoIter<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect::<Vec<_>>().into_iter()
}

fn lookup(path: &Path, error: rustix::io::Errno) -> Untrusted {
    Untrusted::Lookup { path: path.to_owned(), source: error.into() }
}

fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

fn owned(path: &Path, stat: &Stat) -> Result<(), Untrusted> {
    match stat.st_uid {
        0 => Ok(()),
        uid => Err(Untrusted::Owner { path: path.to_owned(), uid }),
    }
}

/// Owned by root and writable by nobody else. An ACL that lets others write shows in the group's bits (acl(5)). The sticky
/// bit is no excuse: whoever may write there can put a file where there is none.
fn private(path: &Path, stat: &Stat) -> Result<(), Untrusted> {
    owned(path, stat)?;
    match mode(stat) {
        mode if mode & 0o022 != 0 => Err(Untrusted::Writable { path: path.to_owned(), mode }),
        _ => Ok(()),
    }
}
