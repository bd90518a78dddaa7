//! Changes of the running configuration, and what of answering has to wait for a disk or a hash.

use super::management::Asking;
use super::{Daemon, hsrp};
use crate::api::{ADMINISTRATORS, Code, Configure, Configured, Reply};
use crate::config::change::{self, Change, Order};
use crate::config::diff::diff;
use crate::config::secrets::{Masker, mask};
use crate::config::{Diagnostic, Keys, Severity, parse, render};
use crate::exec::{self, Command, Invocation, Local, Show};
use crate::files::{self, Survives};
use crate::types::IfName;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;

/// A change has at most so many lines: understanding one takes up to 40 us, and the loop that understands them holds
/// the roles.
const MAX_LINES: usize = 2000;

/// One password is tried at a time, and a wrong one costs this: guessing is slow and takes no processor.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);
static PASSWORD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Mode of a startup configuration that was not there: keys are in it.
const CONFIG_MODE: u32 = 0o640;
/// The startup configuration is written once at a time, in the order in which that was asked for.
static WRITE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Daemon {
    /// Answers a request, at once or, where a disk or a hash is needed, from a thread beside the loop.
    pub(super) fn respond(&mut self, asking: &Asking, answer: oneshot::Sender<Reply>) {
        // Whoever asked may have gone: nobody hears the answer then.
        let request = &asking.request;
        if let Some(configure) = &request.configure {
            let reply = if asking.may_change { self.configure(configure, asking.uid) } else { only_admins() };
            let _ = answer.send(reply);
            return;
        }
        if let Ok(Invocation { command: Command::Failover, interface, group, .. }) =
            exec::parse(&request.command, true)
            && asking.may_change
        {
            self.fail_over(interface, group.unwrap_or(0), request.json, answer);
            return;
        }
        match exec::parse(&request.command, true).map(|invocation| invocation.command) {
            Ok(Command::Write) if asking.may_change => {
                let (path, text, json) =
                    (self.options.config.clone(), render(&self.config, Keys::Shown), request.json);
                tokio::spawn(async move {
                    let _turn = WRITE.lock().await;
                    let file = path.clone();
                    let save =
                        move || files::replace(&file, text.as_bytes(), CONFIG_MODE, Survives::PowerLoss);
                    let saved = tokio::task::spawn_blocking(save).await;
                    let reply = match saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                        Ok(()) => {
                            tracing::info!(
                                "%SYS-5-CONFIG_NV: the running configuration is in {}",
                                path.display()
                            );
                            Reply::text(json, "Building configuration...\n[OK]\n")
                        }
                        Err(error) => Reply::error(format!(
                            "{}: {error}: make room or its directory writable for usherd, and write again",
                            path.display()
                        )),
                    };
                    let _ = answer.send(reply);
                });
            }
            Ok(Command::Show(Show::StartupConfig)) => {
                let (path, json) = (self.options.config.clone(), request.json);
                tokio::task::spawn_blocking(move || {
                    let reply = match crate::config::read(&path) {
                        Ok(text) => Reply::text(json, &mask(&text)),
                        Err(error) => Reply::error(error.to_string()),
                    };
                    let _ = answer.send(reply);
                });
            }
            Ok(Command::Local(Local::Enable)) => {
                let hash = self.config.enable_secret.clone().map(|secret| secret.0);
                let password = request.password.clone();
                tokio::spawn(async move {
                    let _ = answer.send(enable(hash, password).await);
                });
            }
            _ => {
                let _ = answer.send(self.answer(asking));
            }
        }
    }

    /// Has the runner of HSRP hand a role over; it answers within a turn of its loop.
    fn fail_over(&self, interface: Option<IfName>, group: u16, json: bool, answer: oneshot::Sender<Reply>) {
        let (reply, outcome) = oneshot::channel();
        self.hsrp.send(hsrp::Command::Failover { interface, group, reply });
        tokio::spawn(async move {
            let reply = match outcome.await {
                Ok(Ok(text)) if json => {
                    Reply { json: Some(serde_json::json!({ "done": text })), ..Reply::default() }
                }
                Ok(Ok(text)) => Reply::text(false, &text),
                Ok(Err(error)) => Reply::error(error),
                Err(_) => Reply::error("usherd is stopping"),
            };
            let _ = answer.send(reply);
        });
    }

    /// Takes lines of configuration, all or none.
    fn configure(&mut self, configure: &Configure, uid: u32) -> Reply {
        if configure.lines.len() > MAX_LINES {
            return Reply::error(format!(
                "{} lines at once would hold up HSRP, the most is {MAX_LINES}: divide the change, or restart usherd with the file",
                configure.lines.len()
            ));
        }
        let changed = match configure.replace {
            true => parse(&configure.lines.join("\n")).map(|loaded| {
                let shutdown = |config: &crate::config::Config| config.cluster.as_ref().map(|c| c.shutdown);
                let (old, new) = (shutdown(&self.config), shutdown(&loaded.config));
                let orders = new.filter(|_| old != new).map(Order::ClusterShutdown).into_iter().collect();
                Change { loaded, orders, place: Vec::new(), ended: true }
            }),
            false => change::change(&self.config, &configure.place, &configure.lines),
        };
        let changed = changed.and_then(|change| match change.loaded.unbound(&self.binding) {
            unbound if unbound.is_empty() => Ok(change),
            unbound => Err(unbound),
        });
        let Change { loaded, orders, place, ended } = match changed {
            Ok(change) => change,
            Err(remarks) => {
                let place = configure.place.clone();
                let configured = Configured {
                    place,
                    remarks,
                    hostname: self.config.hostname.clone(),
                    ..Configured::default()
                };
                return Reply {
                    error: Some("nothing was changed".to_owned()),
                    configured: Some(configured),
                    ..Reply::default()
                };
            }
        };
        let diff = match configure.replace {
            true => diff(&self.config, &loaded.config, "running-config", "new"),
            false => String::new(),
        };
        let mut remarks = loaded.remarks;
        let hostname = loaded.config.hostname.clone();
        if !configure.dry_run {
            if !configure.replace {
                let Configure { place, lines, .. } = configure.clone();
                // Masking takes longer than applying: not in the loop.
                tokio::task::spawn_blocking(move || log_lines(&place, &lines, uid));
            }
            if configure.replace && !diff.is_empty() {
                tracing::info!("%SYS-5-CONFIG_R: user {uid} replaced the running configuration");
            }
            let before: BTreeSet<String> = self.plan.warnings.iter().cloned().collect();
            if loaded.config != self.config {
                self.take(loaded.config);
            }
            let fresh = |warning: &&String| !before.contains(*warning);
            remarks.extend(self.plan.warnings.iter().filter(fresh).map(|warning| remark(warning)));
            self.obey(&orders);
            if orders.last() == Some(&Order::ClusterShutdown(false)) {
                let down = self.plan.cluster.iter().flat_map(|cluster| &cluster.down);
                remarks.extend(down.map(|why| remark(&format!("the cluster stays down: {why}"))));
            }
        } else if configure.replace {
            let plan = self.assess(&loaded.config);
            remarks.extend(plan.warnings.iter().map(|warning| remark(warning)));
        }
        Reply { configured: Some(Configured { place, ended, remarks, diff, hostname }), ..Reply::default() }
    }

    /// What was ordered by typing it, also where the configuration said so already.
    fn obey(&mut self, orders: &[Order]) {
        for Order::ClusterShutdown(shutdown) in orders {
            let word = if *shutdown { "shutdown" } else { "no shutdown" };
            tracing::info!("%CLB-5-ORDER: `{word}` was entered under crypto ikev2 cluster");
            self.cluster_shutdown(*shutdown);
        }
    }
}

fn log_lines(place: &[String], lines: &[String], uid: u32) {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut masker = Masker::within(place);
    for line in lines {
        let line = masker.line(line).text;
        let line: String = line.trim().chars().take(400).map(clean).collect();
        if !line.is_empty() {
            tracing::info!("%PARSER-5-CFGLOG_LOGGEDCMD: user {uid} logged command:{line}");
        }
    }
}

fn remark(message: &str) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, message: message.to_owned(), ..Diagnostic::default() }
}

pub(super) fn only_admins() -> Reply {
    Reply::refusal(
        Code::NotAdministrator,
        format!(
            "only root and members of the group {ADMINISTRATORS} may do this: `usermod -aG {ADMINISTRATORS} USER` and log in again"
        ),
    )
}

/// `enable`: with a secret configured, only with its password. The answer `password` asks for one.
async fn enable(hash: Option<String>, password: Option<String>) -> Reply {
    let (Some(hash), given) = (hash, password) else { return Reply::text(false, "") };
    let Some(password) = given else {
        return Reply { code: Some(Code::PasswordNeeded), ..Reply::text(false, "password") };
    };
    let Ok(_turn) = PASSWORD.try_lock() else {
        return Reply::refusal(Code::Busy, "another password is being checked: try again");
    };
    let right = tokio::task::spawn_blocking(move || verify(&hash, &password)).await.unwrap_or(false);
    if right {
        return Reply::text(false, "");
    }
    tracing::warn!("%SYS-4-ENABLE: a wrong password was given to enable");
    tokio::time::sleep(WRONG_PASSWORD).await;
    Reply::refusal(Code::WrongPassword, "the password is wrong")
}

/// Whether a password is the one of this hash of SHA-crypt.
fn verify(hash: &str, password: &str) -> bool {
    use sha_crypt::PasswordVerifier as _;
    sha_crypt::ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_wrong_password_costs_time_and_no_secret_needs_none() {
        assert_eq!(enable(None, None).await.text.as_deref(), Some(""));
        assert_eq!(enable(Some(HASH5.to_owned()), None).await.text.as_deref(), Some("password"));
        let start = std::time::Instant::now();
        let wrong = enable(Some(HASH5.to_owned()), Some("no".to_owned())).await;
        assert!(wrong.error.unwrap().contains("wrong") && start.elapsed() >= WRONG_PASSWORD);
        let right = enable(Some(HASH5.to_owned()), Some("swordfish".to_owned())).await;
        assert_eq!(right.text.as_deref(), Some(""));
    }

    const HASH5: &str = "$5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249";
    const HASH6: &str =
        "$6$saltsalt$cPbDmdp7sUA1v8Yjfppi8VeFqwELnkKCqsv5H2wx/S4LZwLhIhlK7tCX/4JqgCT3onV3./FXCDD2Y6iXkj4Lp/";
}
