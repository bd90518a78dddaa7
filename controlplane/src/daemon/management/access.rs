//! The user at the other end of the socket, and the connections that one may hold.

use crate::api::ADMINISTRATORS;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Connections served at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Those that only root gets: an administrator in trouble reaches usherd whatever others do.
const FOR_ROOT: usize = 8;
/// Those that users who are not administrators get together.
const FOR_READERS: usize = 40;
/// Those of one user other than root.
const PER_USER: usize = 16;
/// Users looked up at once: their lists may be on a server far away.
static LOOKUPS: Semaphore = Semaphore::const_new(4);

/// The user at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Their number
    pub uid: u32,
    /// Their name, where the system knows it
    pub name: Option<String>,
    /// Root, or a member of the administrators' group: may change something
    pub is_administrator: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

impl Peer {
    /// Returns whether the secret of `enable` does not concern them.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Looks a user up, who connected with this group.
    pub async fn look_up(uid: u32, gid: u32) -> Peer {
        let nameless = Peer { uid, name: None, is_administrator: uid == 0 };
        let Ok(_turn) = LOOKUPS.acquire().await else { return nameless };
        let known = tokio::task::spawn_blocking(move || {
            let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
            let group = nix::unistd::Group::from_name(ADMINISTRATORS).ok().flatten();
            let is_member = group.is_some_and(|group| {
                let listed =
                    |user: &nix::unistd::User| user.gid == group.gid || group.mem.contains(&user.name);
                group.gid.as_raw() == gid || user.as_ref().is_some_and(listed)
            });
            let name = user.map(|user| user.name.chars().filter(|c| !c.is_control()).take(64).collect());
            Peer { uid, name, is_administrator: uid == 0 || is_member }
        });
        known.await.unwrap_or(nameless)
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This user has enough of them
    User,
    /// All users together, or all readers
    All,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::User => {
                write!(f, "{PER_USER} connections of this user are open: close one or try again later")
            }
            Full::All => f.write_str("too many clients are being served: try again later"),
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    readers: usize,
    users: BTreeMap<u32, usize>,
}

/// The connections that are open.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Counts>>);

impl Connections {
    /// Counts a connection of this user in.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open(&self, uid: u32) -> Result<Open, Full> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if uid == 0 { MAX_CONNECTIONS } else { MAX_CONNECTIONS - FOR_ROOT };
        if counts.total >= most {
            return Err(Full::All);
        }
        let user = counts.users.entry(uid).or_default();
        if uid != 0 && *user >= PER_USER {
            return Err(Full::User);
        }
        *user += 1;
        counts.total += 1;
        Ok(Open { all: self.clone(), uid, is_reader: false })
    }
}

/// An open connection; counted out when dropped.
#[derive(Debug)]
pub struct Open {
    all: Connections,
    uid: u32,
    is_reader: bool,
}

impl Open {
    /// It is that of a user who may only read.
    ///
    /// # Errors
    /// When these have too many: the rest is for administrators.
    pub fn as_reader(&mut self) -> Result<(), Full> {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.readers >= FOR_READERS {
            return Err(Full::All);
        }
        counts.readers += 1;
        self.is_reader = true;
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        counts.readers -= usize::from(self.is_reader);
        if let Some(user) = counts.users.get_mut(&self.uid) {
            *user -= 1;
            if *user == 0 {
                counts.users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_leave_room_for_administrators_and_these_for_root() {
        let connections = Connections::default();
        let mut all = Vec::new();
        // Three users who read, as many connections as they get.
        let mut refused = 0;
        for uid in [1001, 1002, 1003] {
            for _ in 0..2 * PER_USER {
                match connections.open(uid).and_then(|mut open| open.as_reader().map(|()| open)) {
                    Ok(open) => all.push(open),
                    Err(_) => refused += 1,
                }
            }
        }
        assert_eq!((all.len(), refused), (FOR_READERS, 6 * PER_USER - FOR_READERS));
        // An administrator gets through, and cannot lock root out.
        let administrator: Vec<_> = (0..100).map_while(|_| connections.open(1004).ok()).collect();
        assert_eq!(administrator.len(), PER_USER);
        assert_eq!(connections.open(1005).unwrap_err(), Full::All);
        let root: Vec<_> = (0..100).map_while(|_| connections.open(0).ok()).collect();
        assert_eq!(root.len(), FOR_ROOT);
        drop((all, administrator, root));
        let counts = connections.0.lock().unwrap();
        assert_eq!((counts.total, counts.readers, counts.users.len()), (0, 0, 0));
    }

    #[test]
    fn one_user_gets_a_share() {
        let connections = Connections::default();
        let all: Vec<_> = (0..PER_USER).map(|_| connections.open(7).unwrap()).collect();
        assert_eq!(connections.open(7).unwrap_err(), Full::User);
        assert!(connections.open(8).is_ok());
        drop(all);
        assert!(connections.open(7).is_ok());
    }
}
