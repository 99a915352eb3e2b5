//! Bodies that always have another frame, with nothing in it.

use bytes::Bytes;
use http_body::Frame;

/// Counts the empty frames of one poll. Frames with bytes are bounded by the limits on bytes; empty ones without end
/// must not hold a worker, nor outlast a deadline.
#[derive(Default)]
pub(crate) struct PollBudget(u32);

impl PollBudget {
    pub(crate) fn saw<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>) {
        if let Some(Ok(frame)) = frame {
            self.0 += u32::from(frame.data_ref().is_some_and(Bytes::is_empty));
        }
    }

    /// After so many it is time to look at the clock, and to let others work.
    pub(crate) const fn is_over(&self) -> bool {
        self.0 >= 64
    }
}
