//! What is free, at each provider by its own rule.

use super::price::Prices;

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
    /// Everything: the operator vouches for the whole listing, as for a server of their own.
    All,
}

impl FreeRule {
    /// Whether an entry of a listing is free.
    pub(super) fn admits(self, id: &str, prices: Prices) -> bool {
        match self {
            Self::OpenRouter => is_free_variant(id) && prices == Prices::Zero,
            Self::Priced => prices == Prices::Zero,
            Self::All => true,
        }
    }

    /// Whether a model that the operator wrote down can be free: a price is not known, but an id is.
    pub(super) fn admits_written(self, id: &str) -> bool {
        match self {
            Self::OpenRouter => is_free_variant(id),
            Self::Priced | Self::All => true,
        }
    }
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
            assert!(!FreeRule::OpenRouter.admits(id, Prices::Zero), "{id}");
        }
    }

    #[test]
    fn a_free_id_alone_is_not_free_on_openrouter() {
        for prices in [Prices::Unstated, Prices::NotZero] {
            assert!(!FreeRule::OpenRouter.admits("acme/chat:free", prices));
        }
        assert!(FreeRule::OpenRouter.admits("acme/chat:free", Prices::Zero));
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
            assert!(!FreeRule::OpenRouter.admits_written(id), "{id}");
        }
    }

    #[test]
    fn a_model_without_a_price_is_free_only_by_the_operators_word() {
        assert!(!FreeRule::Priced.admits("chat", Prices::Unstated));
        assert!(FreeRule::All.admits("chat", Prices::Unstated));
        assert!(FreeRule::Priced.admits_written("chat"));
    }
}
