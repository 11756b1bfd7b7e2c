//! Lists of tasks: whatever the filter, each task that it lets through, once, newest first, however small the pages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use cadence_protocol::{Task, TaskStatus};
use cadence_server::events::Hub;
use cadence_server::store::{Filter, Principal, Store};

struct World {
    store: Store,
    who: Principal,
    /// Newest first.
    tasks: Vec<Task>,
    _home: tempfile::TempDir,
}

impl World {
    /// Forty tasks, of which some are cancelled, and some of those put away.
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cadence.db"), Arc::new(Hub::default())).await.unwrap();
        let user_id = store.ensure_user("ann", "admin").await.unwrap();
        let who = Principal { user_id, name: "ann".into(), scopes: vec!["*".into()] };
        let mut tasks = Vec::new();
        for n in 0..40 {
            let mut new = support::new_task(user_id, &format!("Straße {n}: say \"100%\" of_it"));
            new.repo_name = ["app", "lib"][n % 2].into();
            (new.repo_path, new.repo_url) = match n % 3 {
                0 => (Some(format!("/srv/{}", new.repo_name)), None),
                _ => (None, Some(format!("https://git.invalid/{}.git", new.repo_name))),
            };
            let mut task = store.create_task(new, None).await.unwrap().0;
            if n % 4 == 0 {
                task = store.cancel(who.clone(), task.id).await.unwrap();
            }
            if n % 8 == 0 {
                task = store.archive(user_id, task.id, true).await.unwrap();
            }
            tasks.insert(0, task);
        }
        Self { store, who, tasks, _home: home }
    }

    async fn check(&self, filter: Filter, lets_through: impl Fn(&Task) -> bool) {
        let expected: Vec<_> = self.tasks.iter().filter(|task| lets_through(task)).map(|task| task.id).collect();
        for limit in [1, 7, 200] {
            let mut found = Vec::new();
            let mut before = None;
            loop {
                let filter = Filter { limit, before, ..filter.clone() };
                let (page, next) = self.store.tasks(self.who.user_id, filter).await.unwrap();
                assert!(page.len() <= limit as usize);
                found.extend(page.iter().map(|task| task.id));
                before = next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn every_filter_and_all_of_them_together() {
    let world = World::new().await;
    let status_sets = [
        vec![],
        vec![TaskStatus::Cancelled],
        vec![TaskStatus::Pending, TaskStatus::Cancelled, TaskStatus::Pending],
        vec![TaskStatus::Running],
    ];
    let repos = [None, Some("lib"), Some("/srv/app"), Some("https://git.invalid/lib.git"), Some("none")];
    for archived in [None, Some(true), Some(false)] {
        for statuses in &status_sets {
            for repo in repos {
                for text in [None, Some("traße 1"), Some("1:"), Some("none of them")] {
                    let filter = Filter {
                        statuses: statuses.clone(),
                        repo: repo.map(str::to_owned),
                        text: text.map(str::to_owned),
                        archived,
                        ..Filter::default()
                    };
                    let lets_through = |task: &Task| {
                        archived.is_none_or(|archived| archived == task.archived_at.is_some())
                            && (statuses.is_empty() || statuses.contains(&task.status))
                            && repo.is_none_or(|repo| {
                                let places = [&task.repo_path, &task.repo_url];
                                task.repo_name == repo || places.into_iter().any(|place| place.as_deref() == Some(repo))
                            })
                            && text.is_none_or(|text| task.task_description.contains(text))
                    };
                    world.check(filter, lets_through).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_text_is_found_as_it_was_typed() {
    let world = World::new().await;
    let none = |_: &Task| false;
    let all = |_: &Task| true;
    let text = |text: &str| Filter { text: Some(text.into()), ..Filter::default() };
    for found in ["STRASSE".replace("SS", "ß").as_str(), "say \"100%\"", "SAY \"", "%", "f_i", "ß", " of_it"] {
        world.check(text(found), all).await;
    }
    for missing in ["100% of", "\"\"", "say*", "fit", "a_s", "Straße OR say", "__"] {
        world.check(text(missing), none).await;
    }
    // The beginning of an id is found before a text.
    let one = &world.tasks[17];
    let (id, short) = (one.id, one.id.to_string()[..13].to_owned());
    world.check(text(&short), |task| task.id == id).await;
    // What is removed is not found any more.
    let gone = world.tasks.iter().find(|task| task.status == TaskStatus::Cancelled).unwrap();
    world.store.delete_task(world.who.user_id, gone.id).await.unwrap();
    world.check(text("traße"), |task| task.id != gone.id).await;
}

impl World {
    async fn found(&self, text: &str) -> Vec<uuid::Uuid> {
        let filter = Filter { text: Some(text.into()), limit: 1000, ..Filter::default() };
        self.store.tasks(self.who.user_id, filter).await.unwrap().0.iter().map(|task| task.id).collect()
    }

    async fn add(&self, description: &str) -> uuid::Uuid {
        self.store.create_task(support::new_task(self.who.user_id, description), None).await.unwrap().0.id
    }

    async fn remove(&self, id: uuid::Uuid) {
        self.store.cancel(self.who.clone(), id).await.unwrap();
        self.store.delete_task(self.who.user_id, id).await.unwrap();
    }
}

/// The number of the newest task is given again when it is removed; what is indexed late must not miss it for that.
#[tokio::test]
async fn the_newest_task_is_found_also_where_another_was_removed() {
    let world = World::new().await;
    let first = world.add("newest first").await;
    assert_eq!(world.found("newest").await, [first]);
    world.remove(first).await;
    assert!(world.found("newest").await.is_empty());
    let second = world.add("newest second").await;
    assert_eq!(world.found("newest").await, [second]);
    // Removed before anybody looked for it.
    let third = world.add("newest third").await;
    world.remove(third).await;
    assert_eq!(world.found("newest").await, [second]);
    let fourth = world.add("newest fourth").await;
    world.remove(second).await;
    assert_eq!(world.found("newest").await, [fourth]);
}

#[tokio::test]
async fn many_new_tasks_are_found_and_gone_again() {
    let world = World::new().await;
    let mut added = Vec::new();
    for n in 0..1100 {
        added.insert(0, world.add(&format!("crowd {n}")).await);
    }
    assert_eq!(world.found("crowd").await.len(), 1000);
    assert_eq!(world.found("crowd 1099").await, added[..1]);
    assert_eq!(world.found("crowd 13").await.len(), 11);
}
