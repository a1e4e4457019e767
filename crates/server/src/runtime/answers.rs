//! The loop's answers to inquiries.

use std::time::Instant;

use super::{
    Server,
    inquiries::{Answer, Inquiry, Question},
};
use crate::{
    observe::{ContentFigures, CrcFigures, Figures, StagedFigures, metrics, scrape, status},
    store::{ContentUsage, CrcUsage, StoreUsage},
};

impl Server {
    /// Advances inquiries, and answers at most one of them: an answer takes a fraction of a
    /// millisecond to make.
    pub(super) fn run_inquiries(&mut self, now: Instant) {
        self.inquiries.run(self.poll.registry(), now);
        if let Some(question) = self.inquiries.next_question(now)
            && let Some(answer) = self.answer(&question, now)
        {
            self.inquiries.answer(question.from, answer, now);
        }
    }

    /// Returns the answer to a question; [`None`] where it comes later.
    fn answer(&mut self, question: &Question, now: Instant) -> Option<Answer> {
        match question.inquiry {
            Inquiry::Metrics => Some(scrape::respond(&question.bytes, || self.metrics(now)).into()),
            Inquiry::Control => self.answer_control(question, now),
        }
    }

    fn metrics(&mut self, now: Instant) -> String {
        self.counters.scrapes += 1;
        metrics::page(&self.figures(now))
    }

    /// Returns all figures as a screen for people, or in a line of `json`.
    pub(super) fn status(&mut self, json: bool, now: Instant) -> String {
        let figures = self.figures(now);
        if json {
            return status::json(&figures);
        }
        let (busiest, all) = self.arrivals.busiest(status::SHOWN_PARTIES);
        let busiest = busiest.into_iter().map(|(party, clients)| (party.to_string(), clients));
        status::screen(&figures, &busiest.collect::<Vec<_>>(), all)
    }

    /// Returns all figures of this moment, without waiting for a helper or a disk.
    pub(super) fn figures(&mut self, now: Instant) -> Figures {
        self.usage = self.workers.usage().unwrap_or(self.usage);
        let StoreUsage { plain_bytes, kept_bytes, kept_uploads, max_bytes, max_kept } = self.usage;
        let max_bytes = Some(max_bytes).filter(|most| *most < u64::MAX);
        let ContentUsage { bytes, hits, misses } = self.workers.content_usage();
        let contents = ContentFigures { bytes, hits, misses };
        let CrcUsage { bytes, hit_bytes, missed_bytes, mismatches } = self.workers.crc_usage();
        let (started, started_at) = self.started;
        Figures {
            version: env!("CARGO_PKG_VERSION"),
            node: self.arrivals.node(),
            started: started_at,
            uptime: now.saturating_duration_since(started),
            is_draining: self.life.is_draining(),
            root_down: self.workers.root_down(now),
            max_clients: self.arrivals.max_clients() as u64,
            handshakes: self.handshakes.len() as u64,
            waiting_logins: self.desk.len() as u64,
            counters: self.counters.clone(),
            lanes: self.workers.lanes(),
            staged: StagedFigures { plain_bytes, kept_bytes, kept_uploads, max_bytes, max_kept },
            contents,
            crcs: CrcFigures { bytes, hit_bytes, missed_bytes, mismatches },
            round: self.housekeeping.figures(now, self.counters.moved()),
            lost_log_lines: self.log_files.lost(),
        }
    }
}
