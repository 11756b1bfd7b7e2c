//! A device that records: its frames, mixed to one channel, through a ring without locks to whoever reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use cpal::traits::{DeviceTrait as _, StreamTrait as _};
use cpal::{BufferSize, Data, ErrorKind, Sample as _, SampleFormat, SizedSample, StreamConfig, SupportedBufferSize};
use rtrb::{Consumer, Producer, RingBuffer};

use super::VoiceError;
use super::device::{Presence, explain, find, is_virtual, name};
use super::quiet::Quiet;
use crate::text;

/// So much sound fits between the device and the reader, in seconds: a machine may stand still for that long.
const RING: usize = 5;
/// Sound comes in pieces of this part of a second, 50 ms: a meter moves smoothly, and the device has as much to spare again.
const PIECES_PER_SECOND: u32 = 20;
/// Rates that there are; anything else is a fault of a driver.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// How long the sound server may take to make a stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a sound server is asked whether the device is still there.
const WATCH: Duration = Duration::from_millis(500);

/// A device that records until this is dropped.
pub struct Source {
    /// None while it is being dropped.
    stream: Option<cpal::Stream>,
    frames: Consumer<f32>,
    state: Arc<State>,
    rate: u32,
    device: String,
    tells_when_lost: bool,
}

/// What the device's own thread tells the reader beside the sound.
#[derive(Default)]
struct State {
    dropped: AtomicU64,
    overruns: AtomicU64,
    lost: Mutex<Option<String>>,
}

impl Source {
    /// Opens the device with this name or id, or the default one, and begins to record.
    ///
    /// # Errors
    /// Whatever keeps it from recording, see [`VoiceError`].
    pub fn open(wanted: Option<&str>) -> Result<Self, VoiceError> {
        let _quiet = Quiet::new();
        let device = find(wanted)?;
        let name = name(&device);
        let failed = |error: cpal::Error| match (wanted, error.kind()) {
            // A card that only plays is the default one where there is no other.
            (None, ErrorKind::UnsupportedOperation) => VoiceError::NoDevice,
            _ => explain(&error, name.clone()),
        };
        let config = device.default_input_config().map_err(failed)?;
        let rate = config.sample_rate();
        if !RATES.contains(&rate) || config.channels() == 0 {
            let reason = format!("{} channels at {rate} Hz", config.channels());
            return Err(VoiceError::Unsupported { device: name, reason });
        }
        let (to, frames) = RingBuffer::new(RING * rate as usize);
        let state = Arc::new(State::default());
        let format = config.sample_format();
        let Some(mut pour) = pour(format, usize::from(config.channels()), to, Arc::clone(&state)) else {
            return Err(VoiceError::Unsupported { device: name, reason: format!("samples in {format}") });
        };
        let settings = StreamConfig {
            channels: config.channels(),
            sample_rate: rate,
            buffer_size: buffer(rate, config.buffer_size()),
        };
        let of_errors = Arc::clone(&state);
        let stream = device
            .build_input_stream_raw(
                settings,
                format,
                move |data, _| pour(data),
                move |error| of_errors.note(&error),
                Some(PATIENCE),
            )
            .map_err(failed)?;
        stream.play().map_err(failed)?;
        if let Ok(id) = device.id() {
            let of_watch = Arc::downgrade(&state);
            // Not waited for: where the server hangs, so does it. Without it a recording is all the same.
            let _ = thread::Builder::new().name("microphone-watch".into()).spawn(move || watch(id, &of_watch));
        }
        let tells_when_lost = !is_virtual(&device);
        Ok(Self { stream: Some(stream), frames, state, rate, device: name, tells_when_lost })
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Frames a second.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Appends what has come since the last time.
    pub fn read(&mut self, into: &mut Vec<f32>) {
        let Ok(chunk) = self.frames.read_chunk(self.frames.slots()) else { return };
        let (first, second) = chunk.as_slices();
        into.extend_from_slice(first);
        into.extend_from_slice(second);
        chunk.commit_all();
    }

    /// Why the device gives nothing more, once it does not.
    pub fn lost(&self) -> Option<String> {
        self.state.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is noticed when the device is unplugged: not where ALSA leads to a sound server, which goes on with silence or with
    /// what the loudspeakers play.
    pub const fn tells_when_lost(&self) -> bool {
        self.tells_when_lost
    }

    /// Frames that found no place in the ring.
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// How often the device lost sound of its own.
    pub fn overruns(&self) -> u64 {
        self.state.overruns.load(Ordering::Relaxed)
    }

    /// Closes the device, quietly.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Plugins print when they are closed, too.
        let _quiet = Quiet::new();
        drop(self.stream.take());
    }
}

impl State {
    fn note(&self, error: &cpal::Error) {
        match error.kind() {
            ErrorKind::Xrun => {
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
            // It goes on, elsewhere or with less priority.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ => self.lose(text::clean_line(&error.to_string())),
        }
    }

    fn lose(&self, reason: String) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

/// Notes when the device is gone, until nobody records any more.
fn watch(id: cpal::DeviceId, state: &Weak<State>) {
    let Some(presence) = Presence::of(id) else { return };
    while let (Some(there), Some(state)) = (presence.lasts(), state.upgrade()) {
        if !there {
            state.lose("it is no longer connected".into());
            return;
        }
        drop(state);
        thread::park_timeout(WATCH);
    }
}

fn buffer(rate: u32, supported: &SupportedBufferSize) -> BufferSize {
    let wanted = rate / PIECES_PER_SECOND;
    match supported {
        SupportedBufferSize::Range { min, max } if (*min..=*max).contains(&wanted) => BufferSize::Fixed(wanted),
        _ => BufferSize::Default,
    }
}

type Pour = Box<dyn FnMut(&Data) + Send>;

/// What brings samples of this format into the ring; none for formats that are no samples (DSD).
fn pour(format: SampleFormat, channels: usize, to: Producer<f32>, state: Arc<State>) -> Option<Pour> {
    Some(match format {
        SampleFormat::I8 => pour_from::<i8>(channels, to, state),
        SampleFormat::I16 => pour_from::<i16>(channels, to, state),
        SampleFormat::I24 => pour_from::<cpal::I24>(channels, to, state),
        SampleFormat::I32 => pour_from::<i32>(channels, to, state),
        SampleFormat::I64 => pour_from::<i64>(channels, to, state),
        SampleFormat::U8 => pour_from::<u8>(channels, to, state),
        SampleFormat::U16 => pour_from::<u16>(channels, to, state),
        SampleFormat::U24 => pour_from::<cpal::U24>(channels, to, state),
        SampleFormat::U32 => pour_from::<u32>(channels, to, state),
        SampleFormat::U64 => pour_from::<u64>(channels, to, state),
        SampleFormat::F32 => pour_from::<f32>(channels, to, state),
        SampleFormat::F64 => pour_from::<f64>(channels, to, state),
        _ => return None,
    })
}

fn pour_from<T>(channels: usize, mut to: Producer<f32>, state: Arc<State>) -> Pour
where
    T: SizedSample,
    f32: cpal::FromSample<T>,
{
    Box::new(move |data| {
        let dropped = mix(data.as_slice::<T>().unwrap_or_default(), channels, &mut to);
        state.dropped.fetch_add(dropped, Ordering::Relaxed);
    })
}

/// Mixes frames to one channel and puts them into the ring; how many found no place. Runs on the device's thread: it neither
/// waits nor allocates.
///
/// Of more than two channels only two are used: the others of an interface with many inputs are mostly empty and would make
/// the voice quieter.
fn mix<T>(samples: &[T], channels: usize, to: &mut Producer<f32>) -> u64
where
    T: SizedSample,
    f32: cpal::FromSample<T>,
{
    let used = channels.min(2);
    let frames = samples.chunks_exact(channels.max(1));
    let coming = frames.len();
    let fits = coming.min(to.slots());
    if let Ok(chunk) = to.write_chunk_uninit(fits) {
        chunk.fill_from_iter(frames.map(|frame| {
            let sum: f32 = frame[..used].iter().map(|sample| f32::from_sample(*sample)).sum();
            sum / used as f32
        }));
    }
    (coming - fits) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn mixed<T>(samples: &[T], channels: usize) -> Vec<f32>
    where
        T: SizedSample,
        f32: cpal::FromSample<T>,
    {
        let (mut to, mut from) = RingBuffer::new(16);
        assert_eq!(mix(samples, channels, &mut to), 0);
        let chunk = from.read_chunk(from.slots()).unwrap();
        chunk.into_iter().collect()
    }

    #[test]
    fn any_format_and_any_number_of_channels_becomes_one_channel() {
        assert_eq!(mixed(&[0.25_f32, -0.5], 1), [0.25, -0.5]);
        assert_eq!(mixed(&[i16::MIN, 0, 16384, 16384], 2), [-0.5, 0.5]);
        assert_eq!(mixed(&[128_u8, 255], 1), [0.0, 127.0 / 128.0]);
        assert_eq!(mixed(&[0.5_f64, 0.5, 0.0, 0.0, 0.0, 0.0], 6), [0.5]);
        assert_eq!(mixed(&[0.5_f32, 0.5, 0.5], 2), [0.5], "half a frame is none");
    }

    #[test]
    fn what_finds_no_place_is_counted_and_what_is_there_stays() {
        let (mut to, mut from) = RingBuffer::new(4);
        assert_eq!(mix(&[0.1_f32, 0.2, 0.3], 1, &mut to), 0);
        assert_eq!(mix(&[0.4_f32, 0.5, 0.6], 1, &mut to), 2);
        let chunk = from.read_chunk(from.slots()).unwrap();
        assert_eq!(chunk.into_iter().collect::<Vec<_>>(), [0.1, 0.2, 0.3, 0.4]);
    }

    #[test]
    fn an_overrun_is_counted_and_only_a_real_fault_ends_the_recording() {
        let state = State::default();
        for kind in [ErrorKind::Xrun, ErrorKind::DeviceChanged, ErrorKind::RealtimeDenied] {
            state.note(&cpal::Error::new(kind));
        }
        assert_eq!(state.overruns.load(Ordering::Relaxed), 1);
        assert_eq!(*state.lost.lock().unwrap(), None);
        state.note(&cpal::Error::with_message(ErrorKind::DeviceNotAvailable, "gone"));
        state.note(&cpal::Error::with_message(ErrorKind::BackendError, "later"));
        assert_eq!(state.lost.lock().unwrap().as_deref(), Some("gone"));
    }
}
