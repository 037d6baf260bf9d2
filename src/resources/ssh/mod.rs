//! SSH sessions: during a session, port 22 is open for the user's address only, and a key that was generated for this
//! session is authorized.
//!
//! A session has two parts in AWS: a *lease* (a tag of the instance, `devopsctl:ssh:<id>`) and an *SSH rule* (of
//! the security group). Each session has its own lease, which no other session writes, so concurrent sessions do not
//! interfere. An SSH rule may be shared: EC2 has one rule per address, and two sessions may come from the same one. So the
//! leases determine which SSH rules stay: a session that ends deletes its lease, then the rule if no other lease has its
//! address.
//!
//! A lease ends unless it is renewed. A killed session renews nothing, and the next command that changes something
//! deletes what is left: at once on the same machine, where a lock shows that the session was killed; elsewhere when
//! the lease has ended.

mod lease;
mod session_dir;
mod ssh_rule;

pub use lease::{Lease, SshRule};
pub use session_dir::SessionDir;
pub use ssh_rule::{Place, admit, close, left, open, renew, sweep};
