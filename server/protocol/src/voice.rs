use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Approval, PermissionMode, SandboxMode, Task, TaskSourceKind, Timestamp};

/// What somebody wants who said or wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// A new task for an agent.
    CreateAgent,
    /// How one task is doing, or all of them.
    CheckStatus,
    PauseAgent,
    ResumeAgent,
    StopAgent,
    ListAgents,
    /// A follow-up to an agent.
    SendMessage,
    /// Yes to what an agent asks.
    Approve,
    /// No to what an agent asks.
    Deny,
    Unknown,
}

impl Intent {
    pub const ALL: [Self; 10] = [
        Self::CreateAgent,
        Self::CheckStatus,
        Self::PauseAgent,
        Self::ResumeAgent,
        Self::StopAgent,
        Self::ListAgents,
        Self::SendMessage,
        Self::Approve,
        Self::Deny,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateAgent => "create_agent",
            Self::CheckStatus => "check_status",
            Self::PauseAgent => "pause_agent",
            Self::ResumeAgent => "resume_agent",
            Self::StopAgent => "stop_agent",
            Self::ListAgents => "list_agents",
            Self::SendMessage => "send_message",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Entities {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
    /// Id of the task that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What an agent is to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was understood of something that was said or written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct VoiceCommand {
    pub id: Uuid,
    /// The text with its identifiers restored.
    pub transcript: String,
    /// The text as it came.
    pub raw_transcript: String,
    pub intent: Intent,
    #[serde(default)]
    pub entities: Entities,
    /// How sure the intent and what it is about are, 0 to 1.
    pub confidence: f64,
    pub processing_time_ms: f64,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub timestamp: Timestamp,
    /// Ids of the tasks that may be meant, the likeliest first, where it is not one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Uuid>,
}

/// A part of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// In seconds from the beginning.
    pub start: f64,
    /// In seconds from the beginning.
    pub end: f64,
    pub text: String,
}

/// What something that is said is understood with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParseContext {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
    /// A checkout on the server's own machine whose vocabulary is used; taken only from loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_path: Option<String>,
    /// Identifiers and names that may be spoken of, the most useful first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabulary: Vec<String>,
    /// Keys and addresses of engines and of the model that is asked where the grammar is not sure (`OPENAI_*`, `DEEPGRAM_*`,
    /// `ANTHROPIC_*`), over the server's own; taken only from loopback, never stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The task that "it" means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Uuid>,
}

/// Body of `POST /api/voice/transcribe` and `/api/voice/command` as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TranscribeRequest {
    /// The file in base64.
    pub audio: String,
    /// `wav`, `mp3`, `m4a`, `flac`, `ogg` or `webm`; the bytes themselves are believed more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// ISO 639-1 code of what is spoken; none lets the engine find out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(flatten)]
    pub context: ParseContext,
}

/// Answer of `POST /api/voice/transcribe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Transcription {
    /// With identifiers restored.
    pub text: String,
    /// As the engine gave it.
    pub raw_text: String,
    /// Of the audio, in seconds.
    pub duration: f64,
    pub language: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
    /// The engine that transcribed it, and its model.
    pub engine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Body of `POST /api/voice/parse`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParseRequest {
    pub text: String,
    #[serde(flatten)]
    pub context: ParseContext,
}

/// Body of `POST /api/input/text`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InputText {
    pub text: String,
    #[serde(flatten)]
    pub context: ParseContext,
    /// Somebody has seen what it was understood as.
    #[serde(default)]
    pub confirmed: bool,
    /// What it was understood as; with `confirmed`, this is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<VoiceCommand>,
    /// What a new task is created with beside what was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskDefaults>,
}

/// What a new task is created with beside what was said, by the names of `POST /api/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskDefaults {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TaskSourceKind>,
    /// Variables for the agent's process. Never shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// Answer of `POST /api/input/text`, and of `POST /api/voice/command` with what it was carried out on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InputAnswer {
    pub command: VoiceCommand,
    /// The new task, where one was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What came of any other intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<InputOutcome>,
    /// Nothing was done: somebody has to see it first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_confirmation: bool,
    /// What else is to be known, as why a model could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// `text` or `voice`.
    pub source: String,
}

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InputOutcome {
    /// A sentence for people.
    pub message: String,
    /// The tasks that it was about, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Answer of `POST /api/voice/parse`: the command, and what else is to be known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Parsed {
    #[serde(flatten)]
    pub command: VoiceCommand,
    /// Work would be destroyed, or it is not clear enough to be done at once.
    pub needs_confirmation: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Answer of `POST /api/voice/command`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SpokenCommand {
    pub transcription: Transcription,
    pub command: VoiceCommand,
    /// With `execute=true`: what was done, or that somebody has to see it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<InputAnswer>,
}

/// What a client sends on `/api/voice/stream`, beside binary frames with samples: mono, 16 kHz, signed 16 bit, little endian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VoiceFrame {
    /// First of all.
    Start(Box<VoiceStart>),
    /// Nothing more is said.
    End,
    /// What was said is not wanted.
    Cancel,
}

/// How a stream of speech is to be taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceStart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(flatten)]
    pub context: ParseContext,
}

/// What the server says on `/api/voice/stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VoiceAnswer {
    /// Samples are taken.
    Ready { engine: String },
    /// What was understood so far; each replaces the one before.
    Interim { text: String },
    /// The whole, and what it wants.
    Final { transcription: Box<Transcription>, parsed: Box<Parsed> },
    /// Nothing comes of it.
    Error { code: String, error: String, hint: Option<String> },
}
