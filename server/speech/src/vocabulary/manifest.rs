//! The dependencies that manifests name, read as text: nothing is run, nothing is resolved.

use std::path::Path;

/// Longest name of a dependency that is taken, in bytes.
const LONGEST: usize = 64;
/// Most dependencies of one manifest.
const MOST: usize = 500;

/// The names that the manifest at `path` depends on, each by the part that is said: `gin` of `github.com/gin-gonic/gin`.
/// None where it is no manifest; empty where it cannot be read as one.
pub fn dependencies(path: &Path, text: &[u8]) -> Option<Vec<String>> {
    let name = path.file_name()?.to_str()?;
    let read: fn(&str) -> Vec<String> = match name {
        "Cargo.toml" => cargo,
        "package.json" => npm,
        "go.mod" => go,
        "pyproject.toml" => pyproject,
        "pom.xml" => |text| between(text, "<artifactId>", "</artifactId>"),
        "build.gradle" | "build.gradle.kts" => gradle,
        "Gemfile" => |text| lines(text, |line| quoted(line.strip_prefix("gem")?)),
        _ if name.starts_with("requirements") && name.ends_with(".txt") => |text| lines(text, requirement),
        _ => return None,
    };
    let mut names: Vec<String> = read(&String::from_utf8_lossy(text)).iter().filter_map(|name| clean(name)).collect();
    names.sort();
    names.dedup();
    names.truncate(MOST);
    Some(names)
}

/// The name without version and owner, if it is one.
fn clean(name: &str) -> Option<String> {
    let name = name.trim();
    let version =
        |part: &&str| !(part.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())));
    let name = if name.starts_with('@') { name } else { name.rsplit('/').find(version)? };
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/');
    let starts = name.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '@');
    (starts && (2..=LONGEST).contains(&name.len()) && name.chars().all(fine)).then(|| name.to_owned())
}

fn cargo(text: &str) -> Vec<String> {
    let Ok(manifest) = text.parse::<toml::Table>() else { return Vec::new() };
    let mut names = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let workspace = manifest.get("workspace");
    let tables = targets.chain(workspace).filter_map(toml::Value::as_table).chain([&manifest]);
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            names.extend(
                table.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys).cloned(),
            );
        }
    }
    names
}

fn npm(text: &str) -> Vec<String> {
    let Ok(manifest) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let sections = ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"];
    let sections = sections.iter().filter_map(|section| manifest.get(section)?.as_object());
    sections.flat_map(serde_json::Map::keys).cloned().collect()
}

/// Modules are in lines `require path version`, or the same without the keyword in a block.
fn go(text: &str) -> Vec<String> {
    let mut block = false;
    lines(text, |line| {
        let line = line.split("//").next()?.trim();
        let required = line.strip_prefix("require").map(str::trim);
        match required {
            Some("(") => block = true,
            Some(required) => return required.split_whitespace().next().map(str::to_owned),
            None if line == ")" => block = false,
            None if block => return line.split_whitespace().next().map(str::to_owned),
            None => {}
        }
        None
    })
}

/// PEP 621 and 735, and Poetry's tables.
fn pyproject(text: &str) -> Vec<String> {
    let Ok(manifest) = text.parse::<toml::Table>() else { return Vec::new() };
    let at = |path: &[&str]| {
        path.iter().try_fold(None, |value: Option<&toml::Value>, key| {
            Some(Some(value.map_or_else(|| manifest.get(*key), |value| value.get(*key))?))
        })
    };
    let at = |path: &[&str]| at(path).flatten();
    let mut specifiers: Vec<&toml::Value> = at(&["project", "dependencies"]).into_iter().collect();
    for groups in [at(&["project", "optional-dependencies"]), at(&["dependency-groups"])] {
        specifiers.extend(groups.and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values));
    }
    let specifiers = specifiers.into_iter().filter_map(toml::Value::as_array).flatten();
    let mut names: Vec<String> = specifiers.filter_map(|value| requirement(value.as_str()?)).collect();
    let poetry = at(&["tool", "poetry"]);
    let groups = poetry.and_then(|poetry| poetry.get("group")?.as_table()).into_iter().flat_map(toml::Table::values);
    for table in groups.chain(poetry) {
        let sections =
            ["dependencies", "dev-dependencies"].iter().filter_map(|section| table.get(*section)?.as_table());
        names.extend(sections.flat_map(toml::Table::keys).filter(|name| *name != "python").cloned());
    }
    names
}

/// The name that a PEP 508 specifier begins with.
fn requirement(line: &str) -> Option<String> {
    let line = line.trim();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(line.len());
    line.get(..end).filter(|name| name.starts_with(|c: char| c.is_ascii_alphanumeric())).map(str::to_owned)
}

/// `implementation 'group:artifact:version'` and its like.
fn gradle(text: &str) -> Vec<String> {
    lines(text, |line| {
        let configurations = ["implementation", "api", "compileOnly", "runtimeOnly", "testImplementation", "kapt"];
        let rest = configurations.iter().find_map(|configuration| line.strip_prefix(configuration))?;
        let coordinates = quoted(rest)?;
        coordinates.split(':').nth(1).map(str::to_owned)
    })
}

fn lines(text: &str, name: impl FnMut(&str) -> Option<String>) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(name).take(2 * MOST).collect()
}

/// What is in the first quotes.
fn quoted(text: &str) -> Option<String> {
    let start = text.find(['"', '\''])?;
    let quote = text.get(start..=start)?;
    let rest = text.get(start + 1..)?;
    rest.get(..rest.find(quote)?).map(str::to_owned)
}

fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    let parts = text.split(open).skip(1).take(2 * MOST);
    parts.filter_map(|part| part.split_once(close)).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const KINDS: [&str; 8] = [
        "Cargo.toml",
        "package.json",
        "go.mod",
        "pyproject.toml",
        "requirements-dev.txt",
        "pom.xml",
        "build.gradle.kts",
        "Gemfile",
    ];

    #[test]
    fn each_kind_of_manifest_names_its_dependencies() {
        let table = [
            (
                "Cargo.toml",
                "[dependencies]\ntokio = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\nnix = {}\n[workspace.dependencies]\naxum = \"0.8\"",
                vec!["axum", "nix", "tokio"],
            ),
            (
                "package.json",
                r#"{"name": "x", "dependencies": {"react": "19", "@types/node": "22"}, "devDependencies": {"vitest": "3"}}"#,
                vec!["@types/node", "react", "vitest"],
            ),
            (
                "go.mod",
                "module example.com/x\n\nrequire github.com/gin-gonic/gin v1.9.0\nrequire (\n\tgolang.org/x/sync v0.1.0 // indirect\n\tgithub.com/redis/go-redis/v9 v9.1.0\n)\n",
                vec!["gin", "go-redis", "sync"],
            ),
            (
                "pyproject.toml",
                "[project]\ndependencies = [\"fastapi[all]>=0.1\", \"uvicorn; python_version > '3'\"]\n[dependency-groups]\ntest = [\"pytest\"]\n[tool.poetry.dependencies]\npython = \"3\"\nhttpx = \"1\"\n[tool.poetry.group.dev.dependencies]\nruff = \"1\"",
                vec!["fastapi", "httpx", "pytest", "ruff", "uvicorn"],
            ),
            (
                "requirements-dev.txt",
                "# tools\nDjango==5.0\n-r base.txt\n  celery>=5 # queue\n",
                vec!["Django", "celery"],
            ),
            (
                "pom.xml",
                "<dependency><groupId>a.b</groupId><artifactId>jackson-core</artifactId></dependency>",
                vec!["jackson-core"],
            ),
            (
                "build.gradle.kts",
                "plugins { }\n  implementation(\"io.ktor:ktor-server-core:3.0\")\n  testImplementation 'org.mockito:mockito-core:5'",
                vec!["ktor-server-core", "mockito-core"],
            ),
            (
                "Gemfile",
                "source 'https://rubygems.org'\ngem 'rails', '~> 8'\ngem \"sidekiq\"\n",
                vec!["rails", "sidekiq"],
            ),
        ];
        for (name, text, expected) in table {
            assert_eq!(dependencies(Path::new(name), text.as_bytes()).unwrap(), expected, "{name}");
        }
        assert_eq!(dependencies(Path::new("notes.txt"), b"tokio"), None);
    }

    proptest! {
        #[test]
        fn garbage_names_nothing_odd(
            kind in 0..KINDS.len(),
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "(require \\(?|gem |\\[dependencies\\]|<artifactId>|[\"'=:\\n{}/a-z1])*".prop_map(String::into_bytes),
            ],
        ) {
            for name in dependencies(Path::new(KINDS[kind]), &bytes).unwrap() {
                prop_assert!((2..=LONGEST).contains(&name.len()));
                prop_assert!(!name.chars().any(|c| c.is_whitespace() || c.is_control()));
            }
        }
    }
}
