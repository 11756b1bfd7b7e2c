//! What git may use to get at a task's repository.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::mirror::Source;
use super::{CacheLimits, Environment, Origin, Partial, WorkspaceError, Workspaces};
use crate::git::credentials::{self, HostCredentials};

/// What a machine's settings say about repositories.
#[derive(Clone, Debug)]
pub struct RepositorySettings {
    pub cache: CacheLimits,
    pub partial: Partial,
    pub credentials: HostCredentials,
    /// See [`Workspaces::with_dependencies`].
    pub install: bool,
}

impl Default for RepositorySettings {
    fn default() -> Self {
        Self {
            cache: CacheLimits::default(),
            partial: Partial::default(),
            credentials: HostCredentials::new(),
            install: true,
        }
    }
}

impl Workspaces {
    /// Goes by the machine's settings.
    #[must_use]
    pub fn with_repositories(self, settings: RepositorySettings) -> Self {
        let RepositorySettings { cache, partial, credentials, install } = settings;
        self.with_cache(cache).with_partial(partial).with_credentials(credentials).with_dependencies(install)
    }

    /// The program that gives git its credentials, called as `PROGRAM git-credential`: the cadence program. Without it git has
    /// those of the user's own helpers alone.
    #[must_use]
    pub fn with_helper(mut self, program: &Path) -> Self {
        self.helper = Some(program.to_path_buf());
        self
    }

    /// The machine's own credentials; a task's come before them.
    #[must_use]
    pub fn with_credentials(mut self, credentials: HostCredentials) -> Self {
        self.credentials = Arc::new(credentials);
        self
    }

    /// The environment for git that talks to where the repository comes from: with the task's credentials in it.
    pub(super) fn granted(&self, source: &Source, environment: &Environment) -> Result<Environment, WorkspaceError> {
        let Source::Url { url, credentials: embedded } = source else { return Ok(environment.clone()) };
        let mut environment = environment.clone();
        match (&self.helper, embedded) {
            (Some(helper), embedded) => {
                let now = SystemTime::now();
                let all = credentials::for_task(Some(url), embedded.as_ref(), &environment, &self.credentials, now)?;
                credentials::grant(&mut environment, helper, &all);
            }
            (None, Some(_)) => {
                let reason = "it holds a user name or password, and there is no program that could give them to git";
                return Err(WorkspaceError::Origin { origin: url.clone(), reason });
            }
            (None, None) => {}
        }
        Ok(environment)
    }

    /// Variables for an agent, with which git in its workspace uses the token that the task itself brought. The machine's
    /// credentials stay with cadence.
    pub fn agent_variables(&self, origin: &Origin, environment: &Environment) -> Vec<(String, String)> {
        match (&self.helper, origin) {
            (Some(helper), Origin::Url(url)) => credentials::agent_variables(Some(url), environment, helper),
            _ => Vec::new(),
        }
    }
}
