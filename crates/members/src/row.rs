//! Rows: how a member lies on disk. docs/FORMATS.md draws them byte by byte.

use types::{MemberId, MemberRecord};

const LEARNER: u8 = 0b1;
const REMOVED: u8 = 0b10;

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A member.
    Member(MemberRecord),
    /// A member with this id was there, and never returns.
    Removed(MemberId),
}

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
    /// A name or URL is not UTF-8.
    #[error("its text is no text")]
    Text,
    /// The key is no id.
    #[error("its key is no id")]
    Key,
}

/// The key of a member: its id, big-endian, so that rows are in the order of ids.
pub(crate) fn key(id: MemberId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// The row of a member.
pub(crate) fn encode(record: &MemberRecord) -> Vec<u8> {
    let mut row = vec![if record.learner { LEARNER } else { 0 }];
    put_text(&mut row, &record.name);
    put_texts(&mut row, &record.peer_urls);
    put_texts(&mut row, &record.client_urls);
    sealed(record.id, row)
}

/// The row that stands for ever where a member was.
pub(crate) fn encode_removed(id: MemberId) -> Vec<u8> {
    sealed(id, vec![REMOVED])
}

fn sealed(id: MemberId, mut row: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&key(id), &row);
    row.extend_from_slice(&sum.to_be_bytes());
    row
}

/// What a row says.
pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Row, Damage> {
    let (body, sum) = row.split_last_chunk::<4>().ok_or(Damage::Length)?;
    if checksum(key, body) != u32::from_be_bytes(*sum) {
        return Err(Damage::Checksum);
    }
    let id = MemberId(u64::from_be_bytes(key.try_into().map_err(|_| Damage::Key)?));
    let (flags, mut rest) = body.split_first().ok_or(Damage::Length)?;
    if *flags == REMOVED {
        return if rest.is_empty() { Ok(Row::Removed(id)) } else { Err(Damage::Length) };
    }
    if flags & !LEARNER != 0 {
        return Err(Damage::Flags);
    }
    let name = take_text(&mut rest)?;
    let peer_urls = take_texts(&mut rest)?;
    let client_urls = take_texts(&mut rest)?;
    if !rest.is_empty() {
        return Err(Damage::Length);
    }
    let learner = flags & LEARNER != 0;
    Ok(Row::Member(MemberRecord { id, name, peer_urls, client_urls, learner }))
}

/// It covers the key too: a row that strayed to another key is found out.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

fn put_text(row: &mut Vec<u8>, text: &str) {
    row.extend_from_slice(&(text.len() as u32).to_be_bytes());
    row.extend_from_slice(text.as_bytes());
}

fn put_texts(row: &mut Vec<u8>, texts: &[String]) {
    row.extend_from_slice(&(texts.len() as u32).to_be_bytes());
    for text in texts {
        put_text(row, text);
    }
}

fn take_number(rest: &mut &[u8]) -> Result<u32, Damage> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(Damage::Length)?;
    *rest = after;
    Ok(u32::from_be_bytes(*number))
}

fn take_text(rest: &mut &[u8]) -> Result<String, Damage> {
    let length = take_number(rest)? as usize;
    let (text, after) = rest.split_at_checked(length).ok_or(Damage::Length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| Damage::Text)
}

fn take_texts(rest: &mut &[u8]) -> Result<Vec<String>, Damage> {
    let count = take_number(rest)?;
    // Nothing is reserved for a count that may be nonsense: each text has to be there.
    (0..count).map(|_| take_text(rest)).collect()
}
