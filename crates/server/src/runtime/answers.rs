//! What the loop answers to inquiries.

use std::time::Instant;

use super::{
    Server,
    inquiries::{Answer, Inquiry, Question},
};
use crate::observe::scrape;

impl Server {
    /// Lets inquiries get on, and answers at most one of them: an answer takes a fraction of a millisecond to make.
    pub(super) fn run_inquiries(&mut self, now: Instant) {
        self.inquiries.run(self.poll.registry(), now);
        if let Some(question) = self.inquiries.next_question(now)
            && let Some(answer) = self.answer(&question)
        {
            self.inquiries.answer(question.from, answer, now);
        }
    }

    /// Returns the answer; [`None`] where it comes later.
    fn answer(&mut self, question: &Question) -> Option<Answer> {
        match question.inquiry {
            Inquiry::Metrics => Some(scrape::respond(&question.bytes, || self.metrics()).into()),
            Inquiry::Control => Some("FAIL nothing can be asked here yet\n".to_owned().into()),
        }
    }

    fn metrics(&self) -> String {
        format!(
            "# HELP ferryd_clients Clients that are connected.\n# TYPE ferryd_clients gauge\nferryd_clients {}\n",
            self.connections.len()
        )
    }
}
