//! Carries out a line, whether it comes from a terminal, from standard input or from the command line.

use super::client::Client;
use super::history::may_be_kept;
use super::offers::offers;
use super::{check, editor::Editor, filter, terminal};
use crate::api::{Code, Configure, Configured, Reply, Request};
use crate::config::diag::printable;
use crate::config::secrets::mask_line;
use crate::config::{Diagnostic, Severity, change, strip_prompt, submode};
use crate::exec::{self, Command, Invocation, Local};
use crate::grammar::{Mismatch, Offer, Reason};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what it says
    Well,
    /// usherd or the system refused
    Refused,
    /// The line was not understood
    Misunderstood,
    /// The shell ends
    Leave,
}

impl Ended {
    /// The exit code of a one-shot command.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Ended::Well | Ended::Leave => 0,
            Ended::Refused => 1,
            Ended::Misunderstood => 2,
        }
    }
}

/// Source of the lines: it decides how errors are shown and what is asked back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The line was echoed behind a prompt of so many columns
    Terminal(usize),
    /// Nobody sees the line: errors repeat it
    Batch,
}

/// A session.
pub struct Shell {
    client: Client,
    json: bool,
    profile: Option<PathBuf>,
    /// Holds the enable secret, for sessions without a terminal
    password_file: Option<PathBuf>,
    privileged: bool,
    /// The submode of the configuration; `None` outside of it
    place: Option<Vec<String>>,
    hostname: String,
    length: u16,
    history: Vec<String>,
}

/// Commands that `show history` keeps.
const HISTORY: usize = 100;

impl Shell {
    /// A session with the usherd of this client; `json` for every answer; `profile` for `check`; `password_file` with
    /// the enable secret.
    #[must_use]
    pub fn new(
        client: Client,
        json: bool,
        profile: Option<PathBuf>,
        password_file: Option<PathBuf>,
    ) -> Shell {
        Shell {
            client,
            json,
            profile,
            password_file,
            privileged: true,
            place: None,
            hostname: "Device".to_owned(),
            length: 0,
            history: Vec::new(),
        }
    }

    /// The prompt: `Device>`, `Device#`, `Device(config-if)#`.
    #[must_use]
    pub fn prompt(&self) -> String {
        match (&self.place, self.privileged) {
            (Some(place), _) => format!("{}({})#", self.hostname, submode::prompt(place)),
            (None, true) => format!("{}#", self.hostname),
            (None, false) => format!("{}>", self.hostname),
        }
    }

    /// Reads lines from a terminal until the session ends.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn interactive(&mut self) -> std::io::Result<()> {
        self.privileged = false;
        self.length = terminal::height().unwrap_or(0);
        self.greet();
        let mut editor = Editor::open()?;
        loop {
            let prompt = self.prompt();
            let line = match editor.read(&prompt, self.place.clone(), self.privileged) {
                super::editor::Input::Line(line) => line,
                super::editor::Input::Help(line) => {
                    print!("{}", self.help(&line));
                    continue;
                }
                super::editor::Input::Leave => {
                    self.place = None;
                    continue;
                }
                super::editor::Input::End => return Ok(()),
            };
            if self.line(&line, Source::Terminal(prompt.chars().count())) == Ended::Leave {
                return Ok(());
            }
        }
    }

    /// Takes the host name from usherd; without one the session goes on all the same.
    fn greet(&mut self) {
        let version = self.client.command("show version", true);
        match version {
            Ok(reply) => {
                let name = reply.json.as_ref().and_then(|json| json["hostname"].as_str());
                self.hostname = name.unwrap_or("Device").to_owned();
            }
            Err(error) => eprintln!("% {error}"),
        }
    }

    /// Takes a whole text: everything between `configure terminal` and `end` is one change. It stops at the first error.
    pub fn batch(&mut self, text: &str) -> Ended {
        let mut lines = text.lines().enumerate();
        while let Some((number, raw)) = lines.next() {
            let line = strip_prompt(raw);
            let words = line.trim();
            if words.is_empty() || words.starts_with('!') {
                continue;
            }
            let starts = exec::parse(words, true)
                .is_ok_and(|invocation| invocation.command == Command::Local(Local::ConfigureTerminal));
            let ended = if starts {
                let mut block = Vec::new();
                let mut place = Vec::new();
                for (_, raw) in lines.by_ref() {
                    // The lines are followed without their effect, to see where they end.
                    let step =
                        change::change(&Default::default(), &place, std::slice::from_ref(&raw.to_owned()));
                    let last = step.is_ok_and(|step| {
                        place = step.place;
                        step.ended
                    });
                    block.push(raw.to_owned());
                    if last {
                        break;
                    }
                }
                self.change(block, number + 1)
            } else {
                self.line(words, Source::Batch)
            };
            match ended {
                Ended::Well => {}
                Ended::Leave => return Ended::Well,
                ended => return ended,
            }
        }
        Ended::Well
    }

    /// A block of configuration lines of a batch, `before` lines into it.
    fn change(&mut self, lines: Vec<String>, before: usize) -> Ended {
        let reply = match self.send_lines(Configure { lines, ..Configure::default() }) {
            Ok(reply) => reply,
            Err(error) => return refused(&error),
        };
        let configured = reply.configured.unwrap_or_default();
        for mut remark in configured.remarks {
            remark.line += if remark.line > 0 { before } else { 0 };
            eprint!("{}", remark.render("stdin"));
        }
        match reply.error {
            Some(error) => refused(&error),
            None => Ended::Well,
        }
    }

    /// Does what one line says.
    pub fn line(&mut self, raw: &str, source: Source) -> Ended {
        let line = strip_prompt(raw);
        let words = line.trim();
        if words.is_empty() || words.starts_with('!') {
            return Ended::Well;
        }
        if may_be_kept(words) {
            self.history.push(words.to_owned());
            let surplus = self.history.len().saturating_sub(HISTORY);
            self.history.drain(..surplus);
        }
        if self.place.is_none() {
            return self.command(&line, source);
        }
        match words.split_once(char::is_whitespace) {
            Some((word, rest)) if word.eq_ignore_ascii_case("do") => self.command(rest, source),
            _ => self.configure(&line, source),
        }
    }

    fn command(&mut self, line: &str, source: Source) -> Ended {
        let (command, filter) = match filter::split(line) {
            Ok(split) => split,
            Err(error) => return misunderstood(&error),
        };
        let (command, json) = match command.trim_end().strip_suffix("--json") {
            Some(command) => (command, true),
            None => (command, self.json),
        };
        let invocation = match exec::parse(command, self.privileged) {
            Ok(invocation) => invocation,
            Err(mismatch) => {
                self.mismatch(command, &mismatch, source);
                return Ended::Misunderstood;
            }
        };
        let show = |shell: &Shell, text: &str| {
            let text = filter.as_ref().map_or_else(|| text.to_owned(), |filter| filter.apply(text));
            shell.print(&text, source)
        };
        if let Command::Local(local) = invocation.command {
            return match local {
                Local::History => {
                    let text: String = self.history.iter().map(|line| format!("  {line}\n")).collect();
                    show(self, &text)
                }
                _ => self.local(local, &invocation, source),
            };
        }
        match self.send(&Request { command: command.to_owned(), json, ..Request::default() }) {
            Err(error) => refused(&error),
            Ok(Reply { error: Some(error), .. }) => refused(&error),
            Ok(Reply { json: Some(json), .. }) => show(self, &format!("{json:#}\n")),
            // JSON's null: there is no such thing as was asked for.
            Ok(Reply { text: None, .. }) => show(self, "null\n"),
            Ok(Reply { text, .. }) => show(self, &text.unwrap_or_default()),
        }
    }

    fn local(&mut self, local: Local, invocation: &Invocation, source: Source) -> Ended {
        match local {
            Local::Enable => self.enable(source),
            Local::Disable => {
                self.client.disable();
                self.privileged = false;
                Ended::Well
            }
            Local::Exit => Ended::Leave,
            Local::TerminalLength => {
                self.length = invocation.length.unwrap_or(0);
                Ended::Well
            }
            Local::ConfigureTerminal => {
                if source != Source::Batch {
                    println!("Enter configuration commands, one per line.  End with CNTL/Z.");
                }
                self.place = Some(Vec::new());
                Ended::Well
            }
            Local::ConfigureReplace => self.replace(invocation, source),
            Local::Check => {
                let file = invocation.file.clone().unwrap_or_default();
                let loads = check::check(Path::new(&file), self.profile.as_deref(), self.json, &self.client);
                if loads { Ended::Well } else { Ended::Refused }
            }
            Local::Top => match super::top::run(&self.client) {
                Ok(()) => Ended::Well,
                Err(error) => refused(&format!("the terminal cannot be used: {error}")),
            },
            Local::History => Ended::Well,
        }
    }

    fn enable(&mut self, source: Source) -> Ended {
        match self.client.command("enable", false) {
            Err(error) => return refused(&error),
            Ok(Reply { error: Some(error), .. }) => return refused(&error),
            Ok(Reply { code: Some(Code::PasswordNeeded), .. }) => match self.give_password() {
                Ok(()) => {}
                // A batch may go on: usherd refuses what needs the secret, and root needs none.
                Err(_) if source == Source::Batch && self.password_file.is_none() => return Ended::Well,
                Err(error) => return refused(&error),
            },
            Ok(_) => {}
        }
        self.privileged = true;
        Ended::Well
    }

    /// Gives usherd the enable secret: of the password file, else as typed at the terminal.
    fn give_password(&self) -> Result<(), String> {
        let password = match &self.password_file {
            Some(path) => password_of(path)?,
            None if std::io::stdin().is_terminal() => {
                terminal::password("Password: ").ok_or("no password was given")?
            }
            None => {
                return Err("the enable secret is needed: give it by `--password-file FILE`".to_owned());
            }
        };
        match self.client.enable(password)?.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends a request; where it needs the enable secret, gives that and sends it again.
    fn send(&self, request: &Request) -> Result<Reply, String> {
        let reply = self.client.send(request)?;
        if reply.code != Some(Code::PasswordNeeded) || reply.error.is_none() {
            return Ok(reply);
        }
        self.give_password()?;
        self.client.send(request)
    }

    fn send_lines(&self, configure: Configure) -> Result<Reply, String> {
        self.send(&Request { configure: Some(configure), ..Request::default() })
    }

    /// A line of configuration.
    fn configure(&mut self, line: &str, source: Source) -> Ended {
        let place = self.place.clone().unwrap_or_default();
        let configure = Configure { place, lines: vec![line.to_owned()], ..Configure::default() };
        let reply = match self.send_lines(configure) {
            Ok(reply) => reply,
            Err(error) => return refused(&error),
        };
        let failed = reply.error.is_some();
        let Some(configured) = reply.configured else {
            return refused(&reply.error.unwrap_or_default());
        };
        let Configured { place, ended, remarks, hostname, .. } = *configured;
        self.place = if ended { None } else { Some(place) };
        self.hostname = hostname.unwrap_or_else(|| "Device".to_owned());
        for remark in &remarks {
            self.remark(remark, source);
        }
        if failed { Ended::Misunderstood } else { Ended::Well }
    }

    fn replace(&mut self, invocation: &Invocation, source: Source) -> Ended {
        let file = invocation.file.clone().unwrap_or_default();
        let text = match crate::config::read(Path::new(&file)) {
            Ok(text) => text,
            Err(error) => return refused(&error.to_string()),
        };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut configure = Configure { lines, replace: true, dry_run: true, ..Configure::default() };
        let told = match self.send_lines(configure.clone()) {
            Ok(reply) => reply,
            Err(error) => return refused(&error),
        };
        let configured = told.configured.unwrap_or_default();
        for remark in &configured.remarks {
            eprint!("{}", remark.render(&file));
        }
        if let Some(error) = told.error {
            return refused(&error);
        }
        if configured.diff.is_empty() {
            println!("{file}: matches the running configuration; nothing to do");
            return Ended::Well;
        }
        self.print(&configured.diff, source);
        if !invocation.force {
            if source == Source::Batch && terminal::height().is_none() {
                return refused("not applied: use `force` in non-interactive sessions");
            }
            if !terminal::confirm("Replace the running configuration?") {
                println!("Not applied");
                return Ended::Refused;
            }
        }
        configure.dry_run = false;
        match self.send_lines(configure) {
            Err(error) => refused(&error),
            Ok(Reply { error: Some(error), .. }) => refused(&error),
            Ok(Reply { configured, .. }) => {
                self.hostname =
                    configured.and_then(|done| done.hostname).unwrap_or_else(|| "Device".to_owned());
                Ended::Well
            }
        }
    }

    /// A reader that ends early (`| head`) is no failure.
    fn print(&self, text: &str, source: Source) -> Ended {
        let length = if source == Source::Batch { 0 } else { self.length };
        match terminal::page(text, length) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                refused(&format!("the answer cannot be written: {error}"))
            }
            _ => Ended::Well,
        }
    }

    /// Continuations of a line, as `?` shows them: with white space before it the next word, else the words that begin so.
    #[must_use]
    pub fn help(&self, line: &str) -> String {
        let line = strip_prompt(line);
        let offers = offers(&line, self.place.as_deref(), self.privileged);
        if offers.is_empty() {
            return "% Unrecognized command\n".to_owned();
        }
        if !line.is_empty() && !line.ends_with(char::is_whitespace) {
            let words: Vec<String> = offers.into_iter().map(|offer| offer.word).collect();
            return format!("{}\n", words.join("  "));
        }
        let width = offers.iter().map(|offer| offer.word.len()).max().unwrap_or(0);
        let row =
            |offer: Offer| format!("  {:<width$}  {}", offer.word, offer.help).trim_end().to_owned() + "\n";
        offers.into_iter().map(row).collect()
    }

    fn mismatch(&self, line: &str, mismatch: &Mismatch, source: Source) {
        let remark = Diagnostic {
            reason: Some(mismatch.reason),
            line: 1,
            column: mismatch.column,
            message: mismatch.message.clone(),
            expected: mismatch.expected.clone(),
            ..Diagnostic::default()
        }
        .on(&mask_line(line));
        self.remark(&remark, source);
    }

    /// An error as IOS shows it, and below it what to do.
    fn remark(&self, remark: &Diagnostic, source: Source) {
        let mut out = std::io::stderr().lock();
        let message = &remark.message;
        let text = match (remark.severity, remark.column) {
            (Severity::Warning, _) => format!("% Warning: {message}\n"),
            (Severity::Notice, _) => format!("% Note: {message}\n"),
            (Severity::Error, 0) => format!("% {message}\n"),
            (Severity::Error, column) => {
                // At a terminal the line itself stands above.
                let column = match source {
                    Source::Terminal(prompt) => prompt + column,
                    Source::Batch => {
                        let _ = writeln!(out, "{}", printable(&remark.text));
                        remark.shown_column()
                    }
                };
                let caret = format!("{}^\n", " ".repeat((column - 1).min(1400)));
                let head = match remark.reason {
                    Some(Reason::Incomplete) => "% Incomplete command.\n".to_owned(),
                    Some(Reason::Ambiguous) => {
                        format!("{caret}% Ambiguous command:  \"{}\"\n", remark.text.trim())
                    }
                    _ => format!("{caret}% Invalid input detected at '^' marker.\n{message}\n"),
                };
                let expected = match remark.expected.is_empty() {
                    true => String::new(),
                    false => format!("expected here: {}\n", remark.expected.join(", ")),
                };
                format!("{head}{expected}")
            }
        };
        let _ = out.write_all(text.as_bytes());
    }
}

/// The first line of a password file.
fn password_of(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{}: {error}: name a file whose first line is the enable secret", path.display())
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn refused(message: &str) -> Ended {
    eprintln!("% {message}");
    Ended::Refused
}

fn misunderstood(message: &str) -> Ended {
    eprintln!("% {message}");
    Ended::Misunderstood
}
