//! A microphone with no sound card: a PulseAudio server of a story's own, whose microphone hears what is played into it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{Cmd, until};

/// Samples a second of the microphone.
pub const RATE: u32 = 48_000;
/// What [`tone`] is.
pub const HERTZ: f64 = 440.0;

/// A pure tone of so many seconds, `loud` from 0 to 1.
pub fn tone(seconds: f64, loud: f64) -> impl Iterator<Item = f32> {
    let samples = (seconds * f64::from(RATE)) as usize;
    (0..samples).map(move |n| (loud * (std::f64::consts::TAU * HERTZ * n as f64 / f64::from(RATE)).sin()) as f32)
}

/// A machine with a microphone, or with none. Whatever was started is ended when this is dropped.
pub struct Microphone {
    directory: TempDir,
    server: Option<Child>,
    playing: Vec<Child>,
}

impl Microphone {
    /// A machine on which PulseAudio serves one microphone.
    pub fn new() -> Self {
        let mut machine = Self::without_server();
        let socket = machine.socket();
        // Without `norewinds` the first sound comes seconds late.
        let modules = [
            format!("module-native-protocol-unix socket={} auth-anonymous=1", socket.display()),
            format!("module-null-sink sink_name=speaker norewinds=1 rate={RATE} channels=1"),
            format!("module-null-sink sink_name=into-mic norewinds=1 rate={RATE} channels=1"),
            "module-remap-source master=into-mic.monitor source_name=mic channels=1 \
             source_properties=device.description=Headset"
                .to_owned(),
        ];
        let mut server = machine.tool("pulseaudio");
        server.args(["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disallow-exit"]);
        for module in modules {
            server.args(["-L".to_owned(), module]);
        }
        let log = fs::File::create(machine.path("pulseaudio.log")).unwrap();
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        machine.server = Some(server.spawn().unwrap_or_else(missing("pulseaudio")));
        until("PulseAudio to serve", || socket.exists() && machine.control(&["info"]).is_some());
        machine.control(&["set-default-source", "mic"]).unwrap();
        machine.control(&["set-default-sink", "speaker"]).unwrap();
        machine
    }

    /// A machine with sound libraries, but nothing that serves.
    pub fn without_server() -> Self {
        let directory = tempfile::Builder::new().prefix("cad").tempdir_in("/tmp").unwrap();
        for name in ["home", "run"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { directory, server: None, playing: Vec::new() }
    }

    /// The built program on this machine.
    pub fn cadence<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        self.run(env!("CARGO_BIN_EXE_cadence")).args(arguments)
    }

    /// A program on this machine.
    pub fn run(&self, program: &str) -> Cmd {
        let mut cmd = Cmd::new(program, self.path("home"));
        for (name, value) in self.variables() {
            cmd = cmd.env(name, value);
        }
        cmd
    }

    /// Lets ALSA's default device lead to the microphone, and hides the server from everything else.
    pub fn only_through_alsa(&self) {
        let socket = self.hidden();
        fs::rename(self.socket(), &socket).unwrap();
        self.alsa(&format!("type pulse server \"unix:{}\"", socket.display()));
    }

    /// What ALSA's default device is.
    pub fn alsa(&self, default: &str) {
        fs::write(self.path("home/.asoundrc"), format!("pcm.!default {{ {default} }}\n")).unwrap();
    }

    /// Writes a file of the story with these samples, from -1 to 1, at [`RATE`].
    pub fn sound(&self, name: &str, samples: impl IntoIterator<Item = f32>) -> PathBuf {
        let path = self.path(name);
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        for sample in samples {
            writer.write_sample((sample * f32::from(i16::MAX)) as i16).unwrap();
        }
        writer.finalize().unwrap();
        path
    }

    /// Writes a file in which somebody says this.
    pub fn speech(&self, words: &str) -> PathBuf {
        let path = self.path("speech.wav");
        let said = self.tool("flite").args(["-voice", "slt", "-t", words, "-o"]).arg(&path).status();
        assert!(said.unwrap_or_else(missing("flite")).success(), "flite cannot speak");
        path
    }

    /// Plays a file into the microphone, and goes on once it is heard there.
    pub fn play(&mut self, file: &Path) {
        let player = self.player(file).spawn().unwrap_or_else(missing("paplay"));
        self.playing.push(player);
        until("somebody to play", || self.has("sink-inputs"));
    }

    /// Plays a file into the microphone until its end.
    pub fn play_whole(&self, file: &Path) {
        assert!(self.player(file).status().unwrap_or_else(missing("paplay")).success(), "the sound cannot be played");
    }

    /// Waits until somebody records.
    pub fn wait_recorded(&self) {
        until("somebody to record", || self.has("source-outputs"));
    }

    /// Lets the microphone hear what the loudspeaker says, as in a room.
    pub fn hear_speaker(&self) {
        let loop_back = ["source=speaker.monitor", "sink=into-mic", "latency_msec=20"];
        self.control(&["load-module", "module-loopback", loop_back[0], loop_back[1], loop_back[2]]).unwrap();
    }

    /// Takes the microphone away.
    pub fn unplug(&self) {
        self.control(&["unload-module", "module-remap-source"]).expect("the microphone is there");
    }

    /// What a path in the machine's directory is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Whether a program has a stream of this kind; those of the server's own modules have no client.
    fn has(&self, what: &str) -> bool {
        self.count(what) > 0
    }

    /// How programs find the server that is not in their runtime directory.
    pub fn server(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// What lets programs with another home in, where they speak to the server without PulseAudio's own library.
    pub fn cookie(&self) -> String {
        self.path("home/.config/pulse/cookie").display().to_string()
    }

    /// Records what programs say, until it is dropped, into this file.
    pub fn record_speaker(&mut self, name: &str) -> PathBuf {
        let path = self.path(name);
        let mut recorder = self.client("parec");
        recorder.args(["--device=speaker.monitor", "--file-format=wav"]).arg(&path).stdout(Stdio::null());
        let recorder = recorder.spawn().unwrap_or_else(missing("parec"));
        self.playing.push(recorder);
        until("the speaker to be recorded", || self.has("source-outputs"));
        path
    }

    /// Ends what [`Self::record_speaker`] began, so that its file is whole.
    pub fn stop_recording(&mut self) {
        for mut process in self.playing.drain(..) {
            let pid = nix::unistd::Pid::from_raw(process.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = process.wait();
        }
    }

    /// Waits until so many programs record.
    pub fn wait_recording(&self, programs: usize) {
        until("somebody to record", || self.count("source-outputs") >= programs);
    }

    fn count(&self, what: &str) -> usize {
        let of_program = |line: &&str| line.split('\t').nth(2).is_some_and(|client| client != "-");
        self.control(&["list", "short", what]).map_or(0, |list| list.lines().filter(of_program).count())
    }

    fn socket(&self) -> PathBuf {
        Some(self.hidden()).filter(|hidden| hidden.exists()).unwrap_or_else(|| self.path("run/pulse/native"))
    }

    /// Where the server answers that only ALSA and the story find.
    fn hidden(&self) -> PathBuf {
        self.path("hidden.sock")
    }

    fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("HOME", self.path("home").display().to_string()),
            ("XDG_RUNTIME_DIR", self.path("run").display().to_string()),
            ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ]
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env_clear().envs(self.variables()).stdin(Stdio::null());
        command
    }

    /// A tool that speaks to the server, wherever that is.
    fn client(&self, name: &str) -> Command {
        let mut command = self.tool(name);
        command.env("PULSE_SERVER", self.server());
        command
    }

    fn player(&self, file: &Path) -> Command {
        let mut player = self.client("paplay");
        player.args(["--device=into-mic"]).arg(file).stdout(Stdio::null());
        player
    }

    /// What `pactl` answers; none where it fails.
    fn control(&self, arguments: &[&str]) -> Option<String> {
        let done = self.client("pactl").args(arguments).output().unwrap_or_else(missing("pactl"));
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        for process in self.playing.iter_mut().chain(&mut self.server) {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("pulseaudio.log")).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "--- PulseAudio said\n{log}---");
        }
    }
}

fn missing<T>(name: &'static str) -> impl FnOnce(std::io::Error) -> T {
    move |error| panic!("{name} is needed ({error}): run `.ci/tools test`")
}
