//! Which package manager a directory is meant for, by its lock file. Pure: a table and names.
//!
//! Each installs exactly what the lock file says, or fails. None may link a workspace's files to a store that others use (hard
//! links, the default of pnpm, bun and uv): what an agent writes there would be everybody's.

use std::collections::BTreeSet;

/// A package manager.
#[derive(Debug, PartialEq, Eq)]
pub struct Tool {
    pub name: &'static str,
    /// Any of these means it.
    pub locks: &'static [&'static str],
    /// These must be there, too.
    beside: &'static [&'static str],
    kind: Kind,
    /// Command lines, one after the other. One with a slash is in the directory itself.
    pub commands: &'static [&'static [&'static str]],
    /// Variables, unless the task has its own.
    pub variables: &'static [(&'static str, &'static str)],
    /// Directories that it fills, which are no work of an agent's.
    pub fills: &'static [&'static str],
    /// Whether cadence keeps what it made for the next workspace; the others have a store of their own.
    pub kept: bool,
}

/// One directory has one package manager of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    JavaScript,
    Python,
    Rust,
    Go,
    Ruby,
    Php,
}

/// The first of a kind is taken where several fit.
const TOOLS: &[Tool] = &[
    Tool {
        name: "pnpm",
        locks: &["pnpm-lock.yaml"],
        beside: &["package.json"],
        kind: Kind::JavaScript,
        commands: &[&["pnpm", "install", "--frozen-lockfile", "--config.package-import-method=clone-or-copy"]],
        variables: &[],
        fills: &["node_modules"],
        kept: false,
    },
    Tool {
        // From version 2 on, which has this file.
        name: "yarn",
        locks: &["yarn.lock"],
        beside: &["package.json", ".yarnrc.yml"],
        kind: Kind::JavaScript,
        commands: &[&["yarn", "install", "--immutable"]],
        variables: &[("YARN_ENABLE_TELEMETRY", "0"), ("YARN_NM_MODE", "classic")],
        fills: &["node_modules"],
        kept: false,
    },
    Tool {
        name: "yarn",
        locks: &["yarn.lock"],
        beside: &["package.json"],
        kind: Kind::JavaScript,
        commands: &[&["yarn", "install", "--frozen-lockfile", "--non-interactive", "--no-progress"]],
        variables: &[],
        fills: &["node_modules"],
        kept: false,
    },
    Tool {
        name: "bun",
        locks: &["bun.lock", "bun.lockb"],
        beside: &["package.json"],
        kind: Kind::JavaScript,
        commands: &[&["bun", "install", "--frozen-lockfile", "--backend=copyfile"]],
        variables: &[],
        fills: &["node_modules"],
        kept: false,
    },
    Tool {
        name: "npm",
        locks: &["package-lock.json", "npm-shrinkwrap.json"],
        beside: &["package.json"],
        kind: Kind::JavaScript,
        commands: &[&["npm", "ci", "--no-audit", "--no-fund", "--no-progress", "--prefer-offline"]],
        variables: &[("NPM_CONFIG_UPDATE_NOTIFIER", "false")],
        fills: &["node_modules"],
        kept: true,
    },
    Tool {
        name: "uv",
        locks: &["uv.lock"],
        beside: &["pyproject.toml"],
        kind: Kind::Python,
        commands: &[&["uv", "sync", "--frozen", "--no-progress"]],
        variables: &[("UV_LINK_MODE", "copy")],
        fills: &[".venv"],
        kept: false,
    },
    Tool {
        name: "poetry",
        locks: &["poetry.lock"],
        beside: &["pyproject.toml"],
        kind: Kind::Python,
        commands: &[&["poetry", "install", "--no-interaction", "--no-ansi"]],
        variables: &[("POETRY_VIRTUALENVS_IN_PROJECT", "true")],
        fills: &[".venv"],
        kept: false,
    },
    Tool {
        name: "pip",
        locks: &["requirements.txt"],
        beside: &[],
        kind: Kind::Python,
        commands: &[
            &["python3", "-m", "venv", ".venv"],
            &[".venv/bin/python", "-m", "pip", "install", "--no-input", "--progress-bar=off", "-r", "requirements.txt"],
        ],
        variables: &[("PIP_DISABLE_PIP_VERSION_CHECK", "1")],
        fills: &[".venv"],
        kept: false,
    },
    Tool {
        name: "cargo",
        locks: &["Cargo.lock"],
        beside: &["Cargo.toml"],
        kind: Kind::Rust,
        commands: &[&["cargo", "fetch", "--locked"]],
        variables: &[("CARGO_TERM_PROGRESS_WHEN", "never")],
        fills: &[],
        kept: false,
    },
    Tool {
        name: "go",
        locks: &["go.sum"],
        beside: &["go.mod"],
        kind: Kind::Go,
        commands: &[&["go", "mod", "download"]],
        variables: &[],
        fills: &[],
        kept: false,
    },
    Tool {
        name: "bundler",
        locks: &["Gemfile.lock"],
        beside: &["Gemfile"],
        kind: Kind::Ruby,
        commands: &[&["bundle", "install"]],
        variables: &[("BUNDLE_FROZEN", "true")],
        fills: &[],
        kept: false,
    },
    Tool {
        name: "composer",
        locks: &["composer.lock"],
        beside: &["composer.json"],
        kind: Kind::Php,
        commands: &[&["composer", "install", "--no-interaction", "--no-progress"]],
        variables: &[],
        fills: &["vendor"],
        kept: false,
    },
];

/// The package managers of a directory that has these files. `package_manager` is the field of that name in `package.json`
/// (`pnpm@9.1.0`), which decides where there are several lock files.
pub fn detect(names: &BTreeSet<String>, package_manager: Option<&str>) -> Vec<&'static Tool> {
    let fits = |tool: &&Tool| {
        tool.locks.iter().any(|name| names.contains(*name)) && tool.beside.iter().all(|name| names.contains(*name))
    };
    let named = |tool: &&Tool| package_manager.is_some_and(|text| text.split('@').next() == Some(tool.name));
    let mut found: Vec<&'static Tool> = Vec::new();
    // Those that are named come first.
    for tool in TOOLS.iter().filter(named).chain(TOOLS).filter(fits) {
        if !found.iter().any(|other| other.kind == tool.kind) {
            found.push(tool);
        }
    }
    found
}

/// Every name that [`detect`] looks for.
pub fn names() -> BTreeSet<&'static str> {
    TOOLS.iter().flat_map(|tool| tool.locks.iter().chain(tool.beside)).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn found(names: &[&str], package_manager: Option<&str>) -> Vec<&'static str> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        detect(&names, package_manager).iter().map(|tool| tool.name).collect()
    }

    #[test]
    fn each_lock_file_means_its_package_manager() {
        for (lock, manifest, tool) in [
            ("package-lock.json", "package.json", "npm"),
            ("npm-shrinkwrap.json", "package.json", "npm"),
            ("pnpm-lock.yaml", "package.json", "pnpm"),
            ("yarn.lock", "package.json", "yarn"),
            ("bun.lock", "package.json", "bun"),
            ("bun.lockb", "package.json", "bun"),
            ("uv.lock", "pyproject.toml", "uv"),
            ("poetry.lock", "pyproject.toml", "poetry"),
            ("requirements.txt", "README.md", "pip"),
            ("Cargo.lock", "Cargo.toml", "cargo"),
            ("go.sum", "go.mod", "go"),
            ("Gemfile.lock", "Gemfile", "bundler"),
            ("composer.lock", "composer.json", "composer"),
        ] {
            assert_eq!(found(&[lock, manifest, "README.md"], None), [tool], "{lock}");
            assert_eq!(found(&[manifest], None), [""; 0], "{manifest} alone");
            if lock != "requirements.txt" {
                assert_eq!(found(&[lock], None), [""; 0], "{lock} alone");
            }
        }
    }

    #[test]
    fn there_is_one_of_each_kind() {
        let javascript = ["package.json", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"];
        assert_eq!(found(&javascript, None), ["pnpm"]);
        assert_eq!(found(&javascript, Some("yarn@1.22.22")), ["yarn"]);
        assert_eq!(found(&javascript, Some("npm@10.2.0+sha512.abc")), ["npm"]);
        assert_eq!(found(&javascript, Some("bun@1.0.0")), ["pnpm"], "it has no lock file");
        assert_eq!(found(&["pyproject.toml", "uv.lock", "poetry.lock", "requirements.txt"], None), ["uv"]);
        let mixed = ["Cargo.lock", "Cargo.toml", "package.json", "package-lock.json", "requirements.txt"];
        assert_eq!(found(&mixed, None), ["npm", "pip", "cargo"]);
    }

    #[test]
    fn the_two_yarns_are_told_apart() {
        let of = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            detect(&names, Some("yarn@4.0.0"))[0].commands[0].to_vec()
        };
        assert!(of(&["package.json", "yarn.lock"]).contains(&"--frozen-lockfile"));
        assert!(of(&["package.json", "yarn.lock", ".yarnrc.yml"]).contains(&"--immutable"));
    }

    proptest! {
        #[test]
        fn whatever_files_there_are(
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
            manager in proptest::option::of("\\PC{0,12}"),
        ) {
            let known: Vec<&str> = super::names().into_iter().collect();
            let names: BTreeSet<String> = picks.iter().map(|pick| pick.get(&known).to_string()).collect();
            let found = detect(&names, manager.as_deref());
            prop_assert!(found.iter().all(|tool| tool.locks.iter().any(|lock| names.contains(*lock))));
            prop_assert!(found.len() <= 6);
        }
    }
}
