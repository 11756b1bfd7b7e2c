use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use url::Url;

use super::super::http::refused;
use super::super::{EngineError, ErrorKind, Transcript};
use super::wire::{self, Message, Passage};
use super::{DeepgramSettings, NAME};
use crate::audio::pcm16;

/// Deepgram closes a stream on which nothing comes for 10 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Pieces of sound that wait for the network. Pieces of 10 ms make 40 seconds: a stream that stalls longer is given up.
const WAITING: usize = 4_096;

/// How long the last words are waited for after the end.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// Bytes of a message; passages have a few KiB.
const MAX_MESSAGE: usize = 1 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A stream of what somebody says. Dropping it ends it without an answer.
#[derive(Debug)]
pub struct Live {
    sound: mpsc::Sender<Vec<u8>>,
    interim: watch::Receiver<String>,
    task: JoinHandle<Result<Transcript, EngineError>>,
}

impl Live {
    pub(super) async fn open(
        url: Url,
        authorization: HeaderValue,
        settings: &DeepgramSettings,
        language: Option<String>,
    ) -> Result<Self, EngineError> {
        let invalid = |error: WsError| failed(error, &settings.key);
        let mut request = url.as_str().into_client_request().map_err(invalid)?;
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let connecting = connect_async_with_config(request, Some(config), true);
        let (socket, _) = timeout(settings.patience.connect, connecting)
            .await
            .map_err(|_| EngineError::new(NAME, ErrorKind::Timeout))?
            .map_err(|error| failed(error, &settings.key))?;
        let (sound, pieces) = mpsc::channel(WAITING);
        let (told, interim) = watch::channel(String::new());
        let session = Session {
            socket,
            key: settings.key.clone(),
            heard: Vec::new(),
            told,
            language,
            model: settings.model.clone(),
        };
        Ok(Self { sound, interim, task: tokio::spawn(session.run(pieces)) })
    }

    /// Sends samples, 16 kHz mono. It never waits, so a capture thread may call it.
    ///
    /// # Errors
    /// When the stream has ended, or the network is far behind: then the recording is to be sent as a whole.
    pub fn send(&self, samples: &[f32]) -> Result<(), EngineError> {
        let piece = samples.iter().flat_map(|sample| pcm16(*sample).to_le_bytes()).collect();
        self.sound.try_send(piece).map_err(|error| {
            let why = match error {
                mpsc::error::TrySendError::Full(_) => "the network does not keep up",
                mpsc::error::TrySendError::Closed(_) => "the stream has ended",
            };
            EngineError::new(NAME, ErrorKind::Unavailable).because(why, None)
        })
    }

    /// What was heard so far, whole, each time that it changes. It closes with the stream.
    pub fn interim(&self) -> watch::Receiver<String> {
        self.interim.clone()
    }

    /// Ends the stream and waits, for a few seconds at most, for the last words.
    ///
    /// # Errors
    /// When nobody was heard, or the stream broke off before all was heard.
    pub async fn finish(self) -> Result<Transcript, EngineError> {
        let Self { sound, interim, mut task } = self;
        drop((sound, interim));
        match timeout(LAST_WORDS, &mut task).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(EngineError::new(NAME, ErrorKind::Unavailable)),
            Err(_) => {
                task.abort();
                Err(EngineError::new(NAME, ErrorKind::Timeout))
            }
        }
    }
}

/// The stream's own task, which ends with its socket.
struct Session {
    socket: Socket,
    key: SecretString,
    heard: Vec<Passage>,
    told: watch::Sender<String>,
    language: Option<String>,
    model: String,
}

impl Session {
    async fn run(mut self, mut pieces: mpsc::Receiver<Vec<u8>>) -> Result<Transcript, EngineError> {
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_sent = Instant::now();
        let mut speaking = true;
        loop {
            tokio::select! {
                piece = pieces.recv(), if speaking => {
                    match piece {
                        Some(piece) => self.send(Frame::Binary(piece.into())).await?,
                        None => {
                            speaking = false;
                            self.send(Frame::text(r#"{"type":"CloseStream"}"#)).await?;
                        }
                    }
                    last_sent = Instant::now();
                }
                frame = self.socket.next() => {
                    if self.take(frame, speaking)? {
                        return self.transcript();
                    }
                }
                _ = keep_alive.tick(), if speaking => {
                    if last_sent.elapsed() >= KEEP_ALIVE {
                        self.send(Frame::text(r#"{"type":"KeepAlive"}"#)).await?;
                    }
                }
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), EngineError> {
        self.socket.send(frame).await.map_err(|error| failed(error, &self.key))
    }

    /// Whether all was heard.
    fn take(&mut self, frame: Option<Result<Frame, WsError>>, speaking: bool) -> Result<bool, EngineError> {
        let broken_off = |why: &str| EngineError::new(NAME, ErrorKind::Unavailable).because(why, Some(&self.key));
        let text = match frame {
            Some(Ok(Frame::Text(text))) => text,
            Some(Ok(Frame::Close(frame))) => {
                let why = frame.map(|frame| format!("{} {}", u16::from(frame.code), frame.reason)).unwrap_or_default();
                return Err(broken_off(&format!("the stream was closed: {why}")));
            }
            Some(Ok(_)) => return Ok(false),
            Some(Err(error)) => return Err(failed(error, &self.key)),
            None => return Err(broken_off("the stream broke off")),
        };
        match wire::message(&text) {
            Some(Message::Interim(text)) => self.tell(&text),
            Some(Message::Final(passage)) => {
                if !passage.text.is_empty() {
                    self.heard.push(passage);
                }
                self.tell("");
            }
            // It is sent once all that came before `CloseStream` was heard.
            Some(Message::Metadata) => return Ok(!speaking),
            Some(Message::Error(why)) => return Err(broken_off(&why)),
            Some(Message::Other) => {}
            None => return Err(EngineError::new(NAME, ErrorKind::Garbage)),
        }
        Ok(false)
    }

    fn tell(&self, interim: &str) {
        let passages = self.heard.iter().map(|passage| passage.text.as_str()).chain([interim]);
        let text = passages.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        self.told.send_if_modified(|told| {
            let changed = *told != text;
            if changed {
                *told = text;
            }
            changed
        });
    }

    fn transcript(self) -> Result<Transcript, EngineError> {
        if self.heard.is_empty() {
            return Err(EngineError::new(NAME, ErrorKind::Silence));
        }
        let texts: Vec<&str> = self.heard.iter().map(|passage| passage.text.as_str()).collect();
        let language = self.heard.iter().find_map(|passage| passage.language.clone());
        Ok(Transcript {
            text: texts.join(" "),
            language: language.or(self.language),
            segments: self.heard.into_iter().flat_map(|passage| passage.segments).collect(),
            engine: NAME,
            model: Some(self.model),
        })
    }
}

fn failed(error: WsError, key: &SecretString) -> EngineError {
    match error {
        WsError::Http(response) => {
            let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
            let body = response.body().clone().unwrap_or_default();
            refused(NAME, status, &HeaderMap::new(), &body, Some(key))
        }
        WsError::Capacity(_) | WsError::Utf8(_) => EngineError::new(NAME, ErrorKind::Garbage),
        error => EngineError::new(NAME, ErrorKind::Unavailable).because(&error.to_string(), Some(key)),
    }
}
