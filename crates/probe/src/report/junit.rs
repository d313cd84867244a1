//! JUnit's XML, as CI systems read it: a suite a target, a case a check.

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};

use super::Report;
use crate::verdict::{Finding, Verdict};

pub(super) fn render(report: &Report) -> String {
    let mut out = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing into memory does not fail.
    let _ = suites(&mut out, report);
    String::from_utf8_lossy(&out.into_inner()).into_owned()
}

type Out = Writer<Vec<u8>>;

fn suites(out: &mut Out, report: &Report) -> std::io::Result<()> {
    out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let counts = |findings: &[&Finding]| {
        let of = |verdict| findings.iter().filter(|f| f.verdict == verdict).count().to_string();
        [findings.len().to_string(), of(Verdict::Leak), of(Verdict::NotProven)]
    };
    let all: Vec<&Finding> = report.findings.iter().collect();
    let [tests, failures, skipped] = counts(&all);
    open(
        out,
        "testsuites",
        &[
            ("name", "bulkhead probe"),
            ("tests", &tests),
            ("failures", &failures),
            ("skipped", &skipped),
        ],
    )?;
    let mut targets: Vec<&str> = Vec::new();
    for finding in &all {
        if !targets.contains(&finding.target.as_str()) {
            targets.push(&finding.target);
        }
    }
    for target in targets {
        let own: Vec<&Finding> = all.iter().copied().filter(|f| f.target == target).collect();
        let [tests, failures, skipped] = counts(&own);
        open(
            out,
            "testsuite",
            &[("name", target), ("tests", &tests), ("failures", &failures), ("skipped", &skipped)],
        )?;
        for finding in own {
            case(out, report, finding)?;
        }
        close(out, "testsuite")?;
    }
    close(out, "testsuites")
}

fn case(out: &mut Out, report: &Report, finding: &Finding) -> std::io::Result<()> {
    let name = format!("{} ({})", finding.check.id, finding.place);
    #[expect(clippy::cast_precision_loss, reason = "seconds of a check, to a millisecond")]
    let seconds = format!("{:.3}", finding.milliseconds as f64 / 1e3);
    open(
        out,
        "testcase",
        &[
            ("name", &name),
            ("classname", &finding.target),
            ("time", &seconds),
            ("file", &report.file),
            ("line", &finding.line.to_string()),
        ],
    )?;
    match finding.verdict {
        Verdict::Isolated => {}
        Verdict::NotProven => {
            open(out, "skipped", &[("message", &finding.summary)])?;
            close(out, "skipped")?;
        }
        Verdict::Leak => {
            open(out, "failure", &[("message", &finding.summary), ("type", finding.check.id)])?;
            out.write_event(Event::Text(BytesText::new(&told(finding))))?;
            close(out, "failure")?;
        }
    }
    close(out, "testcase")
}

fn told(finding: &Finding) -> String {
    let check = finding.check;
    let again = finding
        .proof
        .as_ref()
        .map(|proof| format!("\nRepeat: bulkhead probe replay {}", proof.number));
    let (means, fix) = (check.means, check.fix);
    format!("{means}\nFix: {fix}\nMore: {}{}", check.page(), again.unwrap_or_default())
}

fn open(out: &mut Out, name: &str, attributes: &[(&str, &str)]) -> std::io::Result<()> {
    let mut start = BytesStart::new(name);
    for attribute in attributes {
        // XML has no control characters, and a runner chokes on them.
        let value: String = attribute.1.chars().filter(|c| !c.is_control()).collect();
        start.push_attribute((attribute.0, value.as_str()));
    }
    out.write_event(Event::Start(start))
}

fn close(out: &mut Out, name: &str) -> std::io::Result<()> {
    out.write_event(Event::End(BytesEnd::new(name)))
}
