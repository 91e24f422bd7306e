//! What std forgot, as far as somebody uses it: the clock as an argument, an error with its causes, times as
//! Go writes them.
//!
//! Code that reads time gets an `Arc<dyn Clock>`, so a test decides what time it is.

mod chain;
mod clock;
mod duration;

pub use chain::chain;
pub use clock::{Clock, ManualClock, SystemClock};
pub use duration::parse_duration;
