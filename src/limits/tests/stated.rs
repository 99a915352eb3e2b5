use proptest::prelude::*;

use super::*;

fn said(remaining: u64, until: Instant) -> StatedLimit {
    StatedLimit {
        of: Quantity::Requests,
        window: Some(secs(60)),
        limit: Some(20),
        remaining: Some(remaining),
        until: Some(until),
    }
}

fn left(quota: &Quota, now: Instant) -> u64 {
    quota.report(now)[0].left
}

#[test]
fn what_is_stated_to_be_left_counts_down_until_its_end() {
    let now = Instant::now();
    let end = now + secs(30);
    let mut quota = Quota::default();
    quota.state(None, said(2, end), now);
    quota.reserve(1, 0, now);
    quota.reserve(2, 0, now);
    assert_eq!(quota.room(0, now), Room::Stated(end));
    // The next window has as many as are allowed, and its end is not stated.
    assert_eq!(quota.room(0, end), Room::Now);
    assert_eq!(left(&quota, end), 20);
    (3..=22).for_each(|call| quota.reserve(call, 0, end));
    assert_eq!(quota.room(0, end), Room::Estimated(end + secs(60)));
}

#[test]
fn a_statement_without_a_limit_is_over_at_its_end() {
    let now = Instant::now();
    let stated = StatedLimit {
        limit: None,
        ..said(0, now + secs(30))
    };
    let mut quota = Quota::default();
    quota.state(None, stated, now);
    assert_eq!(quota.room(0, now), Room::Stated(now + secs(30)));
    assert_eq!(quota.room(0, now + secs(30)), Room::Now);
    assert_eq!(quota.report(now + secs(30)), []);
}

#[test]
fn an_end_that_is_not_stated_is_an_estimate_and_not_put_off() {
    let now = Instant::now();
    let stated = |remaining| StatedLimit {
        until: None,
        ..said(remaining, now)
    };
    let mut quota = Quota::default();
    quota.state(None, stated(1), now);
    quota.reserve(1, 0, now);
    quota.accepted(1, now + secs(20));
    quota.state(Some(1), stated(0), now + secs(20));
    assert_eq!(
        quota.room(0, now + secs(20)),
        Room::Estimated(now + secs(60))
    );
}

#[test]
fn an_older_answer_that_arrives_late_does_not_raise_what_is_left() {
    let now = Instant::now();
    let end = now + secs(60);
    for order in [
        [1, 2, 3],
        [3, 2, 1],
        [3, 1, 2],
        [2, 3, 1],
        [2, 1, 3],
        [1, 3, 2],
    ] {
        let mut quota = Quota::default();
        quota.state(None, said(20, end), now);
        (1..=3).for_each(|call| quota.reserve(call, 0, now));
        for call in order {
            quota.accepted(call, now);
            quota.state(Some(call), said(20 - call, end), now);
            assert!(left(&quota, now) <= 17, "{order:?}");
        }
        assert_eq!(left(&quota, now), 17, "{order:?}");
    }
}

#[test]
fn a_statement_is_replaced_by_a_newer_one() {
    let now = Instant::now();
    let mut quota = Quota::default();
    quota.state(None, said(3, now + secs(10)), now);
    whole_call(&mut quota, 1, now);
    quota.state(Some(1), said(12, now + secs(20)), now);
    assert_eq!(left(&quota, now), 12);
}

#[test]
fn stated_tokens_limit_the_size_of_a_request() {
    let now = Instant::now();
    let stated = StatedLimit {
        of: Quantity::Tokens,
        limit: Some(8000),
        ..said(3000, now + secs(9))
    };
    let mut quota = Quota::default();
    quota.state(None, stated, now);
    assert_eq!(quota.fits(now), 3000);
    assert_eq!(quota.room(3001, now), Room::Stated(now + secs(9)));
    assert_eq!(
        quota.room(8001, now),
        Room::TooLarge {
            most: 8000,
            is_fact: true
        }
    );
    quota.reserve(1, 2900, now);
    quota.ended(1, Some(100), now);
    assert_eq!(quota.fits(now), 2900);
}

#[test]
fn statements_are_bounded_in_number() {
    let now = Instant::now();
    let mut quota = Quota::default();
    for n in 1..1000 {
        let window = Some(secs(n));
        quota.state(
            None,
            StatedLimit {
                window,
                ..said(1, now + secs(n))
            },
            now,
        );
        quota.state(
            None,
            StatedLimit {
                window,
                remaining: None,
                ..said(1, now + secs(n))
            },
            now,
        );
        let other = Some(ms(n));
        quota.state(
            None,
            StatedLimit {
                window: other,
                remaining: None,
                ..said(1, now + secs(n))
            },
            now,
        );
    }
    assert!(quota.report(now).len() <= 24);
}

#[test]
fn a_bucket_that_is_refilled_is_known_by_its_statements() {
    let start = Instant::now();
    // What Groq states of 8000 tokens a minute: the time until all are left again.
    let bucket = |remaining: u64, now: Instant| StatedLimit {
        of: Quantity::Tokens,
        window: Some(secs(60)),
        limit: Some(8000),
        remaining: Some(remaining),
        until: Some(now + ms((8000 - remaining) * 60_000 / 8000)),
    };
    let mut quota = Quota::default();
    for (call, remaining) in [(1, 6000), (2, 4000), (3, 2000)] {
        quota.reserve(call, 2000, start);
        quota.accepted(call, start);
        quota.ended(call, None, start);
        quota.state(Some(call), bucket(remaining, start), start);
    }
    let soon = start + ms(7500);
    assert_eq!(
        quota.room(3000, start),
        Room::Stated(soon + Duration::from_nanos(1))
    );
    assert_eq!(quota.room(3000, soon), Room::Now);
    quota.reserve(4, 3000, soon);
    assert_eq!(quota.fits(soon), 0);
    assert_eq!(quota.fits(soon + secs(30)), 4000);
    assert_eq!(quota.fits(soon + secs(6000)), 8000);
}

#[test]
fn a_window_is_not_taken_for_a_bucket() {
    let start = Instant::now();
    let end = start + secs(60);
    let mut quota = Quota::default();
    for call in 1..=20 {
        let now = start + secs(3 * call - 1);
        quota.reserve(call, 0, now);
        quota.accepted(call, now);
        quota.state(Some(call), said(20 - call, end), now);
    }
    assert_eq!(quota.room(0, start + secs(59)), Room::Stated(end));
}

proptest! {
    /// Whatever the order of the answers, no more is left than an upstream that counts each call knows.
    #[test]
    fn no_more_is_left_than_the_upstream_knows(
        steps in proptest::collection::vec((0..4_u8, any::<usize>()), 1..100),
    ) {
        let now = Instant::now();
        let end = now + secs(60);
        let mut quota = Quota::default();
        quota.state(None, said(1000, end), now);
        let (mut truly, mut sent, mut under_way, mut answers) = (1000, 0, Vec::new(), Vec::new());
        for (step, n) in steps {
            if step == 0 || under_way.is_empty() && answers.is_empty() {
                sent += 1;
                quota.reserve(sent, 0, now);
                under_way.push(sent);
            } else if step == 1 && !under_way.is_empty() || answers.is_empty() {
                let call = under_way.remove(n % under_way.len());
                truly -= 1;
                answers.push((call, truly));
            } else {
                let (call, remaining) = answers.remove(n % answers.len());
                quota.accepted(call, now);
                quota.state(Some(call), said(remaining, end), now);
                if step == 2 {
                    quota.ended(call, None, now);
                }
            }
            prop_assert!(left(&quota, now) <= truly);
            if answers.is_empty() && under_way.is_empty() {
                prop_assert_eq!(left(&quota, now), truly);
            }
        }
    }
}
