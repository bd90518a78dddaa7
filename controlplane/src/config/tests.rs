//! Tests of the configuration as a whole, by subject.

mod cluster;
mod crypto;
mod errors;
mod health;
mod interface;
mod round_trip;
mod seed;
mod standby;
mod syntax;

use super::{Keys, Loaded, Severity, parse, render};

fn loaded(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|remarks| {
        panic!("{}", remarks.iter().map(|remark| remark.render("test")).collect::<String>())
    })
}

fn warnings(loaded: &Loaded) -> Vec<(usize, &str)> {
    let warnings = loaded.remarks.iter().filter(|r| r.severity == Severity::Warning);
    warnings.map(|remark| (remark.line, remark.message.as_str())).collect()
}

/// The first error as the operator sees it.
fn error(text: &str) -> String {
    let remarks = parse(text).expect_err("an error");
    remarks.iter().find(|r| r.severity == Severity::Error).expect("an error").render("usher.conf")
}

/// The lines of group 1 and the interface after `lines` under an interface, as `show running-config` has them.
fn rendered(lines: &[&str]) -> Vec<String> {
    let text = format!("interface Te0/0/0\n{}\n", lines.join("\n"));
    let config = loaded(&text).config;
    let wanted = |line: &&str| ["standby", "ipv6 nd"].iter().any(|word| line.trim().starts_with(word));
    let text = render(&config, Keys::Masked);
    text.lines().filter(wanted).map(|line| line.trim().to_owned()).collect()
}
