//! SSH sessions: during a session, port 22 is open for the user's address only, and a key that was generated for this
//! session is authorized.
//!
//! A session has two parts in AWS: a *lease* (a tag of the instance, `devopsctl:ssh:<id>`) and a *door* (an SSH rule of the
//! security group). Each session has its own lease, which no other session writes, so concurrent sessions do not
//! interfere. A door may be shared: EC2 has one rule per address, and two sessions may come from the same one. So the
//! leases determine which doors stay: a session that ends deletes its lease, then the door if no other lease has its
//! address.
//!
//! A lease ends unless it is renewed. A killed session renews nothing, and the next command that changes something
//! deletes what is left: at once on the same machine, where a lock shows that the session was killed; elsewhere when
//! the lease has ended.

mod door;
mod folder;
mod lease;

pub use door::{Place, admit, close, left, open, renew, sweep};
pub use folder::Folder;
pub use lease::{Door, Lease};
