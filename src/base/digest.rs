//! Bytes and hashes as text.

use sha2::{Digest, Sha256};

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The first 16 digits of the SHA-256, enough for devopsctl's own names.
pub fn short(content: impl AsRef<[u8]>) -> String {
    let mut digits = hex(&Sha256::digest(content));
    digits.truncate(16);
    digits
}

/// The SHA-256 as hexadecimal digits.
pub fn sha256(content: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256() {
        let whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&Sha256::digest("abc")), whole);
        assert_eq!(short("abc"), &whole[..16]);
    }
}
