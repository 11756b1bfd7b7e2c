//! A WebSocket to the server.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Endpoint;
use crate::error::{CommandError, Exit};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Why a connection ended.
pub enum Break {
    /// Nobody listens any more.
    Unheard,
    Lost(String),
    Fatal(CommandError),
}

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket of the server; `max_frame` is the largest that it may send, in bytes.
pub async fn open(endpoint: &Endpoint, path: &[&str], max_frame: usize) -> Result<Socket, Break> {
    let mut url = endpoint.url.clone();
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let wrong = || Break::Fatal(CommandError::usage("the server's address cannot be used for a WebSocket"));
    url.set_scheme(scheme).map_err(|()| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(path);
    let mut request = url.as_str().into_client_request().map_err(|_| wrong())?;
    if let Some(token) = &endpoint.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| wrong())?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default().max_message_size(Some(max_frame)).max_frame_size(Some(max_frame));
    match tokio::time::timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(config), true)).await {
        Err(_) => Err(Break::Lost("the server did not answer in time".to_owned())),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(SocketError::Http(answer))) if matches!(answer.status().as_u16(), 401 | 403) => Err(Break::Fatal(
            CommandError::new(Exit::NotAllowed, "the server does not let this token in")
                .hint("Give a token of this server with --token-file or CADENCE_TOKEN."),
        )),
        Ok(Err(error)) => Err(lost(error)),
    }
}

pub fn lost(error: SocketError) -> Break {
    Break::Lost(crate::text::clean_line(&error.to_string()))
}

/// A quarter of a second, then twice as long each time, up to eight seconds; spread, so that not all come back at once.
pub fn back_off(failures: u32) -> Duration {
    let whole = Duration::from_millis(250).saturating_mul(1 << failures.min(6)).min(MAX_WAIT);
    let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    whole.mul_f64(0.75 + 0.25 * random)
}
