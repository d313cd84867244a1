//! The forms in which a report is written for programs and for people who were not there.

use super::{Report, html, junit, markdown, sarif};

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`Report`] itself; `docs/probe-report.schema.json` is its schema.
    Json,
    /// SARIF 2.1.0, for code scanning: results point at the target's line in the file.
    Sarif,
    /// JUnit's XML, for CI: a leak fails, what is not proven is skipped with its reason.
    Junit,
    /// For a pull request or a ticket.
    Markdown,
    /// One page that needs nothing else, to hand to a customer's security team.
    Html,
}

impl Format {
    /// The report in this form.
    #[must_use]
    pub fn render(self, report: &Report) -> String {
        match self {
            Self::Json => serde_json::to_string_pretty(report).unwrap_or_default(),
            Self::Sarif => format!("{:#}", sarif::render(report)),
            Self::Junit => junit::render(report),
            Self::Markdown => markdown::render(report),
            Self::Html => html::render(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use quick_xml::{Reader, events::Event};

    use super::*;
    use crate::{
        budget::{Allowed, Spent},
        catalog,
        coverage::Uncovered,
        ledger::Planting,
        questions,
        report::{Outcome, SCHEMA, Source},
        run::Depth,
        verdict::{Control, Finding, Proof, Step, Strength, Verdict},
    };

    /// What a hostile target would like to see in a report.
    const HOSTILE: &str = "</code><script>alert(1)</script> ``` | **x** \u{1b}[31m\u{0} ]]> & \"'";

    fn finding(check: &'static catalog::Check, verdict: Verdict) -> Finding {
        let control = || Some(Control { held: true, note: HOSTILE.into() });
        let step = Step {
            who: "b".into(),
            line: format!("GET http://x/{HOSTILE}"),
            headers: Vec::new(),
            body: Some(HOSTILE.into()),
            outcome: "200 in 1.0 ms".into(),
            excerpt: Some(HOSTILE.into()),
        };
        Finding {
            target: "gate".into(),
            place: "chat".into(),
            check,
            verdict,
            summary: HOSTILE.into(),
            strength: Strength::Exact,
            positive: control(),
            negative: control(),
            attacks: 3,
            statistic: None,
            proof: (verdict == Verdict::Leak).then(|| Proof { number: 1, steps: vec![step] }),
            requests: 7,
            milliseconds: 12,
            line: 4,
        }
    }

    fn report() -> Report {
        let findings = vec![
            finding(&catalog::EXACT_KEY, Verdict::Leak),
            finding(&catalog::CROWDING, Verdict::Isolated),
            finding(&catalog::NOISY_NEIGHBOUR, Verdict::NotProven),
        ];
        Report {
            schema: SCHEMA,
            version: "0",
            run: "r".into(),
            file: "stack.toml".into(),
            source: Source::File { path: "stack.toml".into() },
            begun: "2026-01-01T00:00:00Z".into(),
            milliseconds: 1,
            depth: Depth::Quick,
            seed: 1,
            only: Vec::new(),
            allow_flood: false,
            dry_run: false,
            stopped: false,
            budget: Allowed::default(),
            spent: Spent { requests: 21, usd: 0.5 },
            outcome: Outcome::Leak,
            targets: Vec::new(),
            canaries: Planting::default(),
            questions: questions::answer(&findings, &[]),
            uncovered: vec![Uncovered { check: "crowding", questions: &[], add: HOSTILE }],
            foreseen: Vec::new(),
            baseline: None,
            findings,
        }
    }

    #[test]
    fn sarif_has_a_rule_for_each_result_and_a_place_in_the_file() {
        let sarif: serde_json::Value =
            serde_json::from_str(&Format::Sarif.render(&report())).unwrap();
        let run = &sarif["runs"][0];
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2, "what is isolated is no result");
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "stack.toml");
            assert_eq!(place["region"]["startLine"], 4);
        }
        assert_eq!((&results[0]["level"], &results[0]["kind"]), (&"error".into(), &"fail".into()));
        assert_eq!((&results[1]["level"], &results[1]["kind"]), (&"none".into(), &"open".into()));
    }

    #[test]
    fn what_stands_for_a_file_is_a_reference_in_sarif() {
        let named = |file: &str| {
            let report = Report { file: file.into(), ..report() };
            let sarif: serde_json::Value =
                serde_json::from_str(&Format::Sarif.render(&report)).unwrap();
            let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
            place["artifactLocation"]["uri"].as_str().unwrap().to_owned()
        };
        assert_eq!(named("the command line"), "the%20command%20line");
        assert_eq!(named("a:b/ä.toml"), "a%3Ab/%C3%A4.toml");
    }

    #[test]
    fn junit_fails_leaks_and_skips_what_is_not_proven() {
        let xml = Format::Junit.render(&report());
        let mut reader = Reader::from_str(&xml);
        let mut seen = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    for attribute in tag.attributes() {
                        let value = attribute.unwrap();
                        assert!(!value.value.contains(&b'<'), "{xml}");
                    }
                    seen.push(name);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let of = |name: &str| seen.iter().filter(|tag| *tag == name).count();
        assert_eq!((of("testcase"), of("failure"), of("skipped")), (3, 1, 1));
        assert!(xml.contains(r#"tests="3" failures="1" skipped="1""#), "{xml}");
        assert!(!xml.contains('\u{1b}') && !xml.contains('\0'), "{xml}");
    }

    #[test]
    fn what_a_target_said_is_never_markup() {
        let html = Format::Html.render(&report());
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
        assert!(!html.contains("http-equiv=\"refresh\"") && !html.contains(" src="), "{html}");
        let markdown = Format::Markdown.render(&report());
        // Between fences nothing is markup; elsewhere each sign is escaped.
        let outside: String = markdown.split("```").step_by(2).collect();
        let bare = outside.replace("\\<", "").replace("\\*", "");
        assert!(!bare.contains("<script") && !bare.contains("**x**"), "{outside}");
        assert_eq!(markdown.matches("```").count() % 2, 0, "{markdown}");
        assert!(!markdown.contains('\u{1b}'));
    }

    #[test]
    fn json_says_its_version_and_every_verdict() {
        let json: serde_json::Value =
            serde_json::from_str(&Format::Json.render(&report())).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        let verdicts: Vec<_> =
            json["findings"].as_array().unwrap().iter().map(|f| f["verdict"].clone()).collect();
        assert_eq!(verdicts, ["leak", "isolated", "not_proven"]);
        assert_eq!(json["findings"][0]["check"], "exact-key");
    }
}
