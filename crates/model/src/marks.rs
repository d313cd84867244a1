//! Marks: what a request carries to a provider so that it keeps tenants apart, too.

use serde::{Deserialize, Serialize};

use crate::{Api, Kind};

/// A value that is derived from whose call it is and put into what goes to a provider. What a
/// caller sends in the same place is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// `cache_salt`: requests share cached prefixes only with the same one (vLLM, SGLang).
    CacheSalt,
    /// `extra_key`: the same, in SGLang's radix cache.
    ExtraKey,
    /// `user`: whose calls these are, for a provider's abuse detection.
    User,
    /// `safety_identifier`: the same, newer.
    SafetyIdentifier,
    /// `prompt_cache_key`: which calls are routed to the same cached prefixes.
    PromptCacheKey,
    /// `metadata.user_id`: Anthropic's `user`.
    UserId,
    /// The header `x-tenant-id`, for a gateway of one's own.
    TenantHeader,
}

impl Mark {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::CacheSalt,
        Self::ExtraKey,
        Self::User,
        Self::SafetyIdentifier,
        Self::PromptCacheKey,
        Self::UserId,
        Self::TenantHeader,
    ];

    /// Its name in settings, which is also what its value is derived from.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CacheSalt => "cache-salt",
            Self::ExtraKey => "extra-key",
            Self::User => "user",
            Self::SafetyIdentifier => "safety-identifier",
            Self::PromptCacheKey => "prompt-cache-key",
            Self::UserId => "user-id",
            Self::TenantHeader => "tenant-header",
        }
    }

    /// The field of the body that holds it, dotted; none for a header.
    #[must_use]
    pub const fn body_field(self) -> Option<&'static str> {
        match self {
            Self::CacheSalt => Some("cache_salt"),
            Self::ExtraKey => Some("extra_key"),
            Self::User => Some("user"),
            Self::SafetyIdentifier => Some("safety_identifier"),
            Self::PromptCacheKey => Some("prompt_cache_key"),
            Self::UserId => Some("metadata.user_id"),
            Self::TenantHeader => None,
        }
    }

    /// The header that holds it; none for a field of the body.
    #[must_use]
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::TenantHeader => Some("x-tenant-id"),
            _ => None,
        }
    }

    /// Whether requests of this endpoint have a place for it.
    #[must_use]
    pub const fn fits(self, api: Api) -> bool {
        match self {
            Self::CacheSalt | Self::ExtraKey | Self::SafetyIdentifier | Self::PromptCacheKey => {
                matches!(api, Api::Chat | Api::Responses)
            }
            Self::User => matches!(api, Api::Chat | Api::Responses | Api::Embeddings),
            Self::UserId => matches!(api, Api::Messages),
            Self::TenantHeader => true,
        }
    }

    /// What a provider of this kind gets at this endpoint where its settings say nothing.
    #[must_use]
    pub const fn defaults(kind: Kind, api: Api) -> &'static [Self] {
        match (kind, api) {
            (Kind::Openai, Api::Chat | Api::Responses) => {
                &[Self::SafetyIdentifier, Self::PromptCacheKey]
            }
            (Kind::Openai, Api::Embeddings)
            | (Kind::AzureOpenai, Api::Chat | Api::Responses | Api::Embeddings) => &[Self::User],
            (Kind::Anthropic, Api::Messages) => &[Self::UserId],
            (Kind::Vllm, Api::Chat | Api::Responses) => &[Self::CacheSalt],
            (Kind::Sglang, Api::Chat | Api::Responses) => &[Self::CacheSalt, Self::ExtraKey],
            _ => &[],
        }
    }

    /// What a request of this endpoint carries: the provider's `marks` as far as they fit, or
    /// else the defaults.
    #[must_use]
    pub fn of(kind: Kind, set: Option<&[Self]>, api: Api) -> Vec<Self> {
        match set {
            None => Self::defaults(kind, api).to_vec(),
            Some(set) => set.iter().copied().filter(|mark| mark.fits(api)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_settings() {
        for mark in Mark::ALL {
            let written = serde_json::to_string(&mark).unwrap();
            assert_eq!(written, format!("\"{}\"", mark.name()));
            assert_eq!(mark.body_field().is_some(), mark.header().is_none(), "{mark:?}");
        }
    }

    #[test]
    fn each_kind_has_its_own_and_each_endpoint_what_it_takes() {
        use Api::{Chat, CountTokens, Embeddings, Messages, Responses};
        let all = Mark::ALL;
        for (kind, set, api, expected) in [
            (Kind::Openai, None, Chat, vec![Mark::SafetyIdentifier, Mark::PromptCacheKey]),
            (Kind::Openai, None, Responses, vec![Mark::SafetyIdentifier, Mark::PromptCacheKey]),
            (Kind::Openai, None, Embeddings, vec![Mark::User]),
            (Kind::AzureOpenai, None, Chat, vec![Mark::User]),
            (Kind::AzureOpenai, None, Embeddings, vec![Mark::User]),
            (Kind::Anthropic, None, Messages, vec![Mark::UserId]),
            (Kind::Anthropic, None, CountTokens, vec![]),
            (Kind::Vllm, None, Chat, vec![Mark::CacheSalt]),
            (Kind::Vllm, None, Embeddings, vec![]),
            (Kind::Sglang, None, Responses, vec![Mark::CacheSalt, Mark::ExtraKey]),
            (Kind::OpenaiCompatible, None, Chat, vec![]),
            (Kind::Openai, Some(&[][..]), Chat, vec![]),
            (Kind::OpenaiCompatible, Some(&all[..]), CountTokens, vec![Mark::TenantHeader]),
            (
                Kind::OpenaiCompatible,
                Some(&all[..]),
                Embeddings,
                vec![Mark::User, Mark::TenantHeader],
            ),
            (
                Kind::OpenaiCompatible,
                Some(&all[..]),
                Messages,
                vec![Mark::UserId, Mark::TenantHeader],
            ),
        ] {
            assert_eq!(Mark::of(kind, set, api), expected, "{kind:?} {api:?}");
        }
        for kind in [Kind::Openai, Kind::AzureOpenai, Kind::Anthropic, Kind::Vllm, Kind::Sglang] {
            for api in Api::ALL {
                assert!(Mark::defaults(kind, api).iter().all(|mark| mark.fits(api)));
            }
        }
    }
}
