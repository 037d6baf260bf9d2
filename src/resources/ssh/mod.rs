//! A shell on the instance, for as long as somebody is connected: port 22 is open for his address alone, and a key that was
//! made for this one time counts.
//!
//! What stands in AWS for it is a *lease* (a tag of the instance, `devopsctl:ssh:<id>`) and a *door* (a rule of the security
//! group). Each who connects has a lease of his own, which nobody else writes, so two at once are in nobody's way. A door may
//! be shared: EC2 knows one rule for an address, and two may come from the same one. So it is the leases that say which
//! doors stay; whoever ends takes his own lease away, then the door if no other lease names its address.
//!
//! A lease ends by itself unless it is renewed. Who is killed renews nothing, and the next command that changes something closes what
//! is left: at once on the machine where that was, which knows by a lock that he is gone; elsewhere when the lease is over.

mod door;
mod folder;
mod lease;

pub use door::{Place, admit, close, left, open, renew, sweep};
pub use folder::Folder;
pub use lease::{Door, Lease};
