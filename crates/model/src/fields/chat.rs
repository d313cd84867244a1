//! What chat completions have: `/v1/chat/completions`.

/// Sent on: OpenAI's fields, besides those that stay here or are refused.
pub(super) const PASSES: &[&str] = &[
    "messages",
    "model",
    "stream",
    "stream_options",
    "store",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "stop",
    "seed",
    "n",
    "metadata",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "modalities",
    "moderation",
    "audio",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "verbosity",
    "functions",
    "function_call",
    "web_search_options",
];

/// The parts of a message.
pub(super) const TYPES: &[&str] = &["text", "image_url", "input_audio", "file", "refusal"];

/// Parts that engines of one's own take besides.
pub(super) const ENGINE_TYPES: &[&str] = &["video_url", "audio_url"];
