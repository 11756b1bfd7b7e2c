//! `cadence tokens`: tokens of the server's API.

use cadence_protocol::{CreateToken, TokenInfo, TokenList};
use serde_json::json;
use time::OffsetDateTime;

use super::Context;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, CYAN, DIM, Line, PLAIN, table};
use crate::text::{age, clean_line, cut};

/// Tokens of the server's API: make, list and revoke them
#[derive(Debug, clap::Args)]
#[command(after_help = "A token is named by the first digits of its id.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token and print it; it is shown this once
    #[command(after_help = "Examples:
  (umask 077; cadence tokens create --daemon build-box > token)
  cadence tokens create ci --scope tasks:write --expires-in-days 90")]
    Create {
        /// What it is for
        name: String,
        /// For `cadence daemon` on another machine, and nothing else
        #[arg(long, conflicts_with = "scopes")]
        daemon: bool,
        /// What it may do: tasks:read, tasks:write, daemon, * [default: tasks:write]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Days after which it is refused
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
        expires_in_days: Option<u32>,
    },
    /// List tokens, the newest first
    #[command(visible_alias = "list", after_help = "Example:\n  cadence tokens ls")]
    Ls,
    /// Revoke a token: whoever has it is let in no longer
    #[command(after_help = "Example:\n  cadence tokens revoke 1a2b")]
    Revoke {
        /// Its name, or the first digits of its id
        #[arg(value_name = "TOKEN")]
        id: String,
    },
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    let rest = client.rest()?;
    match args.action {
        Action::Create { name, daemon, scopes, expires_in_days } => {
            let scopes = match (daemon, scopes.is_empty()) {
                (true, _) => vec!["daemon".to_owned()],
                (false, true) => vec!["tasks:write".to_owned()],
                (false, false) => scopes,
            };
            let created = rest.create_token(&CreateToken { name, scopes, expires_in_days }).await?;
            if context.json {
                context.terminal.json(&created)?;
            } else {
                // Alone on standard output, so that it can go to a file.
                context.terminal.print(&[Line::of(PLAIN, clean_line(&created.token))])?;
                context.terminal.note(&[Line::of(DIM, "It is not shown again. Whoever has it may do what it may do.")]);
            }
        }
        Action::Ls => {
            let list = rest.tokens().await?;
            if context.json {
                context.terminal.json(&list)?;
            } else if list.tokens.is_empty() {
                context.terminal.note(&[Line::of(DIM, "no tokens; `cadence tokens create NAME` makes one")]);
            } else {
                context.terminal.print(&rows(&list, OffsetDateTime::now_utc(), context.terminal.columns()))?;
            }
        }
        Action::Revoke { id } => {
            let token = pick(&id, rest.tokens().await?)?;
            rest.revoke_token(token.id).await?;
            if context.json {
                context.terminal.json(&json!({ "revoked": token.id }))?;
            } else {
                context.terminal.print(&[Line::of(PLAIN, format!("{} is revoked", clean_line(&token.name)))])?;
            }
        }
    }
    Ok(Exit::Done)
}

fn pick(text: &str, list: TokenList) -> Result<TokenInfo, CommandError> {
    let bare = text.replace('-', "").to_ascii_lowercase();
    let mut fitting: Vec<TokenInfo> = list
        .tokens
        .into_iter()
        .filter(|token| token.name == text || (!bare.is_empty() && token.id.simple().to_string().starts_with(&bare)))
        .collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(CommandError::usage(format!("there is no token `{}`", cut(&clean_line(text), 60)))
            .hint("`cadence tokens ls` shows them.")),
        count => Err(CommandError::usage(format!("`{}` is {count} tokens", cut(&clean_line(text), 60)))
            .hint("Give more digits of the id.")),
    }
}

fn rows(list: &TokenList, now: OffsetDateTime, width: Option<usize>) -> Vec<Line> {
    let head = ["ID", "NAME", "AGE", "ENDS", "SCOPES"];
    let mut rows = vec![head.iter().map(|name| Line::of(DIM, name)).collect::<Vec<_>>()];
    for token in &list.tokens {
        let ends = match token.expires_at {
            None => "never".to_owned(),
            Some(at) if at <= now => "over".to_owned(),
            Some(at) => format!("in {}", age(at - now)),
        };
        rows.push(vec![
            Line::of(CYAN, cadence_protocol::short_id(token.id)),
            Line::of(BOLD, cut(&clean_line(&token.name), 30)),
            Line::of(DIM, age(now - token.created_at)),
            Line::of(DIM, ends),
            Line::of(PLAIN, clean_line(&token.scopes.join(", "))),
        ]);
    }
    table(rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::plain;

    #[test]
    fn tokens_are_a_table() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(2);
        let token = |id: u128, name: &str, days: Option<i64>| TokenInfo {
            id: uuid::Uuid::from_u128(id << 96),
            name: name.into(),
            scopes: vec!["daemon".into()],
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: days.map(|days| OffsetDateTime::UNIX_EPOCH + time::Duration::days(days)),
        };
        let tokens = vec![token(0x1a2b_3c4d, "build-box", None), token(2, "ci", Some(90)), token(3, "old", Some(1))];
        insta::assert_snapshot!(plain(&rows(&TokenList { tokens }, now, Some(80))));
    }
}
