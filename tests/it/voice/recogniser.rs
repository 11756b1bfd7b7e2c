//! A real recogniser behind Whisper's API: `tests/fakes/recogniser/recogniser.py`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::json_lines;

/// It hears these sentences and no others. Ended when it is dropped.
pub struct Recogniser {
    process: Child,
    url: String,
    directory: TempDir,
}

impl Recogniser {
    pub fn of(sentences: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = root.join("target/tools/pocketsphinx");
        assert!(library.join("pocketsphinx").is_dir(), "{} is missing: run `make tools`", library.display());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sentences.txt");
        fs::write(&file, sentences.join("\n")).unwrap();
        let told = directory.path().join("told");
        let mut process = Command::new("python3")
            .arg(root.join("tests/fakes/recogniser/recogniser.py"))
            .arg(&file)
            .env_clear()
            .env("HOME", directory.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("PYTHONPATH", &library)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed: run `make tools`");
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let url = first.trim().strip_prefix("listening on ").expect("a recogniser that is ready").to_owned();
        let mut log = fs::File::create(&told).unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut log));
        Self { process, url, directory }
    }

    pub fn url(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// What it was sent, and what it heard.
    pub fn told(&self) -> Vec<Value> {
        let path: PathBuf = self.directory.path().join("told");
        json_lines(&fs::read_to_string(path).unwrap_or_default())
    }
}

impl Drop for Recogniser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
