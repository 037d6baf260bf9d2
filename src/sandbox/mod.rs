//! The sandbox: a local AWS that the binary starts by itself.
