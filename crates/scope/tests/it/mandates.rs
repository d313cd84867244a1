use std::time::Duration;

use scope::{Commission, Grants, Maintenance, Mandate, SystemScope};

use crate::{code, kit};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_mandate_gives_the_scope_back_once() {
    let (kit, _) = kit().await;
    let scope = kit.scope_for("acme", "live", "billing").await;
    let mandate = kit.doors.mandate(&scope, "job.run", HOUR).unwrap();
    let written: Mandate = Mandate::from_text(mandate.as_text().to_owned());
    let back = kit.doors.redeem(&written, "job.run").await.unwrap();
    assert_eq!(back.partition_bytes(), scope.partition_bytes());
    assert_eq!((back.workflow(), back.run()), (scope.workflow(), scope.run()));
    assert_eq!(back.grants(), scope.grants());
    assert_eq!(code(kit.doors.redeem(&written, "job.run").await), "scope.revoked");
    let recorded = kit.audit.of("acme/live");
    assert_eq!(recorded.len(), 1, "the second redemption is on the record");
    assert_eq!(recorded[0].action, "mandate.redeem");
}

#[tokio::test]
async fn a_hundred_redeem_one_wins() {
    let (kit, _) = kit().await;
    let scope = kit.scope("acme", "live").await;
    let mandate = kit.doors.mandate(&scope, "job.run", HOUR).unwrap();
    let all = (0..100).map(|_| kit.doors.redeem(&mandate, "job.run"));
    let won = futures_util::future::join_all(all).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn what_voids_a_mandate() {
    let (kit, clock) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    let scope = kit.authenticate(&token.secret).await.unwrap();
    let write = |action| kit.doors.mandate(&scope, action, HOUR).unwrap();

    let good = write("job.run");
    assert_eq!(code(kit.doors.redeem(&good, "hook.receive").await), "scope.mismatch");
    for at in (0..good.as_text().len()).step_by(7) {
        let mut bytes = good.as_text().as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let outcome = kit.doors.redeem(&Mandate::from_text(text), "job.run").await;
        assert_ne!(code(outcome), "ok", "byte {at} changed");
    }
    for text in ["", ".", "a.b", "bm9uc2Vuc2U.bm9uc2Vuc2U"] {
        let outcome = kit.doors.redeem(&Mandate::from_text(text.into()), "job.run").await;
        assert_eq!(code(outcome), "scope.malformed", "{text:?}");
    }

    let late = write("job.run");
    clock.advance(Duration::from_secs(1_800));
    assert_eq!(code(kit.doors.redeem(&late, "job.run").await), "ok", "outlives its token");
    clock.advance(Duration::from_secs(1_800));
    assert_eq!(code(kit.doors.redeem(&good, "job.run").await), "scope.expired");

    let scope = kit.scope("acme", "live").await;
    let [lineage, epoch] = [(); 2].map(|()| kit.doors.mandate(&scope, "job.run", HOUR).unwrap());
    kit.revoke("acme", *scope.jti()).await;
    assert_eq!(code(kit.doors.redeem(&lineage, "job.run").await), "scope.revoked");
    kit.bump_epoch("acme").await;
    assert_eq!(code(kit.doors.redeem(&epoch, "job.run").await), "scope.revoked");
    assert_eq!(code(kit.doors.mandate(&scope, "job.run", HOUR)), "scope.revoked");
    let fresh = kit.scope("acme", "live").await;
    let too_long = kit.doors.mandate(&fresh, "job.run", Duration::from_secs(91 * 86_400));
    assert_eq!(code(too_long), "request.malformed");
}

#[tokio::test]
async fn configuration_may_commission_one() {
    let (kit, _) = kit().await;
    let system = SystemScope::claim(Maintenance::Administration);
    let grants = Grants::parse("queue:enqueue").unwrap();
    let commission = |environment: &str| {
        let terms = Commission {
            tenant: "acme".parse().unwrap(),
            environment: environment.parse().unwrap(),
            workflow: "hooks".parse().unwrap(),
            grants: grants.clone(),
        };
        kit.doors.commission(&system, terms, "hook", HOUR)
    };
    let mandate = commission("live").await.unwrap();
    let scope = kit.doors.redeem(&mandate, "hook").await.unwrap();
    assert_eq!((scope.tenant().as_str(), scope.grants()), ("acme", &grants));
    assert_eq!(code(commission("nowhere").await), "scope.environment");
}
