//! Which attempt runs where. Pure.

use std::collections::HashMap;

use cadence_protocol::Executor;
use uuid::Uuid;

use crate::store::{Candidate, Loads};

/// Somewhere that agents run: the server's own machine, a daemon, or an endpoint that tasks are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who has its leases.
    pub holder: Uuid,
    /// What people call it.
    pub name: String,
    pub executor: Executor,
    /// None: the server's own.
    pub machine_id: Option<Uuid>,
    pub labels: Vec<String>,
    /// None: whatever the other side has.
    pub agents: Option<Vec<String>>,
    /// URLs of the repositories that it has a mirror of.
    pub repositories: Vec<String>,
    pub capacity: u32,
    pub draining: bool,
    /// Why it runs nothing now, in a sentence; it will by itself.
    pub away: Option<String>,
    /// The one user that it works for; none: for all.
    pub serves: Option<Uuid>,
}

/// Why a place cannot run an attempt, from what is least likely to change to what changes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum No {
    /// Asked for elsewhere, bound to another machine, or not this user's.
    Elsewhere,
    Labels,
    Agent,
    Draining,
    Away,
}

impl Place {
    fn takes(&self, candidate: &Candidate) -> Result<(), No> {
        let here = self.machine_id == candidate.machine_id && self.executor == candidate.executor;
        if (candidate.pinned && !here)
            || candidate.wanted.is_some_and(|wanted| wanted != self.executor)
            || (candidate.is_local && self.executor != Executor::Local)
            || self.serves.is_some_and(|user| user != candidate.user_id)
            // What it holds itself it does not take again, however late it is with its heartbeat.
            || candidate.holder == Some(self.holder)
        {
            return Err(No::Elsewhere);
        }
        // Labels say where something may begin; what has begun goes on where it is.
        if !candidate.pinned && !candidate.labels.iter().all(|label| self.labels.contains(label)) {
            return Err(No::Labels);
        }
        if self.agents.as_ref().is_some_and(|agents| !agents.contains(&candidate.agent)) {
            return Err(No::Agent);
        }
        if self.draining && !candidate.pinned {
            return Err(No::Draining);
        }
        if self.away.is_some() {
            return Err(No::Away);
        }
        Ok(())
    }
}

/// What became of the attempts that wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Index of a candidate, and of the place that takes it.
    pub placed: Vec<(usize, usize)>,
    /// Indices of candidates that no place could take even if it were free, and why.
    pub stuck: Vec<(usize, String)>,
}

/// Gives attempts to places. `open` tells which places want one more; each gets one. The user with the fewest running
/// attempts comes first, then the oldest attempt; it goes where its repository is, then where most is free.
pub fn plan(candidates: &[Candidate], places: &[Place], open: &[bool], loads: &Loads) -> Plan {
    let mut plan = Plan::default();
    let mut open = open.to_vec();
    let mut users: HashMap<Uuid, u32> = loads.by_user.clone();
    let mut waiting: Vec<usize> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        // What has begun is ended by whoever takes it, and its work comes home.
        if !candidate.begun
            && let Some(reason) = loads.exhausted.get(&candidate.user_id)
        {
            plan.stuck.push((index, reason.clone()));
            continue;
        }
        match places.iter().any(|place| place.takes(candidate).is_ok()) {
            true => waiting.push(index),
            false => plan.stuck.push((index, reason(candidate, places))),
        }
    }
    while open.contains(&true) {
        let next = waiting
            .iter()
            .enumerate()
            .filter_map(|(at, &index)| {
                let candidate = &candidates[index];
                let place = best(candidate, places, &open, loads)?;
                Some(((users.get(&candidate.user_id).copied().unwrap_or_default(), candidate.number), at, place))
            })
            .min();
        let Some((_, at, place)) = next else { break };
        let index = waiting.remove(at);
        *users.entry(candidates[index].user_id).or_default() += 1;
        open[place] = false;
        plan.placed.push((index, place));
    }
    plan
}

/// The place that wants one more and suits an attempt best.
fn best(candidate: &Candidate, places: &[Place], open: &[bool], loads: &Loads) -> Option<usize> {
    let suits = |index: &usize| open[*index] && places[*index].takes(candidate).is_ok();
    (0..places.len()).filter(suits).max_by_key(|&index| {
        let place = &places[index];
        let cached = candidate.repo_url.as_ref().is_some_and(|url| place.repositories.contains(url));
        let held = loads.by_holder.get(&place.holder).copied().unwrap_or_default();
        let free = u64::from(place.capacity.saturating_sub(held)) * 1000 / u64::from(place.capacity.max(1));
        // Of equals the first.
        (cached, free, std::cmp::Reverse(index))
    })
}

/// What has to come about before the attempt can run, in a sentence.
fn reason(candidate: &Candidate, places: &[Place]) -> String {
    let away = places.iter().find(|place| place.takes(candidate) == Err(No::Away)).and_then(|place| place.away.clone());
    if let Some(away) = away {
        return away;
    }
    if candidate.pinned {
        return match candidate.executor {
            Executor::Daemon => "the machine that has its workspace is not connected; `cadence machines ls` shows it, \
                                 and `cadence machines rm` gives the task to another"
                .to_owned(),
            Executor::Sse => {
                "it goes on at the endpoint where it began, and this server has none now (`[bridge] endpoint`)"
                    .to_owned()
            }
            executor => format!("it goes on where it began ({executor}), and that does not run it now"),
        };
    }
    let nearest = places.iter().filter_map(|place| place.takes(candidate).err()).max();
    match (nearest, candidate.wanted) {
        (Some(No::Draining), _) => "every machine that could run it is draining".to_owned(),
        (Some(No::Agent), _) => format!("no machine that is connected has the agent `{}`", candidate.agent),
        (Some(No::Labels), _) => {
            let labels: Vec<_> = candidate.labels.iter().map(|label| format!("`{label}`")).collect();
            match labels.as_slice() {
                [label] => format!("no machine that is connected has the label {label}"),
                _ => format!("no machine that is connected has all the labels {}", labels.join(", ")),
            }
        }
        (_, Some(Executor::Daemon)) => "no machine of yours is connected; start one with `cadence daemon`".to_owned(),
        (_, Some(Executor::Sse)) => "this server has no bridge endpoint (`[bridge] endpoint`)".to_owned(),
        (_, Some(executor)) => format!("nothing that is connected runs `{executor}`"),
        (_, None) => "nothing that is connected can run it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn place(n: u128, executor: Executor) -> Place {
        let id = Uuid::from_u128(n);
        Place {
            holder: id,
            name: format!("place {n}"),
            executor,
            machine_id: (executor == Executor::Daemon).then_some(id),
            labels: Vec::new(),
            agents: Some(vec!["demo".into()]),
            repositories: Vec::new(),
            capacity: 2,
            draining: false,
            away: None,
            serves: None,
        }
    }

    fn candidate(number: i64) -> Candidate {
        Candidate {
            number,
            task_id: Uuid::from_u128(number.unsigned_abs().into()),
            attempt: 1,
            user_id: Uuid::from_u128(1),
            agent: "demo".into(),
            labels: Vec::new(),
            repo_url: Some("https://git.example/app".into()),
            is_local: false,
            wanted: None,
            executor: Executor::Local,
            machine_id: None,
            pinned: false,
            begun: false,
            holder: None,
            reason: None,
        }
    }

    fn placed(candidates: &[Candidate], places: &[Place], loads: &Loads) -> Vec<(usize, usize)> {
        plan(candidates, places, &vec![true; places.len()], loads).placed
    }

    fn stuck(candidate: Candidate, places: &[Place]) -> String {
        plan(&[candidate], places, &vec![true; places.len()], &Loads::default()).stuck.remove(0).1
    }

    #[test]
    fn the_oldest_comes_first_and_each_place_takes_one() {
        let places = [place(1, Executor::Local), place(2, Executor::Daemon)];
        let got = placed(&[candidate(9), candidate(3), candidate(5)], &places, &Loads::default());
        assert_eq!(got, [(1, 0), (2, 1)]);
    }

    #[test]
    fn a_repository_goes_where_it_is_and_then_where_most_is_free() {
        let mut places = [place(1, Executor::Local), place(2, Executor::Daemon), place(3, Executor::Daemon)];
        places[2].repositories.push("https://git.example/app".into());
        assert_eq!(placed(&[candidate(1)], &places, &Loads::default()), [(0, 2)]);
        places[2].repositories.clear();
        let mut loads = Loads::default();
        loads.by_holder.insert(places[0].holder, 1);
        loads.by_holder.insert(places[1].holder, 2);
        assert_eq!(placed(&[candidate(1)], &places, &loads), [(0, 2)]);
    }

    #[test]
    fn whoever_has_least_running_comes_first() {
        let places = [place(1, Executor::Local)];
        let late = Candidate { user_id: Uuid::from_u128(2), ..candidate(50) };
        let mut loads = Loads::default();
        loads.by_user.insert(Uuid::from_u128(1), 3);
        assert_eq!(placed(&[candidate(1), candidate(2), late], &places, &loads), [(2, 0)]);
    }

    #[test]
    fn whoever_has_spent_his_month_waits_and_keeps_nobody_from_work() {
        let places = [place(1, Executor::Local), place(2, Executor::Local)];
        let other = Candidate { user_id: Uuid::from_u128(2), ..candidate(9) };
        let begun = Candidate { begun: true, ..candidate(5) };
        let mut loads = Loads::default();
        loads.exhausted.insert(Uuid::from_u128(1), "spent".into());
        let plan = plan(&[candidate(1), begun, other], &places, &[true, true], &loads);
        assert_eq!(plan.stuck, [(0, "spent".to_owned())]);
        // What has begun is taken, so that it ends and its work comes home.
        assert_eq!(plan.placed.iter().map(|p| p.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_cannot_run_says_why() {
        let local = [place(1, Executor::Local)];
        let gpu = Candidate { labels: vec!["gpu".into()], ..candidate(1) };
        assert_eq!(stuck(gpu.clone(), &local), "no machine that is connected has the label `gpu`");
        let agent = Candidate { agent: "codex".into(), ..candidate(1) };
        assert_eq!(stuck(agent, &local), "no machine that is connected has the agent `codex`");
        let daemon = Candidate { wanted: Some(Executor::Daemon), ..candidate(1) };
        assert_eq!(stuck(daemon, &local), "no machine of yours is connected; start one with `cadence daemon`");
        let sse = Candidate { wanted: Some(Executor::Sse), ..candidate(1) };
        assert_eq!(stuck(sse.clone(), &local), "this server has no bridge endpoint (`[bridge] endpoint`)");
        let draining = [Place { draining: true, labels: vec!["gpu".into()], ..place(2, Executor::Daemon) }];
        assert_eq!(stuck(gpu, &draining), "every machine that could run it is draining");
        let away = [Place { away: Some("https://vps.example does not answer".into()), ..place(3, Executor::Sse) }];
        assert_eq!(stuck(sse.clone(), &away), "https://vps.example does not answer");
        let begun = Candidate { pinned: true, executor: Executor::Sse, ..candidate(1) };
        assert_eq!(stuck(begun.clone(), &away), "https://vps.example does not answer");
        assert!(stuck(begun, &local).contains("`[bridge] endpoint`"));
        let pinned = Candidate {
            pinned: true,
            executor: Executor::Daemon,
            machine_id: Some(Uuid::from_u128(8)),
            ..candidate(1)
        };
        assert!(stuck(pinned, &draining).starts_with("the machine that has its workspace is not connected"));
    }

    #[test]
    fn what_has_begun_goes_on_where_it_is_even_while_that_is_draining() {
        let places = [place(1, Executor::Local), Place { draining: true, ..place(2, Executor::Daemon) }];
        let begun = Candidate {
            pinned: true,
            executor: Executor::Daemon,
            machine_id: places[1].machine_id,
            labels: vec!["moved".into()],
            ..candidate(1)
        };
        assert_eq!(placed(std::slice::from_ref(&begun), &places, &Loads::default()), [(0, 1)]);
        // Unless it holds it itself: what it forgot it says in its hello.
        let held = Candidate { holder: Some(places[1].holder), ..begun };
        assert_eq!(placed(&[held], &places, &Loads::default()), []);
    }

    #[test]
    fn a_checkout_on_this_machine_stays_here_and_a_members_machine_serves_him_alone() {
        let places = [Place { serves: Some(Uuid::from_u128(7)), ..place(2, Executor::Daemon) }];
        assert_eq!(placed(&[candidate(1)], &places, &Loads::default()), []);
        let own = Candidate { user_id: Uuid::from_u128(7), ..candidate(2) };
        assert_eq!(placed(std::slice::from_ref(&own), &places, &Loads::default()), [(0, 0)]);
        assert_eq!(placed(&[Candidate { is_local: true, ..own }], &places, &Loads::default()), []);
    }

    proptest! {
        #[test]
        fn nothing_is_placed_twice_and_nothing_that_fits_is_left(
            seeds in prop::collection::vec((0u8..4, 0u8..3, any::<bool>()), 0..40),
            wants in prop::collection::vec((any::<bool>(), 0u8..3, any::<bool>()), 0..8),
        ) {
            let label = |n: u8| if n == 0 { Vec::new() } else { vec![format!("l{n}")] };
            let candidates: Vec<_> = seeds.iter().enumerate().map(|(n, &(user, of, local))| Candidate {
                user_id: Uuid::from_u128(user.into()), labels: label(of), is_local: local, ..candidate(n as i64)
            }).collect();
            let places: Vec<_> = wants.iter().enumerate().map(|(n, &(daemon, of, draining))| Place {
                labels: label(of), draining,
                ..place(n as u128 + 1, if daemon { Executor::Daemon } else { Executor::Local })
            }).collect();
            let plan = plan(&candidates, &places, &vec![true; places.len()], &Loads::default());
            let mut seen: Vec<_> = plan.placed.iter().map(|p| p.0).collect();
            let mut taken: Vec<_> = plan.placed.iter().map(|p| p.1).collect();
            seen.sort_unstable();
            taken.sort_unstable();
            prop_assert!(seen.windows(2).all(|w| w[0] != w[1]) && taken.windows(2).all(|w| w[0] != w[1]));
            for &(c, p) in &plan.placed {
                prop_assert!(places[p].takes(&candidates[c]).is_ok());
            }
            for (c, candidate) in candidates.iter().enumerate().filter(|(c, _)| seen.binary_search(c).is_err()) {
                let free = (0..places.len()).filter(|p| taken.binary_search(p).is_err());
                prop_assert!(free.clone().all(|p| places[p].takes(candidate).is_err()), "{c} could run");
            }
        }
    }
}
