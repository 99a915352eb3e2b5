//! When an account's daily quota begins anew.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

/// When an account's daily quota begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Day {
    /// Not known: what is used up rests for 24 hours.
    #[default]
    Unknown,
    /// At midnight UTC.
    Utc,
    /// At midnight in California, with its daylight saving time.
    Pacific,
    /// At midnight in China, UTC+8.
    China,
}

/// The time of California, as a POSIX rule: the clock goes forward on the second Sunday of March and back on the first
/// one of November, as it has since 2007 (Energy Policy Act of 2005, section 110). No time zone database is needed.
const PACIFIC: &str = "PST8PDT,M3.2.0,M11.1.0";

impl Day {
    /// How long the day that it is at `now` still has, if that is known: at least a moment, and at most 25 hours.
    pub(crate) fn rest(self, now: SystemTime) -> Option<Duration> {
        let zone = match self {
            Self::Unknown => return None,
            Self::Utc => TimeZone::UTC,
            Self::Pacific => TimeZone::posix(PACIFIC).ok()?,
            Self::China => TimeZone::fixed(jiff::tz::offset(8)),
        };
        let now = Timestamp::try_from(now).ok()?;
        let today: Date = now.to_zoned(zone.clone()).date();
        let midnight: Zoned = today.tomorrow().ok()?.to_zoned(zone).ok()?;
        Duration::try_from(midnight.timestamp().duration_since(now)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn rest(day: Day, now: &str) -> u64 {
        let now: Timestamp = now.parse().expect("a time");
        day.rest(now.into()).expect("a known day").as_secs()
    }

    #[test]
    fn a_day_of_utc_ends_at_midnight_utc() {
        assert_eq!(rest(Day::Utc, "2026-11-21T00:00:00Z"), 24 * HOUR);
        assert_eq!(rest(Day::Utc, "2026-11-21T23:59:59Z"), 1);
    }

    #[test]
    fn a_day_of_china_ends_eight_hours_before_midnight_utc() {
        assert_eq!(rest(Day::China, "2026-11-21T15:59:59Z"), 1);
        assert_eq!(rest(Day::China, "2026-11-21T16:00:00Z"), 24 * HOUR);
    }

    #[test]
    fn a_day_of_california_ends_seven_or_eight_hours_after_midnight_utc() {
        assert_eq!(rest(Day::Pacific, "2026-11-21T07:59:59Z"), 1);
        assert_eq!(rest(Day::Pacific, "2026-11-21T08:00:00Z"), 24 * HOUR);
        assert_eq!(rest(Day::Pacific, "2026-07-21T06:59:59Z"), 1);
        assert_eq!(rest(Day::Pacific, "2026-07-21T07:00:00Z"), 24 * HOUR);
    }

    #[test]
    fn the_days_on_which_the_clock_changes_have_23_and_25_hours() {
        // 2026-03-08 and 2026-11-01, from midnight to midnight.
        assert_eq!(rest(Day::Pacific, "2026-03-08T08:00:00Z"), 23 * HOUR);
        assert_eq!(rest(Day::Pacific, "2026-03-09T07:00:00Z"), 24 * HOUR);
        assert_eq!(rest(Day::Pacific, "2026-11-01T07:00:00Z"), 25 * HOUR);
        // Just before and just after the clock goes forward, and back.
        assert_eq!(rest(Day::Pacific, "2026-03-08T09:59:59Z"), 21 * HOUR + 1);
        assert_eq!(rest(Day::Pacific, "2026-03-08T10:00:00Z"), 21 * HOUR);
        assert_eq!(rest(Day::Pacific, "2026-11-01T08:59:59Z"), 23 * HOUR + 1);
        assert_eq!(rest(Day::Pacific, "2026-11-01T09:00:00Z"), 23 * HOUR);
    }

    #[test]
    fn an_unknown_day_and_a_clock_out_of_range_have_no_known_end() {
        assert_eq!(Day::Unknown.rest(SystemTime::UNIX_EPOCH), None);
        let absurd = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(Day::Pacific.rest(absurd), None);
    }
}
