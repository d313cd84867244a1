//! How the deployment stood when it was last probed from outside, and how long ago that is.

use serde_json::Value;

use super::Finding;

const WHAT: &str = "isolation, seen";
/// What runs it now.
const COMMAND: &str = "bulkhead probe --self";

/// By `GET /admin/v1/probe`.
pub(super) fn told(probe: &Value) -> Finding {
    let every = number(probe, "/every_seconds");
    if probe.get("available") != Some(&Value::Bool(true)) {
        return Finding::warning(
            WHAT,
            "this server cannot probe itself",
            "its log says why, at its start",
        );
    }
    let Some(proven) = probe.get("proven").filter(|proven| !proven.is_null()) else {
        return never(probe, every);
    };
    let age = number(proven, "/age_seconds");
    let counts = ["/leaks", "/not_proven", "/isolated"].map(|name| number(proven, name));
    let [leaks, not_proven, isolated] = counts;
    let detail =
        format!("{leaks} leaks, {not_proven} not proven, {isolated} isolated, {} ago", spoken(age));
    if leaks > 0 {
        let advice =
            format!("`{COMMAND}` shows each with a proof; stop serving until it is mended");
        return Finding::wrong(WHAT, detail, advice);
    }
    if every > 0 && age > every.saturating_mul(2) {
        let advice = format!("it should be probed every {}: see its log", spoken(every));
        return Finding::warning(WHAT, detail, advice);
    }
    if let Some(why) = failed(probe) {
        return Finding::warning(WHAT, format!("{detail}; the last try failed: {why}"), again());
    }
    if not_proven > 0 {
        return Finding::warning(WHAT, detail, format!("`{COMMAND}` says what was missing"));
    }
    Finding::good(WHAT, detail)
}

/// There is no verdict, since the start.
fn never(probe: &Value, every: u64) -> Finding {
    if let Some(why) = failed(probe) {
        return Finding::warning(WHAT, format!("it could not be probed: {why}"), again());
    }
    if probe.get("running").is_some_and(|running| !running.is_null()) {
        return Finding::good(WHAT, "it is being probed for the first time since its start");
    }
    let detail = match every {
        0 => format!("not since its start; `{COMMAND}` does it"),
        every => format!("not yet since its start, every {} from then on", spoken(every)),
    };
    Finding::good(WHAT, detail)
}

fn again() -> String {
    format!("`{COMMAND}` tries again")
}

fn failed(probe: &Value) -> Option<String> {
    probe.pointer("/last/failed").map(crate::print::cell)
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::State;

    #[test]
    fn leaks_are_wrong_and_old_verdicts_are_told() {
        let proven = |leaks: u64, open: u64, age: u64| json!({ "leaks": leaks, "not_proven": open, "isolated": 9, "age_seconds": age });
        for (every, proven, last, state, says) in [
            (0, json!(null), json!(null), State::Good, "not since its start"),
            (60, json!(null), json!(null), State::Good, "every 60 s"),
            (60, json!(null), json!({ "failed": "no port" }), State::Warning, "no port"),
            (0, proven(0, 0, 999_999), json!({}), State::Good, "11 days ago"),
            (60, proven(0, 0, 119), json!({}), State::Good, "119 s ago"),
            (60, proven(0, 0, 121), json!({}), State::Warning, "2 min ago"),
            (60, proven(0, 1, 5), json!({}), State::Warning, "1 not proven"),
            (60, proven(1, 0, 5), json!({}), State::Wrong, "1 leaks"),
            (60, proven(0, 0, 5), json!({ "failed": "no port" }), State::Warning, "no port"),
        ] {
            let told = told(&json!({
                "available": true, "every_seconds": every, "proven": proven, "last": last,
            }));
            assert!(told.detail.contains(says), "{told:?}");
            assert_eq!(told.state(), state, "{told:?}");
        }
        assert_eq!(told(&json!({ "available": false })).state(), State::Warning);
    }
}
