use super::*;

const EPOCH: u64 = 1_795_000_000_000;

fn restart(quota: &Quota, rules: &[Rule], now: Instant, pause: Duration) -> (Quota, Instant) {
    let saved = quota.save(Anchor {
        instant: now,
        epoch_ms: EPOCH,
    });
    let saved = serde_json::to_string(&saved).unwrap();
    let saved: SavedQuota = serde_json::from_str(&saved).unwrap();
    // The clock of another process has nothing to do with the old one.
    let instant = now + secs(5_000_000);
    let epoch_ms = EPOCH + u64::try_from(pause.as_millis()).unwrap();
    (
        Quota::restore(&saved, rules, Anchor { instant, epoch_ms }),
        instant,
    )
}

fn day(amount: u64, end: Instant, source: Source) -> Rule {
    rule(
        amount,
        Quantity::Requests,
        Window::Until {
            end,
            period: secs(86_400),
        },
        source,
    )
}

#[test]
fn what_is_used_of_a_day_is_known_after_a_restart_until_the_day_ends() {
    let now = Instant::now();
    let mut quota = Quota::new(&[day(50, now + secs(1000), Source::Table)], now);
    (1..=50).for_each(|call| whole_call(&mut quota, call, now));
    let rules = |end| [day(50, end, Source::Table)];
    let same_day = now + secs(5_000_000) + secs(400);
    let (mut quota_then, then) = restart(&quota, &rules(same_day), now, secs(600));
    assert_eq!(quota_then.room(0, then), Room::Estimated(same_day));
    let next_day = now + secs(5_000_000) + secs(80_000);
    let (mut quota, then) = restart(&quota, &rules(next_day), now, secs(1001));
    assert_eq!(quota.room(0, then), Room::Now);
}

#[test]
fn calls_of_a_rolling_day_are_known_after_a_restart() {
    let now = Instant::now();
    let rules = [
        requests(10, 86_400, Source::Operator),
        requests(20, 60, Source::Operator),
    ];
    let mut quota = Quota::new(&rules, now);
    (1..=10).for_each(|call| whole_call(&mut quota, call, now));
    let (mut quota, then) = restart(&quota, &rules, now, secs(3600));
    assert_eq!(
        quota.room(0, then),
        Room::Stated(then + secs(86_400 - 3600))
    );
    quota.reserve(1, 0, then);
    quota.give_back(1, then);
    assert_eq!(quota.report(then)[0].left, 0);
}

#[test]
fn statements_refusals_and_inferred_rules_are_known_after_a_restart_until_they_end() {
    let now = Instant::now();
    let rules = [requests(1_000_000, 1, Source::Operator)];
    let mut quota = Quota::new(&rules, now);
    let now = inferred::learn(&mut quota, now);
    quota.refused_tokens(100, None, now + secs(300), now);
    let stated = StatedLimit {
        of: Quantity::Tokens,
        window: None,
        limit: None,
        remaining: Some(70),
        until: Some(now + secs(400)),
    };
    quota.state(None, stated, now);
    let (mut quota_then, then) = restart(&quota, &rules, now, secs(100));
    assert_eq!(quota_then.fits(then), 70);
    assert_eq!(quota_then.room(100, then), Room::Stated(then + secs(300)));
    let sources = |quota: &Quota, at| {
        let limits = quota.report(at);
        limits.iter().map(|limit| limit.source).collect::<Vec<_>>()
    };
    // The last is the refusal for tokens.
    let all = [
        Source::Stated,
        Source::Operator,
        Source::Inferred,
        Source::Stated,
    ];
    assert_eq!(sources(&quota_then, then), all);
    let (mut quota, then) = restart(&quota, &rules, now, secs(700));
    assert_eq!(quota.fits(then), u64::MAX);
    assert_eq!(sources(&quota, then), [Source::Operator]);
}

#[test]
fn what_was_seen_beyond_the_table_is_known_after_a_restart() {
    let now = Instant::now();
    let rules = [requests(1, 60, Source::Table)];
    let mut quota = Quota::new(&rules, now);
    (1..=3).for_each(|call| whole_call(&mut quota, call, now));
    let (quota, then) = restart(&quota, &rules, now, secs(10));
    assert_eq!(quota.report(then)[0].limit, Some(3));
}

#[test]
fn where_nothing_is_known_nothing_is_counted_or_saved() {
    let now = Instant::now();
    let mut quota = Quota::default();
    whole_call(&mut quota, 1, now);
    assert!(!quota.is_counting());
    assert!(
        quota
            .save(Anchor {
                instant: now,
                epoch_ms: EPOCH
            })
            .is_empty()
    );
    assert!(!restart(&quota, &[], now, secs(1)).0.is_counting());
    quota.refused(2, now);
    assert!(quota.is_counting());
    quota.drop_past(now + secs(86_399));
    assert!(quota.is_counting());
    quota.drop_past(now + secs(86_400));
    assert!(!quota.is_counting());
}

#[test]
fn limits_of_the_table_have_their_windows() {
    use crate::provider::KnownProvider;
    let now = Instant::now();
    let ends = Ends {
        day: Some(now + secs(7)),
        month: None,
    };
    let windows = |name, ends| {
        let limits = &KnownProvider::named(name).unwrap().limits;
        let rules = limits
            .iter()
            .map(|limit| Rule::of(limit, Source::Table, ends).window);
        rules.collect::<Vec<_>>()
    };
    let until = Window::Until {
        end: now + secs(7),
        period: secs(86_400),
    };
    assert_eq!(
        windows("openrouter", ends),
        [Window::Rolling(secs(60)), until]
    );
    let rolling = [Window::Rolling(secs(60)), Window::Rolling(secs(86_400))];
    assert_eq!(windows("openrouter", Ends::default()), rolling);
}
