//! Following an election: every leader, and everything it says.

use std::collections::VecDeque;
use std::sync::Arc;

use api::{Consistency, Fault, Header, Member, WatchBody, WatchReply, WatchStream};
use bytes::Bytes;
use types::{Event, EventKind, KeyValue};

use crate::wait::{self, News};
use crate::{fault, session};

/// Begins to follow an election.
pub fn observe(member: Arc<dyn Member>, name: Bytes) -> Observer {
    Observer { member, name, place: Place::Lost, said: VecDeque::new() }
}

/// Somebody who follows an election.
pub struct Observer {
    member: Arc<dyn Member>,
    name: Bytes,
    place: Place,
    // What one answer of a watch told; it is empty before the next is taken.
    said: VecDeque<(Header, KeyValue)>,
}

/// What the observer is looking at.
enum Place {
    /// Nothing: it has to look who leads.
    Lost,
    /// All keys of the election: nobody leads.
    Nobody(Box<dyn WatchStream>),
    /// The leader's key.
    Leader(Box<dyn WatchStream>),
}

impl Observer {
    /// The next leader, or the next thing that it says. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Result<(Header, KeyValue), Fault> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Ok(said);
            }
            self.look().await.map_err(|_| fault::passed_on(Fault::ObserveClosed))?;
        }
    }

    async fn look(&mut self) -> Result<(), Fault> {
        match &mut self.place {
            Place::Lost => self.find().await,
            Place::Nobody(stream) => {
                let reply = stream.next().await?;
                self.first(&reply)
            }
            Place::Leader(stream) => {
                let reply = stream.next().await?;
                self.follow(&reply)
            }
        }
    }

    /// Looks who leads.
    async fn find(&mut self) -> Result<(), Fault> {
        let found = self.member.range(session::first(&self.name), Consistency::Linearizable).await?;
        let start = found.header.revision.next();
        if let Some(kv) = found.body.kvs.into_iter().next() {
            return self.take(found.header, kv, start);
        }
        let spec = wait::spec(session::keys(&self.name), start);
        let mut stream = self.member.watch(false)?;
        stream.create(api::WatchSpec { without_deletes: true, ..spec });
        self.place = Place::Nobody(stream);
        Ok(())
    }

    /// Tells of a leader and follows it from a revision on.
    fn take(&mut self, header: Header, kv: KeyValue, start: types::Revision) -> Result<(), Fault> {
        let mut stream = self.member.watch(false)?;
        stream.create(wait::spec(wait::single(&kv.key), start));
        self.place = Place::Leader(stream);
        self.said.push_back((header, kv));
        Ok(())
    }

    /// Nobody led until now.
    fn first(&mut self, reply: &WatchReply) -> Result<(), Fault> {
        match wait::look(reply)? {
            News::Nothing => Ok(()),
            News::Forgotten => {
                self.place = Place::Lost;
                Ok(())
            }
            News::Events => match events(reply).find(|event| event.kind == EventKind::Put) {
                Some(event) => {
                    let revision = event.kv.mod_revision;
                    let header = Header { revision, ..reply.header };
                    self.take(header, event.kv.clone(), revision.next())
                }
                None => Ok(()),
            },
        }
    }

    /// The leader says something, or goes.
    fn follow(&mut self, reply: &WatchReply) -> Result<(), Fault> {
        match wait::look(reply)? {
            News::Nothing => {}
            News::Forgotten => self.place = Place::Lost,
            News::Events => {
                for event in events(reply) {
                    if event.kind == EventKind::Delete {
                        self.place = Place::Lost;
                        break;
                    }
                    self.said.push_back((reply.header, event.kv.clone()));
                }
            }
        }
        Ok(())
    }
}

fn events(reply: &WatchReply) -> impl Iterator<Item = &Event> {
    let events = match &reply.body {
        WatchBody::Events { events, .. } => events.as_ref(),
        _ => &[],
    };
    events.iter().map(|shared| &shared.event)
}
