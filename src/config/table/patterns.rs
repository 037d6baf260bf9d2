//! Patterns of several keys.

/// Any text that is not empty: only the reader can check it.
pub const ANY: &str = "^.+$";
pub const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// The path of a request: printable, without `#`, and without a second `/` at the start.
pub const REQUEST: &str = r#"^/([!"$-.0-~][!"$-~]*)?$"#;
/// A path without escapes, and whether all paths below it are meant.
pub const OPEN: &str = r"^/[A-Za-z0-9._~!$&'()+,=:@/-]*(/\*)?$";
/// The path of a URL without escapes, and without a slash at its end.
pub const PREFIX: &str = "^(/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,9})$";
/// The name of what runs beside the app. It becomes a unit, a path and the name of a log.
pub const PROGRAM: &str = "^[a-z][a-z0-9-]{0,19}$";
