//! Changes of the running configuration: read, parsed, assessed, compared and masked here; the loop only puts the result
//! into force.

use super::access::Peer;
use super::call::{Call, Moved, Prepared, Running};
use super::server::Server;
use crate::api::{Configure, Configured, Reply};
use crate::config::change::{Change, Order, change};
use crate::config::diff::diff;
use crate::config::secrets::Masker;
use crate::config::{self, Binding, Config, Diagnostic, LoadError, Loaded, Severity, parse};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Tries to put a change into force while the running configuration moves otherwise.
const TRIES: usize = 5;

/// A change that is understood.
struct Understood {
    /// `None`: the configuration stays as it is
    prepared: Option<Prepared>,
    orders: Vec<Order>,
    configured: Configured,
}

impl Server {
    /// Takes lines of configuration, all or none.
    pub(super) async fn configure(&self, configure: Configure, peer: &Peer) -> Result<Reply, Reply> {
        let configure = Arc::new(configure);
        let _turn = if configure.dry_run { None } else { Some(self.changes.lock().await) };
        for _ in 0..TRIES {
            let running = self.settings.running.borrow().clone();
            let base = running.revision;
            let (lines, binding, ports) =
                (configure.clone(), self.settings.binding.clone(), self.settings.ports);
            let understood = spawn_blocking(move || understand(&lines, &running, &binding, ports)).await;
            let Understood { prepared, orders, configured } = understood.map_err(|_| panicked())??;
            let reply = Reply { configured: Some(Box::new(configured)), ..Reply::default() };
            if configure.dry_run {
                return Ok(reply);
            }
            let changed = prepared.is_some();
            if self.install(base, prepared, orders).await? == Err(Moved) {
                continue;
            }
            if !configure.replace {
                let (configure, peer) = (configure.clone(), peer.clone());
                spawn_blocking(move || log_lines(&configure.place, &configure.lines, &peer));
            } else if changed {
                tracing::info!("%SYS-5-CONFIG_R: user {peer} replaced the running configuration");
            }
            return Ok(reply);
        }
        Err(Reply::error("the running configuration keeps changing: try again"))
    }

    /// Has the loop put a configuration into force.
    async fn install(
        &self,
        base: u64,
        prepared: Option<Prepared>,
        orders: Vec<Order>,
    ) -> Result<Result<(), Moved>, Reply> {
        let installed = self.call(|installed| Call::Install { base, prepared, orders, installed }).await?;
        // What was in force before is freed here, not in the loop.
        Ok(installed.map(drop))
    }

    /// Reads the configuration file again, as SIGHUP asks for; one that is wrong changes nothing.
    pub(super) async fn reload(&self) {
        let _turn = self.changes.lock().await;
        for _ in 0..TRIES {
            let base = self.settings.running.borrow().revision;
            let (file, binding, ports) =
                (self.settings.file.clone(), self.settings.binding.clone(), self.settings.ports);
            let loaded = spawn_blocking(move || {
                let loaded = config::load_for(&file, &binding)?;
                log_remarks(&file, &loaded);
                Ok::<_, LoadError>(Prepared::new(loaded.config, &binding, ports))
            });
            let prepared = match loaded.await {
                Ok(Ok(prepared)) => prepared,
                Ok(Err(error)) => {
                    tracing::error!("%CONFIG-3-REFUSED: the running configuration stays: {error}");
                    return;
                }
                Err(_) => return,
            };
            match self.install(base, Some(prepared), Vec::new()).await {
                Ok(Ok(())) => {
                    tracing::info!("%CONFIG-5-LOADED: {}", self.settings.file.display());
                    return;
                }
                Ok(Err(Moved)) => {}
                Err(reply) => {
                    let error = reply.error.unwrap_or_default();
                    tracing::error!("%CONFIG-3-REFUSED: the running configuration stays: {error}");
                    return;
                }
            }
        }
    }
}

fn panicked() -> Reply {
    Reply::error("the lines could not be understood: see usherd's log")
}

/// Reads the lines of a change against the running configuration.
fn understand(
    configure: &Configure,
    running: &Running,
    binding: &Binding,
    ports: usize,
) -> Result<Understood, Reply> {
    let changed = match configure.replace {
        true => parse(&configure.lines.join("\n")).map(|loaded| {
            let shutdown = |config: &Config| config.cluster.as_ref().map(|cluster| cluster.shutdown);
            let (old, new) = (shutdown(&running.config), shutdown(&loaded.config));
            let orders = new.filter(|_| old != new).map(Order::ClusterShutdown).into_iter().collect();
            Change { loaded, orders, place: Vec::new(), ended: true }
        }),
        false => change(&running.config, &configure.place, &configure.lines),
    };
    let changed = changed.and_then(|change| match change.loaded.unbound(binding) {
        unbound if unbound.is_empty() => Ok(change),
        unbound => Err(unbound),
    });
    let Change { loaded, orders, place, ended } = changed.map_err(|remarks| Reply {
        error: Some("nothing was changed".to_owned()),
        configured: Some(Box::new(Configured {
            place: configure.place.clone(),
            remarks,
            hostname: running.config.hostname.clone(),
            ..Configured::default()
        })),
        ..Reply::default()
    })?;
    let Loaded { config, mut remarks, .. } = loaded;
    let diff = match configure.replace {
        true => diff(&running.config, &config, "running-config", "new"),
        false => String::new(),
    };
    let hostname = config.hostname.clone();
    let prepared = (config != *running.config).then(|| Prepared::new(config, binding, ports));
    let plan = prepared.as_ref().map_or(&running.plan, |prepared| &prepared.plan);
    // What was warned of before is no news, but for one who looks before changing.
    let before: BTreeSet<&String> = match configure.dry_run && configure.replace {
        true => BTreeSet::new(),
        false => running.plan.warnings.iter().collect(),
    };
    remarks.extend(plan.warnings.iter().filter(|warning| !before.contains(warning)).map(|text| remark(text)));
    if !configure.dry_run && orders.last() == Some(&Order::ClusterShutdown(false)) {
        let down = plan.cluster.iter().flat_map(|cluster| &cluster.down);
        remarks.extend(down.map(|why| remark(&format!("the cluster stays down: {why}"))));
    }
    let configured = Configured { place, ended, remarks, diff, hostname };
    Ok(Understood { prepared, orders, configured })
}

fn remark(message: &str) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, message: message.to_owned(), ..Diagnostic::default() }
}

fn log_lines(place: &[String], lines: &[String], peer: &Peer) {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut masker = Masker::within(place);
    for line in lines {
        let line = masker.line(line).text;
        let line: String = line.trim().chars().take(400).map(clean).collect();
        if !line.is_empty() {
            tracing::info!("%PARSER-5-CFGLOG_LOGGEDCMD: user {peer} logged command:{line}");
        }
    }
}

/// Logs the remarks on the lines of a file that loads, and who may read its keys.
pub fn log_remarks(file: &Path, loaded: &Loaded) {
    let name = file.display();
    for remark in &loaded.remarks {
        let text = format!("{name}:{}: {}: {}", remark.line, remark.text.trim(), remark.message);
        match remark.severity {
            Severity::Notice => tracing::info!("%CONFIG-6-NOEFFECT: {text}"),
            _ => tracing::warn!("%CONFIG-4-SLIP: {text}"),
        }
    }
    if let Some(exposed) = config::exposure(file, &loaded.config, crate::api::ADMINISTRATORS) {
        tracing::warn!("%CONFIG-4-EXPOSED: {name}: {exposed}");
    }
}
