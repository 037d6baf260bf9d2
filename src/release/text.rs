//! The encoding of requirements files, by pip's rules: PowerShell writes `pip freeze > requirements.txt` as UTF-16.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// The declaration of PEP 263, which pip reads in the first two lines.
static CODING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*#.*coding[:=]\s*([-\w.]+)").expect("a regex"));

/// The text, without its byte order mark.
pub fn decode(bytes: &[u8]) -> Result<String, String> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return utf8(rest);
    }
    // UTF-32's mark starts with UTF-16's, so it is checked first.
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe\0\0") {
        return utf32(rest, u32::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\0\0\xfe\xff") {
        return utf32(rest, u32::from_be_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes);
    }
    let coding = bytes.split(|byte| *byte == b'\n').take(2).find_map(|line| CODING.captures(line));
    let name = coding.map(|found| String::from_utf8_lossy(&found[1]).to_lowercase().replace('_', "-"));
    match name.as_deref() {
        Some("latin-1" | "latin1" | "iso-8859-1" | "l1") => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| format!("it is not UTF-8: {error}"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (units, rest) = bytes.as_chunks();
    let units: Vec<u16> = units.iter().copied().map(unit).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    text.ok_or_else(|| "it starts as UTF-16, but is not valid".to_owned())
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Result<String, String> {
    let (units, rest) = bytes.as_chunks();
    let text = units.iter().copied().map(|bytes| char::from_u32(unit(bytes))).collect::<Option<String>>();
    text.filter(|_| rest.is_empty()).ok_or_else(|| "it starts as UTF-32, but is not valid".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_that_pip_reads() {
        let text = "# grüezi\r\nflask==3.1.0\r\n";
        let utf16 = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let utf32 = |unit: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| unit(u32::from(c))).collect::<Vec<u8>>();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat(),
            [b"\xfe\xff".to_vec(), utf16(u16::to_be_bytes)].concat(),
            [b"\xff\xfe\0\0".to_vec(), utf32(u32::to_le_bytes)].concat(),
            [b"\0\0\xfe\xff".to_vec(), utf32(u32::to_be_bytes)].concat(),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok(text), "{bytes:?}");
        }
        assert_eq!(
            decode(b"# -*- coding: latin-1 -*-\n# gr\xfcezi\n").unwrap(),
            "# -*- coding: latin-1 -*-\n# grüezi\n"
        );
        for bytes in [&b"flask\xff\n"[..], b"\xff\xfef", b"\xff\xfe\x00\xd8", b"\xff\xfe\0\0\0\0\x11\0"] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
