//! A look at a model's file before whisper.cpp reads it.
//!
//! whisper.cpp trusts the file: one that was cut off, or is something else, brings the process down. The format is that of its
//! `models/convert-pt-to-ggml.py`.

use std::collections::HashSet;
use std::io::{self, BufRead, Seek, SeekFrom};

const MAGIC: usize = 0x6767_6d6c;

/// Rows of each mel filter: the positive frequencies of a Fourier transform over 400 samples.
const FREQUENCIES: usize = 201;

/// The file's sizes, in the order in which they stand there.
struct Sizes {
    vocabulary: usize,
    audio_layers: usize,
    text_layers: usize,
    mels: usize,
}

/// # Errors
/// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`], when it is no whole model; others from reading.
pub(super) fn check(file: &mut (impl BufRead + Seek)) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let sizes = sizes(file)?;
    if number(file)? != sizes.mels || number(file)? != FREQUENCIES {
        return wrong("its filters have another size");
    }
    skip(file, length, sizes.mels * FREQUENCIES * 4)?;
    vocabulary(file, &sizes)?;
    let mut names = HashSet::new();
    while file.stream_position()? < length {
        names.insert(tensor(file, length)?);
    }
    // Seven tensors and 15 in each layer of the encoder, four and 24 in each of the decoder.
    if names.len() != 11 + 15 * sizes.audio_layers + 24 * sizes.text_layers {
        return wrong("parts of it are missing");
    }
    Ok(())
}

fn sizes(file: &mut impl BufRead) -> io::Result<Sizes> {
    if number(file)? != MAGIC {
        return wrong("it is not in ggml format");
    }
    let mut all = [0; 11];
    for size in &mut all {
        *size = number(file)?;
    }
    let [
        vocabulary,
        audio_context,
        audio_state,
        audio_heads,
        audio_layers,
        text_context,
        text_state,
        text_heads,
        text_layers,
        mels,
        _,
    ] = all;
    let heads = |heads: usize| heads > 0 && audio_state.is_multiple_of(heads);
    let sound = (51_864..=51_999).contains(&vocabulary)
        && [audio_context, text_context, audio_state].iter().all(|size| (1..=16_384).contains(size))
        && [audio_layers, text_layers].iter().all(|layers| (1..=256).contains(layers))
        && text_state == audio_state
        && heads(audio_heads)
        && heads(text_heads)
        && (1..=512).contains(&mels);
    if !sound {
        return wrong("it is no Whisper model");
    }
    Ok(Sizes { vocabulary, audio_layers, text_layers, mels })
}

fn vocabulary(file: &mut impl BufRead, sizes: &Sizes) -> io::Result<()> {
    let count = number(file)?;
    if count > sizes.vocabulary {
        return wrong("it has too many words");
    }
    let mut space = false;
    for _ in 0..count {
        let length = number(file)?;
        space |= bytes(file, length)? == b" ";
    }
    // The decoder looks for it without asking whether it is there.
    if space { Ok(()) } else { wrong("its words are missing") }
}

/// Skips a tensor's numbers; its name.
fn tensor(file: &mut (impl BufRead + Seek), length: u64) -> io::Result<Vec<u8>> {
    let (dimensions, name, kind) = (number(file)?, number(file)?, number(file)?);
    if !(1..=4).contains(&dimensions) {
        return wrong("a tensor has no shape");
    }
    let mut elements = 1_usize;
    for _ in 0..dimensions {
        elements = elements.saturating_mul(number(file)?);
    }
    let name = bytes(file, name)?;
    // Bytes and elements of a block of `ggml_type`: 32 and 16 bit floats, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
    let (block_bytes, block) = match kind {
        0 => (4, 1),
        1 => (2, 1),
        2 => (18, 32),
        3 => (20, 32),
        6 => (22, 32),
        7 => (24, 32),
        8 => (34, 32),
        _ => return wrong("a tensor is of an unknown type"),
    };
    skip(file, length, (elements / block).saturating_mul(block_bytes))?;
    Ok(name)
}

fn number(file: &mut impl BufRead) -> io::Result<usize> {
    let mut number = [0; 4];
    file.read_exact(&mut number)?;
    usize::try_from(u32::from_le_bytes(number)).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A word or name.
fn bytes(file: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    if length > 4_096 {
        return wrong("a name in it is too long");
    }
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(file: &mut (impl BufRead + Seek), length: u64, bytes: usize) -> io::Result<()> {
    let left = length - file.stream_position()?.min(length);
    let offset = i64::try_from(bytes).ok().filter(|_| bytes as u64 <= left);
    file.seek_relative(offset.ok_or(io::ErrorKind::UnexpectedEof)?)
}

fn wrong<T>(why: &'static str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}
