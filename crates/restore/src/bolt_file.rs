//! A source that is a file of bbolt's: checked, counted, and made a database.
//!
//! One that we made is put back row by row. Of any other, etcd's buckets count.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use apply::{Machine, Position};
use bolt::{BoltError, Reader, Seek};
use etcdfile::{IntakeError, Taken};
use sha2::Digest as _;
use types::{Revision, Term};

use crate::founding::open;
use crate::{Digest, Origin, RestoreError, Source, SourceError};

/// The SHA-256 at the end, in bytes.
const SUM_BYTES: u64 = 32;
/// A file whose length is so many bytes more than a multiple of the other has a checksum, by etcd's own rule.
const GRAIN_BYTES: u64 = 512;
/// What is read at once for the checksum, in bytes.
const READ_BYTES: usize = 1 << 20;

impl Seek for &Source {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.sight.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        self.file.read_exact_at(into, offset)?;
        self.sight.saw(into.len());
        Ok(())
    }

    fn bytes(&self) -> u64 {
        Source::bytes(self) - if self.has_sum() { SUM_BYTES } else { 0 }
    }
}

impl Source {
    /// Whether there is a checksum, and whether that is right.
    pub(crate) fn check_bolt(&mut self, skip: bool) -> Result<(), SourceError> {
        let reader = Reader::open(&*self).map_err(|error| self.bad(error))?;
        let is_ours = etcdfile::head(&reader).map_err(|error| self.bad(error))?.is_some();
        let bytes = reader.bytes();
        if is_ours && Source::bytes(self) > bytes + SUM_BYTES {
            return Err(self.damaged("there is something behind its end"));
        }
        match (skip, self.has_sum()) {
            (true, _) => Ok(()),
            (false, true) => self.check_sum(),
            (false, false) if is_ours => Err(self.damaged("it is cut off")),
            (false, false) => Err(SourceError::Unsummed(self.path.clone())),
        }
    }

    /// Counts what is in it, as etcdctl does.
    pub(crate) fn digest_bolt(&mut self) -> Result<Digest, SourceError> {
        match self.check_bolt(false) {
            // etcdctl shows a file without a checksum, too.
            Ok(()) | Err(SourceError::Unsummed(_)) => {}
            Err(error) => return Err(error),
        }
        let reader = Reader::open(&*self).map_err(|error| self.bad(error))?;
        let found = etcdfile::digest(&reader).map_err(|error| self.bad(error))?;
        let etcdfile::Digest { hash, revision, rows, bytes } = found;
        Ok(Digest { revision: Revision(revision), rows, hash, bytes })
    }

    /// Makes the database of what is in it, in a folder that is not there.
    pub(crate) fn take_bolt(&self, received: &Path) -> Result<Origin, RestoreError> {
        let store = open(received)?;
        let reader = Reader::open(self).map_err(|error| self.bad(error))?;
        if let Some(head) = etcdfile::head(&reader).map_err(|error| self.bad(error))? {
            etcdfile::take_sealed(&reader, &store).map_err(|error| self.not_taken(error))?;
            return Ok(Origin::Kvorum(head));
        }
        let taken = etcdfile::take_etcd(&reader, &store).map_err(|error| self.not_taken(error))?;
        let Taken { index, term, .. } = taken;
        // Versions before 3.5 do not say which term it was; any that was will do.
        let position = Position { index, term: term.max(Term(1)) };
        Machine::open(Arc::new(store))?.bootstrap(position, &[])?;
        Ok(Origin::Etcd(position))
    }

    fn has_sum(&self) -> bool {
        Source::bytes(self) % GRAIN_BYTES == SUM_BYTES
    }

    fn check_sum(&mut self) -> Result<(), SourceError> {
        let failed = |source: &Self, error| {
            if source.sight.is_stopped() { SourceError::Stopped } else { source.failed(error) }
        };
        let (mut sum, mut left) = (sha2::Sha256::new(), Source::bytes(self).saturating_sub(SUM_BYTES));
        let mut buffer = vec![0; READ_BYTES];
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(0)).map_err(|error| failed(self, error))?;
        while left > 0 {
            let length = left.min(READ_BYTES as u64) as usize;
            let Some(buffer) = buffer.get_mut(..length) else { break };
            self.read_exact(buffer).map_err(|error| failed(self, error))?;
            sum.update(&*buffer);
            left -= length as u64;
        }
        let mut told = [0; SUM_BYTES as usize];
        self.read_exact(&mut told).map_err(|error| failed(self, error))?;
        if sum.finalize()[..] == told { Ok(()) } else { Err(self.damaged("its SHA-256 does not match")) }
    }

    fn damaged(&self, what: &str) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), what: what.to_owned() }
    }

    fn bad(&self, error: BoltError) -> SourceError {
        match error {
            _ if self.sight.is_stopped() => SourceError::Stopped,
            BoltError::Io(source) => self.failed(source),
            BoltError::Foreign => SourceError::Foreign(self.path.clone()),
            other => self.damaged(&other.to_string()),
        }
    }

    fn not_taken(&self, error: IntakeError) -> RestoreError {
        match error {
            IntakeError::File(error) => self.bad(error).into(),
            error @ (IntakeError::Missing(_) | IntakeError::Row { .. }) => {
                self.damaged(&error.to_string()).into()
            }
            other => RestoreError::Intake(other),
        }
    }
}
