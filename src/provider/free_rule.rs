//! What is free, at each provider by its own rule.

/// What the prices of a listed model come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Prices {
    /// Not both the prompt and the completion are priced.
    Unstated,
    /// Prompt and completion are priced, and every stated price is exactly zero.
    Zero,
    /// Some price is not zero, or is not a number that could be.
    NotZero,
}

/// What makes an entry of a provider's listing free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FreeRule {
    /// OpenRouter's: the id ends in `:free` *and* every stated price is zero, those of `overrides` included.
    ///
    /// Neither alone is enough. Music models are listed at zero and billed per song, `openrouter/free` is
    /// listed at zero and is a router, and the price "-1" marks a paid router. The prices of the prompt and
    /// the completion must be stated, and null or an empty string is not zero.
    OpenRouter,
    /// The prices of prompt and completion are stated, and every stated price is zero. This is the default.
    #[default]
    Priced,
    /// Whose id ends so, as OpenCode Zen's do in `-free`, and is not listed with a price.
    Suffix(&'static str),
    /// Only these, as far as they are not listed with a price: for a service that lists what it bills and what it does
    /// not alike.
    Ids(&'static [&'static str]),
    /// Everything, as long as no key is sent: whoever has one is billed. A provider with this rule has no key,
    /// and a base URL: without one the caller's key would be sent.
    Keyless,
    /// Everything that the account's free plan covers: the service does not bill an account that has no payment
    /// method, and refuses what the plan does not include.
    ///
    /// An account that has given the service a payment method, or has bought credit, may be billed. A key does not tell
    /// which of the two it belongs to, so this rule is never a default: whoever builds the provider says it of the
    /// account, with [`ProviderBuilder::free`](crate::ProviderBuilder::free).
    ///
    /// A model that is listed at a price above zero, or that the service is [known](Plan) to leave out of its free plan,
    /// is not free by this rule. [`FreeRule::All`] takes it in.
    Plan,
    /// Everything: the operator vouches for the whole listing, as for a server of their own.
    All,
}

/// What the free plan of a service covers, for [`FreeRule::Plan`]. The default is every model that is listed without a
/// price, or at a price of zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Plan {
    /// Whether the plan covers models that are listed at a price too, up to a grant of the service (neurons, credit),
    /// and the service refuses what goes beyond it.
    pub covers_priced: bool,
    /// The plan does not cover models whose id has one of these words. Words are what stands between the characters
    /// other than letters and digits, in any case and without digits at either end: `gemini-3-pro` and `gemini-pro2` have
    /// the word `pro`, `gemini-prose` has not.
    pub outside: &'static [&'static str],
}

impl Plan {
    /// Every model that is listed without a price, or at a price of zero.
    pub(crate) const DEFAULT: Self = Self {
        covers_priced: false,
        outside: &[],
    };

    fn covers(self, id: &str, prices: Prices) -> bool {
        (self.covers_priced || prices != Prices::NotZero) && !self.leaves_out(id)
    }

    /// Whether the plan is known not to cover a model, whatever it is listed at.
    fn leaves_out(self, id: &str) -> bool {
        let mut words = id.split(|character: char| !character.is_ascii_alphanumeric());
        let is_outside = |word: &str| {
            let word = word.trim_matches(|character: char| character.is_ascii_digit());
            let same = |outside: &&str| outside.eq_ignore_ascii_case(word);
            self.outside.iter().any(same)
        };
        words.any(is_outside)
    }
}

impl FreeRule {
    /// Whether a model is free because its listing says a price of zero, so that an old listing proves nothing.
    pub(crate) fn is_by_price(self) -> bool {
        match self {
            Self::OpenRouter | Self::Priced => true,
            Self::Suffix(_) | Self::Ids(_) | Self::Keyless | Self::Plan | Self::All => false,
        }
    }

    /// Whether an entry of a listing is free; `plan` is what the service's free plan covers.
    pub(crate) fn admits(self, plan: Plan, id: &str, prices: Prices) -> bool {
        match self {
            Self::OpenRouter => is_free_variant(id) && prices == Prices::Zero,
            Self::Priced => prices == Prices::Zero,
            Self::Suffix(suffix) => has_suffix(id, suffix) && prices != Prices::NotZero,
            Self::Ids(ids) => ids.contains(&id) && prices != Prices::NotZero,
            Self::Plan => plan.covers(id, prices),
            Self::Keyless | Self::All => true,
        }
    }

    /// Whether a model that the operator wrote down can be free: a price is not known, but an id is; `plan` is what the
    /// service's free plan covers.
    pub(crate) fn admits_written(self, plan: Plan, id: &str) -> bool {
        match self {
            Self::OpenRouter => is_free_variant(id),
            Self::Suffix(suffix) => has_suffix(id, suffix),
            Self::Plan => !plan.leaves_out(id),
            // A list ages: what has become free since may be written down.
            Self::Ids(_) | Self::Priced | Self::Keyless | Self::All => true,
        }
    }

    /// Whether an operator may have `other` at a host for which this rule is known: not, where it would take models
    /// for free that are billed there.
    pub(crate) fn allows(self, other: Self) -> bool {
        match self {
            Self::All | Self::Plan => true,
            Self::Priced => matches!(other, Self::Priced | Self::Plan),
            Self::OpenRouter | Self::Suffix(_) | Self::Ids(_) | Self::Keyless => other == self,
        }
    }
}

fn has_suffix(id: &str, suffix: &str) -> bool {
    id.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty())
}

/// Whether `id` is `author/model:free`.
///
/// Not a second variant before it, since `:online` bills a web search; and not of the author `openrouter`,
/// whose entries are routers or cloaked models.
fn is_free_variant(id: &str) -> bool {
    id.strip_suffix(":free")
        .filter(|id| !id.contains(':'))
        .and_then(|id| id.split_once('/'))
        .is_some_and(|(author, model)| {
            !author.is_empty() && !model.is_empty() && !author.eq_ignore_ascii_case("openrouter")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_price_alone_is_not_free_on_openrouter() {
        for id in [
            "acme/song-3",
            "openrouter/free",
            "openrouter/auto",
            "acme/chat:FREE",
        ] {
            assert!(
                !FreeRule::OpenRouter.admits(Plan::DEFAULT, id, Prices::Zero),
                "{id}"
            );
        }
    }

    #[test]
    fn a_free_id_alone_is_not_free_on_openrouter() {
        for prices in [Prices::Unstated, Prices::NotZero] {
            assert!(!FreeRule::OpenRouter.admits(Plan::DEFAULT, "acme/chat:free", prices));
        }
        assert!(FreeRule::OpenRouter.admits(Plan::DEFAULT, "acme/chat:free", Prices::Zero));
    }

    #[test]
    fn a_router_or_a_second_variant_is_never_a_free_variant() {
        for id in [
            "openrouter/auto:free",
            "OpenRouter/free:free",
            "acme/chat:online:free",
            "acme/chat:free:online",
            ":free",
            "/:free",
            "acme/:free",
            "chat:free",
        ] {
            assert!(
                !FreeRule::OpenRouter.admits_written(Plan::DEFAULT, id),
                "{id}"
            );
        }
    }

    #[test]
    fn a_model_without_a_price_is_free_only_by_the_operators_word() {
        assert!(!FreeRule::Priced.admits(Plan::DEFAULT, "chat", Prices::Unstated));
        assert!(FreeRule::All.admits(Plan::DEFAULT, "chat", Prices::Unstated));
        assert!(FreeRule::Priced.admits_written(Plan::DEFAULT, "chat"));
    }

    #[test]
    fn a_price_outweighs_an_id() {
        for rule in [FreeRule::Suffix("-free"), FreeRule::Ids(&["chat-free"])] {
            assert!(rule.admits(Plan::DEFAULT, "chat-free", Prices::Unstated));
            assert!(rule.admits(Plan::DEFAULT, "chat-free", Prices::Zero));
            assert!(!rule.admits(Plan::DEFAULT, "chat-free", Prices::NotZero));
            assert!(!rule.admits(Plan::DEFAULT, "chat", Prices::Zero));
            assert!(!rule.admits(Plan::DEFAULT, "-free", Prices::Zero));
        }
    }

    #[test]
    fn a_model_that_became_free_after_a_list_was_written_may_be_written_down() {
        assert!(FreeRule::Ids(&["old"]).admits_written(Plan::DEFAULT, "new"));
        assert!(!FreeRule::Suffix("-free").admits_written(Plan::DEFAULT, "new"));
    }

    #[test]
    fn a_plan_covers_what_is_listed_at_a_price_only_where_its_entry_says_so() {
        let covering = Plan {
            covers_priced: true,
            ..Plan::DEFAULT
        };
        for prices in [Prices::Unstated, Prices::Zero] {
            assert!(FreeRule::Plan.admits(Plan::DEFAULT, "chat", prices));
        }
        assert!(!FreeRule::Plan.admits(Plan::DEFAULT, "chat", Prices::NotZero));
        assert!(FreeRule::Plan.admits(covering, "chat", Prices::NotZero));
        assert!(FreeRule::All.admits(Plan::DEFAULT, "chat", Prices::NotZero));
    }

    #[test]
    fn a_plan_leaves_out_ids_with_a_word_that_is_outside_of_it() {
        let plan = Plan {
            covers_priced: true,
            outside: &["pro", "veo"],
        };
        for id in [
            "gemini-3-pro",
            "Pro",
            "models/gemini-PRO-latest",
            "veo-3.1",
            "veo4-fast",
            "gemini-3pro",
        ] {
            assert!(!FreeRule::Plan.admits(plan, id, Prices::Zero), "{id}");
            assert!(!FreeRule::Plan.admits_written(plan, id), "{id}");
            assert!(FreeRule::All.admits_written(plan, id), "{id}");
            assert!(FreeRule::All.admits(plan, id, Prices::Zero), "{id}");
        }
        for id in ["gemini-3-flash", "prose-1", "improved", "veolia"] {
            assert!(FreeRule::Plan.admits(plan, id, Prices::Unstated), "{id}");
            assert!(FreeRule::Plan.admits_written(plan, id), "{id}");
        }
    }

    #[test]
    fn no_rule_takes_a_billed_model_for_free_where_another_is_known() {
        let known = [
            FreeRule::OpenRouter,
            FreeRule::Priced,
            FreeRule::Suffix("-free"),
            FreeRule::Ids(&["a"]),
            FreeRule::Keyless,
        ];
        for rule in known {
            assert!(rule.allows(rule));
            assert!(!rule.allows(FreeRule::All), "{rule:?}");
        }
        assert!(!FreeRule::Suffix("-free").allows(FreeRule::Suffix("")));
        assert!(!FreeRule::OpenRouter.allows(FreeRule::Priced));
        assert!(FreeRule::Plan.allows(FreeRule::Priced));
        // An account that cannot be billed is the operator's to know.
        assert!(FreeRule::Priced.allows(FreeRule::Plan));
        assert!(!FreeRule::Priced.allows(FreeRule::Suffix("b")));
    }
}
