use proptest::prelude::*;

use super::*;

#[test]
fn the_21st_request_of_a_minute_has_room_when_the_oldest_leaves_and_failures_count() {
    let start = Instant::now();
    let mut quota = Quota::new(&[requests(20, 60, Source::Operator)], start);
    for call in 1..=20 {
        let now = start + secs(call);
        assert_eq!(quota.room(0, now), Room::Now);
        quota.reserve(call, 0, now);
        if call % 2 == 0 {
            quota.refused(call, now);
        }
        quota.ended(call, None, now);
    }
    let until = start + secs(61);
    assert_eq!(quota.room(0, start + secs(21)), Room::Stated(until));
    assert_eq!(quota.room(0, until - ms(1)), Room::Stated(until));
    assert_eq!(quota.room(0, until), Room::Now);
}

#[test]
fn a_fixed_window_ends_at_its_end_and_the_next_one_a_period_later() {
    let start = Instant::now();
    let window = Window::Until {
        end: start + secs(100),
        period: secs(1000),
    };
    let mut quota = Quota::new(
        &[rule(2, Quantity::Requests, window, Source::Operator)],
        start,
    );
    for (first, end) in [(0, 100), (100, 1100), (3100, 4100)] {
        let now = start + secs(first);
        whole_call(&mut quota, 2 * first + 1, now);
        assert_eq!(quota.room(0, now), Room::Now);
        whole_call(&mut quota, 2 * first + 2, now);
        let end = start + secs(end);
        assert_eq!(quota.room(0, end - ms(1)), Room::Stated(end));
    }
}

#[test]
fn calls_in_flight_have_a_limit_without_a_known_end() {
    let now = Instant::now();
    let at_once = rule(2, Quantity::Requests, Window::AtOnce, Source::Operator);
    let mut quota = Quota::new(&[at_once], now);
    quota.reserve(1, 0, now);
    quota.reserve(2, 0, now);
    assert_eq!(quota.room(0, now), Room::AtOnce { is_fact: true });
    quota.ended(1, None, now);
    assert_eq!(quota.room(0, now), Room::Now);
}

#[test]
fn tokens_count_as_reserved_until_it_is_known_what_was_used() {
    let now = Instant::now();
    let mut quota = Quota::new(&[tokens(8000, 60, Source::Operator)], now);
    quota.reserve(1, 5000, now);
    assert_eq!(
        (quota.room(3001, now), quota.fits(now)),
        (Room::Stated(now + secs(60)), 3000)
    );
    quota.accepted(1, now);
    quota.ended(1, Some(1000), now);
    assert_eq!((quota.room(7000, now), quota.fits(now)), (Room::Now, 7000));
    let too_large = Room::TooLarge {
        most: 8000,
        is_fact: true,
    };
    assert_eq!(quota.room(8001, now), too_large);
    assert_eq!(quota.room(10, now), Room::Now);
}

#[test]
fn a_token_refusal_holds_for_requests_of_that_size_and_no_smaller_one() {
    let now = Instant::now();
    let (soon, late) = (now + secs(9), now + secs(3600));
    let mut quota = Quota::default();
    assert_eq!((quota.is_counting(), quota.fits(now)), (false, u64::MAX));
    quota.refused_tokens(2500, None, soon, now);
    quota.refused_tokens(33_000, Some(8000), late, now);
    assert_eq!(quota.fits(now), 2499);
    assert_eq!(quota.room(2499, now), Room::Now);
    assert_eq!(quota.room(2500, now), Room::Stated(soon));
    assert_eq!(quota.room(8001, now), Room::Stated(late));
    assert_eq!(
        (quota.room(8000, soon), quota.fits(soon)),
        (Room::Now, 8000)
    );
    assert_eq!(quota.room(8001, late), Room::Now);
}

#[test]
fn many_token_refusals_are_remembered_in_bounded_space_and_on_the_safe_side() {
    let now = Instant::now();
    let mut quota = Quota::default();
    for n in 1..1000 {
        quota.refused_tokens(100 * n, None, now + secs(n), now);
    }
    for n in 1..1000 {
        assert!(matches!(quota.room(100 * n, now), Room::Stated(end) if end >= now + secs(n)));
    }
    assert_eq!(quota.room(99, now), Room::Now);
}

#[test]
fn facts_outweigh_estimates_and_never_outweighs_later() {
    let now = Instant::now();
    let rules = [
        requests(1, 60, Source::Operator),
        requests(1, 3600, Source::Table),
        tokens(100, 3600, Source::Table),
    ];
    let mut quota = Quota::new(&rules, now);
    assert_eq!(
        quota.room(101, now),
        Room::TooLarge {
            most: 100,
            is_fact: false
        }
    );
    whole_call(&mut quota, 1, now);
    assert_eq!(quota.room(101, now), Room::Stated(now + secs(60)));
    assert_eq!(
        quota.room(0, now + secs(60)),
        Room::Estimated(now + secs(3600))
    );
}

#[test]
fn new_rules_keep_what_was_counted() {
    let start = Instant::now();
    let day = |amount, end| {
        let window = Window::Until {
            end: start + secs(end),
            period: secs(86_400),
        };
        rule(amount, Quantity::Requests, window, Source::Operator)
    };
    let mut quota = Quota::new(&[requests(20, 60, Source::Table), day(10, 5000)], start);
    for call in 1..=5 {
        whole_call(&mut quota, call, start);
    }
    quota.set_rules(&[requests(5, 60, Source::Operator), day(5, 6000)], start);
    assert_eq!(quota.room(0, start), Room::Stated(start + secs(6000)));
    quota.set_rules(&[requests(5, 60, Source::Operator), day(6, 6000)], start);
    assert_eq!(quota.room(0, start), Room::Stated(start + secs(60)));
}

#[test]
fn what_began_before_a_suspend_is_older_by_it() {
    let start = Instant::now();
    let mut quota = Quota::new(&[requests(1, 600, Source::Operator)], start);
    whole_call(&mut quota, 1, start);
    quota.refused_tokens(100, None, start + secs(600), start);
    quota.jump(secs(400), start);
    assert_eq!(quota.room(0, start), Room::Stated(start + secs(200)));
    assert_eq!(quota.room(100, start + secs(200)), Room::Now);
    quota.jump(Duration::MAX, start);
    assert_eq!(quota.room(100, start), Room::Now);
}

#[test]
fn memory_is_bounded_and_a_limit_then_kept_more_strictly_never_less() {
    let start = Instant::now();
    let day = requests(14_400, 86_400, Source::Operator);
    let mut quota = Quota::new(&[day], start);
    let mut now = start;
    for call in 1..=14_400 {
        now = start + secs(call);
        assert_eq!(quota.room(0, now), Room::Now);
        whole_call(&mut quota, call, now);
        assert!(quota.entries() <= 4096);
    }
    let Room::Stated(until) = quota.room(0, now) else {
        panic!("has room")
    };
    let exactly = start + secs(86_401);
    assert!(
        until >= exactly && until <= exactly + secs(600),
        "{:?}",
        until - exactly
    );
}

#[test]
fn calls_in_flight_are_remembered_one_by_one_however_many() {
    let now = Instant::now();
    let mut quota = Quota::new(&[requests(1_000_000, 60, Source::Operator)], now);
    (1..=20_000).for_each(|call| quota.reserve(call, 1, now));
    (1..=20_000).for_each(|call| quota.give_back(call, now));
    assert_eq!(quota.report(now)[0].left, 1_000_000);
    quota.reserve(20_001, 1, now + secs(200));
    assert_eq!(quota.entries(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Reserve(u64),
    GiveBack(usize),
    Refused(usize),
    Ended(usize, Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4000_u64).prop_map(Step::Wait),
        6 => (0..60_u64).prop_map(Step::Reserve),
        1 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<usize>().prop_map(Step::Refused),
        3 => (any::<usize>(), proptest::option::of(0..60_u64)).prop_map(|(n, used)| Step::Ended(n, used)),
    ]
}

/// A model of a rolling window, which keeps all calls for ever.
#[derive(Default)]
struct Model(Vec<(u64, Instant, u64)>);

impl Model {
    fn used(&self, of: Quantity, window: Duration, now: Instant) -> u64 {
        let within = self.0.iter().filter(|(_, begun, _)| now - *begun < window);
        within
            .map(|&(_, _, tokens)| if of == Quantity::Tokens { tokens } else { 1 })
            .sum()
    }

    /// When there is room for so much, found by trying each instant at which a call leaves.
    fn free_at(&self, limit: &Rule, need: u64, now: Instant) -> Instant {
        let Window::Rolling(window) = limit.window else {
            panic!("not rolling")
        };
        let leaves = self.0.iter().map(|&(_, begun, _)| begun + window);
        let mut ends: Vec<_> = leaves.filter(|&end| end > now).chain([now]).collect();
        ends.sort();
        let has_room = |at: &Instant| self.used(limit.of, window, *at) + need <= limit.amount;
        ends.into_iter().find(has_room).unwrap()
    }
}

proptest! {
    /// A rolling limit is exactly what a model says that keeps all calls.
    #[test]
    fn a_rolling_limit_is_kept_exactly(steps in proptest::collection::vec(step(), 1..200)) {
        let rules = [requests(7, 10, Source::Operator), tokens(150, 20, Source::Stated)];
        let start = Instant::now();
        let (mut quota, mut model) = (Quota::new(&rules, start), Model::default());
        let (mut now, mut call, mut open, mut answered) = (start, 0, Vec::new(), Vec::new());
        for step in steps {
            let pick = |n: usize, open: &mut Vec<u64>| {
                (!open.is_empty()).then(|| open.remove(n % open.len()))
            };
            match step {
                Step::Wait(millis) => now += ms(millis),
                Step::Reserve(tokens) => {
                    let room = quota.room(tokens, now);
                    let needs = [1, tokens];
                    let frees = rules.iter().zip(needs).map(|(rule, need)| model.free_at(rule, need, now));
                    let free = frees.max().unwrap();
                    prop_assert_eq!(room, if free > now { Room::Stated(free) } else { Room::Now });
                    let fits = quota.fits(now);
                    prop_assert_eq!(fits >= tokens && fits > 0 || tokens == 0, room == Room::Now || tokens == 0);
                    if room == Room::Now {
                        call += 1;
                        quota.reserve(call, tokens, now);
                        model.0.push((call, now, tokens));
                        open.push(call);
                    }
                }
                Step::GiveBack(n) => if let Some(call) = pick(n, &mut open) {
                    quota.give_back(call, now);
                    // What was refused has been there.
                    model.0.retain(|&(known, ..)| known != call || answered.contains(&call));
                },
                Step::Refused(n) => if !open.is_empty() {
                    let call = open[n % open.len()];
                    quota.refused(call, now);
                    answered.push(call);
                    model.0.iter_mut().filter(|known| known.0 == call).for_each(|known| known.2 = 0);
                },
                Step::Ended(n, used) => if let Some(call) = pick(n, &mut open) {
                    quota.ended(call, used, now);
                    let known = model.0.iter_mut().find(|known| known.0 == call).unwrap();
                    known.2 = used.unwrap_or(known.2);
                },
            }
            // Inferred limits are not what this is about.
            quota.forget_inferred();
        }
    }

    /// Whatever is given back leaves no trace.
    #[test]
    fn a_call_given_back_restores_everything(before in 0..30_u64, tokens in any::<u64>(), wait in 0..100_u64) {
        let now = Instant::now();
        let window = Window::Until { end: now + secs(1000), period: secs(1000) };
        let rules = [
            requests(20, 60, Source::Table),
            rule(25, Quantity::Requests, window, Source::Operator),
            rule(1000, Quantity::Tokens, window, Source::Operator),
            rule(3, Quantity::Requests, Window::AtOnce, Source::Operator),
        ];
        let mut quota = Quota::new(&rules, now);
        let stated = StatedLimit {
            of: Quantity::Requests, window: Some(secs(3600)), limit: Some(50),
            remaining: Some(40), until: Some(now + secs(900)),
        };
        quota.state(None, stated, now);
        (1..=before).for_each(|call| whole_call(&mut quota, call, now));
        let later = now + secs(wait);
        let known = quota.report(later);
        quota.reserve(before + 1, tokens, now);
        prop_assert_ne!(&known, &quota.report(now));
        quota.give_back(before + 1, later);
        quota.give_back(before + 1, later);
        quota.ended(before + 1, Some(5), later);
        prop_assert_eq!(known, quota.report(later));
    }

    /// Nothing that can be said of calls, known or not, panics or overflows.
    #[test]
    fn nothing_panics(
        steps in proptest::collection::vec((0..9_u8, 0..6_u64, any::<u64>(), 0..100_000_u64), 1..200),
        amount in any::<u64>(),
    ) {
        let mut now = Instant::now();
        let window = Window::Until { end: now, period: Duration::ZERO };
        let rules = [
            requests(amount, 0, Source::Table),
            requests(0, 60, Source::Table),
            tokens(amount, u64::MAX, Source::Operator),
            rule(amount, Quantity::Tokens, window, Source::Operator),
        ];
        let mut quota = Quota::new(&rules, now);
        for (step, call, number, wait) in steps {
            match step {
                0 => quota.reserve(call, number, now),
                1 => quota.give_back(call, now),
                2 => quota.accepted(call, now),
                3 => _ = quota.refused(call, now),
                4 => quota.ended(call, Some(number), now),
                5 => quota.refused_tokens(number, Some(call), now + ms(wait), now),
                6 => quota.state(Some(call), StatedLimit {
                    of: Quantity::Tokens, window: Some(ms(wait)), limit: Some(number),
                    remaining: Some(call), until: Some(now + ms(wait)),
                }, now),
                7 => quota.jump(ms(wait), now),
                _ => quota.drop_past(now),
            }
            now += ms(wait);
            _ = (quota.room(number, now), quota.fits(now), quota.left(now), quota.report(now));
        }
    }
}
