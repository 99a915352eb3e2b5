//! An account's limit: so many requests in a minute, over all of its models.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

/// The count of one account in its current minute.
pub(super) struct Account {
    limit: Option<u32>,
    used: u32,
    reset: Option<Instant>,
}

/// The account has none left until the reset.
#[derive(Debug, PartialEq)]
pub(super) struct Spent {
    pub(super) limit: u32,
    pub(super) reset: Instant,
}

impl Account {
    pub(super) fn new(limit: Option<u32>) -> Self {
        Self {
            limit,
            used: 0,
            reset: None,
        }
    }

    /// Counts one request, unless the minute's share is used up.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Spent> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let reset = match self.reset {
            Some(reset) if now < reset => reset,
            _ => {
                self.used = 0;
                *self.reset.insert(now + WINDOW)
            }
        };
        if self.used >= limit {
            return Err(Spent { limit, reset });
        }
        self.used += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_a_limit_is_never_spent() {
        let mut account = Account::new(None);
        let now = Instant::now();
        assert!((0..1000).all(|_| account.admit(now).is_ok()));
    }

    #[test]
    fn a_spent_account_opens_at_its_reset_and_not_before() {
        let mut account = Account::new(Some(2));
        let start = Instant::now();
        let reset = start + WINDOW;
        let just_before = reset - Duration::from_millis(1);
        assert_eq!(account.admit(start), Ok(()));
        assert_eq!(account.admit(just_before), Ok(()));
        assert_eq!(account.admit(just_before), Err(Spent { limit: 2, reset }));
        assert_eq!(account.admit(reset), Ok(()));
    }
}
