//! The precondition of all cells: an emptied emulator is like a new one.

use std::sync::Arc;

use crate::Cell;
use crate::account::Account;
use crate::inventory::inventory;
use crate::scenario::{Outcome, Scenario, ended_well, set_token};

/// The cell. It always runs.
pub fn cells() -> Vec<Cell> {
    let work = |account| -> futures_util::future::BoxFuture<'static, Outcome> { Box::pin(emptied(account)) };
    vec![Cell { table: "ground".into(), row: "emulator".into(), column: "emptied", work: Box::new(work) }]
}

async fn emptied(account: Arc<Account>) -> Outcome {
    for _ in 0..3 {
        // Also with pending transitions and new resources.
        Scenario::Down.prepare(&account).await?;
        account.control("emulator/delays?pending=600&profile=600&bucket=600&unknown=600&shutting-down=600").await;
        let id = inventory(&account.aws).await.instances.remove(0).id;
        account.aws.ec2.terminate_instances().instance_ids(id).send().await.map_err(|error| error.to_string())?;
        account.control("emulator/reset").await;
        inventory(&account.aws).await.is_empty()?;
    }
    // The keys are still valid, so it was not restarted. It has forgotten token versions and bucket names.
    Scenario::SetToken.prepare(&account).await?;
    ended_well(&account.run(set_token("hello", "a-token-after-all-that"), None).await, "set-token")
}
