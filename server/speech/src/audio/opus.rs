//! Opus, which browsers record and the container library does not decode.

use opus_decoder::{OpusDecoder, OpusError};

/// Opus is decoded at the rate of its own clock (RFC 7845, section 4).
pub(super) const OPUS_RATE: u32 = 48_000;

/// Where the number of samples to skip at the beginning stands in an identification header (RFC 7845, section 5.1).
const PRE_SKIP: std::ops::Range<usize> = 10..12;

/// Packets of Opus to samples.
pub(super) struct OpusPackets {
    decoder: OpusDecoder,
    channels: usize,
    samples: Vec<f32>,
    /// Samples of each channel that the encoder put before the sound.
    skip: usize,
}

impl OpusPackets {
    /// `header` is the identification header, which Ogg and Matroska both keep.
    pub fn new(channels: usize, header: Option<&[u8]>) -> Result<Self, OpusError> {
        let skip = header
            .filter(|header| header.starts_with(b"OpusHead"))
            .and_then(|header| header.get(PRE_SKIP))
            .map_or(0, |skip| usize::from(u16::from_le_bytes([skip[0], skip[1]])));
        let decoder = OpusDecoder::new(OPUS_RATE, channels)?;
        Ok(Self { decoder, channels, samples: vec![0.0; OpusDecoder::MAX_FRAME_SIZE_48K * channels], skip })
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The samples of a packet, interleaved.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], OpusError> {
        let frames = self.decoder.decode_float(packet, &mut self.samples, false)?;
        let skipped = frames.min(self.skip);
        self.skip -= skipped;
        self.samples.get(skipped * self.channels..frames * self.channels).ok_or(OpusError::InternalError)
    }
}
