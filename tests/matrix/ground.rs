//! What all of it stands on: an emulator that was emptied is as one that was just started, and that takes no time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Cell;
use crate::account::Account;
use crate::census::census;
use crate::scenario::{Outcome, Scenario, ended_well, set_token};

/// What emptying may take: far less than the command that is tested after it.
const QUICK: Duration = Duration::from_millis(100);

/// The cells: this one, always.
pub fn cells() -> Vec<Cell> {
    let work = |account| -> futures_util::future::BoxFuture<'static, Outcome> { Box::pin(emptied(account)) };
    vec![Cell { table: "ground".into(), row: "emulator".into(), column: "emptied", work: Box::new(work) }]
}

async fn emptied(account: Arc<Account>) -> Outcome {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        // Also what stands only between two states, and what AWS does not know yet.
        Scenario::Down.prepare(&account).await?;
        account.control("emulator/delays?pending=600&profile=600&bucket=600&unknown=600&shutting-down=600").await;
        let id = census(&account.aws).await.instances.remove(0).id;
        account.aws.ec2.terminate_instances().instance_ids(id).send().await.map_err(|error| error.to_string())?;
        let began = Instant::now();
        account.control("emulator/reset").await;
        quickest = quickest.min(began.elapsed());
        census(&account.aws).await.is_empty()?;
    }
    // The same keys still open it, and nothing is remembered of a token's versions or a bucket's name.
    Scenario::SetToken.prepare(&account).await?;
    ended_well(&account.run(set_token("hello", "a-token-after-all-that"), None).await, "set-token")?;
    if quickest < QUICK { Ok(()) } else { Err(format!("it takes {quickest:?}")) }
}
