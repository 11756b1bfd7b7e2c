//! A recording: a thread that reads the device and tells what it hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::VoiceError;
use super::listener::{Heard, Listener};
use super::silence::Silence;
#[cfg(feature = "voice")]
use super::source::Source;
#[cfg(not(feature = "voice"))]
use super::stub::Source;
use super::take::End;

/// How often the device is read. It brings sound every 50 ms.
const EVERY: Duration = Duration::from_millis(20);
/// Recorded on after a stop: the sound of the last word is still on its way, and fingers are quicker than mouths.
const TAIL: Duration = Duration::from_millis(200);
/// A device that gives nothing for so long is lost. Bluetooth needs seconds to begin.
const STALLED: Duration = Duration::from_secs(6);
/// How long a device may take to open.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer is never recorded, whatever is asked for: the samples are held in memory, 64 kB a second.
const LONGEST: Duration = Duration::from_secs(10 * 60);

const RUNS: u8 = 0;
const STOP: u8 = 1;
const CANCEL: u8 = 2;

/// How to record.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name or id of the microphone; none is the default one.
    pub device: Option<String>,
    /// Longest that is recorded, at most 10 minutes.
    pub limit: Duration,
    /// The silence after speech that ends it; none records until it is stopped.
    pub pause: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: None, limit: Duration::from_secs(30), pause: Some(Duration::from_millis(1200)) }
    }
}

/// A recording that runs. Dropped, it is cancelled.
#[derive(Debug)]
pub struct Recorder {
    device: String,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the microphone and records until it is stopped, somebody paused after speaking, the limit is reached or the device is
/// lost. What is heard comes through the receiver; its last word is [`Heard::Ended`] unless it was cancelled.
///
/// Blocks while the device opens: some 50 ms, and at most 15 s where the sound server hangs.
///
/// # Errors
/// Whatever keeps it from recording, see [`VoiceError`].
pub fn start(options: Options) -> Result<(Recorder, UnboundedReceiver<Heard>), VoiceError> {
    let state = Arc::new(AtomicU8::new(RUNS));
    let (heard, receiver) = unbounded_channel();
    let (opened, opening) = sync_channel(1);
    let of_thread = Arc::clone(&state);
    let thread = thread::Builder::new()
        .name("microphone".into())
        .spawn(move || record(&options, &of_thread, &opened, &heard))
        .map_err(|error| VoiceError::Unavailable(error.to_string()))?;
    // A thread that hangs in a driver cannot be ended; it is told to leave when it can.
    let device = opening.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        state.store(CANCEL, Ordering::Relaxed);
        Err(VoiceError::Hangs)
    })?;
    Ok((Recorder { device, state, thread: Some(thread) }, receiver))
}

impl Recorder {
    /// Name of the microphone.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Ends the recording, which is used.
    pub fn stop(&self) {
        self.tell(STOP);
    }

    /// Ends the recording, which is forgotten: nothing more is told.
    pub fn cancel(&self) {
        self.tell(CANCEL);
    }

    fn tell(&self, what: u8) {
        self.state.fetch_max(what, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn record(
    options: &Options,
    state: &AtomicU8,
    opened: &SyncSender<Result<String, VoiceError>>,
    heard: &UnboundedSender<Heard>,
) {
    let limit = options.limit.min(LONGEST);
    let begun = Source::open(options.device.as_deref()).and_then(|source| {
        let listener = Listener::new(source.rate(), limit, options.pause);
        let impossible = || VoiceError::Unsupported {
            device: source.device().to_owned(),
            reason: format!("{} samples a second", source.rate()),
        };
        let listener = listener.ok_or_else(impossible)?;
        Ok((source, listener))
    });
    let (mut source, mut listener) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let _ = opened.send(Ok(source.device().to_owned()));
    // Nobody listens any more: the recorder goes, too, and cancels.
    let mut tell = |what| {
        let _ = heard.send(what);
    };
    let Some(end) = listen(&mut source, &mut listener, state, &mut tell) else { return };
    let (device, dropped, overruns) = (source.device().to_owned(), source.dropped(), source.overruns());
    source.close();
    let mut take = listener.finish(end, device, &mut tell);
    take.dropped = dropped;
    take.overruns = overruns;
    tell(Heard::Ended(Box::new(take)));
}

/// Reads until the end, and says which; none where it was cancelled.
fn listen(source: &mut Source, listener: &mut Listener, state: &AtomicU8, tell: &mut dyn FnMut(Heard)) -> Option<End> {
    let mut frames = Vec::with_capacity(source.rate() as usize);
    let mut came = Instant::now();
    let mut silence = (!source.tells_when_lost()).then(|| Silence::new(source.rate()));
    let mut stopping: Option<Instant> = None;
    loop {
        // Asked before it is read: what came before it was lost is still in the ring.
        let lost = source.lost();
        source.read(&mut frames);
        if !frames.is_empty() {
            came = Instant::now();
            let end = listener.push(&frames, tell);
            let gone = silence.as_mut().and_then(|silence| silence.push(&frames)).map(End::Lost);
            frames.clear();
            if end.is_some() || gone.is_some() {
                return end.or(gone);
            }
        }
        if let Some(reason) = lost {
            return Some(End::Lost(reason));
        }
        if came.elapsed() > STALLED {
            return Some(End::Lost(format!("it gave no sound for {} s", STALLED.as_secs())));
        }
        match state.load(Ordering::Relaxed) {
            CANCEL => return None,
            STOP => {
                let since = *stopping.get_or_insert_with(Instant::now);
                if since.elapsed() >= TAIL {
                    return Some(End::Stopped);
                }
            }
            _ => {}
        }
        thread::park_timeout(EVERY);
    }
}
