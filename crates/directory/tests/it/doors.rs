//! The registry behind the real doors: what an operator changes is effective when the change
//! returns.

use std::{sync::Arc, time::Duration};

use ids::{BoxFuture, OsEntropy, TenantId};
use scope::{Doors, Presented, Scope, Settings, SigningKey, TokenKeys, Write};
use testkit::Heard;
use zeroize::Zeroizing;

use super::world::{World, digester, fresh, id, new_key, spec};

fn doors(world: &World) -> Arc<Doors> {
    let settings = Settings {
        issuer: "https://bulkhead.test".into(),
        audience: "bulkhead:test".into(),
        keys: TokenKeys::new(vec![SigningKey::from_seed(&[1; 32])]).unwrap(),
        digester: digester(),
        mandate_key: Zeroizing::new([2; 32]),
        issuers: Vec::new(),
    };
    let doors = Doors::open(
        settings,
        Arc::new(world.registry.clone()),
        Arc::new(Heard::default()),
        world.clock.clone(),
        Arc::new(OsEntropy),
    );
    let told = Arc::downgrade(&doors);
    world.registry.listen(Box::new(move |tenant: TenantId| -> BoxFuture<'static, ()> {
        let doors = told.upgrade();
        Box::pin(async move {
            if let Some(doors) = doors {
                doors.refresh(&tenant).await.unwrap();
            }
        })
    }));
    doors
}

async fn enter(doors: &Doors, credential: &str) -> Result<Scope<Write>, &'static str> {
    let presented = Presented { credentials: vec![credential], claims: Vec::new() };
    doors.authenticate(&presented).await.map_err(|error| error.code())
}

#[tokio::test]
async fn a_change_is_effective_when_it_returns() {
    let world = World::new().with(&["acme", "globex"]).await;
    let doors = doors(&world);
    let registry = &world.registry;
    let (bystander, new) = new_key("globex", "live", None);
    registry.create_key(new).await.unwrap();
    let key = async || {
        let (secret, new) = new_key("acme", "live", None);
        let record = registry.create_key(new).await.unwrap();
        let scope = enter(&doors, secret.expose()).await.unwrap();
        assert_eq!(scope.tenant().as_str(), "acme");
        (secret, record, scope)
    };

    let (secret, record, scope) = key().await;
    registry.revoke_key(&record.id).await.unwrap();
    assert_eq!(scope.live().unwrap_err().code(), "scope.revoked");
    assert_eq!(scope.ended().await.code(), "scope.revoked");
    assert_eq!(enter(&doors, secret.expose()).await.unwrap_err(), "scope.revoked");

    let (secret, record, _scope) = key().await;
    let (_, next) = fresh(scope::Kind::ApiKey);
    registry.rotate_key(&record.id, next, Duration::from_secs(60)).await.unwrap();
    enter(&doors, secret.expose()).await.unwrap().live().unwrap();
    world.advance(60);
    assert_eq!(enter(&doors, secret.expose()).await.unwrap_err(), "scope.expired");

    let (secret, _, scope) = key().await;
    registry.suspend(&id("acme")).await.unwrap();
    assert_eq!(scope.ended().await.code(), "scope.suspended");
    assert_eq!(enter(&doors, secret.expose()).await.unwrap_err(), "scope.suspended");
    registry.resume(&id("acme")).await.unwrap();
    enter(&doors, secret.expose()).await.unwrap().live().unwrap();

    registry.change_tenant(spec("acme", &["test"], &[])).await.unwrap();
    assert!(enter(&doors, secret.expose()).await.is_err());
    registry.change_tenant(spec("acme", &["test", "live"], &[])).await.unwrap();
    assert_eq!(enter(&doors, secret.expose()).await.unwrap_err(), "scope.revoked");

    let (secret, _, scope) = key().await;
    registry.revoke_all(&id("acme")).await.unwrap();
    assert_eq!(scope.ended().await.code(), "scope.revoked");
    assert_eq!(enter(&doors, secret.expose()).await.unwrap_err(), "scope.revoked");

    let (secret, _, scope) = key().await;
    registry.erase_tenant(&id("acme")).await.unwrap();
    assert_eq!(scope.ended().await.code(), "scope.tenant");
    enter(&doors, secret.expose()).await.unwrap_err();

    enter(&doors, bystander.expose()).await.unwrap().live().unwrap();
}

#[tokio::test]
async fn a_mandate_is_redeemed_once_whatever_restarts_lie_between() {
    let world = World::new().with(&["acme"]).await;
    let (secret, new) = new_key("acme", "live", None);
    world.registry.create_key(new).await.unwrap();
    let (one, two) = {
        let doors = doors(&world);
        let scope = enter(&doors, secret.expose()).await.unwrap();
        let life = Duration::from_secs(3_600);
        let one = doors.mandate(&scope, "job.run", life).unwrap();
        let two = doors.mandate(&scope, "job.run", life).unwrap();
        doors.redeem(&one, "job.run").await.unwrap().live().unwrap();
        (one, two)
    };
    let world = world.reopen().await;
    let doors = doors(&world);
    assert!(doors.redeem(&one, "job.run").await.is_err());
    doors.redeem(&two, "job.run").await.unwrap().live().unwrap();
    assert!(doors.redeem(&two, "job.run").await.is_err());
}
