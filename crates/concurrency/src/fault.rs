//! Refusals as the two services of etcd pass them on.

use api::{Code, Fault};

/// etcd's services are clients of their own member, and what that refuses keeps its text but loses its code.
pub(crate) fn passed_on(fault: Fault) -> Fault {
    if fault.code() == Code::Unknown { fault } else { Fault::Broken(fault.text().to_owned()) }
}
