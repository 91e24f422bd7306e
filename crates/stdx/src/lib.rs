//! What std forgot, as far as somebody uses it: the clock as an argument, an error with its causes, times as
//! Go writes them, and wakers that are called together.
//!
//! Code that reads time gets an `Arc<dyn Clock>`, so a test decides what time it is.

mod bell;
mod chain;
mod clock;
mod duration;
mod ringing;

pub use bell::Bell;
pub use chain::chain;
pub use clock::{Clock, ManualClock, SystemClock};
pub use duration::parse_duration;
pub use ringing::Ringing;
