use super::*;

#[test]
fn the_strictest_holds() {
    use Mode::{Approve, Execute, Suggest};
    let write = |lines: &str| compiled(&contract(lines).replace("'read'", "'write'")).unwrap();
    let workflows: Vec<WorkflowMode> = [("careful", Approve), ("dry", Suggest), ("free", Execute)]
        .map(|(workflow, mode)| WorkflowMode { workflow: workflow.parse().unwrap(), mode })
        .into();
    for (tool, workflow, tenant, expected) in [
        ("", "free", None, Suggest),
        ("mode = 'execute'", "free", None, Execute),
        ("mode = 'execute'", "other", None, Execute),
        ("mode = 'execute'", "careful", None, Approve),
        ("mode = 'execute'", "dry", Some(Execute), Suggest),
        ("mode = 'execute'", "free", Some(Approve), Approve),
        ("mode = 'execute'", "careful", Some(Suggest), Suggest),
        ("mode = 'approve'", "free", Some(Execute), Approve),
        ("mode = 'approve'", "dry", None, Suggest),
        ("mode = 'suggest'", "free", Some(Execute), Suggest),
        // Without a workflow: as strict as any.
        ("mode = 'execute'", "", None, Suggest),
    ] {
        let workflow = (!workflow.is_empty()).then(|| workflow.parse().unwrap());
        let got = mode(&write(tool), &workflows, workflow.as_ref(), tenant, None);
        assert_eq!(got, expected, "{tool} {workflow:?} {tenant:?}");
    }
    assert_eq!(mode(&tool(""), &workflows, None, Some(Suggest), None), Execute, "a read");
}

#[test]
fn a_person_approves_from_an_amount_on() {
    let write = |mode: &str| {
        let lines = format!("mode = '{mode}'\napproval = {{ amount = '/sum', above = 100.5 }}");
        compiled(&contract(&lines).replace("'read'", "'destructive'")).unwrap()
    };
    let (execute, suggest) = (write("execute"), write("suggest"));
    for (amount, expected) in [
        (Some(10_049), Mode::Execute),
        (Some(10_050), Mode::Approve),
        (Some(i64::MAX), Mode::Approve),
        (Some(-10_050), Mode::Approve),
        (Some(i64::MIN), Mode::Approve),
        (Some(0), Mode::Execute),
        (None, Mode::Approve),
    ] {
        assert_eq!(mode(&execute, &[], None, None, amount), expected, "{amount:?}");
        assert_eq!(mode(&suggest, &[], None, None, amount), Mode::Suggest, "{amount:?}");
    }
}
