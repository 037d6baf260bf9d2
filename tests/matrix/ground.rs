//! What all of it stands on: an emulator that was emptied is as one that was just started, without being started anew.

use std::sync::Arc;

use crate::Cell;
use crate::account::Account;
use crate::census::census;
use crate::scenario::{Outcome, Scenario, ended_well, set_token};

/// The cells: this one, always.
pub fn cells() -> Vec<Cell> {
    let work = |account| -> futures_util::future::BoxFuture<'static, Outcome> { Box::pin(emptied(account)) };
    vec![Cell { table: "ground".into(), row: "emulator".into(), column: "emptied", work: Box::new(work) }]
}

async fn emptied(account: Arc<Account>) -> Outcome {
    for _ in 0..3 {
        // Also what stands only between two states, and what AWS does not know yet.
        Scenario::Down.prepare(&account).await?;
        account.control("emulator/delays?pending=600&profile=600&bucket=600&unknown=600&shutting-down=600").await;
        let id = census(&account.aws).await.instances.remove(0).id;
        account.aws.ec2.terminate_instances().instance_ids(id).send().await.map_err(|error| error.to_string())?;
        account.control("emulator/reset").await;
        census(&account.aws).await.is_empty()?;
    }
    // A new emulator would have made new keys: the same ones still open it. It remembers no token version and no bucket name.
    Scenario::SetToken.prepare(&account).await?;
    ended_well(&account.run(set_token("hello", "a-token-after-all-that"), None).await, "set-token")
}
