//! The line at the prompt: history, Tab, and `?` without Enter.

use super::shell::offers;
use crate::config::change;
use rustyline::completion::Completer;
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Context, Event, EventContext, EventHandler, Helper,
    KeyEvent, RepeatCount,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that the history file keeps.
const HISTORY: usize = 1000;

/// What was typed.
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
    file: Option<PathBuf>,
    /// Where `?` was asked: the line goes on there
    pending: (String, String),
}

impl Editor {
    /// Takes the terminal; the history comes from `.usher_history` in the home directory.
    ///
    /// # Errors
    /// When there is no terminal to use.
    pub fn open() -> std::io::Result<Editor> {
        let failed = |error: ReadlineError| std::io::Error::other(error.to_string());
        let mut inner = rustyline::Editor::<Completion, FileHistory>::new().map_err(failed)?;
        inner.set_completion_type(CompletionType::List);
        inner.set_max_history_size(HISTORY).map_err(failed)?;
        inner.set_auto_add_history(false);
        inner.set_helper(Some(Completion::default()));
        let keys = Keys::default();
        for (event, mark) in [(KeyEvent::from('?'), '?'), (KeyEvent::ctrl('Z'), 'z')] {
            let handler = Box::new(OnKey(keys.clone(), mark));
            inner.bind_sequence(event, EventHandler::Conditional(handler));
        }
        let file = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".usher_history"));
        if let Some(file) = &file {
            // A first session has none.
            let _ = inner.load_history(file);
        }
        Ok(Editor { inner, keys, file, pending: Default::default() })
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

    /// Lines with keys in them are not written down.
    fn remember(&mut self, line: &str) {
        if change::mask(line).trim_end() != line.trim_end() || line.trim().is_empty() {
            return;
        }
        let _ = self.inner.add_history_entry(line.trim());
        if let Some(file) = &self.file {
            // A home that cannot be written only costs the history.
            let _ = self.inner.save_history(file);
        }
    }
}
