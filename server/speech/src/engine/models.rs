//! Models of whisper.cpp: which there are, and how they get to this machine.

mod download;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use url::Url;

pub use download::Progress;

use super::EngineError;

/// Where the models are published.
pub const REPOSITORY: &str = "https://huggingface.co/ggerganov/whisper.cpp/resolve/main/";

/// A model that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// As whisper.cpp names it: `base.en`.
    pub name: &'static str,
    pub bytes: u64,
    /// Of the file, in hexadecimal digits: the object id by which the repository stores it (Git LFS).
    pub sha256: &'static str,
    pub english_only: bool,
}

impl Model {
    /// The name of its file, in the repository and here.
    pub fn file(&self) -> String {
        format!("ggml-{}.bin", self.name)
    }
}

const fn model(name: &'static str, bytes: u64, sha256: &'static str) -> Model {
    let letters = name.as_bytes();
    let english_only = letters[letters.len() - 1] == b'n' && letters[letters.len() - 3] == b'.';
    Model { name, bytes, sha256, english_only }
}

/// The models that can be downloaded, from the smallest to the largest.
///
/// `base.en` keeps up with speech on a laptop without a GPU; `large-v3-turbo` hears best, and wants one.
pub const MODELS: [Model; 11] = [
    model("tiny.en", 77_704_715, "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f"),
    model("tiny", 77_691_713, "be07e048e1e599ad46341c8d2a135645097a538221678b7acdd1b1919c6e1b21"),
    model("base.en", 147_964_211, "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002"),
    model("base", 147_951_465, "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe"),
    model("small.en", 487_614_201, "c6138d6d58ecc8322097e0f987c32f1be8bb0a18532a3f88f734d1bbf9c41e5d"),
    model("small", 487_601_967, "1be3a9b2063867b937e64e2ec7483364a79917e157fa98c5d94b5c1fffea987b"),
    model("large-v3-turbo-q5_0", 574_041_195, "394221709cd5ad1f40c46e6031ca61bce88931e6e088c188294c6d5a55ffa7e2"),
    model("medium.en", 1_533_774_781, "cc37e93478338ec7700281a7ac30a10128929eb8f427dda2e865faa8f6da4356"),
    model("medium", 1_533_763_059, "6c14d5adee5f86394037b4e4e8b59f1673b6cee10e3cf0b11bbdbee79c156208"),
    model("large-v3-turbo", 1_624_555_275, "1fc70f774d38eb169993ac391eea357ef47c88757ef72ee5943879b7e8e2bc69"),
    model("large-v3", 3_095_033_483, "64d182b440b98d5203c4f9bd541544d84c605196c4f7b845dfa11fb23594d1e2"),
];

/// The model of this name.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// Why a model is not here.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model cannot be downloaded")]
    Network(#[source] EngineError),
    #[error("{} cannot be written or read", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// The file is not the one that was published. It was removed.
    #[error("what was downloaded for the model {name} is not the published file")]
    Wrong { name: String },
    #[error("the model {name} is being downloaded already")]
    Busy { name: String },
}

/// A directory of models, and where they come from.
#[derive(Clone, Debug)]
pub struct Models {
    directory: PathBuf,
    repository: Url,
}

impl Models {
    /// Models in this directory, which is made when one is downloaded; `repository` is [`REPOSITORY`] or a mirror of it.
    pub fn new(directory: PathBuf, repository: Url) -> Self {
        Self { directory, repository }
    }

    /// Where the model's file is or will be.
    pub fn path(&self, model: &Model) -> PathBuf {
        self.directory.join(model.file())
    }

    /// Whether its file is here. It was checked when it came; only its size is looked at.
    pub fn has(&self, model: &Model) -> bool {
        fs::metadata(self.path(model)).is_ok_and(|file| file.is_file() && file.len() == model.bytes)
    }

    /// Removes the model, and what was downloaded of it. Whether there was any.
    ///
    /// # Errors
    /// [`ModelError::File`].
    pub fn remove(&self, model: &Model) -> Result<bool, ModelError> {
        let mut removed = false;
        for path in [self.path(model), self.part(model)] {
            match fs::remove_file(&path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ModelError::File { path, source }),
            }
        }
        Ok(removed)
    }

    /// The file that a download goes to until it is complete and checked.
    fn part(&self, model: &Model) -> PathBuf {
        self.directory.join(format!("{}.part", model.file()))
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ModelError + '_ {
    move |source| ModelError::File { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
