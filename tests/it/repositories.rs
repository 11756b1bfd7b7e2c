//! Repositories of other hosts, and what makes a workspace ready and ends it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cadence_fakes::forge::{Forge, TOKEN, holding_the_token};

use crate::support::{TestEnv, of_type};

#[test]
fn the_machines_token_opens_a_private_repository_and_shows_nowhere() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let forge = Forge::new(env.path("forge"));
    let url = forge.push(repo.path(), "private");
    let run = ["run", "Write [[scenario:write-only]]", "--json", &format!("--repo={url}")];
    env.cadence(run).run().code(1).shows("CADENCE_GIT_TOKEN");
    assert_eq!(forge.requests(), Vec::<String>::new());

    let secret = env.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("token"), format!("{TOKEN}\n")).unwrap();
    let file = env.cadence(["config", "path"]).run().code(0).stdout.trim().to_owned();
    fs::create_dir_all(PathBuf::from(&file).parent().unwrap()).unwrap();
    let settings = format!(
        "[git.credentials]\n\"{}\" = {{ token_file = \"{}\" }}\n",
        forge.address,
        secret.join("token").display()
    );
    fs::write(&file, settings).unwrap();
    env.cadence(["server", "stop"]).run().code(0);
    let ran = env.cadence(run).run().code(0);
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN));
    forge.assert_kept_secret();
    // Neither the database, nor the log, nor a workspace.
    fs::remove_dir_all(&secret).unwrap();
    assert_eq!(holding_the_token(&env.home()), Vec::<PathBuf>::new());
}

#[test]
fn packages_are_installed_before_the_agent_begins_and_what_was_begun_ends_with_the_task() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    for file in ["go.mod", "go.sum"] {
        repo.write(file, "");
    }
    let torn = env.path("torn");
    repo.write(".cadence.toml", format!("[teardown]\ncommand = 'echo $LC_TEST > {}'\n", torn.display()));
    repo.commit("With packages");
    let bin = env.path("tools");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("go"), "#!/bin/sh\necho \"ran go $*\"\nexit 1\n").unwrap();
    fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", bin.display(), env.path("bin").display());
    let run = env.cadence(["run", "Write [[scenario:write-only]]", "--json"]).cwd(repo.path());
    let events = run.env("PATH", path).env("LC_TEST", "mine").run().code(0).json_lines();
    let commands = of_type(&events, "command_run");
    assert_eq!(
        (&commands[0]["command"], &commands[0]["exitCode"], &commands[0]["output"]),
        (&"go mod download".into(), &1.into(), &"ran go mod download\n".into())
    );
    let id = events[0]["taskId"].as_str().unwrap();
    assert!(!torn.exists());
    env.cadence(["tasks", "rm", "--force", id]).run().code(0);
    assert_eq!(fs::read_to_string(&torn).unwrap(), "mine\n");
    assert_eq!(env.workspaces(), Vec::<PathBuf>::new());
}
