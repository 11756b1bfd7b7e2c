//! Speaking at a terminal, sentence after sentence, with text that is seen while somebody still speaks.

use std::os::unix::fs::PermissionsExt as _;

use cadence_fakes::speech::{Reply, SENTENCE, Said, SpeechApi};
use nix::sys::signal::Signal;

use super::conversation::{Story, fixture};
use super::microphone::Microphone;
use super::recogniser::Recogniser;
use crate::support::{json_lines, until};

#[test]
fn deepgram_writes_along_while_somebody_speaks() {
    let api = SpeechApi::start();
    api.say(vec![
        (8_000, Said::Interim("Fix the".to_owned())),
        (32_000, Said::Interim("Fix the fluffy vest".to_owned())),
        (usize::MAX, Said::Final("Fix the flaky test.".to_owned())),
    ]);
    let machine = Microphone::new();
    let story = Story::new(String::new());
    story.repo.write("login.py", "def save_uploaded_file():\n    pass\n");
    story.repo.commit("Add the upload");
    let speech = machine.speech("fix the flaky test in user service and open a pull request");
    let (sound, url) = (machine.server(), api.url());
    let more = [("PULSE_SERVER", sound.as_str()), ("DEEPGRAM_URL", &url), ("DEEPGRAM_API_KEY", "dg-speech-key")];
    let mut terminal = story.env.terminal_with(&more, story.repo.path(), ["voice", "--quiet"]);
    terminal.wait_for("Space, and speak");
    terminal.send(" ");
    terminal.wait_for("Space ends");
    machine.wait_recording(1);
    machine.play_whole(&speech);
    // It is on the screen only while nothing better is known.
    let screen = terminal.wait_for("Enter does it");
    assert!(screen.contains("Fix the flaky test.") && !screen.contains("fluffy"), "{screen}");
    assert!(terminal.raw().contains("Fix the fluffy vest"), "nothing was seen while somebody spoke");
    terminal.send("\r");
    terminal.wait_for("Agent started on shop");
    terminal.wait_for("is done: one file changed.");
    terminal.send("q");
    assert_eq!(terminal.finish(), 0);
    assert!(!terminal_shows_key(&story), "the key is in the log");
    let requests = api.requests();
    let [stream] = requests.as_slice() else { panic!("one stream: {requests:?}") };
    assert_eq!(stream.scheme.as_deref(), Some("Token"));
    assert!(stream.sound > 64_000, "{} bytes of sound", stream.sound);
    let names = |name: &str| stream.query.iter().any(|(key, value)| key == "keyterm" && value == name);
    assert!(names("save_uploaded_file"), "the repository's words are listened for: {:?}", stream.query);
}

/// Whether the server that was started wrote the key anywhere.
fn terminal_shows_key(story: &Story) -> bool {
    let log = std::fs::read_to_string(story.env.data_dir().join("logs/server.log")).unwrap();
    log.contains("dg-speech-key")
}

#[test]
fn a_stream_that_breaks_off_is_no_loss() {
    let api = SpeechApi::start();
    api.say(vec![(16_000, Said::Interim("Fix".to_owned())), (32_000, Said::Cut)]);
    api.reply(Reply::Text("Fix the login page.".to_owned()));
    let machine = Microphone::new();
    let story = Story::new(String::new());
    let speech = machine.speech("fix the login page and tell me when it is done");
    let voice = story.cadence(["voice", "--once", "--yes", "--json", "--quiet"]).env_remove("OPENAI_API_KEY");
    let voice = voice.env_remove("OPENAI_BASE_URL").env("PULSE_SERVER", machine.server());
    let voice = voice.env("DEEPGRAM_URL", api.url()).env("DEEPGRAM_API_KEY", "dg-speech-key").start();
    machine.wait_recording(1);
    machine.play_whole(&speech);
    let said = voice.finish().code(0).json();
    // The whole was kept, and is sent as a recording.
    assert_eq!(
        (&said["transcription"]["engine"], &said["transcription"]["rawText"]),
        (&"deepgram".into(), &"Fix the login page.".into())
    );
    assert_eq!(api.requests().iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["GET", "POST"]);
    story.env.cadence(["tasks", "wait", said["task"]["id"].as_str().unwrap()]).run().code(0);
}

#[test]
fn sentence_after_sentence_with_no_key_pressed() {
    let recogniser = Recogniser::of(&["fix the login page", "how is it going"]);
    let machine = Microphone::new();
    let story = Story::new(recogniser.url());
    story.env.cadence(["config", "set", "voice.openai.base_url", &recogniser.url()]).run().code(0);
    let sound = machine.server();
    let arguments = ["voice", "--continuous", "--yes", "--quiet"];
    let mut terminal = story.env.terminal_with(&[("PULSE_SERVER", &sound)], story.repo.path(), arguments);
    machine.wait_recording(1);
    machine.play_whole(&machine.speech("fix the login page"));
    terminal.wait_for("Agent started on shop. I'll tell you when it is done.");
    machine.wait_recording(1);
    machine.play_whole(&machine.speech("how is it going"));
    let screen = terminal.wait_for("“fix the login page”");
    assert!(!screen.contains('!'), "{screen}");
    terminal.wait_for("is done: one file changed.");
    // It listens again, until it is told to leave.
    machine.wait_recording(1);
    terminal.send("\u{3}");
    assert_eq!(terminal.finish(), 0);
    let heard: Vec<_> = recogniser.told().iter().map(|told| told["heard"].clone()).collect();
    assert_eq!(heard, ["fix the login page", "how is it going"]);
}

#[test]
fn sentence_after_sentence_for_a_program_that_reads() {
    let api = SpeechApi::start();
    api.reply(Reply::Text("Fix the login page.".to_owned()));
    api.reply(Reply::Text("How is it going?".to_owned()));
    let machine = Microphone::new();
    let story = Story::new(format!("{}/v1", api.url()));
    let speech = machine.speech("this is said twice and heard in other words");
    let voice = story.cadence(["voice", "--continuous", "--yes", "--json", "--quiet"]);
    let mut voice = voice.env("PULSE_SERVER", machine.server()).start();
    for intent in ["create_agent", "check_status"] {
        machine.wait_recording(1);
        machine.play_whole(&speech);
        voice.wait_for(intent);
    }
    voice.signal(Signal::SIGINT);
    let done = voice.finish().code(130);
    let said = json_lines(&done.stdout);
    assert_eq!(said.len(), 2, "{done:?}");
    // What was begun is what the next is about.
    assert_eq!(said[1]["result"]["tasks"][0]["id"], said[0]["task"]["id"], "{:#}", said[1]);
    story.env.cadence(["tasks", "wait", said[0]["task"]["id"].as_str().unwrap()]).run().code(0);
}

#[test]
fn settings_that_are_changed_count_for_the_next_sentence() {
    let api = SpeechApi::start();
    let story = Story::new(String::new());
    let heard = || {
        let file = fixture("speech.flac");
        let voice = story.env.cadence(["voice", "--quiet", "--json", "--file", file.to_str().unwrap()]);
        voice.cwd(story.repo.path()).run()
    };
    heard().code(1).complains("no speech engine is configured").complains("voice.openai.base_url");
    // What the hint says, with the server still running.
    let url = format!("{}/v1", api.url());
    story.env.cadence(["config", "set", "voice.openai.base_url", &url]).run().code(0);
    assert_eq!(heard().code(0).json()["transcription"]["rawText"], SENTENCE);
    story.env.cadence(["config", "unset", "voice.openai.base_url"]).run().code(0);
    heard().code(1).complains("no speech engine is configured");
}

#[test]
fn its_own_voice_is_no_command() {
    let api = SpeechApi::start();
    api.reply(Reply::Text("Fix the login page.".to_owned()));
    api.reply(Reply::Text("How is it going?".to_owned()));
    let machine = Microphone::new();
    // A room: what the loudspeaker says comes to the microphone.
    machine.hear_speaker();
    let story = Story::new(String::new());
    story.env.cadence(["config", "set", "voice.openai.base_url", &format!("{}/v1", api.url())]).run().code(0);
    let speaker = story.env.path("speaker");
    let said = story.env.path("said");
    let script = format!("#!/bin/sh\nread -r l\necho \"$l\" | espeak-ng --stdin\necho \"$l\" >> {}\n", said.display());
    std::fs::write(&speaker, script).unwrap();
    std::fs::set_permissions(&speaker, std::fs::Permissions::from_mode(0o755)).unwrap();
    story.env.cadence(["config", "set", "voice.speak", speaker.to_str().unwrap()]).run().code(0);
    let lines = || std::fs::read_to_string(&said).unwrap_or_default();
    let speech = machine.speech("this is said twice and heard in other words");
    let sound = machine.server();
    let arguments = ["voice", "--continuous", "--yes"];
    let mut terminal = story.env.terminal_with(&[("PULSE_SERVER", &sound)], story.repo.path(), arguments);
    machine.wait_recording(1);
    machine.play_whole(&speech);
    // The microphone is closed while that is said, and opened again.
    until("the answer and the news to be said", || lines().contains("is done: one file changed."));
    machine.wait_recording(1);
    machine.play_whole(&speech);
    until("the second answer to be said", || lines().lines().count() == 3);
    machine.wait_recording(1);
    terminal.send("\u{3}");
    assert_eq!(terminal.finish(), 0);
    insta::assert_snapshot!(lines(), @"
    Agent started on shop. I'll tell you when it is done.
    Fix the login page. is done: one file changed.
    “Fix the login page.” is done.
    ");
    assert_eq!(api.requests().len(), 2, "it took what it said itself for a command");
}
