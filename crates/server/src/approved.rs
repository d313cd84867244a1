//! What a person has allowed, done by Bulkhead itself where the tool's contract says so: under the
//! scope of whoever asked, which the review's mandate gives back, whatever became of its token.

use std::sync::Arc;

use ids::RandomId;
use reviews::{Review, State};
use scope::{Scope, Write};
use tools::{APPROVED, Progress};

use crate::App;

/// Does what was decided, if it is to be done. Its outcome is on record, as that of every write.
pub(crate) async fn carry_out(app: &Arc<App>, decider: &Scope<Write>, decided: &Review) {
    if decided.state != State::Approved {
        return;
    }
    let id = decided.id;
    let mandate = match app.reviews.of(decider).mandate(id).await {
        Ok(Some(mandate)) => mandate,
        Ok(None) => return,
        Err(error) => return told(decider, id, error.code()),
    };
    let app = Arc::clone(app);
    // The decider's scope is for the task alone: what is done, is done under the asker's.
    drop(decider.spawn(move |decider| async move {
        let asker = match app.doors.redeem(&mandate, APPROVED).await {
            Ok(asker) => asker,
            Err(error) => return told(&decider, id, error.code()),
        };
        let prepared = match app.tools.prepare_approved(&asker, id).await {
            Ok(prepared) => prepared,
            Err(error) => return told(&decider, id, error.code()),
        };
        let hop = prepared.hop(&asker);
        let call = |pass| app.tools.call(&asker, pass, prepared, Progress::none());
        if let Err(error) = app.gate.pass(&asker, hop, call).await {
            told(&asker, id, error.code());
        }
    }));
}

/// What was allowed stays so: whoever asked can still come back and use it.
fn told(scope: &Scope<Write>, id: RandomId, code: &'static str) {
    tracing::warn!(
        tenant = scope.tenant().as_str(),
        environment = scope.environment().as_str(),
        review = %id,
        code,
        "what was approved could not be carried out"
    );
}
