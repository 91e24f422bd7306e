//! kvorum
