use std::fmt;

/// A kind of audio file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Wav,
    Mp3,
    M4a,
    Flac,
    /// With Vorbis or Opus in it.
    Ogg,
    /// With Opus or Vorbis in it: what browsers record.
    Webm,
}

impl Format {
    /// What the first bytes say that a file is; its name and media type are not believed.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            // The identifier of an EBML document (RFC 8794, section 11.2.1): Matroska, of which WebM is a part.
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Self::Webm),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Self::M4a),
            [b'I', b'D', b'3', ..] => Some(Self::Mp3),
            [0xff, second, third, ..] if is_mp3_header(*second, *third) => Some(Self::Mp3),
            _ => None,
        }
    }

    /// The usual extension, as the API names it too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::M4a => "m4a",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Webm => "webm",
        }
    }

    /// The registered media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
            Self::M4a => "audio/mp4",
            Self::Flac => "audio/flac",
            Self::Ogg => "audio/ogg",
            Self::Webm => "audio/webm",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a frame of MPEG layer III begins with 0xff and these: sync, a version, the layer, a bit rate and a sample rate that
/// there are (ISO/IEC 11172-3, 2.4.1.3).
fn is_mp3_header(second: u8, third: u8) -> bool {
    let sync = second & 0xe0 == 0xe0;
    let version = second & 0x18 != 0x08;
    let layer_three = second & 0x06 == 0x02;
    let bit_rate = third & 0xf0 != 0xf0;
    let sample_rate = third & 0x0c != 0x0c;
    sync && version && layer_three && bit_rate && sample_rate
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn a_file_is_what_its_bytes_say() {
        let table: [(&[u8], Option<Format>); 12] = [
            (b"RIFF\x24\x00\x00\x00WAVEfmt ", Some(Format::Wav)),
            (b"RIFF\x24\x00\x00\x00AVI LIST", None),
            (b"fLaC\x00\x00\x00\x22", Some(Format::Flac)),
            (b"OggS\x00\x02", Some(Format::Ogg)),
            (b"\x1a\x45\xdf\xa3\x9f", Some(Format::Webm)),
            (b"\x00\x00\x00\x1cftypM4A ", Some(Format::M4a)),
            (b"ID3\x04\x00", Some(Format::Mp3)),
            (b"\xff\xfb\x90\x64", Some(Format::Mp3)),
            (b"\xff\xf1\x50\x80", None),
            (b"\xff\xff\xff\xff", None),
            (b"#!/bin/sh\n", None),
            (b"", None),
        ];
        for (bytes, format) in table {
            assert_eq!(Format::sniff(bytes), format, "{bytes:02x?}");
        }
    }
}
