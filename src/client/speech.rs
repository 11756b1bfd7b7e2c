//! Somebody's voice on its way to the server, and the text on its way back.

use cadence_protocol::{VoiceAnswer, VoiceFrame, VoiceStart};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::Endpoint;
use super::socket::{Break, Socket, lost, open};
use super::stream::MAX_FRAME;
use crate::error::{CommandError, Exit};

/// A stream of speech.
pub struct Speech(Socket);

impl Speech {
    /// Opens it and says with what the speech is to be understood.
    pub async fn start(endpoint: &Endpoint, start: VoiceStart) -> Result<Self, CommandError> {
        let mut speech = Self(open(endpoint, &["api", "voice", "stream"], MAX_FRAME).await.map_err(failed)?);
        speech.frame(&VoiceFrame::Start(Box::new(start))).await?;
        Ok(speech)
    }

    /// Sends samples: mono, 16 kHz, from -1 to 1.
    pub async fn samples(&mut self, samples: &[f32]) -> Result<(), CommandError> {
        let sample = |sample: &f32| ((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16).to_le_bytes();
        let bytes: Vec<u8> = samples.iter().flat_map(sample).collect();
        self.0.send(Message::binary(bytes)).await.map_err(|error| failed(lost(error)))
    }

    /// Nothing more is said.
    pub async fn end(&mut self) -> Result<(), CommandError> {
        self.frame(&VoiceFrame::End).await
    }

    async fn frame(&mut self, frame: &VoiceFrame) -> Result<(), CommandError> {
        let text = serde_json::to_string(frame)
            .map_err(|error| CommandError::failed("the request cannot be written").caused_by(error))?;
        self.0.send(Message::text(text)).await.map_err(|error| failed(lost(error)))
    }

    /// The next that the server says. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<VoiceAnswer, CommandError> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|error| {
                        CommandError::failed("the server says something that is not understood").caused_by(error)
                    });
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(CommandError::new(Exit::Unreachable, "the server closed the connection"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(lost(error))),
            }
        }
    }
}

fn failed(end: Break) -> CommandError {
    match end {
        Break::Fatal(error) => error,
        Break::Lost(reason) => CommandError::new(Exit::Unreachable, format!("the server cannot be reached: {reason}")),
        Break::Unheard => CommandError::failed("nobody listens"),
    }
}
