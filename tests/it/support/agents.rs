//! Other agents' real programs, and what makes them speak to the scripted model.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::TestEnv;

impl TestEnv {
    /// Puts the real Codex on the path, with settings of its user's that name the scripted model.
    pub fn with_codex(&self) {
        symlink(codex(), self.bin().join("codex")).unwrap();
        let settings = self.codex_settings();
        fs::create_dir(settings.parent().unwrap()).unwrap();
        let provider = format!(
            "[model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{}/v1\"\nwire_api = \"responses\"\n\
             request_max_retries = 1\nstream_max_retries = 1\n",
            self.api.url()
        );
        // A model that this version knows: others are not given its tool for patches.
        let text = format!("model = \"gpt-6.1-sol\"\nmodel_provider = \"scripted\"\n{provider}");
        fs::write(settings, text).unwrap();
    }

    /// The user's own settings of Codex.
    pub fn codex_settings(&self) -> PathBuf {
        self.home().join(".codex/config.toml")
    }

    /// Puts the real OpenCode on the path, with settings of its user's that name the scripted model.
    pub fn with_opencode(&self) {
        symlink(opencode(), self.bin().join("opencode")).unwrap();
        let settings = self.home().join(".config/opencode/opencode.json");
        fs::create_dir_all(settings.parent().unwrap()).unwrap();
        let costs = json!({"input": 3, "output": 15});
        let model = json!({"name": "Scripted", "cost": costs, "limit": {"context": 100_000, "output": 8_000}});
        let options = json!({"baseURL": format!("{}/v1", self.api.url()), "apiKey": "sk-test-key"});
        let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "Scripted", "options": options,
            "models": {"one": model, "two": model}});
        let text = json!({"model": "scripted/one", "small_model": "scripted/one", "autoupdate": false,
            "share": "disabled", "enabled_providers": ["scripted"], "provider": {"scripted": provider}});
        fs::write(settings, text.to_string()).unwrap();
    }
}

/// Codex's program: `CADENCE_TEST_CODEX`, or what `make tools` installed.
fn codex() -> PathBuf {
    let package = format!("codex/node_modules/@openai/codex-{}-{}/vendor", os(), arch());
    let vendor = tools().join(package);
    let builds = fs::read_dir(&vendor).into_iter().flatten().flatten();
    program("CADENCE_TEST_CODEX", builds.map(|build| build.path().join("bin/codex")).next())
}

/// OpenCode's program: `CADENCE_TEST_OPENCODE`, or what `make tools` installed.
fn opencode() -> PathBuf {
    let modules = tools().join("opencode/node_modules");
    // The one for older processors runs on all.
    let names = ["-baseline", "", "-baseline-musl", "-musl"].map(|kind| format!("opencode-{}-{}{kind}", os(), arch()));
    let found = names.iter().map(|name| modules.join(name).join("bin/opencode")).find(|path| path.is_file());
    program("CADENCE_TEST_OPENCODE", found)
}

fn program(variable: &str, installed: Option<PathBuf>) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    named
        .or(installed)
        .filter(|path| path.is_file())
        .unwrap_or_else(|| panic!("install it with `make tools`, or name one in {variable}"))
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}

fn os() -> &'static str {
    if OS == "macos" { "darwin" } else { OS }
}

fn arch() -> &'static str {
    if ARCH == "aarch64" { "arm64" } else { "x64" }
}
