use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::test_support::request;
use super::{Local, LocalSettings, ggml};
use crate::engine::{Engine, ErrorKind, Request};

/// The sentence that the model of [`tiny_model`] hears in everything.
const HEARD: &str = "Add a retry.";

/// Width of the model. Its one attention head is as wide.
const STATE: usize = 64;

/// Tokens of Whisper's English models: the first special ones, and the timestamp of 0.00 s, each 0.02 s one further.
const VOCABULARY: usize = 51_864;
const END_OF_TEXT: usize = 50_256;
const START_OF_TRANSCRIPT: usize = 50_257;
const TIMESTAMP: usize = 50_363;

/// Writes ggml's legacy format, as whisper.cpp's `convert-pt-to-ggml.py` does.
struct Writer(Vec<u8>);

impl Writer {
    fn numbers(&mut self, numbers: &[usize]) {
        self.0.extend(numbers.iter().flat_map(|number| u32::try_from(*number).expect("small").to_le_bytes()));
    }

    fn head(&mut self, name: &str, kind: usize, shape: &[usize]) {
        self.numbers(&[shape.len(), name.len(), kind]);
        self.numbers(shape);
        self.0.extend(name.as_bytes());
    }

    /// A vector or table of 32-bit numbers that are all the same.
    fn filled(&mut self, name: &str, shape: &[usize], value: f32) {
        self.head(name, 0, shape);
        self.0.extend(value.to_le_bytes().repeat(shape.iter().product()));
    }

    /// A matrix of 16-bit numbers: zeros, save at these places.
    fn matrix(&mut self, name: &str, shape: &[usize], set: &[(usize, u16)]) {
        self.head(name, 1, shape);
        let from = self.0.len();
        self.0.resize(from + 2 * shape.iter().product::<usize>(), 0);
        for (at, value) in set {
            self.0[from + 2 * at..][..2].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// A layer that changes nothing, save that its two matrices say otherwise.
    fn layer(&mut self, prefix: &str, cross: bool, first: &[(usize, u16)], second: &[(usize, u16)]) {
        let parts: &[&str] = if cross { &["attn", "cross_attn"] } else { &["attn"] };
        for part in parts {
            self.filled(&format!("{prefix}.{part}_ln.weight"), &[STATE], 1.0);
            self.filled(&format!("{prefix}.{part}_ln.bias"), &[STATE], 0.0);
            for matrix in ["query", "key", "value", "out"] {
                self.matrix(&format!("{prefix}.{part}.{matrix}.weight"), &[STATE, STATE], &[]);
                if matrix != "key" {
                    self.filled(&format!("{prefix}.{part}.{matrix}.bias"), &[STATE], 0.0);
                }
            }
        }
        self.filled(&format!("{prefix}.mlp_ln.weight"), &[STATE], 1.0);
        self.filled(&format!("{prefix}.mlp_ln.bias"), &[STATE], 0.0);
        self.matrix(&format!("{prefix}.mlp.0.weight"), &[STATE, 4 * STATE], first);
        self.filled(&format!("{prefix}.mlp.0.bias"), &[4 * STATE], 0.0);
        self.matrix(&format!("{prefix}.mlp.2.weight"), &[4 * STATE, STATE], second);
        self.filled(&format!("{prefix}.mlp.2.bias"), &[STATE], 0.0);
    }
}

/// A model of 7 MB with one layer, which has learnt one thing: what follows each token of a sentence, whatever it hears.
///
/// Token `n` of the sentence is the unit vector `n`; the layer's matrices turn that into the unit vector `n + 1`.
fn tiny_model() -> Vec<u8> {
    const ONE: u16 = 0x3c00;
    const SIXTEEN: u16 = 0x4c00;
    const WORDS: usize = 1_000;
    let sentence = [START_OF_TRANSCRIPT, TIMESTAMP, WORDS, TIMESTAMP + 125, END_OF_TEXT];
    let mut file = Writer(Vec::new());
    let (audio, text, mels, ffts) = (1_500, 448, 80, 201);
    file.numbers(&[0x6767_6d6c, VOCABULARY, audio, STATE, 1, 1, text, STATE, 1, 1, mels, 1]);
    file.numbers(&[mels, ffts]);
    file.0.extend(0.01_f32.to_le_bytes().repeat(mels * ffts));
    file.numbers(&[END_OF_TEXT]);
    for token in 0..END_OF_TEXT {
        let word = match token {
            // The decoder looks for it.
            220 => " ".to_owned(),
            WORDS => format!(" {HEARD}"),
            token => format!("word{token}"),
        };
        file.numbers(&[word.len()]);
        file.0.extend(word.as_bytes());
    }
    file.filled("encoder.positional_embedding", &[STATE, audio], 0.0);
    file.matrix("encoder.conv1.weight", &[3, mels, STATE], &[]);
    file.filled("encoder.conv1.bias", &[1, STATE], 0.0);
    file.matrix("encoder.conv2.weight", &[3, STATE, STATE], &[]);
    file.filled("encoder.conv2.bias", &[1, STATE], 0.0);
    file.filled("encoder.ln_post.weight", &[STATE], 1.0);
    file.filled("encoder.ln_post.bias", &[STATE], 0.0);
    file.layer("encoder.blocks.0", false, &[], &[]);
    file.filled("decoder.positional_embedding", &[STATE, text], 0.0);
    let embedding: Vec<_> = sentence.iter().enumerate().map(|(at, token)| (token * STATE + at, ONE)).collect();
    file.matrix("decoder.token_embedding.weight", &[STATE, VOCABULARY], &embedding);
    // Sure of itself: softmax over 51,864 tokens.
    file.filled("decoder.ln.weight", &[STATE], 4.0);
    file.filled("decoder.ln.bias", &[STATE], 0.0);
    let read: Vec<_> = (0..sentence.len()).map(|at| (at * STATE + at, ONE)).collect();
    let next: Vec<_> = (1..sentence.len()).map(|at| (at * 4 * STATE + at - 1, SIXTEEN)).collect();
    file.layer("decoder.blocks.0", true, &read, &next);
    file.0
}

fn written(directory: &TempDir, contents: &[u8]) -> PathBuf {
    let path = directory.path().join("ggml-tiny-for-tests.bin");
    fs::write(&path, contents).expect("a model");
    path
}

fn engine(model: &Path) -> Local {
    Local::new(LocalSettings { threads: 2, ..LocalSettings::new(model.to_owned()) })
}

#[tokio::test]
async fn local_loads_and_runs_a_tiny_model_made_by_the_test() {
    let directory = TempDir::new().expect("a directory");
    let engine = engine(&written(&directory, &tiny_model()));
    engine.warm_up().await;
    let asked = Request { prompt: Some("save\0UploadedFile, useEffect".to_owned()), ..request() };
    for asked in [request(), asked, Request { language: Some("en".to_owned()), ..request() }] {
        let heard = engine.transcribe(&asked).await.expect("a transcript");
        assert_eq!((heard.text.as_str(), heard.engine, heard.language.as_deref()), (HEARD, "local", Some("en")));
        assert_eq!(heard.model.as_deref(), Some("ggml-tiny-for-tests"));
        assert_eq!((heard.segments.len(), heard.segments[0].start, heard.segments[0].end), (1, 0.0, 2.5));
    }
    for language in ["de", "xx", "e\0n", ""] {
        let asked = Request { language: Some(language.to_owned()), ..request() };
        let error = engine.transcribe(&asked).await.expect_err("an English model");
        assert_eq!(error.kind, ErrorKind::Refused, "{language:?}: {error}");
    }
}

#[tokio::test]
async fn a_model_that_is_missing_cut_off_or_none_is_said() {
    let directory = TempDir::new().expect("a directory");
    let missing = engine(&directory.path().join("missing.bin"));
    missing.warm_up().await;
    let error = missing.transcribe(&request()).await.expect_err("no model");
    assert_eq!(error.kind, ErrorKind::Unusable);
    assert!(error.to_string().contains("missing.bin"), "{error}");

    let whole = tiny_model();
    let cut = |at: usize| &whole[..at];
    for contents in
        [b"<html>404</html>", cut(0), cut(4), cut(40), cut(1_000), cut(whole.len() / 2), cut(whole.len() - 1)]
    {
        let other = engine(&written(&directory, contents));
        let error = other.transcribe(&request()).await.expect_err("no model");
        assert_eq!(error.kind, ErrorKind::Unusable, "{} bytes", contents.len());
    }
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(tiny_model);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_model_that_is_cut_off_anywhere_is_not_loaded(at in any::<prop::sample::Index>()) {
        let cut = &WHOLE[..at.index(WHOLE.len())];
        prop_assert!(ggml::check(&mut Cursor::new(cut)).is_err());
    }

    #[test]
    fn any_file_is_looked_at(at in any::<prop::sample::Index>(), numbers in prop::collection::vec(any::<u32>(), 1..20)) {
        let mut file = WHOLE.clone();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let at = at.index(file.len() - bytes.len());
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        let _looked: std::io::Result<()> = ggml::check(&mut Cursor::new(&file));
        file.truncate(4);
        file.extend(bytes);
        prop_assert!(ggml::check(&mut Cursor::new(&file)).is_err());
    }
}
