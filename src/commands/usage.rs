//! `cadence usage`: what work took, month by month, against what it may cost.

use cadence_protocol::{MonthUsage, UsageReport};

use super::Context;
use crate::error::{CommandResult, Exit};
use crate::render::{BOLD, DIM, Line, PLAIN, RED, table};
use crate::text::{clean_line, cut, money};

/// Show what work took by month: tasks, minutes, tokens and cost, against the limit of a month
///
/// Months are calendar months in UTC. What is spent counts in the month in which the agent tells it, over all agents and
/// machines, and stays when a task is removed. The limit is `month_usd` in the section `[limits]` of the server's settings; it
/// is read when the server starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence usage
  cadence usage --months 3 --json
  cadence config set limits.month_usd 100 && cadence server stop    the limit counts at the next start")]
pub struct Args {
    /// How many months, this one included
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=120))]
    months: u32,
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    let report = client.rest()?.usage(args.months).await?;
    if context.json {
        context.terminal.json(&report)?;
        return Ok(Exit::Done);
    }
    if report.usage.is_empty() {
        context.terminal.note(&[Line::of(DIM, "nothing was worked on in these months")]);
    } else {
        context.terminal.print(&rows(&report, context.terminal.columns()))?;
    }
    if let Some(limit) = limit(&report) {
        context.terminal.note(&[limit]);
    }
    Ok(Exit::Done)
}

fn rows(report: &UsageReport, width: Option<usize>) -> Vec<Line> {
    let by_user = report.usage.iter().any(|one| one.user_id != report.usage[0].user_id);
    let head = ["MONTH", "USER", "TASKS", "MINUTES", "TOKENS IN", "TOKENS OUT", "COST"];
    let shown = |cells: Vec<Line>| -> Vec<Line> {
        cells.into_iter().enumerate().filter(|(column, _)| by_user || *column != 1).map(|(_, cell)| cell).collect()
    };
    let mut rows = vec![shown(head.iter().map(|name| Line::of(DIM, name)).collect())];
    for one in &report.usage {
        let spent = one.month == report.month && report.month_limit_usd.is_some_and(|limit| one.cost_usd >= limit);
        rows.push(shown(vec![
            Line::of(PLAIN, one.month.to_string()),
            Line::of(BOLD, cut(&clean_line(&one.user), 30)),
            Line::of(PLAIN, one.tasks.to_string()),
            Line::of(PLAIN, format!("{:.1}", one.minutes)),
            Line::of(PLAIN, tokens(one.input_tokens)),
            Line::of(PLAIN, tokens(one.output_tokens)),
            Line::of(if spent { RED } else { PLAIN }, money(one.cost_usd)),
        ]));
    }
    table(rows, width)
}

/// How much of the month's limit is left, for each who has spent of it.
fn limit(report: &UsageReport) -> Option<Line> {
    let limit = report.month_limit_usd?;
    let date = report.resets_at.date();
    let this: Vec<&MonthUsage> = report.usage.iter().filter(|one| one.month == report.month).collect();
    let words = match this.as_slice() {
        [one] => format!("{} of {} in {}", money(one.cost_usd), money(limit), report.month),
        _ => format!("each user may spend {} in {}", money(limit), report.month),
    };
    Some(Line::of(DIM, format!("{words}; the next month begins on {date} at 00:00 UTC")))
}

/// A number of tokens in three digits or so.
fn tokens(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::render::plain;

    fn report(usage: Vec<MonthUsage>) -> UsageReport {
        let month: cadence_protocol::Month = "2026-11".parse().unwrap();
        UsageReport { month, month_limit_usd: Some(100.0), resets_at: month.next().begins(), usage }
    }

    fn usage(month: &str, user: u128, name: &str, cost_usd: f64) -> MonthUsage {
        MonthUsage {
            month: month.parse().unwrap(),
            user_id: uuid::Uuid::from_u128(user),
            user: name.into(),
            tasks: 12,
            minutes: 34.56,
            input_tokens: 1_234_567,
            output_tokens: 9_876,
            cost_usd,
        }
    }

    #[test]
    fn months_are_a_table_against_the_limit() {
        let one = report(vec![usage("2026-11", 1, "ann", 100.5), usage("2026-10", 1, "ann", 0.004)]);
        insta::assert_snapshot!(plain(&rows(&one, Some(80))), @r"
        MONTH    TASKS  MINUTES  TOKENS IN  TOKENS OUT  COST
        2026-11  12     34.6     1.2M       9876        $100.50
        2026-10  12     34.6     1.2M       9876        $0.0040
        ");
        insta::assert_snapshot!(limit(&one).unwrap().plain(), @"$100.50 of $100.00 in 2026-11; the next month begins on 2026-12-01 at 00:00 UTC");
    }

    #[test]
    fn an_administrator_sees_who_it_was() {
        let all = report(vec![usage("2026-11", 1, "ann", 100.5), usage("2026-11", 2, "ben", 3.0)]);
        insta::assert_snapshot!(plain(&rows(&all, Some(80))), @r"
        MONTH    USER  TASKS  MINUTES  TOKENS IN  TOKENS OUT  COST
        2026-11  ann   12     34.6     1.2M       9876        $100.50
        2026-11  ben   12     34.6     1.2M       9876        $3.00
        ");
        insta::assert_snapshot!(limit(&all).unwrap().plain(), @"each user may spend $100.00 in 2026-11; the next month begins on 2026-12-01 at 00:00 UTC");
    }
}
