//! Health checks: when to probe, and what the results mean. Numbers and rules are Docker's.

use model::{ContainerSpec, Health, HealthCheck, HealthResult, HealthTest, Time, Verdict};
use std::time::Duration;

/// Between checks during the start period.
const START_INTERVAL: Duration = Duration::from_secs(5);
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
            interval: pick(spec.interval, image.interval).unwrap_or(HealthCheck::INTERVAL),
            timeout: pick(spec.timeout, image.timeout).unwrap_or(HealthCheck::INTERVAL),
            retries: spec.retries.or(image.retries).filter(|it| *it > 0).unwrap_or(HealthCheck::RETRIES),
            start_period: pick(spec.start_period, image.start_period).unwrap_or_default(),
            start_interval: pick(spec.start_interval, image.start_interval).unwrap_or(START_INTERVAL),
        })
    }
}

/// Is a container with this spec, of an image with this check, ever looked at?
pub fn is_checked(container: &ContainerSpec, image: Option<&HealthCheck>) -> bool {
    Check::of(container, image).is_some()
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
    /// Which run it is, as the container's own process tells it.
    started_at: Time,
    /// When it was heard of, by the clock of the agent: the two need not be the same.
    begun: Time,
    next: Time,
    health: Health,
}

impl Monitor {
    /// Begins with a start.
    pub(crate) fn new(check: Check, started_at: Time, now: Time) -> Monitor {
        let health = Health { verdict: Verdict::Starting, failing_streak: 0, log: Vec::new() };
        let mut monitor = Monitor { check: Some(check), started_at, begun: now, next: now, health };
        monitor.next = now.after(monitor.interval(now));
        monitor
    }

    /// Goes on with what was known before the agent began.
    pub(crate) fn adopt(health: Health, started_at: Time) -> Monitor {
        Monitor { check: None, started_at, begun: started_at, next: started_at, health }
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
        let Some(check) = &self.check else { return HealthCheck::INTERVAL };
        if self.health.verdict == Verdict::Starting && self.is_young(now) {
            check.start_interval
        } else {
            check.interval
        }
    }

    fn is_young(&self, now: Time) -> bool {
        self.check.as_ref().is_some_and(|check| now.since(self.begun) < check.start_period)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn container(check: HealthCheck) -> ContainerSpec {
        ContainerSpec { healthcheck: Some(check), ..ContainerSpec::default() }
    }

    fn check() -> Check {
        Check {
            test: HealthTest::CmdShell("true".to_owned()),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            retries: 3,
            start_period: Duration::from_secs(20),
            start_interval: Duration::from_secs(2),
        }
    }

    #[test]
    fn fields_of_the_spec_go_before_those_of_the_image() {
        let image = HealthCheck {
            test: Some(HealthTest::CmdShell("image".to_owned())),
            interval: seconds(7),
            retries: Some(9),
            ..HealthCheck::default()
        };
        let merged =
            Check::of(&container(HealthCheck { interval: seconds(2), ..HealthCheck::default() }), Some(&image));
        let merged = merged.unwrap();
        assert_eq!(merged.test, HealthTest::CmdShell("image".to_owned()));
        assert_eq!((merged.interval, merged.retries), (Duration::from_secs(2), 9));
        assert_eq!((merged.timeout, merged.start_interval), (HealthCheck::INTERVAL, START_INTERVAL));
        let off = container(HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() });
        assert_eq!(Check::of(&off, Some(&image)), None);
        assert!(!needs_image(&off));
        assert!(Check::of(&ContainerSpec::default(), Some(&image)).is_some());
        assert_eq!(Check::of(&ContainerSpec::default(), None), None);
    }

    #[test]
    fn failures_count_only_after_the_start_period_and_one_success_heals() {
        let start = Time(100_000);
        let mut monitor = Monitor::new(check(), start, start);
        assert_eq!(monitor.due().unwrap().0, Time(102_000), "start_interval holds at first");
        assert!(!monitor.probed(Time(102_000), 1, "no".to_owned(), Time(102_100)));
        assert_eq!((monitor.shown().failing_streak, monitor.due().unwrap().0), (0, Time(104_100)));
        for at in [121_000, 131_000] {
            assert!(!monitor.probed(Time(at), 1, "no".to_owned(), Time(at)));
        }
        assert!(monitor.probed(Time(141_000), -1, "late\nno answer\n".to_owned(), Time(141_000)));
        assert!(monitor.is_unhealthy());
        assert_eq!(monitor.complaint(), "unhealthy: no answer (exit code -1)");
        assert!(monitor.probed(Time(151_000), 0, String::new(), Time(151_000)));
        assert!(monitor.is_healthy());
        assert_eq!(monitor.shown().log.len(), 5);
        assert!(!monitor.probed(Time(161_000), 0, String::new(), Time(161_000)));
        assert_eq!(monitor.shown().log.len(), KEPT);
    }

    #[test]
    fn a_failure_inside_the_start_period_counts_once_it_was_healthy() {
        let start = Time(100_000);
        let mut monitor = Monitor::new(check(), start, start);
        assert!(monitor.probed(Time(102_000), 0, String::new(), Time(102_000)));
        assert_eq!(monitor.due().unwrap().0, Time(112_000), "the usual interval holds from then on");
        assert!(!monitor.probed(Time(112_000), 1, String::new(), Time(112_000)));
        assert_eq!(monitor.shown().failing_streak, 1);
    }

    #[test]
    fn long_output_is_cut_between_characters() {
        let start = Time(0);
        let mut monitor = Monitor::new(check(), start, start);
        monitor.probed(start, 0, "é".repeat(4000), start);
        assert_eq!(monitor.shown().log[0].output.len(), OUTPUT);
        monitor.probed(start, 0, format!("x{}", "é".repeat(4000)), start);
        assert_eq!(monitor.shown().log[1].output.len(), OUTPUT - 1);
    }
}
