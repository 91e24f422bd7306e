//! The descriptors of all messages and services, read when somebody first asks: reading them takes milliseconds and more
//! than a megabyte, and a member that nobody asks in JSON does without.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// All of them.
pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).expect("the build wrote the descriptors"));
