//! Somebody who speaks: samples up, text down.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use bytes::Bytes;
use cadence_protocol::{ParseContext, VoiceAnswer, VoiceFrame, VoiceStart};
use cadence_speech::audio::RATE;
use tokio::time::timeout;

use super::checked;
use crate::http::auth::Actor;
use crate::http::error::Failure;
use crate::http::{App, OpenStream};
use crate::store::Principal;
use crate::voice::{HearError, Listening, spoken_of};

/// Largest frame, in bytes: half a minute of samples, or the words of a repository.
const MAX_FRAME: usize = 1024 * 1024;
/// Largest frame that is read at all, in bytes: whoever sends more than [`MAX_FRAME`] by mistake is told so.
const MAX_READ: usize = 4 * MAX_FRAME;
/// Longest recording, in samples.
const LONGEST: usize = 600 * RATE as usize;
/// How long nothing may come from somebody who speaks.
const SILENT: Duration = Duration::from_secs(30);

/// WebSocket: what somebody says, while it is said. The client sends `start`, then binary frames with samples (mono, 16 kHz,
/// signed 16 bit, little endian), then `end` or `cancel`; the server `ready`, `interim` texts where the engine has them, and
/// `final` with the transcription and what it wants, or `error`.
#[utoipa::path(get, path = "/api/voice/stream", responses((status = 101, description = "WebSocket")))]
pub async fn stream(
    State(app): State<App>,
    Actor(who): Actor,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let upgrade = upgrade.max_message_size(MAX_READ).max_frame_size(MAX_READ);
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let _open = OpenStream::new(&app.activity);
        let answer = tokio::select! {
            answer = Box::pin(hear(&app, &who, peer, &mut socket)) => answer,
            () = app.closing.cancelled() => Err(Broken::Said(error("stopping", "the server is stopping", None))),
        };
        match answer {
            Ok(answer) | Err(Broken::Said(answer)) => drop(send(&mut socket, &answer).await),
            Err(Broken::Left) => {}
        }
        let _ = socket.send(Message::Close(None)).await;
    }))
}

/// What a client sends.
enum Said {
    Frame(VoiceFrame),
    Samples(Bytes),
}

enum Broken {
    /// The client is to be told.
    Said(VoiceAnswer),
    /// The client is gone, or wants nothing more.
    Left,
}

impl From<HearError> for Broken {
    fn from(failed: HearError) -> Self {
        Self::Said(error(failed.code(), &failed.to_string(), failed.hint()))
    }
}

fn error(code: &str, error: &str, hint: Option<String>) -> VoiceAnswer {
    VoiceAnswer::Error { code: code.to_owned(), error: error.to_owned(), hint }
}

fn wrong(what: &str) -> Broken {
    Broken::Said(error("bad_frame", what, None))
}

/// What is the server's own fault.
fn fault(failed: &impl std::fmt::Display) -> Broken {
    Broken::Said(error("failed", &failed.to_string(), None))
}

/// What the client sends next. May be dropped while it waits.
async fn next(socket: &mut WebSocket) -> Result<Said, Broken> {
    loop {
        let said = match timeout(SILENT, socket.recv()).await {
            Ok(Some(Ok(Message::Text(text)))) if text.len() <= MAX_FRAME => {
                let frame = serde_json::from_str(&text);
                Said::Frame(frame.map_err(|error| wrong(&format!("the frame is not understood: {error}")))?)
            }
            Ok(Some(Ok(Message::Binary(bytes)))) if bytes.len() <= MAX_FRAME => Said::Samples(bytes),
            Ok(Some(Ok(Message::Text(_) | Message::Binary(_)))) => return Err(wrong("a frame has at most 1 MiB")),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Err(Broken::Left),
            Err(_) => return Err(wrong("nothing came for half a minute")),
        };
        return Ok(said);
    }
}

async fn send(socket: &mut WebSocket, answer: &VoiceAnswer) -> Result<(), Broken> {
    let text = serde_json::to_string(answer).map_err(|_| Broken::Left)?;
    socket.send(Message::Text(text.into())).await.map_err(|_| Broken::Left)
}

async fn hear(app: &App, who: &Principal, peer: SocketAddr, socket: &mut WebSocket) -> Result<VoiceAnswer, Broken> {
    let start = start(socket).await?;
    let context = checked(start.context, peer).map_err(|failure| wrong(failure.sentence()))?;
    let tasks = spoken_of(&app.store, who.user_id).await.map_err(|error| fault(&error))?;
    let words = app.voice.words(&context, &tasks).await.map_err(|error| wrong(&error.to_string()))?;
    let mut listening = app.voice.listen(start.language, &context, words, true).await?;
    send(socket, &VoiceAnswer::Ready { engine: listening.engine().to_owned() }).await?;
    listen(socket, &mut listening).await?;
    understood(app, who, &context, listening).await
}

async fn start(socket: &mut WebSocket) -> Result<VoiceStart, Broken> {
    match next(socket).await? {
        Said::Frame(VoiceFrame::Start(start)) => Ok(*start),
        _ => Err(wrong("the first frame is `start`")),
    }
}

/// Takes samples until nothing more is said.
async fn listen(socket: &mut WebSocket, listening: &mut Listening) -> Result<(), Broken> {
    let mut interim = listening.interim();
    loop {
        let heard = async {
            match &mut interim {
                Some(texts) => texts.changed().await.ok().map(|()| texts.borrow_and_update().clone()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            said = next(socket) => match said? {
                Said::Samples(bytes) => {
                    if bytes.len() % 2 != 0 {
                        return Err(wrong("samples have 16 bits each"));
                    }
                    if listening.len() + bytes.len() / 2 > LONGEST {
                        return Err(wrong("the recording is longer than ten minutes"));
                    }
                    let samples: Vec<f32> = bytes
                        .chunks_exact(2)
                        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
                        .collect();
                    listening.push(&samples);
                }
                Said::Frame(VoiceFrame::End) => return Ok(()),
                Said::Frame(VoiceFrame::Cancel) => return Err(Broken::Left),
                Said::Frame(VoiceFrame::Start(_)) => return Err(wrong("it has started already")),
            },
            text = heard => match text {
                Some(text) => send(socket, &VoiceAnswer::Interim { text }).await?,
                None => interim = None,
            },
        }
    }
}

async fn understood(
    app: &App,
    who: &Principal,
    context: &ParseContext,
    listening: Listening,
) -> Result<VoiceAnswer, Broken> {
    let words = listening.words().clone();
    let transcription = listening.finish().await?;
    // As they are now: what was spoken of may have begun meanwhile.
    let tasks = spoken_of(&app.store, who.user_id).await.map_err(|error| fault(&error))?;
    let parsed = app.voice.understand(&transcription.raw_text, &words, context, &tasks).await;
    Ok(VoiceAnswer::Final { transcription: Box::new(transcription), parsed: Box::new(parsed) })
}
