//! The password of `enable`: one try at a time per user, and a wrong one costs time, so that guessing is slow and
//! nobody's guesses keep another user out.

use super::access::Peer;
use crate::api::{Code, Reply};
use crate::limits::Limiter;
use crate::types::nanos;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A wrong password costs this.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// Log lines per user in 10 s.
const LOG_LINES: u32 = 5;
/// Users whose tries are remembered.
const MAX_USERS: usize = 1024;

#[derive(Debug, Default)]
struct User {
    is_trying: bool,
    log: Limiter,
}

/// Checks passwords.
#[derive(Debug)]
pub struct Passwords {
    users: Mutex<BTreeMap<u32, User>>,
    /// A hash takes a processor for up to a second: one at a time, in turn
    hashing: Semaphore,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { users: Mutex::default(), hashing: Semaphore::new(1) }
    }
}

/// A try of one user; the next one may follow when it is dropped.
struct Turn<'a>(&'a Passwords, u32);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.with_user(self.1, |user| user.is_trying = false);
    }
}

impl Passwords {
    fn with_user<T>(&self, uid: u32, act: impl FnOnce(&mut User) -> T) -> T {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MAX_USERS {
            users.retain(|_, user| user.is_trying);
        }
        act(users.entry(uid).or_default())
    }

    /// Checks a password against a hash of SHA-crypt.
    ///
    /// # Errors
    /// The refusal.
    pub async fn check(&self, peer: &Peer, hash: String, password: String) -> Result<(), Reply> {
        let uid = peer.uid;
        if self.with_user(uid, |user| std::mem::replace(&mut user.is_trying, true)) {
            return Err(Reply::refusal(Code::Busy, "another password of yours is being checked: try again"));
        }
        let _turn = Turn(self, uid);
        let right = {
            let _processor = self.hashing.acquire().await;
            tokio::task::spawn_blocking(move || verify(&hash, &password)).await.unwrap_or(false)
        };
        if right {
            tracing::info!("%SYS-5-ENABLE: user {peer} gave the enable secret");
            return Ok(());
        }
        if let Some(held) = self.with_user(uid, |user| user.log.allow(LOG_LINES, nanos::now())) {
            let more = if held > 0 { format!(", {held} times more before") } else { String::new() };
            tracing::warn!("%SYS-4-ENABLE: user {peer} gave a wrong password to enable{more}");
        }
        tokio::time::sleep(WRONG_PASSWORD).await;
        Err(Reply::refusal(Code::WrongPassword, "the password is wrong"))
    }
}

/// Compares a password with a hash of SHA-crypt.
fn verify(hash: &str, password: &str) -> bool {
    use sha_crypt::PasswordVerifier as _;
    sha_crypt::ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH5: &str = "$5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249";
    const HASH6: &str =
        "$6$saltsalt$cPbDmdp7sUA1v8Yjfppi8VeFqwELnkKCqsv5H2wx/S4LZwLhIhlK7tCX/4JqgCT3onV3./FXCDD2Y6iXkj4Lp/";

    #[test]
    fn passwords_are_those_of_the_hashes_that_openssl_makes() {
        // openssl passwd -5 -salt saltsalt swordfish; openssl passwd -6 -salt saltsalt swordfish
        for hash in [HASH5, HASH6] {
            assert!(verify(hash, "swordfish"), "{hash}");
            assert!(!verify(hash, "Swordfish") && !verify(hash, ""), "{hash}");
        }
        assert!(!verify("$5$nonsense", "") && !verify("", ""));
    }

    #[tokio::test]
    async fn wrong_passwords_of_one_user_cost_them_time_and_no_other() {
        let passwords = Passwords::default();
        let peer = |uid| Peer { uid, name: None, is_administrator: false };
        let (guesser, other) = (peer(1), peer(2));
        let start = std::time::Instant::now();
        let check = |peer, password: &str| passwords.check(peer, HASH5.to_owned(), password.to_owned());
        let (first, second, right) =
            tokio::join!(check(&guesser, "no"), check(&guesser, "swordfish"), check(&other, "swordfish"));
        assert_eq!(first.unwrap_err().code, Some(Code::WrongPassword));
        assert_eq!(second.unwrap_err().code, Some(Code::Busy), "one try at a time");
        assert!(right.is_ok());
        assert!(start.elapsed() >= WRONG_PASSWORD);
        assert!(check(&guesser, "swordfish").await.is_ok(), "the next try is free");
    }
}
