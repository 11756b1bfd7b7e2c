//! Speaking: a program of the system says a short text.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::VoiceError;
use crate::text;

/// More than this is not said: nobody listens to it. In characters.
const LONGEST: usize = 600;
/// Speaking is ended after this, about twice what [`LONGEST`] takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program, and the arguments with which it says what it reads from standard input and ends when it is said.
const KNOWN: [(&str, &[&str]); 5] = [
    ("say", &["-f", "-"]),
    ("spd-say", &["--pipe-mode", "--wait"]),
    ("espeak-ng", &["--stdin"]),
    ("espeak", &["--stdin"]),
    ("flite", &["-f", "-"]),
];

/// Says texts, one at a time. Dropped, it falls silent.
#[derive(Debug)]
pub struct Speaker {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    speaking: Option<Child>,
}

impl Speaker {
    /// The command that the settings name (a program and its arguments, the text comes on its standard input), or the first of
    /// `say`, `spd-say`, `espeak-ng`, `espeak` and `flite` that is on the path.
    ///
    /// # Errors
    /// [`VoiceError::NoSpeaker`] where it is not on the path, or none is.
    pub fn find(command: Option<&str>) -> Result<Self, VoiceError> {
        Self::find_in(command, &std::env::var_os("PATH").unwrap_or_default())
    }

    fn find_in(command: Option<&str>, path: &std::ffi::OsStr) -> Result<Self, VoiceError> {
        let made = |name: &str, arguments: Vec<String>| {
            let program = which(name, path)?;
            Some(Self { name: text::clean_line(name), program, arguments, speaking: None })
        };
        if let Some(command) = command {
            let mut words: VecDeque<String> = command.split_whitespace().map(str::to_owned).collect();
            let name = words.pop_front().unwrap_or_default();
            let missing = || VoiceError::NoSpeaker(format!("`{}` is not on the path", text::clean_line(&name)));
            return made(&name, words.into()).ok_or_else(missing);
        }
        let mut found = KNOWN
            .iter()
            // What is called `say` elsewhere is another program.
            .filter(|(name, _)| cfg!(target_os = "macos") == (*name == "say"))
            .filter_map(|(name, arguments)| made(name, arguments.iter().map(|word| (*word).to_owned()).collect()));
        found.next().ok_or_else(|| {
            let names = if cfg!(target_os = "macos") { "say" } else { "spd-say, espeak-ng, espeak, flite" };
            VoiceError::NoSpeaker(format!("none of {names} is on the path"))
        })
    }

    /// Name of the program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says this and waits until it is said, for at most 90 s. What it was saying before is broken off. Where the
    /// future is dropped, it speaks on until [`Speaker::stop`] or the next text.
    ///
    /// # Errors
    /// [`VoiceError::Speaker`] where the program does not start, fails, or does not end.
    pub async fn say(&mut self, words: &str) -> Result<(), VoiceError> {
        self.stop().await;
        let spoken = speakable(words);
        if spoken.is_empty() {
            return Ok(());
        }
        let name = self.name.clone();
        let failed = |reason: String| VoiceError::Speaker { program: name.clone(), reason };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stdin = child.stdin.take();
        let child = self.speaking.insert(child);
        let said = async {
            if let Some(mut stdin) = stdin {
                // One that does not read says why with its exit code.
                let _ = stdin.write_all(format!("{spoken}\n").as_bytes()).await;
            }
            child.wait().await
        };
        let ended = tokio::time::timeout(PATIENCE, said).await;
        if ended.is_err() {
            self.stop().await;
        }
        self.speaking = None;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed(format!("it ended with {status}"))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it did not end within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Falls silent at once.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.speaking.take() else { return };
        let _ = child.kill().await;
        if self.name == "spd-say" {
            // The one who speaks is a server, which has to be told.
            let cancel = Command::new(&self.program)
                .arg("--cancel")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .status();
            let _ = tokio::time::timeout(Duration::from_secs(2), cancel).await;
        }
    }
}

/// The text without what no voice can say: control characters and line breaks become spaces, and it has an end.
fn speakable(words: &str) -> String {
    let clean: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut short = String::new();
    for word in clean.split_whitespace() {
        if short.chars().count() + word.chars().count() >= LONGEST {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    short
}

fn which(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|program| is_program(program));
    }
    let named = |directory: PathBuf| directory.join(name);
    Some(name).filter(|name| !name.is_empty())?;
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(named)
        .find(|program| is_program(program))
}

fn is_program(path: &std::path::Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use proptest::prelude::*;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    fn program(directory: &Path, name: &str, script: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn the_text_goes_through_standard_input_and_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let said = directory.path().join("said");
        program(directory.path(), "parrot", &format!("[ \"$1\" = -x ] && cat >> {}", said.display()));
        let mut speaker = Speaker::find_in(Some("parrot -x"), directory.path().as_os_str()).unwrap();
        speaker.say("done: \x1b[31m$(rm -rf ~)\n`ls`").await.unwrap();
        speaker.say("").await.unwrap();
        assert_eq!(fs::read_to_string(&said).unwrap(), "done: [31m$(rm -rf ~) `ls`\n");
        fs::remove_file(&said).unwrap();
        speaker.say(&"word ".repeat(10_000)).await.unwrap();
        assert!(fs::read_to_string(&said).unwrap().len() <= LONGEST + 1);
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().as_os_str();
        program(directory.path(), "mute", "exit 7");
        let error = Speaker::find_in(Some("mute"), path).unwrap().say("hello").await.unwrap_err();
        assert!(error.reason().unwrap().contains("exit status: 7"), "{error:?}");
        let error = Speaker::find_in(Some("nobody -x"), path).unwrap_err();
        assert_eq!(error.to_string(), "nothing that speaks was found: `nobody` is not on the path");
        assert!(matches!(Speaker::find_in(None, path), Err(VoiceError::NoSpeaker(_))));
        assert!(matches!(Speaker::find_in(Some(""), path), Err(VoiceError::NoSpeaker(_))));
    }

    #[tokio::test]
    async fn what_is_being_said_is_broken_off_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let begun = directory.path().join("begun");
        nix::unistd::mkfifo(&begun, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&begun).unwrap();
        let mut pids = BufReader::new(pipe).lines();
        // Says its number, and speaks for ever where it is told to.
        let script = format!("read -r word; echo $$ > {}; [ \"$word\" != long ] || exec sleep 600", begun.display());
        program(directory.path(), "talker", &script);
        let mut speaker = Speaker::find_in(Some("talker"), directory.path().as_os_str()).unwrap();
        let first = tokio::select! {
            ended = speaker.say("long") => panic!("it ended: {ended:?}"),
            pid = pids.next_line() => pid.unwrap().unwrap().parse().unwrap(),
        };
        let speaks = |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
        assert!(speaks(first));
        speaker.say("short").await.unwrap();
        assert_ne!(pids.next_line().await.unwrap().unwrap().parse(), Ok(first));
        assert!(!speaks(first), "{first} still speaks");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_short_and_plain(words in any::<String>()) {
            let spoken = speakable(&words);
            prop_assert!(spoken.chars().count() <= LONGEST);
            prop_assert!(!spoken.contains(char::is_control));
        }
    }
}
