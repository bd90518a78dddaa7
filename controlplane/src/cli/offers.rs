//! Words that may follow on the line at the prompt: for Tab and `?`.

use super::filter;
use crate::config::submode;
use crate::exec;
use crate::grammar::Offer;

/// Returns what may stand at the end of a line, `do` and filters included.
#[must_use]
pub fn offers(line: &str, place: Option<&[String]>, privileged: bool) -> Vec<Offer> {
    if let Some((_, behind)) = line.rsplit_once(" | ") {
        let partial = behind.trim_start().to_ascii_lowercase();
        let offer =
            |name: &str| Offer { word: name.to_owned(), help: filter_help(name).to_owned(), keyword: true };
        return filter::NAMES.into_iter().filter(|name| name.starts_with(&partial)).map(offer).collect();
    }
    let Some(place) = place else {
        return exec::offers(line, privileged);
    };
    if let Some(rest) = line.trim_start().strip_prefix("do ") {
        return exec::offers(rest, true);
    }
    let mut offers = submode::offers(place, line);
    if !line.trim_start().contains(char::is_whitespace) && "do".starts_with(line.trim()) {
        let help = "a command of the prompt".to_owned();
        offers.push(Offer { word: "do".to_owned(), help, keyword: true });
        offers.sort();
    }
    offers
}

fn filter_help(name: &str) -> &'static str {
    match name {
        "begin" => "from the first line that matches on",
        "count" => "how many lines match",
        "exclude" => "lines that do not match",
        "include" => "lines that match",
        _ => "parts whose first line matches",
    }
}
