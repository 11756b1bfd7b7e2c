//! A conversation with the agents by voice: what is heard, understood, done and answered. `cadence voice` and the dashboard
//! hold it.

pub mod hearing;
pub mod session;
pub mod tell;
pub mod view;
pub mod watch;

use cadence_protocol::{InputAnswer, InputText, ParseContext, TaskDefaults, TaskSourceKind, VoiceCommand, VoiceStart};

use self::tell::Teller;
use crate::checkout::Place;
use crate::client::Client;
use crate::commands::Context;
use crate::error::CommandError;
use crate::speech;

/// A conversation with the server about a place.
pub struct Talk {
    pub context: Context,
    pub client: Client,
    pub place: Option<Place>,
    pub said: ParseContext,
    pub defaults: TaskDefaults,
    pub language: Option<String>,
    pub teller: Teller,
}

impl Talk {
    /// Looks at the place that is spoken of: the repository that is named, or the one of the current directory.
    pub async fn open(context: Context, client: Client, repo: Option<&str>, quiet: bool) -> Result<Self, CommandError> {
        let place = speech::place(repo).await?;
        let said = speech::context(&context, &client, place.as_ref()).await?;
        Ok(Self {
            defaults: speech::defaults(&context, &client, place.as_ref(), TaskSourceKind::Voice),
            teller: Teller::new(&context.settings.voice, quiet, context.terminal)?,
            language: context.settings.voice.language.clone(),
            client,
            place,
            said,
            context,
        })
    }

    pub fn start(&self) -> VoiceStart {
        VoiceStart { language: self.language.clone(), context: self.said.clone() }
    }

    /// Does what was understood and, by whoever says so, is right.
    pub fn act(&self, command: VoiceCommand) -> impl Future<Output = Result<InputAnswer, CommandError>> + Send + use<> {
        let input = InputText {
            text: command.transcript.clone(),
            context: self.said.clone(),
            confirmed: true,
            command: Some(command),
            task: Some(self.defaults.clone()),
        };
        let (client, place) = (self.client.clone(), self.place.clone());
        async move {
            let answer = client.rest()?.input(&input).await;
            answer.map_err(|error| speech::without_place(error, place.as_ref()))
        }
    }

    /// What "it" means from now on.
    pub fn spoke_of(&mut self, answer: &InputAnswer) {
        let tasks = answer.result.iter().flat_map(|result| result.tasks.iter());
        let task = answer.task.as_ref().or_else(|| tasks.take(1).next());
        if let Some(task) = task {
            self.said.current = Some(task.id);
        }
    }
}
