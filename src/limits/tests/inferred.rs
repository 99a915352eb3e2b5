use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What an upstream really allows.
#[derive(Clone, Copy, Debug)]
enum Truth {
    Within(u64, Duration),
    AtOnce(u64),
}

/// An upstream that states nothing. It takes or refuses a call when it begins; an answer takes its time.
struct Upstream {
    truth: Truth,
    taken: Vec<(Instant, Instant)>,
}

impl Upstream {
    fn takes(&mut self, now: Instant, time: Duration) -> bool {
        let counts = |&&(begun, end): &&(Instant, Instant)| match self.truth {
            Truth::Within(_, window) => now - begun < window,
            Truth::AtOnce(_) => end > now,
        };
        let (Truth::Within(most, _) | Truth::AtOnce(most)) = self.truth;
        let takes = (self.taken.iter().filter(counts).count() as u64) < most;
        if takes {
            self.taken.push((now, now + time));
        }
        takes
    }
}

/// Calls whenever the quota has room, or after an accident waits for a guess that doubles. Says at which times a call was
/// refused.
fn saturate(quota: &mut Quota, truth: Truth, time: Duration, steps: u64) -> (Vec<Duration>, usize) {
    let start = Instant::now();
    let mut upstream = Upstream {
        truth,
        taken: Vec::new(),
    };
    let mut open = VecDeque::new();
    let (mut refused, mut guess, mut rest) = (Vec::new(), ms(500), start);
    for step in 1..=steps {
        let now = start + ms(50 * step);
        while open.front().is_some_and(|&(_, end)| end <= now) {
            let (call, end) = open.pop_front().unwrap();
            quota.ended(call, None, end);
        }
        if rest > now || quota.room(0, now) != Room::Now {
            continue;
        }
        quota.reserve(step, 0, now);
        if upstream.takes(now, time) {
            quota.accepted(step, now);
            open.push_back((step, now + time));
            guess = ms(500);
        } else {
            quota.refused(step, now);
            quota.ended(step, None, now);
            refused.push(now - start);
            (rest, guess) = (now + guess, guess * 2);
        }
    }
    (refused, upstream.taken.len())
}

fn watching() -> Quota {
    // A limit that is never met, so that calls are counted from the beginning.
    Quota::new(&[requests(1_000_000, 1, Source::Operator)], Instant::now())
}

#[test]
fn one_a_second_is_learned_from_four_refusals_at_most() {
    let (refused, taken) = saturate(&mut watching(), Truth::Within(1, secs(1)), ms(700), 2000);
    assert!(refused.len() <= 4, "{refused:?}");
    assert!(taken >= 95, "{taken}");
}

#[test]
fn forty_a_minute_is_learned_from_six_refusals_at_most() {
    let truth = Truth::Within(40, secs(60));
    let (refused, taken) = saturate(&mut watching(), truth, secs(3), 20 * 500);
    assert!(refused.len() <= 6, "{refused:?}");
    assert!(taken >= 320, "{taken}");
}

#[test]
fn two_at_once_is_learned_from_four_refusals_at_most() {
    let (refused, taken) = saturate(&mut watching(), Truth::AtOnce(2), secs(3), 2000);
    assert!(refused.len() <= 4, "{refused:?}");
    assert!(taken >= 55, "{taken}");
}

#[test]
fn a_limit_is_learned_as_well_if_counting_begins_with_a_refusal() {
    let (refused, _) = saturate(
        &mut Quota::default(),
        Truth::Within(1, secs(1)),
        ms(700),
        2000,
    );
    assert!(refused.len() <= 6, "{refused:?}");
}

#[test]
fn a_single_refusal_makes_no_rule() {
    let now = Instant::now();
    let mut quota = watching();
    whole_call(&mut quota, 1, now);
    quota.reserve(2, 0, now);
    quota.refused(2, now);
    assert_eq!(quota.room(0, now), Room::Now);
}

#[test]
fn refusals_of_calls_that_were_alone_are_congestion_and_no_limit() {
    let start = Instant::now();
    let mut quota = watching();
    for call in 1..=10 {
        let now = start + secs(100 * call);
        quota.reserve(call, 0, now);
        quota.refused(call, now);
        quota.ended(call, None, now);
        assert_eq!(quota.room(0, now), Room::Now);
    }
}

#[test]
fn an_inferred_rule_ends_ten_minutes_after_the_last_refusal() {
    let start = Instant::now();
    let mut quota = watching();
    let last = learn(&mut quota, start);
    let is_inferred = |quota: &Quota, now| {
        let limits = quota.report(now);
        limits.iter().any(|limit| limit.source == Source::Inferred)
    };
    assert!(is_inferred(&quota, last + secs(599)));
    assert!(!is_inferred(&quota, last + secs(600)));
    assert_eq!(quota.room(0, last + secs(600)), Room::Now);
}

/// Two of ten calls at once are taken. Says when.
pub(super) fn learn(quota: &mut Quota, now: Instant) -> Instant {
    (1..=10).for_each(|call| quota.reserve(call, 0, now));
    for call in [3, 7] {
        quota.accepted(call, now + ms(100));
    }
    for call in [1, 2, 4, 5, 6, 8, 9, 10] {
        quota.refused(call, now + ms(100));
        quota.ended(call, None, now + ms(100));
    }
    now + ms(100)
}

#[test]
fn a_burst_makes_a_rule_no_stricter_than_what_it_had_taken() {
    let now = Instant::now();
    let mut quota = watching();
    let last = learn(&mut quota, now);
    let limits = quota.report(last);
    let inferred = limits
        .iter()
        .find(|limit| limit.source == Source::Inferred)
        .unwrap();
    assert_eq!(inferred.limit, Some(2));
    quota.ended(3, None, last);
    quota.ended(7, None, last);
}

#[test]
fn an_accepted_call_beyond_an_inferred_rule_ends_it() {
    let now = Instant::now();
    let mut quota = watching();
    let last = learn(&mut quota, now);
    assert_ne!(quota.room(0, last), Room::Now);
    whole_call(&mut quota, 11, last);
    assert_eq!(quota.room(0, last), Room::Now);
}

#[test]
fn a_limit_that_is_lower_than_the_tables_is_inferred_beside_it() {
    let mut quota = Quota::new(&[requests(60, 60, Source::Table)], Instant::now());
    let (refused, _) = saturate(&mut quota, Truth::Within(1, secs(1)), ms(700), 1000);
    assert!(refused.len() <= 4, "{refused:?}");
}

proptest! {
    /// Whatever was accepted would have had room by the rule that is inferred, and none of what was refused would.
    #[test]
    fn an_inferred_limit_never_excludes_what_was_accepted(
        most in 1..6_u64,
        window in prop_oneof![Just(1), Just(5), Just(10), Just(60)],
        waits in proptest::collection::vec(prop_oneof![0..50_u64, 0..3000_u64], 10..150),
        noise in proptest::collection::vec(any::<bool>(), 150),
        has_noise in any::<bool>(),
    ) {
        let (mut now, mut quota) = (Instant::now(), watching());
        let start = now;
        let mut upstream = Upstream { truth: Truth::Within(most, secs(window)), taken: Vec::new() };
        let mut refused = Vec::new();
        for (call, (wait, noise)) in (1..).zip(waits.into_iter().zip(noise)) {
            now += ms(wait);
            quota.reserve(call, 0, now);
            if (!has_noise || noise) && upstream.takes(now, ms(200)) {
                quota.accepted(call, now);
            } else {
                quota.refused(call, now);
                refused.push(now);
            }
            quota.ended(call, None, now);
            let inferred = quota.report(now).into_iter().find(|limit| limit.source == Source::Inferred);
            let Some(limit) = inferred else { continue };
            let Some(length) = limit.window else { continue };
            let within = |at: Instant| {
                let times = upstream.taken.iter().map(|&(begun, _)| begun);
                times.filter(|&begun| begun <= at && at - begun < length).count() as u64
            };
            let is_remembered = |&at: &Instant| now - at < secs(590);
            for &(at, _) in &upstream.taken {
                prop_assert!(within(at) <= limit.limit.unwrap(), "{limit:?} at {:?}", at - start);
            }
            for at in refused.iter().copied().filter(is_remembered) {
                let about = upstream.taken.iter().filter(|&&(begun, _)| begun <= at && at - begun < length + length / 20);
                prop_assert!(about.count() as u64 >= limit.limit.unwrap());
            }
        }
    }
}
