//! Users of v3 over processes and sockets: what they may do at each member, whatever happens to the members; and what a
//! stranger may not.

mod advisories;
mod caller;
mod chance;
mod members;
mod model;
mod model_v2;
mod rights;
mod signed;
