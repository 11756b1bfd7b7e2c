//! What an agent may do without being asked for again, and what it never may.

use std::path::{Component, Path};

use serde_json::Value;

/// Most requests that are remembered.
const MAX_INPUTS: usize = 1000;

/// What was allowed for the rest of a session. Agents could keep that themselves, but some only in a file of the user's, for
/// ever.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Requests, to the letter, as what they may do is not known otherwise.
    inputs: Vec<Value>,
    /// Changes of files in the workspace.
    pub changes: bool,
}

impl Allowed {
    pub fn add(&mut self, input: Value) {
        if self.inputs.len() < MAX_INPUTS {
            self.inputs.push(input);
        }
    }

    pub fn holds(&self, input: &Value) -> bool {
        self.inputs.contains(input)
    }
}

/// Whether a command pushes with git. An agent never does: its work is fetched from the workspace. What hides it well
/// enough passes: it is no boundary.
pub fn pushes(command: &str) -> bool {
    let simple = command.split(['\n', ';', '|', '&', '(', ')', '`', '"', '\'']);
    simple.map(str::split_whitespace).any(|words| {
        let mut words = words.skip_while(|word| *word != "git" && !word.ends_with("/git"));
        words.next().is_some() && words.any(|word| word == "push")
    })
}

/// Whether a path lies in the workspace, as far as its text says.
pub fn is_inside(path: &str, workspace: &Path) -> bool {
    let path = Path::new(path);
    !path.components().any(|part| part == Component::ParentDir) && path.starts_with(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_seen() {
        for push in ["git push", "cd x && git -C y push origin HEAD", "sh -c 'git push'", "/usr/bin/git push"] {
            assert!(pushes(push), "{push}");
        }
        for none in ["git status", "git commit -m x; echo push", "echo git; push", "gitpush", "git stash\npush"] {
            assert!(!pushes(none), "{none}");
        }
    }

    #[test]
    fn what_lies_in_the_workspace() {
        let workspace = Path::new("/w/repo");
        assert!(is_inside("/w/repo/a/b", workspace));
        for outside in ["/w/repo2/a", "/w/repo/../x", "/etc/passwd", "a"] {
            assert!(!is_inside(outside, workspace), "{outside}");
        }
    }
}
