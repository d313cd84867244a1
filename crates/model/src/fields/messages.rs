//! What Anthropic's messages have: `/v1/messages` and `/v1/messages/count_tokens`.

/// Sent on at both, besides what is refused, and `user_profile_id` and `workspace_id`, which
/// choose a part of the account.
pub(super) const COUNTED: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "cache_control",
    "output_config",
    "output_format",
    "speed",
    "context_management",
    "compaction",
    "mcp_servers",
];

/// Sent on to `/v1/messages` besides.
pub(super) const PASSES: &[&str] = &[
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "service_tier",
    "container",
    "diagnostics",
    "inference_geo",
];

/// The blocks of a message.
pub(super) const TYPES: &[&str] = &[
    "text",
    "image",
    "document",
    "search_result",
    "thinking",
    "redacted_thinking",
    "compaction",
    "tool_use",
    "tool_result",
    "tool_reference",
    "tool_addition",
    "tool_removal",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "mcp_tool_listing",
    "container_upload",
    "fallback",
];
