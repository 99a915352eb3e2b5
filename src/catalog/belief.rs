//! For how long a listed price of zero is believed.
//!
//! A listing says what a model costs at the moment at which it is read, and a service may change that at any time. Where
//! a price decides what is free, it is therefore believed for as long as the listing is read again and again, and only
//! for a while after it can be read no more.

use std::time::Duration;

use tokio::time::Instant;

/// After so long without a good listing its models are not picked at random any more. A request that names one is still sent to it.
pub(crate) const FRESH: Duration = Duration::from_secs(3600);
/// After so long without a good listing its models leave.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// How far a listed price of zero is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It can be picked at random.
    Fresh,
    /// It can be asked for by name.
    ByName,
    /// It is not free any more.
    Over,
}

impl Belief {
    /// How far a price is believed at `now` that was last `read` then.
    pub(crate) fn at(read: Instant, now: Instant) -> Self {
        match now.saturating_duration_since(read) {
            age if age < FRESH => Self::Fresh,
            age if age < BELIEVED => Self::ByName,
            _ => Self::Over,
        }
    }

    /// When a price that was last `read` then is believed no more.
    pub(crate) fn end(read: Instant) -> Instant {
        read + BELIEVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_price_is_fresh_for_an_hour_and_believed_by_name_for_a_day_to_the_millisecond() {
        let read = Instant::now();
        let after = |millis| Belief::at(read, read + Duration::from_millis(millis));
        let (hour, day) = (3_600_000, 86_400_000);
        assert_eq!(after(0), Belief::Fresh);
        assert_eq!(after(hour - 1), Belief::Fresh);
        assert_eq!(after(hour), Belief::ByName);
        assert_eq!(after(day - 1), Belief::ByName);
        assert_eq!(after(day), Belief::Over);
        assert_eq!(Belief::end(read), read + Duration::from_millis(day));
    }
}
