//! SARIF 2.1.0 (OASIS): one rule a check, one result a finding that is not isolated.

use serde_json::{Value, json};

use super::Report;
use crate::{
    catalog::{CHECKS, Check},
    verdict::{Finding, Verdict},
};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub(super) fn render(report: &Report) -> Value {
    let rules: Vec<Value> = CHECKS.iter().map(|check| rule(check)).collect();
    let told = report.findings.iter().filter(|finding| finding.verdict != Verdict::Isolated);
    let results: Vec<Value> = told.map(|finding| result(report, finding)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bulkhead probe",
                "version": report.version,
                "semanticVersion": report.version,
                "rules": rules,
            }},
            "automationDetails": { "id": format!("bulkhead-probe/{}", report.file) },
            "results": results,
        }],
    })
}

fn rule(check: &Check) -> Value {
    let tags = check.standards.iter().map(|standard| format!("{}:{}", standard.name, standard.row));
    json!({
        "id": check.id,
        "shortDescription": { "text": check.title },
        "fullDescription": { "text": check.means },
        "help": { "text": check.fix, "markdown": format!("{}\n\nMore: `{}`", check.fix, check.page()) },
        "properties": { "tags": tags.collect::<Vec<_>>() },
    })
}

fn result(report: &Report, finding: &Finding) -> Value {
    let (level, kind) = match finding.verdict {
        Verdict::Leak => ("error", "fail"),
        // SARIF demands the level "none" of whatever is no failure.
        Verdict::NotProven | Verdict::Isolated => ("none", "open"),
    };
    let index = CHECKS.iter().position(|check| check.id == finding.check.id);
    let proof = finding
        .proof
        .as_ref()
        .map(|proof| format!(" Repeat: bulkhead probe replay {}", proof.number));
    let Finding { target, place, check, verdict, summary, .. } = finding;
    let text =
        format!("{}: {target}, {place}: {summary}.{}", verdict.label(), proof.unwrap_or_default());
    json!({
        "ruleId": check.id,
        "ruleIndex": index,
        "level": level,
        "kind": kind,
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&report.file) },
            "region": { "startLine": finding.line.max(1) },
        }}],
        "partialFingerprints": { "targetPlaceCheck/v1": format!("{target}/{place}/{}", check.id) },
    })
}

/// A path as SARIF has it: a relative reference (RFC 3986). What stands for a file may have spaces.
fn uri(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let each = file.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    each.collect()
}
