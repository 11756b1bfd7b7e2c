//! Calls of the REST API.

use std::time::Duration;

use cadence_protocol::{
    ApiError, Approval, ApprovalList, ApprovalQuery, Cancelled, CreateTask, CreateToken, CreatedToken, Decide, Drain,
    EventList, EventQuery, Health, InputAnswer, InputText, Machine, MachineList, Me, ParseContext, ParseRequest,
    Parsed, Prune, Pruned, RemoveTask, ResumeTask, SendMessage, SpokenCommand, Task, TaskList, TaskQuery, TokenList,
    UsageQuery, UsageReport,
};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Endpoint;
use crate::error::{CommandError, Exit};
use crate::text::clean_line;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a recording may take to be understood: engines are given a minute each.
const HEARING: Duration = Duration::from_secs(200);
/// How long an answer may stand still.
const SILENCE: Duration = Duration::from_secs(20);
/// Largest answer that is taken, in bytes: a diff can be long, a server gone wrong longer.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

/// A server's REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    http: reqwest::Client,
    endpoint: Endpoint,
}

impl Rest {
    pub fn new(endpoint: Endpoint) -> Result<Self, CommandError> {
        Self::with(endpoint, reqwest::Client::builder().timeout(ANSWER_TIMEOUT))
    }

    /// For events that a stream did not bring: as many as there are, over a connection as slow as it is. A server that
    /// stops in the middle is given up.
    pub fn for_stream(endpoint: Endpoint) -> Result<Self, CommandError> {
        Self::with(endpoint, reqwest::Client::builder().read_timeout(SILENCE))
    }

    fn with(endpoint: Endpoint, builder: reqwest::ClientBuilder) -> Result<Self, CommandError> {
        let mut builder = builder
            .user_agent(concat!("cadence/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A bearer token goes to the server that it was given for, and no other.
            .redirect(reqwest::redirect::Policy::none());
        if endpoint.is_local() {
            builder = builder.no_proxy();
        }
        if endpoint.url.scheme() == "http" {
            // Reading the system's certificates takes longer than most calls, and none is asked for.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| CommandError::failed("the HTTP client cannot be set up").caused_by(error))?;
        Ok(Self { http, endpoint })
    }

    /// Whether calls go to this endpoint.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.url == endpoint.url
    }

    pub async fn health(&self, patience: Duration) -> Result<Health, CommandError> {
        let request = self.request(Method::GET, &["health"], &())?.timeout(patience);
        self.json(request).await
    }

    /// Whether the server can store what happens; the error says what of that fails.
    pub async fn ready(&self, patience: Duration) -> Result<(), CommandError> {
        let mut url = self.endpoint.url.clone();
        url.set_query(None);
        let mut path = url.path_segments_mut().map_err(|()| CommandError::usage("the server's address has no path"))?;
        path.pop_if_empty().push("readyz");
        drop(path);
        self.send_request(self.http.get(url).timeout(patience)).await.map(drop)
    }

    /// What a recording says and what that wants; nothing is done.
    pub async fn hear(
        &self,
        file: Vec<u8>,
        language: Option<&str>,
        context: &ParseContext,
    ) -> Result<SpokenCommand, CommandError> {
        let context = serde_json::to_string(context)
            .map_err(|error| CommandError::failed("the request cannot be written").caused_by(error))?;
        let mut form = Form::new().part("audio", Part::bytes(file).file_name("audio")).text("context", context);
        if let Some(language) = language {
            form = form.text("language", language.to_owned());
        }
        let request = self.request(Method::POST, &["voice", "command"], &())?.multipart(form);
        self.json(request.timeout(HEARING)).await
    }

    /// What words want; nothing is done.
    pub async fn parse(&self, body: &ParseRequest) -> Result<Parsed, CommandError> {
        self.post(&["voice", "parse"], body).await
    }

    /// Does what words want, unless somebody has to see it first.
    pub async fn input(&self, body: &InputText) -> Result<InputAnswer, CommandError> {
        self.post(&["input", "text"], body).await
    }

    /// Deletes what is old; one step of it.
    pub async fn prune(&self, body: &Prune) -> Result<Pruned, CommandError> {
        self.post(&["prune"], body).await
    }

    pub async fn me(&self) -> Result<Me, CommandError> {
        self.json(self.request(Method::GET, &["me"], &())?).await
    }

    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskList, CommandError> {
        self.json(self.request(Method::GET, &["tasks"], query)?).await
    }

    /// Creates a task. The key makes a repeat give the same task, so a connection that breaks is tried once more.
    pub async fn create(&self, body: &CreateTask, key: Uuid) -> Result<Task, CommandError> {
        let request = || {
            let request = self.request(Method::POST, &["tasks"], &())?;
            Ok::<_, CommandError>(request.header("Idempotency-Key", key.to_string()).json(body))
        };
        match self.json(request()?).await {
            Err(error) if error.exit == Exit::Unreachable => self.json(request()?).await,
            other => other,
        }
    }

    pub async fn task(&self, id: Uuid) -> Result<Task, CommandError> {
        self.json(self.request(Method::GET, &["tasks", &id.to_string()], &())?).await
    }

    pub async fn cancel(&self, id: Uuid) -> Result<Cancelled, CommandError> {
        self.json(self.request(Method::DELETE, &["tasks", &id.to_string()], &())?).await
    }

    pub async fn pause(&self, id: Uuid) -> Result<Task, CommandError> {
        self.act(id, "pause").await
    }

    pub async fn restart(&self, id: Uuid) -> Result<Task, CommandError> {
        self.act(id, "restart").await
    }

    pub async fn archive(&self, id: Uuid) -> Result<Task, CommandError> {
        self.act(id, "archive").await
    }

    pub async fn unarchive(&self, id: Uuid) -> Result<Task, CommandError> {
        self.act(id, "unarchive").await
    }

    pub async fn resume(&self, id: Uuid, text: Option<String>) -> Result<Task, CommandError> {
        self.post(&["tasks", &id.to_string(), "resume"], &ResumeTask { text }).await
    }

    pub async fn send(&self, id: Uuid, text: String) -> Result<Task, CommandError> {
        self.post(&["tasks", &id.to_string(), "messages"], &SendMessage { text }).await
    }

    pub async fn remove(&self, id: Uuid, force: bool) -> Result<(), CommandError> {
        let request = self.request(Method::POST, &["tasks", &id.to_string(), "remove"], &())?;
        // The answer is empty.
        self.send_request(request.json(&RemoveTask { force })).await?;
        Ok(())
    }

    pub async fn approvals(&self) -> Result<Vec<Approval>, CommandError> {
        let list: ApprovalList = self.json(self.request(Method::GET, &["approvals"], &())?).await?;
        Ok(list.approvals)
    }

    /// Approvals whose ids begin so, also those that were decided.
    pub async fn approvals_by_id(&self, prefix: &str) -> Result<Vec<Approval>, CommandError> {
        let query = ApprovalQuery { id: Some(prefix.to_owned()) };
        let list: ApprovalList = self.json(self.request(Method::GET, &["approvals"], &query)?).await?;
        Ok(list.approvals)
    }

    pub async fn decide(&self, task: Uuid, approval: &str, body: &Decide) -> Result<Approval, CommandError> {
        self.post(&["tasks", &task.to_string(), "approvals", approval], body).await
    }

    /// One page of events after `after`.
    pub async fn events(&self, id: Uuid, after: u64) -> Result<EventList, CommandError> {
        let query = EventQuery { after: Some(after), limit: Some(500) };
        self.json(self.request(Method::GET, &["tasks", &id.to_string(), "events"], &query)?).await
    }

    /// The unified diff of the task's branch against its base, byte for byte.
    pub async fn diff(&self, id: Uuid) -> Result<Vec<u8>, CommandError> {
        let response = self.send_request(self.request(Method::GET, &["tasks", &id.to_string(), "diff"], &())?).await?;
        self.body(response).await
    }

    pub async fn machines(&self) -> Result<MachineList, CommandError> {
        self.json(self.request(Method::GET, &["machines"], &())?).await
    }

    /// What work took in so many months.
    pub async fn usage(&self, months: u32) -> Result<UsageReport, CommandError> {
        self.json(self.request(Method::GET, &["usage"], &UsageQuery { months: Some(months) })?).await
    }

    /// Gives a machine no new tasks, or tasks again.
    pub async fn drain(&self, id: Uuid, draining: bool) -> Result<Machine, CommandError> {
        self.post(&["machines", &id.to_string(), "drain"], &Drain { draining }).await
    }

    pub async fn remove_machine(&self, id: Uuid, force: bool) -> Result<(), CommandError> {
        let query = serde_json::json!({ "force": force });
        self.send_request(self.request(Method::DELETE, &["machines", &id.to_string()], &query)?).await.map(drop)
    }

    pub async fn tokens(&self) -> Result<TokenList, CommandError> {
        self.json(self.request(Method::GET, &["tokens"], &())?).await
    }

    pub async fn create_token(&self, body: &CreateToken) -> Result<CreatedToken, CommandError> {
        self.post(&["tokens"], body).await
    }

    pub async fn revoke_token(&self, id: Uuid) -> Result<(), CommandError> {
        self.send_request(self.request(Method::DELETE, &["tokens", &id.to_string()], &())?).await.map(drop)
    }

    async fn act(&self, id: Uuid, what: &str) -> Result<Task, CommandError> {
        self.json(self.request(Method::POST, &["tasks", &id.to_string(), what], &())?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, CommandError> {
        self.json(self.request(Method::POST, path, &())?.json(body)).await
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<RequestBuilder, CommandError> {
        let mut url = self.endpoint.url.clone();
        url.set_query(None);
        url.path_segments_mut()
            .map_err(|()| CommandError::usage("the server's address has no path"))?
            .pop_if_empty()
            .push("api")
            .extend(path);
        // Queries are flat objects of numbers and text.
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query)
            && !fields.is_empty()
        {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &fields {
                match value.as_str() {
                    Some(text) => pairs.append_pair(name, text),
                    None => pairs.append_pair(name, &value.to_string()),
                };
            }
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.endpoint.token {
            request = request.bearer_auth(token.expose_secret());
        }
        Ok(request)
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CommandError> {
        let response = self.send_request(request).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            CommandError::failed(format!("{} gave an answer that is not understood", self.name()))
                .caused_by(error)
                .hint("Is it a cadence server, and of this version?")
        })
    }

    pub(super) async fn send_request(&self, request: RequestBuilder) -> Result<Response, CommandError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after =
            response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(clean_line);
        let body = self.body(response).await.unwrap_or_default();
        Err(refused(&self.name(), status, &body, retry_after))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CommandError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() as u64 + chunk.len() as u64 > MAX_ANSWER {
                return Err(CommandError::failed(format!("{} gave an answer without end", self.name())));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn name(&self) -> String {
        let url = &self.endpoint.url;
        format!("the server at {}", url.as_str().trim_end_matches('/'))
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> CommandError {
        let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        CommandError::new(Exit::Unreachable, format!("{} {what}", self.name()))
            .caused_by(error.without_url())
            .hint("Is it running, and is its address right (--server, CADENCE_SERVER, `cadence config get server`)?")
    }
}

/// What an error status means for the one who typed the command.
fn refused(server: &str, status: StatusCode, body: &[u8], retry_after: Option<String>) -> CommandError {
    let exit = match status.as_u16() {
        400 | 404 | 405 | 413 | 415 | 422 => Exit::Usage,
        401 | 403 => Exit::NotAllowed,
        502..=504 => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let Ok(api) = serde_json::from_slice::<ApiError>(body) else {
        return CommandError::new(exit, format!("{server} answered {status}"))
            .hint("The answer is not one of a cadence server; is the address right?");
    };
    // It answers, and speaks of an engine that does not.
    let exit = match api.code.as_str() {
        "engine_failed" | "no_engine" | "bad_settings" | "silence" => Exit::Failed,
        "budget_exhausted" => Exit::Budget,
        _ => exit,
    };
    let mut error = CommandError::new(exit, clean_line(&api.error));
    error.not_found = status == StatusCode::NOT_FOUND;
    for detail in api.details.iter().filter(|detail| !api.error.contains(&detail.message)) {
        error = error.hint(format!("{}: {}", clean_line(&detail.path), clean_line(&detail.message)));
    }
    if let Some(message) = &api.message {
        error = error.hint(clean_line(message));
    }
    if let Some(seconds) = retry_after {
        error = error.hint(format!("Try again in {seconds} s."));
    }
    match status.as_u16() {
        401 => error.hint("Give a token of this server with --token-file or CADENCE_TOKEN."),
        403 => error.hint("The token's scopes do not allow it."),
        500 => error.hint(format!("The server's log has more under request {}.", clean_line(&api.request_id))),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn error(status: u16, body: &str) -> CommandError {
        refused("the server at http://x", StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
    }

    #[test]
    fn answers_become_exit_codes() {
        let body = r#"{"error":"no such task","code":"not_found","requestId":"r"}"#;
        let codes: Vec<u8> =
            [400, 401, 403, 404, 409, 422, 429, 500, 503].iter().map(|s| error(*s, body).exit.code()).collect();
        assert_eq!(codes, [2, 4, 4, 2, 1, 2, 1, 1, 3]);
        assert!(error(404, body).not_found);
        let spent = r#"{"error":"the budget of 2026-11 is spent","code":"budget_exhausted","requestId":"r"}"#;
        assert_eq!(error(422, spent).exit, Exit::Budget);
    }

    #[test]
    fn details_are_hints_and_safe_to_print() {
        let error = error(
            400,
            r#"{"error":"bad \u001b[31mbody","code":"invalid","details":[{"path":"model","message":"too long"}],
               "message":"Shorten it.","requestId":"r"}"#,
        );
        assert_eq!(error.message(), "bad body");
        assert_eq!(error.hints(), ["model: too long", "Shorten it."]);
    }

    #[test]
    fn a_stranger_is_told_as_such() {
        let error = error(502, "<html>");
        assert_eq!(error.message(), "the server at http://x answered 502 Bad Gateway");
        assert_eq!(error.exit, Exit::Unreachable);
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let url = url::Url::parse("http://127.0.0.1:9/base/").unwrap();
        let rest = Rest::new(Endpoint { url, token: None }).unwrap();
        let query = TaskQuery { q: Some("a&b".into()), limit: Some(3), ..TaskQuery::default() };
        let request = rest.request(Method::GET, &["tasks", "../x", "approvals"], &query).unwrap().build().unwrap();
        assert_eq!(request.url().as_str(), "http://127.0.0.1:9/base/api/tasks/..%2Fx/approvals?limit=3&q=a%26b");
    }
}
