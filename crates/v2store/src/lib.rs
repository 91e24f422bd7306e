//! v2store
