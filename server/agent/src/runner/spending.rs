//! What an attempt may spend and has spent, whatever its agent knows of budgets. Pure.

use cadence_protocol::{Claim, MonthBudget, Timestamp, Usage, dollars};

/// What is less than this is nothing, in US dollars: costs are sums of many small ones.
const NOTHING: f64 = 1e-9;

/// Money and tokens of an attempt, and its bounds.
#[derive(Clone, Debug, Default)]
pub struct Spending {
    /// US dollars that the task might still spend when the attempt was taken.
    task: Option<f64>,
    /// What it had spent by then, earlier attempts included.
    task_before: f64,
    month: Option<MonthBudget>,
    /// Of the attempt when it was taken.
    taken: Usage,
    /// Of the attempt before the process that runs.
    before: Usage,
    /// Of the attempt.
    usage: Usage,
    /// Whether the process that runs has told anything.
    told: bool,
    /// Whether it was said that the agent does not tell what it costs.
    said: bool,
}

impl Spending {
    pub fn new(claim: &Claim) -> Self {
        Self {
            task: claim.spec.budget_usd,
            task_before: claim.task.metadata.estimated_cost.unwrap_or_default(),
            month: claim.spec.month,
            taken: claim.usage,
            before: claim.usage,
            usage: claim.usage,
            ..Self::default()
        }
    }

    /// A process begins: what it tells counts from nothing.
    pub fn begin(&mut self) {
        self.before = self.usage;
        self.told = false;
    }

    /// Takes in the total of the process that runs, and gives that of the attempt. What an agent takes back was spent all the
    /// same.
    pub fn told(&mut self, process: Usage) -> Usage {
        self.told = true;
        let cost = if process.cost_usd.is_finite() { process.cost_usd.max(0.0) } else { 0.0 };
        self.usage = Usage {
            cost_usd: (self.before.cost_usd + cost).max(self.usage.cost_usd),
            input_tokens: self.before.input_tokens.saturating_add(process.input_tokens).max(self.usage.input_tokens),
            output_tokens: self
                .before
                .output_tokens
                .saturating_add(process.output_tokens)
                .max(self.usage.output_tokens),
        };
        self.usage
    }

    fn spent(&self) -> f64 {
        self.usage.cost_usd - self.taken.cost_usd
    }

    /// The month's bound, while it is that month.
    fn month(&self, now: Timestamp) -> Option<MonthBudget> {
        let month = self.month.filter(|month| now < month.month.next().begins())?;
        Some(MonthBudget { spent_usd: month.spent_usd + self.spent(), ..month })
    }

    /// US dollars that an agent may still spend.
    pub fn left(&self, now: Timestamp) -> Option<f64> {
        let task = self.task.map(|usd| (usd - self.spent()).max(0.0));
        let month = self.month(now).map(|month| month.left());
        task.into_iter().chain(month).reduce(f64::min).map(|usd| if usd <= NOTHING { 0.0 } else { usd })
    }

    /// Whether nothing is left to spend.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.left(now).is_some_and(|usd| usd <= 0.0)
    }

    /// The bound that is nearest: how much of how much. None where there is no bound.
    pub fn sentence(&self, now: Timestamp) -> Option<String> {
        let month = self.month(now);
        let task = self.task.map(|usd| usd - self.spent());
        match (task, month) {
            (Some(task), month) if month.is_none_or(|month| task <= month.left()) => {
                let (spent, whole) =
                    (self.task_before + self.spent(), self.task_before + self.task.unwrap_or_default());
                Some(format!("The budget of the task is spent: {} of {}.", dollars(spent), dollars(whole)))
            }
            (_, Some(month)) => Some(month.sentence()),
            (_, None) => None,
        }
    }

    /// Whether it is to be said, for the first time, that what the agent tells does not show what it costs. Where a turn has
    /// ended, it has told what it ever will of it.
    pub fn is_blind(&mut self, turn_ended: bool) -> bool {
        let bounded = self.task.is_some() || self.month.is_some();
        let process = (self.usage.cost_usd - self.before.cost_usd, self.usage.input_tokens - self.before.input_tokens);
        let tokens_alone = process.0 <= 0.0 && process.1 > 0;
        let blind = bounded && !self.said && (tokens_alone || (turn_ended && !self.told));
        self.said |= blind;
        blind
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: Timestamp = datetime!(2026-11-25 12:00 UTC);

    fn cost(cost_usd: f64) -> Usage {
        Usage { cost_usd, ..Usage::default() }
    }

    fn month(limit_usd: f64, spent_usd: f64) -> MonthBudget {
        MonthBudget { month: "2026-11".parse().unwrap(), limit_usd, spent_usd }
    }

    #[test]
    fn the_tasks_budget_is_over_all_attempts_and_processes() {
        let taken = cost(0.25);
        let mut spending =
            Spending { task: Some(0.5), task_before: 1.5, taken, before: taken, usage: taken, ..Spending::default() };
        assert_eq!(spending.told(cost(0.25)), cost(0.5));
        assert_eq!(spending.left(NOW), Some(0.25));
        spending.begin();
        assert_eq!(spending.told(cost(0.3)), cost(0.8));
        assert!(spending.is_spent(NOW));
        assert_eq!(spending.sentence(NOW).unwrap(), "The budget of the task is spent: $2.05 of $2.00.");
    }

    #[test]
    fn the_nearest_bound_counts_and_a_month_for_as_long_as_it_lasts() {
        let mut spending = Spending { task: Some(5.0), month: Some(month(100.0, 99.0)), ..Spending::default() };
        assert_eq!(spending.left(NOW), Some(1.0));
        spending.told(cost(1.25));
        assert!(spending.is_spent(NOW));
        let said = spending.sentence(NOW).unwrap();
        assert!(
            said.starts_with("The budget of 2026-11 is spent ($100.25 of $100.00), and the next month begins"),
            "{said}"
        );
        // What was spent in November is none of December's.
        let december = datetime!(2026-12-01 0:00 UTC);
        assert!(!spending.is_spent(december));
        assert_eq!(spending.left(december), Some(3.75));
        spending.told(cost(5.0));
        assert!(spending.sentence(december).unwrap().contains("$5.00 of $5.00"));
    }

    #[test]
    fn without_a_bound_nothing_is_spent_and_nothing_said() {
        let mut spending = Spending::default();
        spending.told(Usage { input_tokens: 1, ..cost(1e9) });
        assert_eq!((spending.left(NOW), spending.sentence(NOW)), (None, None));
        assert!(!spending.is_spent(NOW) && !spending.is_blind(true));
    }

    #[test]
    fn tokens_without_a_price_are_said_once() {
        let mut spending = Spending { task: Some(1.0), ..Spending::default() };
        assert!(!spending.is_blind(false), "it may still tell");
        spending.told(Usage { input_tokens: 10, ..Usage::default() });
        assert!(spending.is_blind(false));
        spending.begin();
        assert!(!spending.is_blind(true), "it was said");
        // One that tells nothing at all is seen when its turn is over.
        let mut silent = Spending { task: Some(1.0), ..Spending::default() };
        assert!(!silent.is_blind(false) && silent.is_blind(true));
        // One that has cost nothing, and says so, is heard.
        let mut free = Spending { task: Some(1.0), ..Spending::default() };
        free.told(Usage::default());
        assert!(!free.is_blind(true));
    }

    proptest! {
        #[test]
        fn whatever_is_told_the_sum_never_shrinks_and_is_a_number(
            told in prop::collection::vec((any::<f64>(), any::<u64>(), any::<bool>()), 0..20)
        ) {
            let mut spending = Spending { task: Some(1.0), ..Spending::default() };
            let mut last = Usage::default();
            for (cost_usd, tokens, begins) in told {
                if begins {
                    spending.begin();
                }
                let cost_usd = cost_usd % 1e12;
                let now = spending.told(Usage { cost_usd, input_tokens: tokens, output_tokens: tokens });
                prop_assert!(now.cost_usd.is_finite() && now.cost_usd >= last.cost_usd);
                prop_assert!(now.input_tokens >= last.input_tokens);
                prop_assert_eq!(spending.is_spent(NOW), now.cost_usd >= 1.0 - NOTHING);
                spending.is_blind(true);
                last = now;
            }
        }
    }
}
