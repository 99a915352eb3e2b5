//! What is asked of the pool, and when.

use serde::Deserialize;

use crate::{
    dice::{Dice, number_of},
    pool::millis,
    window::Millis,
};

/// One kind of demand.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DemandRule {
    /// By which its chance is drawn.
    pub(crate) name: String,
    /// When it begins. Default: 0.
    #[serde(default)]
    pub(crate) from_s: f64,
    /// The time during which requests arrive, or clients begin.
    pub(crate) for_s: f64,
    /// So many conversations begin. One of one turn is a single request.
    pub(crate) count: u64,
    /// How they are spread over the time. Default: evenly.
    #[serde(default)]
    pub(crate) shape: Shape,
    /// The turns of each, one after the other. Default: 1.
    #[serde(default = "one_turn")]
    pub(crate) turns: u64,
    /// The mean time between an answer and the next turn.
    #[serde(default)]
    pub(crate) think_s: f64,
    /// The header `x-session-id` is sent.
    #[serde(default)]
    pub(crate) session: bool,
    /// The median length of the first prompt.
    pub(crate) prompt_tokens: f64,
    /// Its spread: see that of models. Default: 0.5.
    #[serde(default = "half")]
    pub(crate) prompt_spread: f64,
    /// By how much the prompt grows with each turn.
    #[serde(default)]
    pub(crate) grows_by_tokens: f64,
    /// The median length of an answer, which is also what the request allows. Default: 200.
    #[serde(default = "usual_answer")]
    pub(crate) output_tokens: f64,
    /// The share of streamed requests. Default: 0.8.
    #[serde(default = "most")]
    pub(crate) stream: f64,
    /// The share of conversations that need tools.
    #[serde(default)]
    pub(crate) tools: f64,
    /// The share of conversations with an image.
    #[serde(default)]
    pub(crate) image: f64,
    /// The share of conversations that need a schema for answers.
    #[serde(default)]
    pub(crate) schema: f64,
}

const fn one_turn() -> u64 {
    1
}

const fn half() -> f64 {
    0.5
}

const fn usual_answer() -> f64 {
    200.0
}

const fn most() -> f64 {
    0.8
}

/// How beginnings are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    #[default]
    Even,
    /// Few at both ends, most in the middle: a working day.
    Bell,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// By which its chance is drawn; unique in a run.
    pub(crate) id: u64,
    pub(crate) conversation: u64,
    pub(crate) turn: u64,
    pub(crate) session: bool,
    pub(crate) prompt: u64,
    pub(crate) output: u64,
    pub(crate) stream: bool,
    pub(crate) tools: bool,
    pub(crate) image: bool,
    pub(crate) schema: bool,
}

impl Ask {
    /// Of the prompt, and those that are allowed for the answer.
    pub(crate) const fn tokens(&self) -> u64 {
        self.prompt + self.output
    }
}

/// Several turns of one client, each after the answer to the last.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) begins: Millis,
    /// The turns, each with the time to think before it.
    pub(crate) turns: Vec<(Millis, Ask)>,
}

/// All conversations of a scenario, in the order of their beginnings.
pub(crate) fn conversations(rules: &[DemandRule], dice: Dice) -> Vec<Conversation> {
    let mut all = Vec::new();
    let mut first = 0;
    for rule in rules {
        let dice = Dice::new(dice.number(&[number_of(&rule.name)]));
        for n in 0..rule.count {
            all.push(rule.conversation(dice, n, first + n));
        }
        first += rule.count;
    }
    all.sort_by_key(|conversation| conversation.begins);
    all
}

impl DemandRule {
    fn conversation(&self, dice: Dice, n: u64, number: u64) -> Conversation {
        let place = match self.shape {
            Shape::Even => dice.unit(&[n, 0]),
            Shape::Bell => (0..3).map(|i| dice.unit(&[n, 0, i])).sum::<f64>() / 3.0,
        };
        let has = |share, which| dice.happens(share, &[n, which]);
        let (tools, image, schema) = (has(self.tools, 1), has(self.image, 2), has(self.schema, 3));
        let first = dice.log_normal(self.prompt_tokens, self.prompt_spread, &[n, 4]);
        let turn = |turn: u64| {
            let grown = first + self.grows_by_tokens * turn as f64;
            let ask = Ask {
                id: number * 10_000 + turn,
                conversation: number,
                turn,
                session: self.session,
                prompt: grown.max(10.0) as u64,
                output: dice
                    .log_normal(self.output_tokens, 0.5, &[n, 5, turn])
                    .max(1.0) as u64,
                stream: dice.happens(self.stream, &[n, 6, turn]),
                tools,
                image,
                schema,
            };
            let think = match turn {
                0 => 0.0,
                _ => dice.exponential(self.think_s, &[n, 7, turn]),
            };
            (millis(think), ask)
        };
        Conversation {
            begins: millis(self.from_s + place * self.for_s),
            turns: (0..self.turns).map(turn).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_the_same_for_the_same_seed_and_another_demand_does_not_change_it() {
        let rule = |name: &str, count: u64| {
            let text = format!(
                "name = \"{name}\"\nfor_s = 60\ncount = {count}\nturns = 2\nthink_s = 3\nprompt_tokens = 100"
            );
            toml::from_str::<DemandRule>(&text).expect("a demand")
        };
        let (a, b) = (rule("a", 50), rule("b", 20));
        let asks = |rules: &[DemandRule], seed| {
            let all = conversations(rules, Dice::new(seed));
            assert!(all.is_sorted_by_key(|conversation| conversation.begins));
            all.iter()
                .map(|all| (all.begins, all.turns[1].0, all.turns[0].1.prompt))
                .collect::<Vec<_>>()
        };
        let alone = asks(std::slice::from_ref(&a), 1);
        assert_eq!(alone, asks(std::slice::from_ref(&a), 1));
        assert_ne!(alone, asks(std::slice::from_ref(&a), 2));
        let both = asks(&[a, b], 1);
        assert_eq!(both.len(), 70);
        assert!(alone.iter().all(|ask| both.contains(ask)));
    }
}
