//! What a person has allowed, done by Bulkhead itself where the tool's contract says so.

use std::{sync::Arc, time::Duration};

use reviews::{Review, State};
use scope::{Scope, SystemScope, Write};
use tokio::time::MissedTickBehavior;

use crate::App;

/// How often is looked for what could not be done when it was allowed.
const AGAIN: Duration = Duration::from_secs(30);

/// Does what was decided, if it is Bulkhead's to do. Its outcome is on record, as that of every write.
pub(crate) fn carry_out(app: &Arc<App>, decider: &Scope<Write>, decided: &Review) {
    if decided.state != State::Approved {
        return;
    }
    let (app, id) = (Arc::clone(app), decided.id);
    // The decider's scope is for the task alone: what is done, is done under the asker's.
    drop(decider.spawn(move |decider| async move {
        if let Err(error) = app.tools.carry_out(&app.gate, &app.system, &decider, id).await {
            // It stays due.
            tracing::warn!(
                tenant = decider.tenant().as_str(),
                environment = decider.environment().as_str(),
                review = %id,
                code = error.code(),
                "what was approved could not be carried out"
            );
        }
    }));
}

/// At start, and now and then: what a crash cut off, or could not be done when it was allowed.
pub(crate) async fn tend(app: &App, system: &SystemScope) {
    let mut due = tokio::time::interval(AGAIN);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if let Err(error) = app.tools.carry_out_due(&app.gate, system).await {
            tracing::error!(code = error.code(), %error, "what is due could not be looked up");
        }
    }
}
