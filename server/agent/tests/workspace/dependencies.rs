//! Packages that lock files name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use cadence_agent::workspace::{Installed, Origin, Prepare, Workspace};

use crate::support::{Env, Repo};

struct Scene {
    env: Env,
    repo: Repo,
    /// What tasks bring.
    environment: BTreeMap<String, String>,
}

impl Scene {
    fn new() -> Self {
        let env = Env::new();
        let repo = env.repository("user");
        let mut environment = env.environment();
        environment.insert("NPM_CONFIG_CACHE".to_owned(), env.path("npm-cache").display().to_string());
        Self { env, repo, environment }
    }

    async fn workspace(&self) -> Workspace {
        let request = Prepare {
            environment: self.environment.clone(),
            ..self.env.request(Origin::Local(self.repo.root.clone()))
        };
        self.env.prepare(&request).await
    }

    async fn install(&self, workspace: &Workspace) -> Installed {
        self.env.workspaces.install(workspace, &self.environment).await.unwrap()
    }

    /// A program that notes how it was called, and does what `script` says.
    fn program(&mut self, name: &str, script: &str) {
        let bin = self.env.path("bin");
        fs::create_dir_all(&bin).unwrap();
        let calls = self.env.path("calls");
        let text = format!("#!/bin/sh\necho \"$(basename \"$0\") $*\" >> '{}'\n{script}\n", calls.display());
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        // The few programs that scripts need.
        self.environment.insert("PATH".to_owned(), format!("{}:/usr/bin:/bin", bin.display()));
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.env.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A package of npm's with one dependency, which comes from a file in the repository.
    fn with_npm_package(&self) {
        let there = Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success());
        assert!(there, "npm is needed: sudo apt install npm");
        let dep = self.env.path("dep");
        fs::create_dir(&dep).unwrap();
        fs::write(dep.join("package.json"), r#"{"name": "dep", "version": "1.0.0", "bin": "index.js"}"#).unwrap();
        fs::write(dep.join("index.js"), "module.exports = 1;\n").unwrap();
        let npm = |arguments: &[&str], directory: &PathBuf| {
            let mut npm = Command::new("npm");
            let output =
                npm.args(arguments).current_dir(directory).env_clear().envs(&self.environment).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        npm(&["pack", "--pack-destination", self.repo.root.to_str().unwrap()], &dep);
        self.repo.write("package.json", r#"{"name": "user", "dependencies": {"dep": "file:dep-1.0.0.tgz"}}"#);
        npm(&["install", "--package-lock-only", "--no-audit"], &self.repo.root);
        self.repo.write(".gitignore", "*.log\n");
        self.repo.commit("with a package");
    }

    fn kept(&self) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.env.path("data/dependencies")).into_iter().flatten().flatten();
        kept.map(|entry| entry.path()).collect()
    }
}

#[tokio::test]
async fn npm_packages_are_installed_once_for_each_lock_file_and_every_workspace_has_its_own_copy() {
    let s = Scene::new();
    s.with_npm_package();
    let first = s.workspace().await;
    let installed = s.install(&first).await;
    assert_eq!(installed.ran.len(), 1, "{installed:?}");
    assert!(installed.ran[0].command.starts_with("npm ci"), "{installed:?}");
    assert_eq!((installed.ran[0].exit_code, installed.failed), (Some(0), None), "{}", installed.ran[0].output);
    let index = |workspace: &Workspace| workspace.directory.join("node_modules/dep/index.js");
    assert_eq!(fs::read_to_string(index(&first)).unwrap(), "module.exports = 1;\n");
    assert_eq!(s.install(&first).await, Installed::default(), "not again in the same workspace");
    assert_eq!(s.kept().len(), 1);

    // An agent changes what it got, in place.
    fs::write(index(&first), "module.exports = 'hostile';\n").unwrap();
    let second = s.workspace().await;
    let installed = s.install(&second).await;
    assert_eq!(installed.ran, []);
    assert_eq!(installed.copied, [PathBuf::from("package-lock.json")]);
    assert_eq!(fs::read_to_string(index(&second)).unwrap(), "module.exports = 1;\n");
    assert_eq!(fs::metadata(index(&second)).unwrap().nlink(), 1);
    let listed = Command::new("npm")
        .args(["ls", "--json"])
        .current_dir(&second.directory)
        .env_clear()
        .envs(&s.environment)
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let run = Command::new(second.directory.join("node_modules/.bin/dep"));
    assert!(fs::symlink_metadata(run.get_program()).unwrap().is_symlink());

    // It is no work of the task's, though nothing in the repository says so.
    assert_eq!(second.finish("x").await.unwrap().commit, None);

    // Another manifest is another installation.
    s.repo.write("package.json", &s.repo.read("package.json").replace("\"user\"", "\"other\""));
    s.repo.write("package-lock.json", &s.repo.read("package-lock.json").replace("\"user\"", "\"other\""));
    s.repo.commit("renamed");
    let third = s.workspace().await;
    assert_eq!(s.install(&third).await.ran.len(), 1);
    assert_eq!(s.kept().len(), 2);
}

#[tokio::test]
async fn what_scripts_of_the_repository_made_is_not_kept() {
    let s = Scene::new();
    s.with_npm_package();
    let package =
        s.repo.read("package.json").replacen('{', r#"{"scripts": {"postinstall": "echo made > made.txt"},"#, 1);
    s.repo.write("package.json", &package);
    s.repo.commit("with a script");
    for _ in 0..2 {
        let workspace = s.workspace().await;
        assert_eq!(s.install(&workspace).await.ran.len(), 1);
        assert_eq!(fs::read_to_string(workspace.directory.join("made.txt")).unwrap(), "made\n");
    }
    assert_eq!(s.kept(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn several_package_managers_in_several_directories() {
    let mut s = Scene::new();
    s.repo.write("Cargo.toml", "");
    s.repo.write("Cargo.lock", "");
    s.repo.write("web/package.json", "{}");
    s.repo.write("web/pnpm-lock.yaml", "");
    s.repo.write("docs/requirements.txt", "");
    s.repo.write(".cadence.toml", "[dependencies]\ndirectories = ['.', 'web', 'gone']\n");
    s.repo.commit("a mixed repository");
    s.program("cargo", "echo fetched");
    s.program("pnpm", "pwd; mkdir node_modules; echo x > node_modules/x");
    let workspace = s.workspace().await;
    let installed = s.install(&workspace).await;
    let commands: Vec<&str> = installed.ran.iter().map(|ran| ran.command.as_str()).collect();
    let pnpm = "pnpm install --frozen-lockfile --config.package-import-method=clone-or-copy";
    assert_eq!(commands, ["cargo fetch --locked", format!("cd web && {pnpm}").as_str()]);
    assert_eq!(installed.ran[0].output, "fetched\n");
    assert!(installed.ran[1].output.trim_end().ends_with("/web"), "{installed:?}");
    assert!(installed.notes[0].contains("gone"), "{installed:?}");
    assert_eq!(s.calls(), ["cargo fetch --locked", pnpm]);
    assert_eq!(workspace.finish("x").await.unwrap().commit, None, "what was installed is no work");
}

#[tokio::test]
async fn what_is_missing_or_fails_is_said_and_ends_nothing() {
    let mut s = Scene::new();
    s.repo.write("uv.lock", "");
    s.repo.write("pyproject.toml", "");
    s.repo.write("go.mod", "");
    s.repo.write("go.sum", "");
    s.repo.commit("two of them");
    s.program("go", "echo no network >&2; exit 1");
    let workspace = s.workspace().await;
    let installed = s.install(&workspace).await;
    assert_eq!(installed.failed, None);
    assert!(installed.notes[0].contains("uv is not installed"), "{installed:?}");
    assert_eq!((installed.ran[0].exit_code, installed.ran[0].output.as_str()), (Some(1), "no network\n"));
    // The agent has begun: what is in the manifests now may be its own.
    s.program("go", "exit 0");
    assert_eq!(s.install(&workspace).await, Installed::default());
}

#[tokio::test]
async fn a_repository_can_ask_for_it_or_against_it() {
    let mut s = Scene::new();
    s.program("go", "sleep 1000 & echo begun; wait");
    for file in ["go.mod", "go.sum"] {
        s.repo.write(file, "");
    }
    s.repo.write(".cadence.toml", "[dependencies]\nrequired = true\ntimeout_secs = 1\n");
    s.repo.commit("required");
    let workspace = s.workspace().await;
    let installed = s.install(&workspace).await;
    assert_eq!((installed.ran[0].exit_code, installed.ran[0].output.as_str()), (None, "begun\n"));
    assert!(installed.failed.as_ref().unwrap().contains("stopped after 1 s"), "{installed:?}");
    // No agent has begun, and the next attempt tries again.
    s.program("go", "");
    assert_eq!(s.install(&workspace).await.ran[0].exit_code, Some(0));
    assert_eq!(s.install(&workspace).await, Installed::default());

    s.repo.write(".cadence.toml", "[dependencies]\ninstall = false\n");
    s.repo.commit("never");
    assert_eq!(s.install(&s.workspace().await).await, Installed::default());

    // Its own set-up command sees to it, unless it says otherwise.
    s.repo.write(".cadence.toml", "[setup]\ncommand = 'go mod download'\n");
    s.repo.commit("by itself");
    assert_eq!(s.install(&s.workspace().await).await, Installed::default());
    s.repo.write(".cadence.toml", "[setup]\ncommand = 'true'\n[dependencies]\ninstall = true\n");
    s.repo.commit("both");
    assert_eq!(s.install(&s.workspace().await).await.ran.len(), 1);

    // The machine's settings come after those of the repository.
    let never = s.env.workspaces.clone().with_dependencies(false);
    let workspace = s.workspace().await;
    assert_eq!(never.install(&workspace, &s.environment).await.unwrap().ran.len(), 1);
    fs::remove_file(s.repo.root.join(".cadence.toml")).unwrap();
    s.repo.commit("says nothing");
    let workspace = s.workspace().await;
    assert_eq!(never.install(&workspace, &s.environment).await.unwrap(), Installed::default());
}

#[tokio::test]
async fn pip_installs_into_an_environment_in_the_workspace() {
    let s = Scene::new();
    let there = Command::new("python3").args(["-m", "venv", "--help"]).output().is_ok_and(|out| out.status.success());
    assert!(there, "python3 with venv is needed: sudo apt install python3-venv");
    s.repo.write("requirements.txt", "");
    s.repo.commit("nothing to install");
    let workspace = s.workspace().await;
    let installed = s.install(&workspace).await;
    let codes: Vec<Option<i32>> = installed.ran.iter().map(|ran| ran.exit_code).collect();
    assert_eq!(codes, [Some(0), Some(0)], "{installed:?}");
    assert!(workspace.directory.join(".venv/bin/python").exists());
    assert_eq!(workspace.finish("x").await.unwrap().commit, None);
}

#[tokio::test]
async fn a_directory_that_leads_out_of_the_repository_is_left_alone() {
    let mut s = Scene::new();
    s.program("go", "");
    let outside = s.env.path("outside");
    fs::create_dir(&outside).unwrap();
    for file in ["go.mod", "go.sum"] {
        fs::write(outside.join(file), "").unwrap();
    }
    std::os::unix::fs::symlink(&outside, s.repo.root.join("link")).unwrap();
    s.repo.write("real/x", "");
    for file in ["go.mod", "go.sum"] {
        std::os::unix::fs::symlink(outside.join(file), s.repo.root.join("real").join(file)).unwrap();
    }
    s.repo.write(".cadence.toml", "[dependencies]\ndirectories = ['link', 'real']\n");
    s.repo.commit("links");
    let installed = s.install(&s.workspace().await).await;
    assert_eq!(installed.ran, []);
    assert_eq!(s.calls(), [] as [String; 0]);
}
