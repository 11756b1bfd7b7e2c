//! What work costs, by calendar month in UTC, and what it may cost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Date, Time};
use uuid::Uuid;

use crate::Timestamp;

/// A calendar month in UTC; on the wire `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The month that a moment is in.
    pub fn of(at: Timestamp) -> Self {
        let date = at.to_offset(time::UtcOffset::UTC).date();
        Self(date.year() * 12 + i32::from(u8::from(date.month())) - 1)
    }

    /// Months since the year 0: how storage names it.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The month of a number, where there is one: from the year 0 to 9999.
    pub const fn from_number(number: i32) -> Option<Self> {
        if 0 <= number && number < 12 * 10_000 { Some(Self(number)) } else { None }
    }

    /// Its first moment.
    pub fn begins(self) -> Timestamp {
        let month = u8::try_from(self.0.rem_euclid(12) + 1).ok().and_then(|month| time::Month::try_from(month).ok());
        let date = month.and_then(|month| Date::from_calendar_date(self.0.div_euclid(12), month, 1).ok());
        date.unwrap_or(Date::MAX).with_time(Time::MIDNIGHT).assume_utc()
    }

    /// The month after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The month so many before it, the year 0 at the earliest.
    #[must_use]
    pub fn back(self, months: u32) -> Self {
        Self(self.0.saturating_sub_unsigned(months).max(0))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1))
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
        text.split_once('-')
            .filter(|(year, month)| year.len() == 4 && month.len() == 2)
            .and_then(|(year, month)| Some((number(year)?, number(month).filter(|month| (1..=12).contains(month))?)))
            .map(|(year, month)| Self(year * 12 + month - 1))
            .ok_or_else(|| "a month is written like 2026-11".to_owned())
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a user may spend in a month over all tasks, agents and machines, and has spent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonthBudget {
    pub month: Month,
    /// US dollars.
    pub limit_usd: f64,
    /// US dollars.
    pub spent_usd: f64,
}

impl MonthBudget {
    /// US dollars that may still be spent.
    pub fn left(&self) -> f64 {
        (self.limit_usd - self.spent_usd).max(0.0)
    }

    pub fn is_spent(&self) -> bool {
        self.spent_usd >= self.limit_usd
    }

    /// How much of how much is spent, and when more may be: for within a sentence.
    pub fn reason(&self) -> String {
        format!("the {}", self.words())
    }

    /// The same as a sentence.
    pub fn sentence(&self) -> String {
        format!("The {}.", self.words())
    }

    fn words(&self) -> String {
        format!(
            "budget of {month} is spent ({spent} of {limit}), and the next month begins on {date} at 00:00 UTC",
            month = self.month,
            spent = dollars(self.spent_usd),
            limit = dollars(self.limit_usd),
            date = self.month.next().begins().date(),
        )
    }
}

/// An amount for people: cents, and what is less than one exactly enough to be seen.
pub fn dollars(usd: f64) -> String {
    if usd > 0.0 && usd < 0.01 { format!("${usd:.4}") } else { format!("${usd:.2}") }
}

/// Answer of `GET /api/usage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// The month that it is, in UTC.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2026-11"))]
    pub month: Month,
    /// US dollars that each user may spend in a month; absent where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_limit_usd: Option<f64>,
    /// When the next month begins.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub resets_at: Timestamp,
    /// The newest month first, and in it whoever spent most. One's own; for an administrator everybody's.
    pub usage: Vec<MonthUsage>,
}

/// What a user's work took in a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MonthUsage {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2026-11"))]
    pub month: Month,
    pub user_id: Uuid,
    pub user: String,
    /// Tasks that began to be worked on.
    pub tasks: u64,
    /// Minutes that agents worked, pauses left out.
    pub minutes: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// US dollars, as far as the agents say what they cost.
    pub cost_usd: f64,
}

/// Query of `GET /api/usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsageQuery {
    /// How many months, this one included: 1 to 120; 12 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub months: Option<u32>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_month_turns_at_midnight_in_utc() {
        let last = datetime!(2026-11-30 23:59:59.999_999 UTC);
        let november = Month::of(last);
        assert_eq!(november.to_string(), "2026-11");
        assert_eq!(Month::of(last + time::Duration::microseconds(1)), november.next());
        assert_eq!(november.next().begins(), datetime!(2026-12-01 0:00 UTC));
        // It is December in UTC while it is November in New York, and the other way round.
        assert_eq!(Month::of(datetime!(2026-11-30 20:00 -5)), november.next());
        assert_eq!(Month::of(datetime!(2026-12-01 1:00 +9)), november);
        // Years turn as well.
        assert_eq!(november.next().next().to_string(), "2027-01");
        assert_eq!(november.back(11).to_string(), "2025-12");
        assert_eq!(november.next().next().begins(), datetime!(2027-01-01 0:00 UTC));
    }

    #[test]
    fn months_are_read_as_they_are_written() {
        for number in [0, 1, 11, 12, 24_322, 119_999] {
            let month = Month::from_number(number).unwrap();
            assert_eq!(month.to_string().parse(), Ok(month));
            assert_eq!(Month::of(month.begins()), month);
            assert_eq!(Month::of(month.begins() - time::Duration::nanoseconds(1)).number(), number - 1);
        }
        for wrong in ["", "2026", "2026-13", "2026-00", "26-11", "2026-+1", "2026-1", "-026-11", "2026-11-01"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
        assert_eq!((Month::from_number(-1), Month::from_number(120_000)), (None, None));
    }

    #[test]
    fn a_budget_says_how_much_and_until_when() {
        let month = "2026-12".parse().unwrap();
        let budget = MonthBudget { month, limit_usd: 100.0, spent_usd: 100.126 };
        assert!(budget.is_spent() && budget.left() == 0.0);
        assert_eq!(
            budget.sentence(),
            "The budget of 2026-12 is spent ($100.13 of $100.00), and the next month begins on 2027-01-01 at 00:00 UTC."
        );
        assert_eq!(dollars(0.0012), "$0.0012");
        let less = MonthBudget { spent_usd: 99.5, ..budget };
        assert!(!less.is_spent() && (less.left() - 0.5).abs() < 1e-9);
    }
}
