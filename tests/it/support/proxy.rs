use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::http::runtime;

/// A network between a client and a server that breaks when it is told. Its address stays, wherever the server is.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    weather: watch::Sender<Weather>,
}

#[derive(Clone, Copy, Default)]
struct Weather {
    /// Connections older than this are cut: both ends are told.
    cut: u64,
    /// Connections older than this are silent for ever, and nobody is told.
    silent: u64,
    /// New connections are taken and lead nowhere.
    away: bool,
    /// Connections so far.
    count: u64,
}

impl Proxy {
    pub fn to(url: &str) -> Self {
        let (weather, _) = watch::channel(Weather::default());
        let shared = Arc::new(Shared { target: Mutex::new(address(url)), weather });
        let theirs = Arc::clone(&shared);
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let worker = runtime().spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&theirs);
                connections.spawn(async move { shared.serve(client).await });
            }
        });
        Self { address, shared, worker }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The server's machine is gone, without a word: what is connected hears nothing any more, and what connects neither.
    pub fn vanish(&self) {
        self.shared.weather.send_modify(|weather| (weather.silent, weather.away) = (weather.count, true));
    }

    /// New connections lead to this server; the old ones stay silent.
    pub fn come_back(&self, url: &str) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = address(url);
        self.shared.weather.send_modify(|weather| weather.away = false);
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.shared.weather.send_modify(|weather| weather.cut = weather.count);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) {
        let mut own = 0;
        self.weather.send_modify(|weather| {
            weather.count += 1;
            own = weather.count;
        });
        let (mut cut, mut silent) = (self.weather.subscribe(), self.weather.subscribe());
        if self.weather.borrow().away {
            return std::future::pending().await;
        }
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        let silent = tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => false,
            _ = cut.wait_for(|weather| weather.cut >= own) => false,
            _ = silent.wait_for(|weather| weather.silent >= own) => true,
        };
        if silent {
            // Both sockets stay open.
            drop(cut.wait_for(|weather| weather.cut >= own).await);
        }
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
}
