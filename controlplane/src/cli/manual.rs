//! The manual page, made of the tables that the shell itself works by.

use crate::config::submode;
use crate::exec;
use std::fmt::Write as _;

/// Date of the last revision of the page's text beside the tables.
const DATE: &str = "2026-11-25";
/// Bytes of an input line that mandoc puts up with.
const WIDTH: usize = 79;

/// usher(8) in troff.
#[must_use]
pub fn page() -> String {
    let mut out = format!(
        ".TH USHER 8 {DATE} \"usher {}\" \"Usher\"\n.SH NAME\nusher \\- the command of the IKEv2 load balancer\n\
         .SH SYNOPSIS\n.B usher\n[\\-\\-run\\-dir DIR] [\\-\\-json] [\\-\\-password\\-file FILE] [COMMAND]\n\
         .SH DESCRIPTION\nWithout a command, at a terminal, a shell; with standard input from elsewhere, one command a \
         line, where all lines between\n.B configure terminal\nand\n.B end\nare one change. \
         Words may be abbreviated. In the shell\n.B ?\nshows what may follow and Tab completes it;\n\
         .B | include, exclude, begin, section, count\nwith a regular expression choose lines of an answer.\n\
         .SH RIGHTS\nMembers of the group usher may read, root and members of usher\\-admin may change something. With\n\
         .B enable secret\nin the configuration these members have to give that password before they change anything, \
         in the shell, in a batch and in a single command alike; root is exempt, as it can replace the configuration \
         file. Where there is no terminal,\n.B \\-\\-password\\-file\nnames a file whose first line is the password.\n\
         .SH EXIT STATUS\n0 when it was done, 1 when it was refused, 2 when it was not understood.\n\
         .SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for row in exec::COMMANDS.iter() {
        item(&mut out, row.syntax, row.help);
    }
    out.push_str(
        ".SH CONFIGURATION\nMost lines have a\n.B no\nform, which takes the line out or its value back to the default.\n",
    );
    let mut section = None;
    for (place, syntax, no, help) in submode::manual() {
        if section != Some(place) {
            let title = if place.is_empty() { "Global" } else { place };
            let _ = writeln!(out, ".SS {}", escape(title));
            section = Some(place);
        }
        let without = if no.is_empty() { " It has no \\fBno\\fR form." } else { "" };
        item(&mut out, syntax, &format!("{help}.{without}"));
    }
    out.push_str(
        ".SH FILES\n/etc/usher/usher.conf: the configuration.\n.br\n/etc/usher/profile.toml: which port of the machine an \
         interface is, and how it is driven.\n.br\n/run/usher: sockets and state of the daemons.\n.br\n\
         ~/.usher_history: the shell's history, without lines that hold keys or are not understood.\n\
         .SH SEE ALSO\nusherd \\-\\-help, usher\\-dataplane \\-\\-help, RFC 5685\n",
    );
    wrapped(&out)
}

/// Text in lines of at most [`WIDTH`] bytes, where words allow it. Requests stay as they are, and none comes about.
fn wrapped(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 64);
    for line in page.lines() {
        let mut length = 0;
        for word in line.split(' ') {
            let request = line.starts_with('.') || word.starts_with(['.', '\'']);
            if length > 0 {
                let fits = request || length + 1 + word.len() <= WIDTH;
                out.push(if fits { ' ' } else { '\n' });
                length = if fits { length + 1 } else { 0 };
            }
            out.push_str(word);
            length += word.len();
        }
        out.push('\n');
    }
    out
}

fn item(out: &mut String, syntax: &str, help: &str) {
    let _ = writeln!(out, ".TP\n.B {}\n{}", escape(syntax), help.replace('-', "\\-"));
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_every_command_and_no_line_that_troff_would_take_for_its_own() {
        let page = super::page();
        for part in [
            "show crypto ikev2 cluster details",
            ".SS crypto ikev2 cluster",
            "max\\-session",
            "static\\-gateway",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let requests = [".TH", ".SH", ".SS", ".TP", ".B", ".br"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(requests.iter().any(|request| line.starts_with(request)), "{line}");
        }
        for line in page.lines().filter(|line| !line.starts_with('.')) {
            assert!(line.len() <= super::WIDTH, "{line}");
        }
    }

    #[test]
    fn long_lines_are_broken_between_words_and_no_request_comes_about() {
        let long = "word ".repeat(15);
        assert_eq!(super::wrapped(&format!("{long}last one\n")), format!("{long}last\none\n"));
        assert_eq!(super::wrapped(&format!("{long}abcdef .br x\n")).lines().count(), 2);
        assert!(!super::wrapped(&format!("{long}abc .br x\n")).contains("\n."));
    }
}
