//! The whole way with sound: somebody speaks, a recogniser hears, an agent works, and the answer is spoken.

use std::path::{Path, PathBuf};

use cadence_fakes::speech::{Reply, SpeechApi};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::microphone::Microphone;
use super::recogniser::Recogniser;
use crate::support::{Cmd, Repo, TestEnv, until};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/audio").join(name)
}

/// A repository, demo agents, and an engine that hears.
pub struct Story {
    pub env: TestEnv,
    pub repo: Repo,
    engine: String,
}

impl Story {
    pub fn new(engine: String) -> Self {
        let env = TestEnv::new();
        let repo = env.repo("shop");
        env.cadence(["config", "set", "agent", "demo"]).run().code(0);
        env.cadence(["config", "set", "voice.understanding.provider", "nobody"]).run().code(0);
        Self { env, repo, engine }
    }

    pub fn cadence<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        let cmd = self.env.cadence(arguments).env("OPENAI_BASE_URL", &self.engine).cwd(self.repo.path());
        cmd.env("OPENAI_API_KEY", "sk-speech-key")
    }

    fn file(&self, name: &str) -> Cmd {
        self.cadence(["voice", "--quiet", "--json", "--yes", "--file", fixture(name).to_str().unwrap()])
    }
}

/// The loudest sample of a recording, from 0 to 1.
fn peak(path: &Path) -> f32 {
    let mut reader = hound::WavReader::open(path).unwrap();
    reader.samples::<i16>().map(|sample| f32::from(sample.unwrap_or(0)).abs() / 32768.0).fold(0.0, f32::max)
}

#[test]
fn a_spoken_sentence_becomes_a_task_and_its_answer_is_spoken() {
    let sentence = "fix the flaky test in user service and open a pull request";
    let recogniser = Recogniser::of(&[sentence, "pause the billing one", "how is it going"]);
    let mut machine = Microphone::new();
    let story = Story::new(recogniser.url());
    story.env.cadence(["config", "set", "voice.speak", "espeak-ng --stdin"]).run().code(0);
    let answer = machine.record_speaker("answer.wav");
    let speech = machine.speech(sentence);
    let voice = story.cadence(["voice", "--once", "--yes", "--json", "--save", "said.wav"]);
    let voice = voice.env("PULSE_SERVER", machine.server()).start();
    machine.wait_recording(2);
    machine.play_whole(&speech);
    let said = voice.finish().code(0).json();
    assert_eq!(said["transcription"]["rawText"], sentence);
    assert_eq!(said["transcription"]["engine"], "openai");
    assert_eq!((&said["command"]["intent"], &said["task"]["source"]), (&json!("create_agent"), &json!("VOICE")));
    let id = said["task"]["id"].as_str().unwrap();
    story.env.cadence(["tasks", "wait", id]).run().code(0);
    let branch = &story.repo.task_branches()[0];
    assert_eq!(story.repo.show(branch, "cadence-demo.md"), format!("- A demo agent was asked: {sentence}"));
    // The answer was heard, and so was the sentence, by whoever keeps it.
    machine.stop_recording();
    assert!(peak(&answer) > 0.05, "the answer was not spoken");
    assert!(peak(&story.repo.path().join("said.wav")) > 0.05);
    // As much as whisper.cpp's server takes: FLAC first, then what it wants.
    assert_eq!(recogniser.told().len(), 1);
}

#[test]
fn speech_dispatcher_says_the_answer() {
    let api = SpeechApi::start();
    let story = Story::new(format!("{}/v1", api.url()));
    let mut machine = Microphone::new();
    let answer = machine.record_speaker("answer.wav");
    let speech = fixture("speech.wav");
    let voice = story.cadence(["voice", "--json", "--yes", "--file", speech.to_str().unwrap()]);
    let said = voice.env("PULSE_SERVER", machine.server()).run().code(0);
    machine.stop_recording();
    assert_eq!(said.json()["command"]["intent"], "create_agent");
    // The first program that is found is `spd-say`. It started a server, which would end by itself some seconds after its last client.
    let pid = story.env.runtime_dir().join("speech-dispatcher/pid/speech-dispatcher.pid");
    let pid = std::fs::read_to_string(pid).expect("speech-dispatcher is needed: run `.ci/tools test`");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
    let mut reader = hound::WavReader::open(&answer).unwrap();
    let rate = reader.spec().sample_rate as usize * usize::from(reader.spec().channels);
    let samples: Vec<i16> = reader.samples().map_while(Result::ok).collect();
    let loud = |sample: &i16| sample.unsigned_abs() > 1000;
    let (first, last) = (samples.iter().position(loud), samples.iter().rposition(loud));
    let spoken = last.unwrap_or(0) - first.expect("the answer was not spoken");
    assert!(spoken > rate, "it spoke for {spoken} samples of {rate} a second");
}

#[test]
fn a_conversation_at_a_terminal() {
    let recogniser = Recogniser::of(&["fix the login page", "pause the billing one"]);
    let machine = Microphone::new();
    let story = Story::new(recogniser.url());
    story.env.cadence(["config", "set", "voice.openai.base_url", &recogniser.url()]).run().code(0);
    let speech = machine.speech("fix the login page");
    let sound = machine.server();
    let mut terminal = story.env.terminal_with(&[("PULSE_SERVER", &sound)], story.repo.path(), ["voice", "--quiet"]);
    terminal.wait_for("Space, and speak");
    terminal.send(" ");
    terminal.wait_for("Space ends");
    machine.wait_recording(1);
    machine.play_whole(&speech);
    let screen = terminal.wait_for("Enter does it");
    assert!(screen.contains("fix the login page") && screen.contains("new task"), "{screen}");
    // The words can be changed before they go.
    terminal.send(" in the shop");
    terminal.wait_for("page in the shop");
    terminal.send("\r");
    until("the changed words are read", || terminal.wait_for("new task  fix the login page in the shop").len() > 1);
    terminal.send("\r");
    terminal.wait_for("Agent started on shop. I'll tell you when it is done.");
    terminal.wait_for("is done: one file changed.");
    terminal.send("q");
    assert_eq!(terminal.finish(), 0);
    let branch = &story.repo.task_branches()[0];
    assert_eq!(story.repo.show(branch, "cadence-demo.md"), "- A demo agent was asked: fix the login page in the shop");
}

#[test]
fn a_recording_of_any_kind_is_heard() {
    let api = SpeechApi::start();
    let story = Story::new(format!("{}/v1", api.url()));
    story.repo.write("upload.go", "package main\n\nfunc SaveUploadedFile() {}\n");
    story.repo.commit("Add the upload");
    let files = [
        "speech.wav",
        "speech.mp3",
        "speech.m4a",
        "speech.flac",
        "speech-vorbis.ogg",
        "speech-opus.ogg",
        "speech-opus.webm",
        "speech-vorbis.webm",
        "speech-fragmented.m4a",
    ];
    for name in files {
        let said = story.file(name).run().code(0).json();
        assert_eq!(said["transcription"]["text"], "Add a retry to SaveUploadedFile.", "{name}: {said:#}");
        let seconds = said["transcription"]["duration"].as_f64().unwrap();
        assert!((2.4..2.8).contains(&seconds), "{name}: {seconds} s");
    }
    let asked = api.requests();
    assert_eq!(asked.len(), files.len());
}

#[test]
fn what_is_no_recording_is_refused_and_what_an_engine_says_is_told() {
    let api = SpeechApi::start();
    let story = Story::new(format!("{}/v1", api.url()));
    story.env.cadence(["config", "set", "voice.openai.model", "whisper-1"]).run().code(0);
    let junk = story.env.path("junk.wav");
    std::fs::write(&junk, [7; 5000]).unwrap();
    let refused = story.cadence(["voice", "--quiet", "--file", junk.to_str().unwrap()]).run();
    refused.code(2).complains("no audio file of a known kind");
    api.fail(401);
    let refused = story.file("speech.flac").run();
    refused.code(1).complains("refused the credentials").complains("key");
    assert!(api.requests().len() <= 2);
    api.reply(Reply::Text("Thank you.".to_owned()));
    assert!(
        story
            .env
            .cadence(["tasks", "ls", "--json"])
            .run()
            .code(0)
            .json_lines()
            .iter()
            .all(|line| { line["tasks"].as_array().is_none_or(Vec::is_empty) })
    );
    let none = TestEnv::new();
    let repo = none.repo("shop");
    let alone =
        none.cadence(["voice", "--quiet", "--file", fixture("speech.wav").to_str().unwrap()]).cwd(repo.path()).run();
    alone.code(1).complains("no speech engine is configured").complains("OPENAI_API_KEY");
}

#[test]
fn the_api_hears_too() {
    let api = SpeechApi::start();
    let story = Story::new(String::new());
    let server = crate::support::Server::command(&story.env).env("OPENAI_BASE_URL", format!("{}/v1", api.url()));
    let server = crate::support::Server::start_with(server);
    let audio = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        std::fs::read(fixture("speech-opus.webm")).unwrap(),
    );
    let body = json!({"audio": audio, "format": "wav", "vocabulary": ["saveUploadedFile"]});
    let heard = server.http().post("/api/voice/transcribe", &body).status(200).json();
    assert_eq!(heard["text"], "Add a retry to saveUploadedFile.");
    assert_eq!(heard["rawText"], "Add a retry to save uploaded file.");
    let command = server.http().post("/api/voice/command", &body).status(200).json();
    assert_eq!((&command["command"]["intent"], &command["answer"]), (&json!("create_agent"), &Value::Null));
    let execute = json!({"audio": audio, "repoPath": story.repo.arg()});
    let done = server.http().post("/api/voice/command?execute=true", &execute).status(200).json();
    assert_eq!(done["answer"]["task"]["source"], "VOICE", "{done:#}");
    for (body, status) in [
        (json!({"audio": "!"}), 422),
        (json!({"audio": ""}), 422),
        (json!({"audio": "AAAA"}), 415),
        // What is larger still is refused before it is sent: see the stories of the API.
        (json!({"audio": "A".repeat(35_000_000)}), 413),
    ] {
        server.http().post("/api/voice/transcribe", &body).status(status);
    }
    let id = done["answer"]["task"]["id"].as_str().unwrap().to_owned();
    server.http().delete(&format!("/api/tasks/{id}"));
    server.of(story.env.cadence(["tasks", "wait", &id])).run();
}
