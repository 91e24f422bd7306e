//! What std forgot, as far as somebody uses it: the clock as an argument.
//!
//! Code that reads time gets an `Arc<dyn Clock>`, so a test decides what time it is.

mod clock;

pub use clock::{Clock, ManualClock, SystemClock};
