//! Ranges of keys, as the interface writes them.

use bytes::Bytes;

/// The end of the range of all keys that begin so: `\0`, which is the end of everything, when no key lies behind.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"foo"), "fop");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff"), "\0");
        assert_eq!(prefix_end(b""), "\0");
    }
}
