//! Health checks: when to probe, and what the results mean. Numbers and rules are Docker's.

use model::{ContainerSpec, Health, HealthCheck, HealthResult, HealthTest, Time, Verdict};
use std::time::Duration;

/// Between checks, and the longest that one may take, where nobody says otherwise (Docker reference).
const INTERVAL: Duration = Duration::from_secs(30);
/// Between checks during the start period.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// Failures in a row that mean unhealthy.
const RETRIES: u32 = 3;
/// Results that are kept.
const KEPT: usize = 5;
/// Bytes of a probe's output that are kept.
const OUTPUT: usize = 4096;

/// A health check with every field decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) test: HealthTest,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) start_period: Duration,
    pub(crate) start_interval: Duration,
}

impl Check {
    /// The check of a container: the spec's, field by field before the image's. `None`: there is none.
    pub(crate) fn of(container: &ContainerSpec, image: Option<&HealthCheck>) -> Option<Check> {
        let none = HealthCheck::default();
        let spec = container.healthcheck.as_ref().unwrap_or(&none);
        let image = image.unwrap_or(&none);
        let test = match spec.test.as_ref().or(image.test.as_ref())? {
            HealthTest::None => return None,
            HealthTest::Cmd(argv) if argv.is_empty() => return None,
            test => test.clone(),
        };
        // Zero means "not said", as in Docker's image format.
        let pick = |ours: Option<Duration>, theirs: Option<Duration>| ours.or(theirs).filter(|it| !it.is_zero());
        Some(Check {
            test,
            interval: pick(spec.interval, image.interval).unwrap_or(INTERVAL),
            timeout: pick(spec.timeout, image.timeout).unwrap_or(INTERVAL),
            retries: spec.retries.or(image.retries).filter(|it| *it > 0).unwrap_or(RETRIES),
            start_period: pick(spec.start_period, image.start_period).unwrap_or_default(),
            start_interval: pick(spec.start_interval, image.start_interval).unwrap_or(START_INTERVAL),
        })
    }
}

/// Whether the image can matter to the check of this container.
pub(crate) fn needs_image(container: &ContainerSpec) -> bool {
    !matches!(container.healthcheck.as_ref().and_then(|check| check.test.as_ref()), Some(HealthTest::None))
}

/// The health of one run of a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Monitor {
    /// `None`: not known yet (the container was adopted and the image was not asked).
    check: Option<Check>,
    started_at: Time,
    next: Time,
    health: Health,
}

impl Monitor {
    /// Begins with a start.
    pub(crate) fn new(check: Check, started_at: Time, now: Time) -> Monitor {
        let health = Health { verdict: Verdict::Starting, failing_streak: 0, log: Vec::new() };
        let mut monitor = Monitor { check: Some(check), started_at, next: now, health };
        monitor.next = now.after(monitor.interval(now));
        monitor
    }

    /// Goes on with what was known before the agent began.
    pub(crate) fn adopt(health: Health, started_at: Time) -> Monitor {
        Monitor { check: None, started_at, next: started_at, health }
    }

    /// The check has become known.
    pub(crate) fn set(&mut self, check: Check, now: Time) {
        self.check = Some(check);
        self.next = now.after(self.interval(now));
    }

    /// Is the check known?
    pub(crate) fn is_known(&self) -> bool {
        self.check.is_some()
    }

    /// Of which run.
    pub(crate) fn started_at(&self) -> Time {
        self.started_at
    }

    fn interval(&self, now: Time) -> Duration {
        let Some(check) = &self.check else { return INTERVAL };
        if self.health.verdict == Verdict::Starting && self.is_young(now) {
            check.start_interval
        } else {
            check.interval
        }
    }

    fn is_young(&self, now: Time) -> bool {
        self.check.as_ref().is_some_and(|check| now.since(self.started_at) < check.start_period)
    }

    /// When to probe next, and what; `None` while the check is not known.
    pub(crate) fn due(&self) -> Option<(Time, &Check)> {
        self.check.as_ref().map(|check| (self.next, check))
    }

    /// A probe has ended; says whether the verdict is another now.
    pub(crate) fn probed(&mut self, start: Time, exit_code: i32, mut output: String, now: Time) -> bool {
        let before = self.health.verdict;
        let young = self.is_young(start);
        if exit_code == 0 {
            self.health.verdict = Verdict::Healthy;
            self.health.failing_streak = 0;
        } else if before != Verdict::Starting || !young {
            self.health.failing_streak = self.health.failing_streak.saturating_add(1);
            if self.check.as_ref().is_some_and(|check| self.health.failing_streak >= check.retries) {
                self.health.verdict = Verdict::Unhealthy;
            }
        }
        if output.len() > OUTPUT {
            let mut end = OUTPUT;
            while !output.is_char_boundary(end) {
                end -= 1;
            }
            output.truncate(end);
        }
        self.health.log.push(HealthResult { start, end: now, exit_code, output });
        if self.health.log.len() > KEPT {
            self.health.log.remove(0);
        }
        self.next = now.after(self.interval(now));
        self.health.verdict != before
    }

    /// A probe could not be run at all; it is tried again after an interval.
    pub(crate) fn skipped(&mut self, now: Time) {
        self.next = now.after(self.interval(now));
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.health.verdict == Verdict::Healthy
    }

    pub(crate) fn is_unhealthy(&self) -> bool {
        self.health.verdict == Verdict::Unhealthy
    }

    /// What is told of it.
    pub(crate) fn shown(&self) -> Health {
        self.health.clone()
    }

    /// Why it is unhealthy, for people.
    pub(crate) fn complaint(&self) -> String {
        let Some(last) = self.health.log.last() else { return "unhealthy".to_owned() };
        let line = last.output.trim().lines().last().unwrap_or_default();
        let code = last.exit_code;
        match line {
            "" => format!("unhealthy: the check failed {} times (exit code {code})", self.health.failing_streak),
            line => format!("unhealthy: {line} (exit code {code})"),
        }
    }
}
