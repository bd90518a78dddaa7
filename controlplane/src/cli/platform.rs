//! `usher platform show|check|suggest`: the machine and its profile. Asks no daemon and needs no privilege.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use platform::host::check::{self, Level};
use platform::host::show::Machine;
use platform::host::{HostError, suggest};
use platform::profile::Profile;

/// Path of an installation's profile.
pub const PROFILE: &str = "/etc/usher/profile.toml";
const ROOT: &str = "/";

/// Carries out what stands behind `platform`. `check` judges the profile named behind it, or by `--profile`, or the
/// installation's: 0 when the data plane can start with it, 1 when something is missing, 2 for a wrong command.
pub fn run(words: &[String], profile: Option<&Path>, json: bool) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is = |word: &str, full: &str| !word.is_empty() && full.starts_with(&word.to_ascii_lowercase());
    let result = match words.as_slice() {
        [word] if is(word, "show") => show(json),
        [word] if is(word, "suggest") && word.len() > 1 => {
            suggest::suggest(Path::new(ROOT)).map(|text| (text, 0))
        }
        [word] if is(word, "check") => judge(profile.unwrap_or(Path::new(PROFILE)), json),
        [word, file] if is(word, "check") => judge(Path::new(file), json),
        _ => {
            eprintln!(
                "usher: write `usher platform show`, `usher platform check [PROFILE]` or `usher platform suggest`"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok((text, code)) => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("usher: the answer cannot be written: {error}");
                ExitCode::FAILURE
            }
            _ => ExitCode::from(code),
        },
        Err(error) => {
            eprintln!("usher: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(json: bool) -> Result<(String, u8), HostError> {
    let machine = Machine::read(Path::new(ROOT))?;
    Ok((if json { format!("{:#}\n", serde_json::json!(machine)) } else { machine.render() }, 0))
}

fn judge(path: &Path, json: bool) -> Result<(String, u8), HostError> {
    let profile = match Profile::load(path) {
        Ok(profile) => profile,
        Err(error) => {
            let hint =
                if path.exists() { "" } else { " (`usher platform suggest` writes one for this machine)" };
            eprintln!("usher: {error}{hint}");
            return Ok((String::new(), 1));
        }
    };
    let (found, plan) = check::check(&profile, Path::new(ROOT));
    let missing = found.iter().any(|finding| finding.level == Level::Missing);
    let text = match json {
        false => check::render(&found, plan.as_ref(), &check::subinterfaces(&profile)),
        true => {
            let vlans = check::subinterfaces(&profile);
            let workers = plan.map(|plan| plan.reasons).unwrap_or_default();
            let value = serde_json::json!({ "profile": profile.name, "findings": found, "workers": workers, "vlans": vlans });
            format!("{value:#}\n")
        }
    };
    Ok((text, u8::from(missing)))
}
