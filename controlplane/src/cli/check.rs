//! `usher check FILE`: what a configuration would change, its errors and warnings, and what would stay down.

use super::client::Client;
use crate::api::{ADMINISTRATORS, Configure};
use crate::config::{self, Binding, Config, LoadError, LoadSource, Severity, health};
use crate::load::trusted;
use std::io::Write as _;
use std::path::Path;

/// Checks a file and says what there is to say; true when it would be taken and has no error.
pub fn check(path: &Path, profile: Option<&Path>, json: bool, client: &Client) -> bool {
    let binding = match profile.map(platform::profile::Profile::load).transpose() {
        Ok(profile) => profile.as_ref().map(Binding::new),
        Err(error) => {
            eprintln!("usher: {error}");
            return false;
        }
    };
    let loaded = match &binding {
        Some(binding) => config::load_for(path, binding),
        None => config::load(path),
    };
    let (loads, plan, remarks) = match loaded {
        Ok(loaded) => {
            let mut plan = plan(&loaded.config, binding.as_ref());
            plan.warnings.extend(config::exposure(path, &loaded.config, ADMINISTRATORS));
            (true, plan, loaded.remarks)
        }
        Err(LoadError::Wrong { remarks, .. }) => (false, health::Plan::default(), remarks),
        Err(error) => {
            eprintln!("usher: {error}");
            return false;
        }
    };
    let errors: &[String] = plan.cluster.as_ref().map_or(&[], |cluster| &cluster.errors);
    let of_groups = plan
        .groups
        .iter()
        .flat_map(|group| group.down.iter().map(move |why| format!("{}: {why}", group.key)));
    let of_cluster =
        plan.cluster.iter().flat_map(|cluster| cluster.down.iter().map(|why| format!("cluster: {why}")));
    let down: Vec<String> = of_groups.chain(of_cluster).collect();
    let good = loads && errors.is_empty();
    let diff = if loads { difference(path, client) } else { None };
    if json {
        let value = serde_json::json!({
            "loads": loads, "remarks": remarks, "errors": errors, "down": down, "warnings": plan.warnings, "diff": diff,
        });
        return print(&format!("{value:#}\n")) && good;
    }
    let file = path.display().to_string();
    let mut text = match diff {
        Some(diff) if diff.is_empty() => {
            format!("{file}: matches the running configuration; nothing to do\n")
        }
        Some(diff) => diff,
        None => String::new(),
    };
    text.extend(remarks.iter().map(|remark| remark.render(&file)));
    for why in &down {
        text.push_str(&format!("{file}: stays down: {why}\n"));
    }
    for warning in &plan.warnings {
        text.push_str(&format!("{file}: warning: {warning}\n"));
    }
    let count = |severity| remarks.iter().filter(|remark| remark.severity == severity).count();
    text.push_str(&format!(
        "{file}: {}: {} errors, {} warnings, {} notes\n",
        if loads { "loads" } else { "does not load" },
        count(Severity::Error) + errors.len(),
        count(Severity::Warning) + plan.warnings.len(),
        count(Severity::Notice)
    ));
    print(&text) && good
}

/// Summary of the configuration, with the ports of a profile where one is at hand, and its misfits on this system.
fn plan(config: &Config, binding: Option<&Binding>) -> health::Plan {
    let mut plan = match binding {
        None => health::assess(config, None),
        Some(binding) => {
            let mut plan = health::assess(config, Some(&|name| binding.port(config, name)));
            plan.warnings.extend(binding.warnings(config));
            plan
        }
    };
    plan.warnings.extend(untrusted_program(config));
    plan
}

/// Why the program of `load-source` would not be run on this system.
fn untrusted_program(config: &Config) -> Option<String> {
    let program = match config.cluster.as_ref()?.load_source.as_ref()? {
        LoadSource::Script(path) | LoadSource::Whack(Some(path)) => path,
        LoadSource::Whack(None) | LoadSource::Vici(_) | LoadSource::Fixed { .. } => return None,
    };
    let why = trusted::resolve(Path::new(program)).err()?;
    Some(format!("`load-source`: the program will not run here: {why}"))
}

/// The difference that the file would make to the usherd that runs here; `None` where none does, or it may not be asked.
fn difference(path: &Path, client: &Client) -> Option<String> {
    let lines = config::read(path).ok()?.lines().map(str::to_owned).collect();
    let configure = Configure { lines, replace: true, dry_run: true, ..Configure::default() };
    let reply = client.configure(configure).ok()?;
    if reply.error.is_some() { None } else { reply.configured.map(|configured| configured.diff) }
}

/// A reader that ends early (`| head`) is no failure.
fn print(text: &str) -> bool {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("usher: the answer cannot be written: {error}");
            false
        }
        _ => true,
    }
}
