//! etcd's wire messages and services, generated from our own .proto text under `proto/`.
//!
//! No logic lives here: what a message means is decided by the gateway, which turns it into typed requests.
//! Package names, field numbers and types are the interface; changing one breaks every client.

/// Every message and service as an encoded `FileDescriptorSet`, for the JSON form and for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A method of a service.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Its service, with the package.
    pub service: &'static str,
    /// Its name in the service.
    pub name: &'static str,
    /// The client says as many messages as it likes.
    pub streams_in: bool,
    /// The server does.
    pub streams_out: bool,
}

/// The methods of all services, in the order of the .proto text.
pub const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

pub use generated::{authpb, etcdserverpb, health, mvccpb, reflection, v3electionpb, v3lockpb};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; its style is the generator's, and the .proto text holds the documentation"
)]
mod generated {
    /// Key-value pairs and events.
    pub mod mvccpb {
        include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
    }
    /// Users, roles, permissions.
    pub mod authpb {
        include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
    }
    /// The services of the v3 interface.
    pub mod etcdserverpb {
        include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
    }
    /// Locks.
    pub mod v3lockpb {
        include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
    }
    /// Elections.
    pub mod v3electionpb {
        include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
    }
    /// gRPC's own health service.
    pub mod health {
        include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
    }
    /// gRPC's own reflection service. Messages of its older name are the same on the wire.
    pub mod reflection {
        include!(concat!(env!("OUT_DIR"), "/grpc.reflection.v1.rs"));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

    use super::*;

    /// Fields of all messages of etcd together, as counted in the description of the interface.
    const FIELDS: usize = 261;

    /// One line per field of etcd's messages, as `package.Message.field = number TYPE`.
    fn fields() -> Vec<String> {
        let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the build wrote it");
        let mut lines = Vec::new();
        for file in set.file.iter().filter(|file| !file.package().starts_with("grpc.")) {
            for message in &file.message_type {
                for field in &message.field {
                    let kind = Type::try_from(field.r#type.unwrap_or_default()).expect("a known type");
                    lines.push(format!(
                        "{}.{}.{} = {} {kind:?}",
                        file.package(),
                        message.name(),
                        field.name(),
                        field.number()
                    ));
                }
            }
        }
        lines
    }

    #[test]
    fn names_numbers_and_types_are_those_of_the_interface() {
        let fields = fields();
        for expected in [
            "mvccpb.KeyValue.create_revision = 2 Int64",
            "etcdserverpb.Compare.range_end = 64 Bytes",
            "etcdserverpb.LeaseTimeToLiveResponse.grantedTTL = 4 Int64",
            "etcdserverpb.Member.peerURLs = 3 String",
            "etcdserverpb.StatusResponse.dbSizeInUse = 9 Int64",
            "etcdserverpb.WatchResponse.events = 11 Message",
            "etcdserverpb.ResponseHeader.raft_term = 4 Uint64",
            "v3electionpb.LeaderKey.rev = 3 Int64",
        ] {
            assert!(fields.iter().any(|field| field == expected), "{expected} is missing");
        }
        assert_eq!(fields.len(), FIELDS, "a field came or went");
    }

    #[test]
    fn bytes_are_shared_with_the_buffer_they_came_in() {
        let put =
            etcdserverpb::PutRequest { key: "k".into(), value: "v".repeat(100).into(), ..Default::default() };
        let buffer = bytes::Bytes::from(put.encode_to_vec());
        let decoded = etcdserverpb::PutRequest::decode(buffer.clone()).expect("it was just encoded");
        assert!(buffer.as_ptr_range().contains(&decoded.value.as_ptr()));
    }
}
