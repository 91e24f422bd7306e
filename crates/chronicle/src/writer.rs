//! A file on its way.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::format::{Entry, Head, encode};
use crate::names::{LogFile, sync_folder};

/// See the module. After an error the next entries belong into another file.
#[derive(Debug)]
pub struct Writer {
    file: File,
    crc: u32,
    bytes: u64,
}

impl Writer {
    /// Begins the file of `head`, whose name is durable then. One of that name is written over: no entry came to be in it.
    pub fn create(folder: &Path, head: Head) -> io::Result<Self> {
        let mut file = File::create(LogFile::path(folder, head.member, head.first))?;
        let (bytes, crc) = head.encode();
        file.write_all(&bytes)?;
        file.sync_data()?;
        sync_folder(folder)?;
        Ok(Self { file, crc, bytes: bytes.len() as u64 })
    }

    /// Writes entries that follow the ones before, durably.
    pub fn append(&mut self, wall_ns: i64, entries: &[Entry]) -> io::Result<()> {
        let (chunk, crc) = encode(self.crc, wall_ns, entries);
        self.file.write_all(&chunk)?;
        self.file.sync_data()?;
        self.crc = crc;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// How long the file is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
