//! Recordings one after another, with nobody at a terminal.

use cadence_protocol::{Intent, Parsed, Task, Transcription};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::{Args, Talk};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, Line, PLAIN};
use crate::speech;
use crate::talk::hearing::Hearing;
use crate::talk::session::{Message, targeted};
use crate::voice::{self, Options};

/// Takes a recording for what is said.
pub async fn file(mut talk: Talk, args: &Args, recording: Vec<u8>) -> CommandResult {
    let heard = talk.client.rest()?.hear(recording, talk.language.as_deref(), &talk.said).await?;
    let needs_confirmation = cadence_speech::intent::needs_confirmation(&heard.command);
    let parsed = Parsed { command: heard.command, needs_confirmation, note: None };
    let tasks = speech::tasks(&talk.client).await?;
    let exit = answer(&mut talk, args, &heard.transcription, parsed, &tasks).await;
    talk.teller.finish().await;
    exit
}

/// Records until a pause, once or again and again.
pub async fn microphone(mut talk: Talk, args: &Args, options: Options) -> CommandResult {
    loop {
        let message = tokio::select! {
            message = listen(&talk, args, options.clone()) => message?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        };
        let exit = match message {
            Message::Heard(transcription, parsed, tasks) => {
                answer(&mut talk, args, &transcription, *parsed, &tasks).await?
            }
            Message::Failed(failed) => {
                let error = CommandError::failed(failed.error);
                let error = failed.hints.into_iter().fold(error, CommandError::hint);
                if !args.continuous {
                    return Err(error);
                }
                // Nobody spoke for a while; that is no reason to go.
                talk.context.terminal.note(&[Line::of(DIM, error.message())]);
                Exit::Failed
            }
            _ => Exit::Failed,
        };
        if !args.continuous {
            talk.teller.finish().await;
            return Ok(exit);
        }
    }
}

/// One recording, to what was said or why that is not known.
async fn listen(talk: &Talk, args: &Args, options: Options) -> Result<Message, CommandError> {
    talk.teller.silence().await;
    let open = tokio::task::spawn_blocking(move || voice::start(options)).await;
    let (recorder, heard) = open.map_err(|error| CommandError::failed("the microphone failed").caused_by(error))??;
    let hearing = Hearing { client: talk.client.clone(), start: talk.start(), save: args.save.clone() };
    let (tell, mut messages) = unbounded_channel();
    let run = tokio::spawn(hearing.run(heard, tell));
    let last = loop {
        match messages.recv().await {
            Some(message @ (Message::Heard(..) | Message::Failed(_))) => break message,
            Some(_) => {}
            None => return Err(CommandError::failed("the microphone failed")),
        }
    };
    let _ = run.await;
    drop(recorder);
    Ok(last)
}

/// Does what was said, unless somebody would have to be asked.
async fn answer(talk: &mut Talk, args: &Args, heard: &Transcription, parsed: Parsed, tasks: &[Task]) -> CommandResult {
    let terminal = talk.context.terminal;
    let command = &parsed.command;
    let understood = command.intent != Intent::Unknown && targeted(command);
    if !understood || (parsed.needs_confirmation && !args.yes) {
        let exit = if command.intent == Intent::Unknown { Exit::Usage } else { Exit::InputNeeded };
        if talk.context.json {
            terminal.json(&json!({ "transcription": heard, "command": command, "needsConfirmation": true }))?;
        }
        let mut lines = vec![Line::of(DIM, "heard  ").add(PLAIN, &heard.text)];
        lines.extend(speech::plan(&parsed, tasks));
        lines.push(Line::of(DIM, "  Nothing was done. Say it more clearly, or give --yes."));
        terminal.note(&lines);
        talk.teller.say(if understood { "Please confirm that." } else { "I did not understand that." });
        return Ok(exit);
    }
    let done = talk.act(parsed.command.clone()).await?;
    talk.spoke_of(&done);
    if talk.context.json {
        terminal.json(
            &json!({ "transcription": heard, "command": done.command, "task": done.task, "result": done.result }),
        )?;
    } else {
        let mut lines = vec![Line::of(DIM, "heard  ").add(PLAIN, &heard.text)];
        lines.extend(speech::outcome(&done, false));
        terminal.print(&lines)?;
    }
    talk.teller.say(&speech::sentence(&done, false));
    Ok(Exit::Done)
}
