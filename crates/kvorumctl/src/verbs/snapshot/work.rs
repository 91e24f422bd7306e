//! Long work on a file: on a thread of its own, with a bar, and ended by a signal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use restore::Sight;

use crate::failure::{Failure, exit};
use crate::verbs::signal::Stop;

/// How often the bar is drawn.
const DRAW_PAUSE: Duration = Duration::from_millis(100);

/// Does `work`, which reads `bytes` in all and looks at the sight that it is given. When a signal comes it is told to
/// stop and waited for, so that it takes away what it has begun.
pub(crate) async fn watched<T: Send + 'static>(
    bytes: u64,
    sight: Sight,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let mut stop = Stop::listen()?;
    let mut working = tokio::task::spawn_blocking(work);
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well-formed");
    let bar = ProgressBar::new(bytes).with_style(style);
    let mut draws = tokio::time::interval(DRAW_PAUSE);
    let done = loop {
        tokio::select! {
            done = &mut working => break done,
            () = stop.heard() => sight.stop(),
            _ = draws.tick() => bar.set_position(sight.read_bytes()),
        }
    };
    bar.finish_and_clear();
    done.map_err(|error| Failure::new(exit::ERROR, format!("it was not finished: {error}")))
}
