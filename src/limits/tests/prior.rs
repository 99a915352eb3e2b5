use super::*;

fn table(amount: u64) -> [Rule; 1] {
    [requests(amount, 60, Source::Table)]
}

#[test]
fn a_figure_of_the_table_is_an_estimate_that_accepted_calls_raise() {
    let now = Instant::now();
    let mut quota = Quota::new(&table(2), now);
    whole_call(&mut quota, 1, now);
    whole_call(&mut quota, 2, now);
    let full = Room::Estimated(now + secs(60));
    assert_eq!(quota.room(0, now), full);
    whole_call(&mut quota, 3, now);
    assert_eq!(quota.room(0, now), full);
    let later = now + secs(61);
    for call in 4..=6 {
        assert_eq!(quota.room(0, later), Room::Now);
        whole_call(&mut quota, call, later);
    }
    assert_eq!(quota.room(0, later), Room::Estimated(later + secs(60)));
}

#[test]
fn what_was_seen_beyond_the_table_is_forgotten_after_a_day() {
    let now = Instant::now();
    let mut quota = Quota::new(&table(1), now);
    whole_call(&mut quota, 1, now);
    whole_call(&mut quota, 2, now);
    let limit = |quota: &Quota, now| quota.report(now)[0].limit;
    assert_eq!(limit(&quota, now), Some(2));
    let day = now + secs(86_400);
    assert_eq!(limit(&quota, day - ms(1)), Some(2));
    assert_eq!(limit(&quota, day), Some(1));
}

#[test]
fn a_figure_of_the_table_stays_when_a_call_beyond_it_is_refused() {
    let now = Instant::now();
    let mut quota = Quota::new(&table(1), now);
    whole_call(&mut quota, 1, now);
    quota.reserve(2, 0, now);
    quota.refused(2, now);
    quota.ended(2, None, now);
    assert_eq!(quota.report(now)[0].limit, Some(1));
}

#[test]
fn what_was_seen_beyond_the_table_is_lowered_by_a_refusal() {
    let now = Instant::now();
    let mut quota = Quota::new(&table(1), now);
    (1..=5).for_each(|call| whole_call(&mut quota, call, now));
    assert_eq!(quota.report(now)[0].limit, Some(5));
    let later = now + secs(100);
    (6..=8).for_each(|call| whole_call(&mut quota, call, later));
    quota.reserve(9, 0, later);
    quota.refused(9, later);
    assert_eq!(quota.report(later)[0].limit, Some(3));
}

#[test]
fn the_operator_and_the_upstream_know_better_than_the_table() {
    let now = Instant::now();
    let rules = [
        requests(1, 60, Source::Table),
        requests(3, 60, Source::Operator),
    ];
    let mut quota = Quota::new(&rules, now);
    whole_call(&mut quota, 1, now);
    assert_eq!(quota.room(0, now), Room::Now);
    let mut quota = Quota::new(&table(1), now);
    whole_call(&mut quota, 1, now);
    let stated = StatedLimit {
        of: Quantity::Requests,
        window: Some(secs(60)),
        limit: Some(2),
        remaining: None,
        until: None,
    };
    quota.state(Some(1), stated, now);
    assert_eq!(quota.room(0, now), Room::Now);
    whole_call(&mut quota, 2, now);
    assert_eq!(quota.room(0, now), Room::Stated(now + secs(60)));
}

#[test]
fn what_is_left_is_said_of_the_scarcest_limit_as_a_rate() {
    let now = Instant::now();
    let day = Window::Until {
        end: now + secs(1000),
        period: secs(86_400),
    };
    let day = rule(50, Quantity::Requests, day, Source::Operator);
    let mut quota = Quota::new(&[requests(20, 60, Source::Table), day], now);
    let left = quota.left(now).unwrap();
    assert_eq!((left.per_second, left.granted), (0.05, 50.0 / 86_400.0));
    let mut quota = Quota::new(&[requests(1, 1, Source::Table)], now);
    assert_eq!(quota.left(now).unwrap().per_second, 1.0);
    assert_eq!(Quota::default().left(now), None);
}
