//! The key of a version in etcd's bucket: its revision, a line, its place in that, and a `t` if the key was removed.

/// Without the `t`.
const BYTES: usize = 8 + 1 + 8;
const LINE: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// When a change happened, as etcd counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) main: i64,
    pub(crate) sub: i64,
}

/// The key of the row of a version.
pub(crate) fn encode(stamp: Stamp, is_removal: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(BYTES + 1);
    key.extend_from_slice(&stamp.main.to_be_bytes());
    key.push(LINE);
    key.extend_from_slice(&stamp.sub.to_be_bytes());
    if is_removal {
        key.push(TOMBSTONE);
    }
    key
}

/// The stamp in a key, and whether it is that of a removal.
pub(crate) fn decode(key: &[u8]) -> Option<(Stamp, bool)> {
    let (main, rest) = key.split_first_chunk()?;
    let (line, rest) = rest.split_first()?;
    let (sub, rest) = rest.split_first_chunk()?;
    let is_removal = match rest {
        [] => false,
        [TOMBSTONE] => true,
        _ => return None,
    };
    let stamp = Stamp { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(*sub) };
    (*line == LINE && stamp.main >= 0 && stamp.sub >= 0).then_some((stamp, is_removal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_nothing_else_passes() {
        let stamp = Stamp { main: 258, sub: 3 };
        assert_eq!(encode(stamp, false), b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03");
        for is_removal in [false, true] {
            let key = encode(stamp, is_removal);
            assert_eq!(decode(&key), Some((stamp, is_removal)));
            assert_eq!(decode(&key[..key.len() - usize::from(is_removal) - 1]), None);
            assert_eq!(decode(&[&key[..], b"x"].concat()), None);
        }
        assert_eq!(decode(&encode(Stamp { main: -1, sub: 0 }, false)), None);
    }
}
