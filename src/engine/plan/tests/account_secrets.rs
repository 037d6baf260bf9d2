//! The secrets in the model of AWS.

use super::account::Account;
use crate::resources::{Lookup, instance, secrets};

impl Account {
    /// Writes or deletes a secret. The time of the write is different each time.
    pub fn secret(&mut self, name: &str, change: &secrets::Change) {
        self.writes += 1;
        let stored = self.seen.secrets.stand(secrets::Stored::new);
        let before = stored.get(name).map(|secret| secret.version);
        match change {
            secrets::Change::Generate { .. } => assert_eq!(before, None, "a secret that is set is not generated"),
            secrets::Change::Write { stands, .. } => assert_eq!(before.is_some(), *stands),
            secrets::Change::Delete => assert!(before.is_some()),
        }
        match change {
            secrets::Change::Delete => drop(stored.remove(name)),
            _ => {
                let secret = secrets::State { version: before.unwrap_or_default() + 1, modified: self.writes };
                stored.insert(name.to_owned(), secret);
            }
        }
        if stored.is_empty() {
            self.seen.secrets = Lookup::Absent;
        }
    }

    /// The token in the orders of all live instances.
    pub fn current_token(&self) -> Vec<Option<i64>> {
        instance::alive(&self.seen.instances).map(|state| state.orders().token).collect()
    }

    pub fn fingerprint(&self) -> String {
        self.seen.secrets.present().map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint)
    }
}
