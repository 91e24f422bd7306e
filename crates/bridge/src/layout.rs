//! Which v3 key is which node of v2's tree. docs/COMPATIBILITY.md defines it for clients.
//!
//! A node `/a/b` with a value is the key `prefix` + `a/b`; the same with a slash at its end marks a directory. What is
//! below the prefix and no such key is not shown.

use bytes::Bytes;
use types::v2::{PATH_DEPTH_MAX, Path};
use types::{Key, KeyRange, RangeEnd};

/// The place of v2's tree among v3's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    prefix: Bytes,
}

/// What a key is to v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Path,
    /// It marks a directory.
    pub(crate) marker: bool,
}

impl Layout {
    /// The tree of the keys that begin with `prefix`.
    pub fn new(prefix: Bytes) -> Self {
        Self { prefix }
    }

    /// What all keys of the tree begin with.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The key of a file. The path is not the root.
    pub fn file(&self, path: &Path) -> Bytes {
        self.key(path, b"")
    }

    /// The key that marks a directory. The path is not the root.
    pub fn marker(&self, path: &Path) -> Bytes {
        self.key(path, b"/")
    }

    /// Everything in a directory, its marker too.
    pub fn below(&self, path: &Path) -> KeyRange {
        if path.is_root() {
            let end = successor(&self.prefix).map_or(RangeEnd::Unbounded, RangeEnd::Before);
            return KeyRange { start: self.prefix.clone(), end };
        }
        // `0` follows the slash.
        KeyRange { start: self.marker(path), end: RangeEnd::Before(self.key(path, b"0")) }
    }

    /// One key. Never empty: neither is a path that is not the root.
    pub(crate) fn single(&self, path: &Path) -> KeyRange {
        let key = Key::new(self.file(path)).expect("the path of a file has a letter");
        KeyRange::single(key)
    }

    /// What a key is to v2; nothing if v2 does not see it.
    pub(crate) fn place(&self, key: &[u8]) -> Option<Place> {
        let rest = std::str::from_utf8(key.strip_prefix(self.prefix.as_ref())?).ok()?;
        let (parts, marker) = match rest.strip_suffix('/') {
            Some(parts) => (parts, true),
            None => (rest, false),
        };
        let mut depth = 0;
        for part in parts.split('/') {
            depth += 1;
            if matches!(part, "" | "." | "..") || depth > PATH_DEPTH_MAX {
                return None;
            }
        }
        Some(Place { path: Path::clean(parts), marker })
    }

    fn key(&self, path: &Path, end: &[u8]) -> Bytes {
        let path = path.as_str().strip_prefix('/').unwrap_or_default();
        [&self.prefix, path.as_bytes(), end].concat().into()
    }
}

/// The parent of a path that is not the root.
pub(crate) fn parent(path: &Path) -> Path {
    let text = path.as_str();
    Path::clean(text.rfind('/').and_then(|slash| text.get(..slash)).unwrap_or_default())
}

/// The directories that lead to a path, the outermost first; neither the root nor the path itself.
pub(crate) fn ancestors(path: &Path) -> impl Iterator<Item = Path> {
    let text = path.as_str();
    let inner = text.char_indices().skip(1).filter(|(_, char)| *char == '/');
    inner.filter_map(|(at, _)| text.get(..at)).map(Path::clean)
}

/// The first `depth` parts of a path.
pub(crate) fn head(path: &Path, depth: usize) -> Path {
    let mut head = String::new();
    for part in path.components().take(depth) {
        head.push('/');
        head.push_str(part);
    }
    Path::clean(&head)
}

/// How many parts a path has.
pub(crate) fn depth(path: &Path) -> usize {
    path.components().count()
}

/// Whether a path is below another.
pub(crate) fn is_below(path: &Path, above: &Path) -> bool {
    above.is_root() && !path.is_root()
        || path.as_str().strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// The first key that does not begin with a prefix; none follows one of nothing but 0xff.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let length = prefix.iter().rposition(|byte| *byte != 0xff)? + 1;
    let mut next = prefix.get(..length)?.to_vec();
    *next.last_mut()? += 1;
    Some(next.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_file_a_marker_or_not_seen() {
        let layout = Layout::new("/p/".into());
        let check = |key: &[u8], expect: Option<(&str, bool)>| {
            let place = layout.place(key);
            let place = place.as_ref().map(|place| (place.path.as_str(), place.marker));
            assert_eq!(place, expect, "{}", key.escape_ascii());
        };
        check(b"/p/a", Some(("/a", false)));
        check(b"/p/a/b", Some(("/a/b", false)));
        check(b"/p/a/", Some(("/a", true)));
        check("/p/ä b/.c".as_bytes(), Some(("/ä b/.c", false)));
        for odd in
            [&b"/p/"[..], b"/p", b"/q/a", b"/p//a", b"/p/a//", b"/p/a/../b", b"/p/.", b"/p/./", b"/p/\xff"]
        {
            check(odd, None);
        }
        check(format!("/p/{}", vec!["a"; PATH_DEPTH_MAX + 1].join("/")).as_bytes(), None);
        let path = Path::clean("/a/b");
        assert_eq!(
            (layout.file(&path).as_ref(), layout.marker(&path).as_ref()),
            (&b"/p/a/b"[..], &b"/p/a/b/"[..])
        );
    }

    #[test]
    fn a_directory_is_a_range() {
        let range = |prefix: &'static [u8], path: &str| Layout::new(prefix.into()).below(&Path::clean(path));
        let root = range(b"/p/", "/");
        assert!(
            root.contains(b"/p/a")
                && root.contains(b"/p/\xff")
                && !root.contains(b"/p0")
                && !root.contains(b"/p")
        );
        assert_eq!(range(b"\xff\xff", "/").end, RangeEnd::Unbounded);
        assert_eq!(range(b"a\xff", "/").end, RangeEnd::Before("b".into()));
        let below = range(b"", "/a");
        assert!(
            below.contains(b"a/")
                && below.contains(b"a/b")
                && !below.contains(b"a")
                && !below.contains(b"a0")
        );
    }

    #[test]
    fn paths_have_parents_and_heads() {
        let path = Path::clean("/a/b/c");
        let ancestors: Vec<_> = ancestors(&path).map(|path| path.as_str().to_owned()).collect();
        assert_eq!(ancestors, ["/a", "/a/b"]);
        assert_eq!((parent(&path).as_str(), parent(&Path::clean("/a")).as_str()), ("/a/b", "/"));
        assert_eq!((head(&path, 2).as_str(), depth(&path)), ("/a/b", 3));
        assert!(is_below(&path, &Path::clean("/a")) && !is_below(&Path::clean("/ab"), &Path::clean("/a")));
    }
}
