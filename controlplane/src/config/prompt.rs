//! Prompts pasted along with lines.

/// The line without a pasted prompt such as `Device(config-if)# `, blanked so that columns stay.
pub(crate) fn strip_prompt(line: &str) -> String {
    let Some(mark) = line.find(['#', '>']) else { return line.to_owned() };
    let prompt = line[..mark].trim_start();
    let (name, mode) = match prompt.split_once('(') {
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(mode) => (name, mode),
            None => return line.to_owned(),
        },
        None => (prompt, ""),
    };
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if name.is_empty() || !word(name) || !word(mode) {
        return line.to_owned();
    }
    let blank: String = line[..=mark].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{blank}{}", &line[mark + 1..])
}
