//! Tools that run at the provider: it, and not the caller, acts on what the model says.

use ids::json::Json;

use crate::{
    Dialect, Error,
    fields::{self, same},
};

/// The name under which a route allows a tool: without the date of its version, and the same
/// at each provider.
pub(crate) fn family(name: &str) -> &str {
    match undated(name) {
        "web_search" | "web_search_preview" | "web_search_options" => "web_search",
        "file_search" | "retrieval" => "file_search",
        "code_interpreter" | "code_execution" => "code_interpreter",
        "computer" | "computer_use" | "computer_use_preview" | "computer_toolset" => "computer_use",
        "tool_search" | "tool_search_tool_bm25" | "tool_search_tool_regex" => "tool_search",
        "mcp" | "mcp_toolset" | "mcp_servers" => "mcp",
        other => other,
    }
}

/// The tool that somebody means who spells it otherwise: `Web-Search` is `web_search`.
pub(crate) fn meant(name: &str) -> Option<String> {
    const FAMILIES: [&str; 6] =
        ["web_search", "file_search", "code_interpreter", "computer_use", "tool_search", "mcp"];
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let meant = family(&plain);
    (meant != name && FAMILIES.contains(&meant)).then(|| meant.to_owned())
}

/// Without `_20250305` or `_2025_03_11` at its end.
fn undated(name: &str) -> &str {
    let (mut rest, mut digits) = (name, 0);
    while let Some((before, last)) = rest.rsplit_once('_') {
        if last.is_empty() || digits + last.len() > 8 || !last.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        (rest, digits) = (before, digits + last.len());
    }
    if digits == 8 { rest } else { name }
}

/// The family of this tool, if it runs at the provider.
pub(crate) fn hosted(dialect: Dialect, tool: &Json) -> Result<Option<String>, Error> {
    let Json::Object(entries) = tool else {
        return Err(Error::Malformed { field: "tools", must: "a list of objects" });
    };
    let mut typed = false;
    for (_, value) in entries.iter().filter(|(name, _)| same("type", name)) {
        match value {
            Json::Null => {}
            Json::String(name) if at_caller(dialect, name) => typed = true,
            Json::String(name) => return Ok(Some(cut(family(name)))),
            _ => return Err(Error::Malformed { field: "tools[].type", must: "a tool's type" }),
        }
    }
    // Other members may be what makes it a tool: `{"google_search": {}}`. Some servers look at
    // them whatever the type says.
    let stranger = entries.iter().find(|(name, value)| {
        let plain = typed && (!matches!(value, Json::Object(_)) || DESCRIBES.contains(&&**name));
        !(plain || of_function(dialect, name))
    });
    Ok(stranger.map(|(name, _)| cut(family(name))))
}

/// Objects in a tool of the caller's that say more about it.
const DESCRIBES: [&str; 8] = [
    "annotations",
    "cache_control",
    "custom",
    "format",
    "function",
    "input_schema",
    "metadata",
    "output_schema",
];

/// Whether a tool of this type is one that the caller runs itself.
fn at_caller(dialect: Dialect, name: &str) -> bool {
    match dialect {
        // A namespace holds tools, which are looked at each.
        Dialect::OpenAi => matches!(name, "function" | "custom" | "namespace"),
        Dialect::Anthropic => {
            name == "custom"
                || (matches!(undated(name), "bash" | "text_editor" | "memory")
                    && undated(name) != name)
        }
    }
}

fn of_function(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::OpenAi => {
            matches!(name, "type" | "function" | "name" | "description" | "parameters" | "strict")
        }
        Dialect::Anthropic => matches!(
            name,
            "type"
                | "name"
                | "description"
                | "input_schema"
                | "input_examples"
                | "cache_control"
                | "strict"
                | "defer_loading"
                | "allowed_callers"
                | "eager_input_streaming"
        ),
    }
}

/// The family of the hosted tool that a `tool_choice` wants, if it does. Lists of tools within
/// it are looked at like any others.
pub(crate) fn chosen(dialect: Dialect, choice: &Json) -> Option<String> {
    let kind = choice.get("type").and_then(Json::as_str)?;
    let plain = match dialect {
        Dialect::OpenAi => matches!(kind, "function" | "custom" | "allowed_tools"),
        Dialect::Anthropic => matches!(kind, "auto" | "any" | "tool" | "none"),
    };
    (!plain).then(|| cut(family(kind)))
}

/// The hosted tool that a top-level field other than `tools` asks for, if it does.
pub(crate) fn in_field(name: &str, value: &Json) -> Option<&'static str> {
    const FIELDS: [(&str, &str); 4] = [
        ("web_search_options", "web_search"),
        ("search_parameters", "web_search"),
        ("mcp_servers", "mcp"),
        ("plugins", "plugins"),
    ];
    match value {
        Json::Null => return None,
        Json::Array(items) if items.is_empty() => return None,
        _ => {}
    }
    FIELDS.iter().find(|(field, _)| same(field, name)).map(|(_, family)| *family)
}

/// Whether these are tools that were listed, rather than tools to use.
pub(crate) fn listed(of: &Json) -> bool {
    ["mcp_list_tools", "mcp_tool_listing"].iter().any(|name| fields::is_type(of, name))
}

/// Cut to a length that an answer can hold.
fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap()
    }

    #[test]
    fn families_have_no_dates() {
        for (name, expected) in [
            ("web_search", "web_search"),
            ("web_search_preview", "web_search"),
            ("web_search_preview_2025_03_11", "web_search"),
            ("web_search_20250305", "web_search"),
            ("web_search_2025_08_26", "web_search"),
            ("web_fetch_20250910", "web_fetch"),
            ("file_search", "file_search"),
            ("code_interpreter", "code_interpreter"),
            ("code_execution_20250825", "code_interpreter"),
            ("computer", "computer_use"),
            ("computer_use_preview", "computer_use"),
            ("computer_20250124", "computer_use"),
            ("computer_toolset_20260801", "computer_use"),
            ("browser_toolset_20260801", "browser_toolset"),
            ("image_generation", "image_generation"),
            ("mcp", "mcp"),
            ("mcp_toolset", "mcp"),
            ("tool_search_tool_bm25_20251119", "tool_search"),
            ("tool_search_tool_regex", "tool_search"),
            ("bash_code_execution", "bash_code_execution"),
            ("x_2025", "x_2025"),
            ("x_123456789", "x_123456789"),
            ("20250305", "20250305"),
            ("", ""),
        ] {
            assert_eq!(family(name), expected, "{name}");
        }
    }

    #[test]
    fn what_the_caller_runs_passes_and_every_other_tool_is_hosted() {
        use Dialect::{Anthropic, OpenAi};
        for (dialect, tool, expected) in [
            (OpenAi, r#"{"type":"function","function":{"name":"f"}}"#, None),
            (OpenAi, r#"{"type":"function","name":"f","parameters":{}}"#, None),
            (OpenAi, r#"{"type":"custom","custom":{"name":"f"}}"#, None),
            (OpenAi, r#"{"function":{"name":"f"}}"#, None),
            (OpenAi, r#"{"type":"web_search_preview"}"#, Some("web_search")),
            (OpenAi, r#"{"type":"Function"}"#, Some("Function")),
            (OpenAi, r#"{"Type":"mcp"}"#, Some("mcp")),
            (OpenAi, r#"{"type":"function","TYPE":"mcp"}"#, Some("mcp")),
            (OpenAi, r#"{"google_search":{}}"#, Some("google_search")),
            (OpenAi, r#"{"type":null,"google_search":{}}"#, Some("google_search")),
            (OpenAi, r#"{"type":"bash_20250124","name":"bash"}"#, Some("bash")),
            (OpenAi, r#"{"type":"function","name":"f","googleSearch":{}}"#, Some("googleSearch")),
            (OpenAi, r#"{"type":"function","function":{},"cache_control":{}}"#, None),
            (OpenAi, r#"{"type":"custom","name":"f","format":{"type":"text"}}"#, None),
            (Anthropic, r#"{"type":"custom","name":"f","web_search":{}}"#, Some("web_search")),
            (OpenAi, r#"{"type":"something_new"}"#, Some("something_new")),
            (OpenAi, r#"{"type":"local_shell"}"#, Some("local_shell")),
            (Anthropic, r#"{"name":"f","input_schema":{}}"#, None),
            (Anthropic, r#"{"type":null,"name":"f","input_schema":{}}"#, None),
            (Anthropic, r#"{"type":"custom","name":"f"}"#, None),
            (Anthropic, r#"{"type":"bash_20250124","name":"bash"}"#, None),
            (Anthropic, r#"{"type":"text_editor_20250728","name":"e"}"#, None),
            (Anthropic, r#"{"type":"memory_20250818","name":"memory"}"#, None),
            (Anthropic, r#"{"type":"bash","name":"bash"}"#, Some("bash")),
            (Anthropic, r#"{"type":"bash_code_execution_20250825"}"#, Some("bash_code_execution")),
            (Anthropic, r#"{"type":"web_search_20250305","name":"w"}"#, Some("web_search")),
            (Anthropic, r#"{"type":"code_execution_20250825"}"#, Some("code_interpreter")),
            (Anthropic, r#"{"type":"computer_20250124"}"#, Some("computer_use")),
            (Anthropic, r#"{"type":"mcp_toolset","mcp_server_name":"x"}"#, Some("mcp")),
            (Anthropic, r#"{"type":"function","name":"f"}"#, Some("function")),
        ] {
            let got = hosted(dialect, &json(tool)).unwrap();
            assert_eq!(got.as_deref(), expected, "{tool}");
        }
        for tool in ["\"web_search\"", "1", "null", r#"{"type":1}"#, r#"{"type":["mcp"]}"#] {
            assert!(hosted(OpenAi, &json(tool)).is_err(), "{tool}");
        }
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(500));
        assert!(hosted(OpenAi, &json(&long)).unwrap().unwrap().len() <= 64);
    }

    #[test]
    fn a_choice_may_name_a_tool() {
        use Dialect::{Anthropic, OpenAi};
        for (dialect, choice, expected) in [
            (OpenAi, r#""auto""#, None),
            (OpenAi, r#"{"type":"function","function":{"name":"f"}}"#, None),
            (OpenAi, r#"{"type":"allowed_tools","tools":[]}"#, None),
            (OpenAi, r#"{"type":"web_search_preview_2025_03_11"}"#, Some("web_search")),
            (OpenAi, r#"{"type":"mcp","server_label":"x"}"#, Some("mcp")),
            (Anthropic, r#"{"type":"tool","name":"f"}"#, None),
            (Anthropic, r#"{"type":"any"}"#, None),
            (Anthropic, r#"{"type":"mcp"}"#, Some("mcp")),
        ] {
            assert_eq!(chosen(dialect, &json(choice)).as_deref(), expected, "{choice}");
        }
    }
}
