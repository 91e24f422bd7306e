//! Rows: how users and roles lie on disk. docs/FORMATS.md draws them byte by byte.

use store::{Batch, Direction, Family, Span, Store};
use types::v2auth::Rights;

use crate::OpenError;
use crate::book::{Book, Entry};

const USER: &str = "v2auth/user/";
const ROLE: &str = "v2auth/role/";
const STATE: &[u8] = b"v2auth/state";
/// Before and after all of them.
const BEGIN: &[u8] = b"v2auth/";
const END: &[u8] = b"v2auth0";

const MADE: u8 = 0b01;
const ENABLED: u8 = 0b10;

/// Flags of lists that are there, even if empty.
const FIRST: u8 = 0b01;
const SECOND: u8 = 0b10;

/// Why a row cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not match its checksum.
    #[error("the checksum does not match")]
    Checksum,
    /// It is shorter or longer than what it says to hold.
    #[error("its length is wrong")]
    Length,
    /// A bit is set that nothing has a meaning for.
    #[error("its flags are unknown")]
    Flags,
    /// A name is not UTF-8.
    #[error("its text is no text")]
    Text,
    /// The key is that of no row.
    #[error("its key is unknown")]
    Key,
}

/// The batch of a log entry, as far as users and roles are written to it.
pub(crate) struct Rows<'a, 's> {
    batch: &'a mut Batch<'s>,
}

impl<'a, 's> Rows<'a, 's> {
    pub(crate) fn new(batch: &'a mut Batch<'s>) -> Self {
        Self { batch }
    }

    pub(crate) fn put_state(&mut self, made: bool, enabled: bool) {
        let flags = if made { MADE } else { 0 } | if enabled { ENABLED } else { 0 };
        self.put(STATE, vec![flags]);
    }

    pub(crate) fn put_user(&mut self, name: &str, user: &Entry) {
        let mut row = vec![if user.roles.is_some() { FIRST } else { 0 }];
        put_text(&mut row, &user.hash);
        put_list(&mut row, user.roles.as_deref());
        self.put(key(USER, name).as_bytes(), row);
    }

    pub(crate) fn put_role(&mut self, name: &str, rights: &Rights) {
        let flag = |list: &Option<Vec<String>>, flag: u8| if list.is_some() { flag } else { 0 };
        let mut row = vec![flag(&rights.read, FIRST) | flag(&rights.write, SECOND)];
        put_list(&mut row, rights.read.as_deref());
        put_list(&mut row, rights.write.as_deref());
        self.put(key(ROLE, name).as_bytes(), row);
    }

    pub(crate) fn remove_user(&mut self, name: &str) {
        self.batch.delete(Family::Meta, key(USER, name).as_bytes());
    }

    pub(crate) fn remove_role(&mut self, name: &str) {
        self.batch.delete(Family::Meta, key(ROLE, name).as_bytes());
    }

    fn put(&mut self, key: &[u8], mut row: Vec<u8>) {
        let sum = checksum(key, &row);
        row.extend_from_slice(&sum.to_be_bytes());
        self.batch.put(Family::Meta, key, &row);
    }
}

/// Reads everything.
pub(crate) fn load(store: &Store) -> Result<Book, OpenError> {
    let mut book = Book::default();
    let span = Span { lower: Some(BEGIN.to_vec()), upper: Some(END.to_vec()) };
    let mut cursor = store.scan(Family::Meta, &span, Direction::Forward);
    while let Some((key, row)) = cursor.row() {
        let damaged = |damage| OpenError::Damaged { key: key.escape_ascii().to_string(), damage };
        take(&mut book, key, row).map_err(damaged)?;
        cursor.step();
    }
    cursor.finish()?;
    Ok(book)
}

fn take(book: &mut Book, key: &[u8], row: &[u8]) -> Result<(), Damage> {
    let (body, sum) = row.split_last_chunk::<4>().ok_or(Damage::Length)?;
    if u32::from_be_bytes(*sum) != checksum(key, body) {
        return Err(Damage::Checksum);
    }
    let (flags, body) = body.split_first().ok_or(Damage::Length)?;
    let (flags, mut rest) = (*flags, Reader(body));
    let text = std::str::from_utf8(key).map_err(|_| Damage::Text)?;
    if key == STATE {
        check(flags, MADE | ENABLED)?;
        (book.made, book.enabled) = (flags & MADE != 0, flags & ENABLED != 0);
    } else if let Some(name) = text.strip_prefix(USER) {
        check(flags, FIRST)?;
        let hash = rest.text()?.into();
        book.users.insert(name.to_owned(), Entry { hash, roles: rest.list(flags & FIRST != 0)? });
    } else if let Some(name) = text.strip_prefix(ROLE) {
        check(flags, FIRST | SECOND)?;
        let read = rest.list(flags & FIRST != 0)?;
        book.roles.insert(name.to_owned(), Rights { read, write: rest.list(flags & SECOND != 0)? });
    } else {
        return Err(Damage::Key);
    }
    if rest.0.is_empty() { Ok(()) } else { Err(Damage::Length) }
}

fn check(flags: u8, known: u8) -> Result<(), Damage> {
    if flags & !known == 0 { Ok(()) } else { Err(Damage::Flags) }
}

fn key(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}")
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("a command is smaller than 4 GiB");
    row.extend_from_slice(&length.to_be_bytes());
    row.extend_from_slice(text.as_bytes());
}

/// A list that is not there has no bytes: the flags say so.
fn put_list(row: &mut Vec<u8>, list: Option<&[String]>) {
    let Some(list) = list else { return };
    let length = u32::try_from(list.len()).expect("a command is smaller than 4 GiB");
    row.extend_from_slice(&length.to_be_bytes());
    for text in list {
        put_text(row, text);
    }
}

/// What is left of a row.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<usize, Damage> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number) as usize)
    }

    fn text(&mut self) -> Result<&'a str, Damage> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damage::Length)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Damage::Text)
    }

    fn list(&mut self, is_there: bool) -> Result<Option<Vec<String>>, Damage> {
        if !is_there {
            return Ok(None);
        }
        let length = self.number()?;
        (0..length).map(|_| self.text().map(str::to_owned)).collect::<Result<_, _>>().map(Some)
    }
}
