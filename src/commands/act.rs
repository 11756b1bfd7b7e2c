//! `cadence do`: what words want, done.

use std::io::{BufRead as _, Write as _};

use cadence_protocol::{InputAnswer, InputText, Intent, Parsed, TaskSourceKind};

use super::Context;
use super::run::{Ending, description, follow_to_end};
use crate::checkout::Place;
use crate::client::Client;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, Line, PLAIN};
use crate::speech;

/// Say what shall be done, in your own words
///
/// New tasks, and control of those that run: \"fix the flaky test in user service\", \"pause the auth one\", \"tell billing to add
/// tests\", \"how is it going?\". What is not clear, or would destroy work, is asked for first; without a terminal it is not done,
/// and the command ends with exit code 6.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence do \"fix the failing test and open a pull request\"
  cadence do pause the auth one
  cadence do --yes stop everything
  cadence do --follow \"update the changelog\"")]
pub struct Args {
    /// The words; `-` reads them from standard input
    #[arg(value_name = "TEXT", required = true)]
    text: Vec<String>,
    /// Repository that is spoken of: a path, or a URL [default: the one of the current directory]
    #[arg(long, value_name = "PATH|URL", value_hint = clap::ValueHint::DirPath)]
    repo: Option<String>,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
    /// Follow a new task to its end
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let text = description(&args.text.join(" "))?;
    let client = context.client().await?;
    let place = speech::place(args.repo.as_deref()).await?;
    let input = InputText {
        text,
        context: speech::context(&context, &client, place.as_ref()).await?,
        confirmed: args.yes,
        command: None,
        task: Some(speech::defaults(&context, &client, place.as_ref(), TaskSourceKind::Cli)),
    };
    let answer = client.rest()?.input(&input).await.map_err(|error| speech::without_place(error, place.as_ref()))?;
    let answer = if answer.needs_confirmation {
        match confirmed(&context, &client, &answer, input, place.as_ref()).await? {
            Ok(answer) => answer,
            Err(exit) => return Ok(exit),
        }
    } else {
        answer
    };
    if context.json {
        if !(args.follow && answer.task.is_some()) {
            context.terminal.json(&answer)?;
        }
    } else {
        context.terminal.print(&speech::outcome(&answer, false))?;
    }
    match answer.task {
        Some(task) if args.follow => follow_to_end(&context, &client, task, 0, Ending::default()).await,
        _ => Ok(Exit::Done),
    }
}

/// Asks, and has it done. The exit code where it is not.
async fn confirmed(
    context: &Context,
    client: &Client,
    answer: &InputAnswer,
    input: InputText,
    place: Option<&Place>,
) -> Result<Result<InputAnswer, Exit>, CommandError> {
    let parsed = Parsed { command: answer.command.clone(), needs_confirmation: true, note: answer.note.clone() };
    let tasks = speech::tasks(client).await?;
    if context.json || !context.terminal.asks {
        if context.json {
            context.terminal.json(answer)?;
        }
        let mut lines = speech::plan(&parsed, &tasks);
        lines.push(Line::of(DIM, "  Nothing was done. Say it more clearly, or give --yes."));
        context.terminal.note(&lines);
        return Ok(Err(if parsed.command.intent == Intent::Unknown { Exit::Usage } else { Exit::InputNeeded }));
    }
    context.terminal.note(&speech::plan(&parsed, &tasks));
    if parsed.command.intent == Intent::Unknown {
        return Err(CommandError::usage("this was not understood")
            .hint("Say what to do, as \"fix the failing test\", or to which task, as \"pause the auth one\"."));
    }
    let Some(command) = choose(parsed, context)? else { return Ok(Err(Exit::Interrupted)) };
    let input = InputText { command: Some(command), confirmed: true, ..input };
    client.rest()?.input(&input).await.map(Ok).map_err(|error| speech::without_place(error, place))
}

/// Asks for a yes, or for the number of the task that is meant. None: it is not to be done.
fn choose(parsed: Parsed, context: &Context) -> Result<Option<cadence_protocol::VoiceCommand>, CommandError> {
    let mut command = parsed.command;
    let one_of = command.entities.agent_id.is_none()
        && command.candidates.len() > 1
        && !cadence_speech::intent::means_each(&command);
    let question = if one_of { "Which one? [number, or n] " } else { "Do it? [y/n] " };
    loop {
        let mut err = std::io::stderr().lock();
        let _ =
            write!(err, "{}", Line::of(PLAIN, question).paint(context.terminal.color_err)).and_then(|()| err.flush());
        drop(err);
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        if read.map_err(|error| CommandError::failed("standard input cannot be read").caused_by(error))? == 0 {
            return Ok(None);
        }
        match line.trim().to_lowercase().as_str() {
            "n" | "no" | "q" => return Ok(None),
            "y" | "yes" if !one_of => {
                if command.entities.agent_id.is_none() && command.candidates.len() == 1 {
                    command.entities.agent_id = command.candidates.first().copied();
                }
                return Ok(Some(command));
            }
            text => {
                let number = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                if let Some(id) = number.and_then(|n| command.candidates.get(n)).filter(|_| one_of) {
                    command.entities.agent_id = Some(*id);
                    command.candidates.clear();
                    return Ok(Some(command));
                }
            }
        }
    }
}
