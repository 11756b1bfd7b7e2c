use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::opus::{OPUS_RATE, OpusPackets};
use super::{AudioError, Clip, Format, Resampler, samples_in};

/// The longest recording that is listened to: what is spoken to an agent lasts minutes at most.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 60);

/// The sound of a file, by what its bytes are.
///
/// A file that breaks off gives what was there. At most [`MAX_DURATION`] is decoded, whatever the file claims, so a small file
/// cannot become much work; how large a file may be is the caller's to check.
///
/// # Errors
/// [`AudioError`], when the format is not known, no sample can be read, most of it is damaged, or it is too long.
pub fn decode(bytes: &[u8]) -> Result<Clip, AudioError> {
    decode_within(bytes, MAX_DURATION)
}

/// [`decode`] with another limit of length.
pub fn decode_within(bytes: &[u8], limit: Duration) -> Result<Clip, AudioError> {
    let format = Format::sniff(bytes).ok_or(AudioError::Unrecognised)?;
    // The file comes from anywhere, and the decoders are others' code: one that panics fails this file only.
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, limit)))
        .unwrap_or_else(|_| Err(AudioError::Damaged { format, what: "its decoder gave up".to_owned() }))
}

fn decode_as(format: Format, bytes: &[u8], limit: Duration) -> Result<Clip, AudioError> {
    let damaged = |error: Error| opening_failed(format, &error);
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes.to_vec())), MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.with_extension(format.as_str());
    let mut reader = symphonia::default::get_probe()
        .probe(&hint, source, FormatOptions::default(), MetadataOptions::default())
        .map_err(damaged)?;
    let track = reader.default_track(TrackType::Audio).ok_or(AudioError::Empty(format))?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(AudioError::Unsupported { format, what: "its sound is in an unknown codec".to_owned() });
    };
    let track = track.id;
    let mut decoder = Decoder::new(format, parameters)?;
    let mut sink = Sink::new(format, limit);
    let (mut decoded, mut refused) = (0_usize, 0_usize);
    while let Some(packet) = next_packet(reader.as_mut(), format, !sink.is_empty())? {
        if packet.track_id != track {
            continue;
        }
        match decoder.decode(&packet, &mut sink)? {
            true => decoded += 1,
            false => refused += 1,
        }
    }
    let clip = sink.finish();
    if refused > decoded {
        return Err(AudioError::Damaged { format, what: format!("{refused} of its packets cannot be decoded") });
    }
    if clip.samples.is_empty() { Err(AudioError::Empty(format)) } else { Ok(clip) }
}

/// `None` at the end of the file, or where it breaks off after something was heard.
fn next_packet(reader: &mut dyn FormatReader, format: Format, heard: bool) -> Result<Option<Packet>, AudioError> {
    match reader.next_packet() {
        Ok(packet) => Ok(packet),
        Err(_) if heard => Ok(None),
        Err(Error::IoError(_)) => Err(AudioError::Empty(format)),
        Err(error) => Err(opening_failed(format, &error)),
    }
}

fn opening_failed(format: Format, error: &Error) -> AudioError {
    match error {
        Error::IoError(_) => AudioError::Empty(format),
        // So the library calls a file without its index, which is written last.
        Error::Unsupported(what) if what.contains("missing") => {
            AudioError::Damaged { format, what: (*what).to_owned() }
        }
        Error::Unsupported(what) => AudioError::Unsupported { format, what: (*what).to_owned() },
        error => AudioError::Damaged { format, what: error.to_string() },
    }
}

enum Decoder {
    Opus(Box<OpusPackets>),
    Other { decoder: Box<dyn AudioDecoder>, samples: Vec<f32> },
}

impl Decoder {
    fn new(format: Format, parameters: &AudioCodecParameters) -> Result<Self, AudioError> {
        if parameters.codec == CODEC_ID_OPUS {
            // More than two channels are several streams in one packet (RFC 7845, section 5.1.1); nobody speaks in surround.
            let channels = parameters.channels.as_ref().map_or(2, |channels| channels.count());
            return OpusPackets::new(channels, parameters.extra_data.as_deref())
                .map(|opus| Self::Opus(Box::new(opus)))
                .map_err(|_| AudioError::Unsupported { format, what: format!("Opus of {channels} channels") });
        }
        symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map(|decoder| Self::Other { decoder, samples: Vec::new() })
            .map_err(|error| opening_failed(format, &error))
    }

    /// Whether the packet could be decoded; its sound went to the sink.
    fn decode(&mut self, packet: &Packet, sink: &mut Sink) -> Result<bool, AudioError> {
        match self {
            Self::Opus(opus) => {
                let channels = opus.channels();
                let Ok(samples) = opus.decode(&packet.data) else { return Ok(false) };
                sink.push(OPUS_RATE, channels, samples)?;
            }
            Self::Other { decoder, samples } => {
                let Ok(buffer) = decoder.decode(packet) else { return Ok(false) };
                buffer.copy_to_vec_interleaved(samples);
                sink.push(buffer.spec().rate(), buffer.num_planes(), samples)?;
            }
        }
        Ok(true)
    }
}

/// Gathers samples of any rate and number of channels as a clip.
struct Sink {
    format: Format,
    limit: Duration,
    resampler: Option<(u32, usize, Resampler)>,
    clip: Clip,
}

impl Sink {
    fn new(format: Format, limit: Duration) -> Self {
        Self { format, limit, resampler: None, clip: Clip::default() }
    }

    fn is_empty(&self) -> bool {
        self.resampler.is_none()
    }

    /// Takes interleaved samples; rate and channels may change on the way, as in a chained Ogg stream.
    fn push(&mut self, rate: u32, channels: usize, samples: &[f32]) -> Result<(), AudioError> {
        if samples.is_empty() {
            return Ok(());
        }
        let same = matches!(&self.resampler, Some((r, c, _)) if (*r, *c) == (rate, channels));
        if !same {
            let unsupported = |what| AudioError::Unsupported { format: self.format, what };
            let resampler = Resampler::new(rate, channels)
                .ok_or_else(|| unsupported(format!("{channels} channels with {rate} samples a second")))?;
            if let Some((_, _, mut before)) = self.resampler.replace((rate, channels, resampler)) {
                before.finish(&mut self.clip.samples);
            }
        }
        if let Some((_, _, resampler)) = &mut self.resampler {
            resampler.push(samples, &mut self.clip.samples);
        }
        if self.clip.samples.len() > samples_in(self.limit) {
            return Err(AudioError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn finish(mut self) -> Clip {
        if let Some((_, _, mut resampler)) = self.resampler.take() {
            resampler.finish(&mut self.clip.samples);
        }
        self.clip
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
