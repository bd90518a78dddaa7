//! The line at the prompt: history, Tab, and `?` without Enter.

use super::history::{may_be_kept, may_be_recalled};
use super::offers::offers;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History as _};
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Event, EventContext, EventHandler, Helper,
    KeyEvent, RepeatCount,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that the history file keeps.
const HISTORY: usize = 1000;

/// Input at the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line
    Line(String),
    /// `?` behind this
    Help(String),
    /// Ctrl-Z: out of the configuration
    Leave,
    /// Ctrl-D
    End,
}

/// Keys that end the line without Enter.
#[derive(Clone, Debug, Default)]
struct Keys(Arc<Mutex<Option<(char, String, String)>>>);

struct OnKey(Keys, char);

impl ConditionalEventHandler for OnKey {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let (before, after) = context.line().split_at(context.pos());
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.1, before.to_owned(), after.to_owned()));
        Some(Cmd::AcceptLine)
    }
}

#[derive(Default)]
struct Completion {
    place: Option<Vec<String>>,
    privileged: bool,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let words = offers(before, self.place.as_deref(), self.privileged);
        Ok((start, words.into_iter().filter(|offer| offer.keyword).map(|offer| offer.word + " ").collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

/// The editor.
pub struct Editor {
    inner: rustyline::Editor<Completion, FileHistory>,
    keys: Keys,
    /// The lines that outlive the session, and their file
    kept: Option<(FileHistory, PathBuf)>,
    /// The line as far as `?`: editing goes on there
    pending: (String, String),
}

impl Editor {
    /// Takes the terminal; the history comes from `.usher_history` in the home directory.
    ///
    /// # Errors
    /// When there is no terminal to use.
    pub fn open() -> std::io::Result<Editor> {
        let failed = |error: ReadlineError| std::io::Error::other(error.to_string());
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY)
            .map_err(failed)?
            .auto_add_history(false)
            .build();
        let mut inner =
            rustyline::Editor::<Completion, FileHistory>::with_config(config.clone()).map_err(failed)?;
        inner.set_helper(Some(Completion::default()));
        let keys = Keys::default();
        for (event, mark) in [(KeyEvent::from('?'), '?'), (KeyEvent::ctrl('Z'), 'z')] {
            let handler = Box::new(OnKey(keys.clone(), mark));
            inner.bind_sequence(event, EventHandler::Conditional(handler));
        }
        let mut kept = None;
        if let Some(home) = std::env::var_os("HOME") {
            let path = PathBuf::from(home).join(".usher_history");
            let mut history = FileHistory::with_config(&config);
            for line in lines_of(&path, &config).iter().filter(|line| may_be_kept(line)) {
                history.add(line).map_err(failed)?;
                inner.add_history_entry(line).map_err(failed)?;
            }
            kept = Some((history, path));
        }
        Ok(Editor { inner, keys, kept, pending: Default::default() })
    }

    /// Reads a line behind `prompt`.
    pub fn read(&mut self, prompt: &str, place: Option<Vec<String>>, privileged: bool) -> Input {
        if let Some(helper) = self.inner.helper_mut() {
            *helper = Completion { place, privileged };
        }
        loop {
            let (left, right) = std::mem::take(&mut self.pending);
            let read = self.inner.readline_with_initial(prompt, (&left, &right));
            let key = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (read, key) {
                (Ok(_), Some(('?', before, after))) => {
                    self.pending = (before.clone(), after);
                    return Input::Help(before);
                }
                (Ok(_), Some(_)) => return Input::Leave,
                (Ok(line), None) => {
                    self.remember(&line);
                    return Input::Line(line);
                }
                // Ctrl-C gives the line up, not the session.
                (Err(ReadlineError::Interrupted), _) => {}
                (Err(ReadlineError::Signal(_)), _) => {}
                (Err(_), _) => return Input::End,
            }
        }
    }

    /// Keeps a line for this session and, where it may be, for later ones.
    fn remember(&mut self, line: &str) {
        let line = line.trim();
        if may_be_recalled(line) {
            let _ = self.inner.add_history_entry(line);
        }
        if let Some((history, path)) = &mut self.kept
            && may_be_kept(line)
        {
            // A home that cannot be written only costs the history.
            let _ = history.add(line).and_then(|_| history.save(path));
        }
    }
}

/// The lines of a history file; none where it is missing, as for a first session, or unreadable.
fn lines_of(path: &Path, config: &Config) -> Vec<String> {
    let mut history = FileHistory::with_config(config);
    if history.load(path).is_err() {
        return Vec::new();
    }
    history.iter().cloned().collect()
}
