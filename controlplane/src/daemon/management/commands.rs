//! Rights that each request needs, and the thread that carries it out.

use super::call::Call;
use super::server::{Server, Session};
use crate::api::{ADMINISTRATORS, Code, Reply, Request, VERSION};
use crate::config::secrets::mask_line;
use crate::config::{Keys, render};
use crate::exec::{self, Command, Invocation, Local, Show};

impl Server {
    /// Carries a request out.
    pub(super) async fn execute(&self, request: Request, session: &mut Session) -> Reply {
        match self.try_execute(request, session).await {
            Ok(reply) | Err(reply) => reply,
        }
    }

    async fn try_execute(&self, request: Request, session: &mut Session) -> Result<Reply, Reply> {
        if request.version > VERSION {
            return Err(Reply::refusal(
                Code::Invalid,
                format!("this usherd speaks version {VERSION} of the API: use the `usher` that came with it"),
            ));
        }
        self.check_password(request.password, session).await?;
        if let Some(configure) = request.configure {
            // A dry run changes nothing: it needs no password.
            match configure.dry_run {
                true => only_administrators(session)?,
                false => self.may_change(session)?,
            }
            return self.configure(configure, &session.peer).await;
        }
        let invocation = exec::parse(&request.command, true).map_err(|mismatch| {
            let line = mask_line(&request.command);
            Reply::refusal(Code::Invalid, line.explain(&mismatch))
        })?;
        let (changes, writes) = (invocation.command.changes(), invocation.command == Command::Write);
        if changes {
            self.may_change(session)?;
        }
        let reply = self.dispatch(invocation, request.json, session).await?;
        // `write` logs the file that it has written.
        if changes && !writes && reply.error.is_none() {
            let (peer, line) = (&session.peer, mask_line(&request.command).text);
            tracing::info!("%SYS-5-ORDER: user {peer} entered: {}", line.trim());
        }
        Ok(reply)
    }

    async fn dispatch(&self, invocation: Invocation, json: bool, session: &Session) -> Result<Reply, Reply> {
        match invocation.command {
            Command::Local(Local::Enable) => self.enable(session),
            Command::Local(_) => {
                Err(Reply::error("usherd does not answer this: it is a command of the shell"))
            }
            Command::Write => self.startup.write(json, &session.peer).await,
            Command::Show(Show::StartupConfig) => self.startup.show(json).await,
            Command::Show(Show::RunningConfig) => {
                let config = self.settings.running.borrow().config.clone();
                let text = tokio::task::spawn_blocking(move || render(&config, Keys::Masked)).await;
                text.map(|text| Reply::text(json, &text)).map_err(|_| Reply::error("see usherd's log"))
            }
            _ => {
                let invocation = Box::new(invocation);
                self.call(|reply| Call::Command { invocation, json, reply }).await
            }
        }
    }

    fn secret(&self) -> Option<String> {
        self.settings.running.borrow().config.enable_secret.clone().map(|secret| secret.0)
    }

    /// Takes the password of a request, where there is one and a secret is configured.
    async fn check_password(&self, password: Option<String>, session: &mut Session) -> Result<(), Reply> {
        let (Some(password), Some(hash), false) = (password, self.secret(), session.is_enabled) else {
            return Ok(());
        };
        self.passwords.check(&session.peer, hash, password).await?;
        session.is_enabled = true;
        Ok(())
    }

    /// `enable`: where a secret is configured, only with it.
    fn enable(&self, session: &Session) -> Result<Reply, Reply> {
        if session.is_enabled || self.secret().is_none() {
            return Ok(Reply::text(false, ""));
        }
        // The text is for clients that know no codes.
        Ok(Reply { code: Some(Code::PasswordNeeded), ..Reply::text(false, "password") })
    }

    /// Checks that the session may change something: administrators may, and where an enable secret is configured they
    /// have to give it first, whatever way they come. Root is exempt: it can read and replace the secret anyway.
    fn may_change(&self, session: &Session) -> Result<(), Reply> {
        only_administrators(session)?;
        if session.peer.is_root() || session.is_enabled || self.secret().is_none() {
            return Ok(());
        }
        Err(Reply::refusal(
            Code::PasswordNeeded,
            "the enable secret is needed for this: enter `enable` first, or give it by `--password-file FILE`",
        ))
    }
}

fn only_administrators(session: &Session) -> Result<(), Reply> {
    if session.peer.is_administrator {
        return Ok(());
    }
    Err(Reply::refusal(
        Code::NotAdministrator,
        format!(
            "only root and members of the group {ADMINISTRATORS} may do this: `usermod -aG {ADMINISTRATORS} USER` and log in again"
        ),
    ))
}
