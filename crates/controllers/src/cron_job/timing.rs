//! Which moment of a schedule is due, and which is next. Pure.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use model::schedule::Schedule;
use model::time_zone;

/// More moments than these cannot have been missed without something being wrong.
pub const MISSED_MAX: usize = 100;
/// How much later than a moment it is looked for: clocks differ.
const LATE: SignedDuration = SignedDuration::from_millis(100);

/// A schedule with the clock that it goes by.
#[derive(Debug)]
pub struct Timing {
    schedule: Schedule,
    zone: TimeZone,
    /// The last moment for which a job was made, or when the CronJob was.
    since: Timestamp,
    starting_deadline: Option<SignedDuration>,
}

/// A moment that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub at: Timestamp,
    /// More time has passed since than its job may be late.
    pub is_too_late: bool,
    /// So many were missed before it that something must be wrong.
    pub is_one_of_many: bool,
}

impl Timing {
    /// How a CronJob is timed; `None` if it says something that cannot be understood.
    pub fn of(cron_job: &CronJob) -> Option<Timing> {
        let spec = &cron_job.spec;
        let created = cron_job.metadata.creation_timestamp.as_ref()?.0;
        let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
        Some(Timing {
            schedule: Schedule::parse(&spec.schedule).ok()?,
            zone: zone_of(cron_job)?,
            since: last.map_or(created, |last| last.0),
            starting_deadline: spec.starting_deadline_seconds.map(SignedDuration::from_secs),
        })
    }

    /// The last moment that has come and has no job yet; earlier ones are passed over.
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let at = self.schedule.last(&self.zone, self.since, now)?;
        let earliest = self.starting_deadline.and_then(|deadline| now.checked_sub(deadline).ok());
        let since = earliest.map_or(self.since, |earliest| earliest.max(self.since));
        let missed = self.schedule.count(&self.zone, since, now, MISSED_MAX + 1);
        let is_too_late = earliest.is_some_and(|earliest| at < earliest);
        Some(Due { at, is_too_late, is_one_of_many: missed > MISSED_MAX })
    }

    /// How long it is until the next moment, counted from the last that has come.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let last = self.schedule.last(&self.zone, self.since, now).unwrap_or(self.since);
        let next = self.schedule.next(&self.zone, last)?.checked_add(LATE).ok()?;
        Some(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO))
    }
}

/// The clock that a CronJob goes by: UTC where it names none.
pub fn zone_of(cron_job: &CronJob) -> Option<TimeZone> {
    match &cron_job.spec.time_zone {
        Some(name) => time_zone::find(name).ok(),
        None => Some(TimeZone::UTC),
    }
}
