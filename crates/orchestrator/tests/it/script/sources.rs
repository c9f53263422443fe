//! Commands of scripts about plans, and about sources that are followed.

use super::Script;
use model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Script {
    /// `source git prune self-heal rollback stack=shop`.
    pub(super) fn source(&mut self, words: &[&str]) {
        let has = |word: &str| words.contains(&word);
        let spec = SourceSpec {
            name: words[0].to_owned(),
            origin: Origin::Git { url: "file:///repo".to_owned(), reference: "main".to_owned() },
            paths: Vec::new(),
            stacks: words.iter().filter_map(|word| Some(word.strip_prefix("stack=")?.to_owned())).collect(),
            interval: Duration::from_secs(60),
            prune: has("prune"),
            prune_volumes: has("prune-volumes"),
            self_heal: has("self-heal"),
            forward_only: has("forward-only"),
            rollback: has("rollback"),
            patience: Duration::from_secs(60),
            allow: BTreeSet::new(),
            env: BTreeMap::new(),
            credentials: Credentials {
                token: Some("hush".to_owned()),
                ssh_key: Some("hush".to_owned()),
                webhook: Some("hush".to_owned()),
                age_keys: Some("hush".to_owned()),
                ..Credentials::default()
            },
        };
        self.ask(Request::Source(Box::new(SourceRequest::Put { spec: Box::new(spec), create: true })));
    }

    pub(super) fn commit(word: &str) -> Commit {
        Commit { id: word.to_owned(), ..Commit::default() }
    }

    pub(super) fn version(&self, name: &str) -> u64 {
        let state = self.world.state();
        assert!(!format!("{state:?}").contains("hush"), "credentials are shown");
        state.sources.iter().find(|source| source.spec.name == name).map_or(0, |source| source.version)
    }

    /// `sync git COMMIT`: the stack as it is in the script is what the commit says.
    pub(super) fn sync(&mut self, words: &[&str]) {
        self.complete();
        let sync = Sync {
            name: words[0].to_owned(),
            version: self.version(words[0]),
            commit: Script::commit(words[1]),
            stacks: vec![self.stack.clone()],
            names: BTreeSet::from(["shop".to_owned()]),
            asked: words.contains(&"asked"),
            warnings: Vec::new(),
        };
        self.ask(Request::Source(Box::new(SourceRequest::Sync(Box::new(sync)))));
    }

    pub(super) fn report(&mut self, verb: &str, words: &[&str]) {
        let report = SyncReport {
            name: words[0].to_owned(),
            version: self.version(words[0]),
            commit: words.get(1).map(|word| Script::commit(word)),
            outcome: match verb {
                "invalid" => SyncOutcome::Invalid,
                "unreachable" => SyncOutcome::Unreachable,
                _ => SyncOutcome::Healthy,
            },
            message: format!("it is {verb}"),
            diagnostics: Vec::new(),
        };
        self.ask(Request::Source(Box::new(SourceRequest::Report(Box::new(report)))));
    }

    pub(super) fn sources(&mut self) {
        for source in self.world.state().sources {
            let status = source.status;
            let id = |commit: &Option<Commit>| commit.as_ref().map_or("-", |commit| commit.id.as_str()).to_owned();
            let because = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
            self.say(format!(
                "source {} {}{because}; seen {}, applied {}, good {}, refused {}",
                source.spec.name,
                status.outcome.word(),
                id(&status.seen),
                id(&status.applied),
                id(&status.good),
                status.refused.as_deref().unwrap_or("-"),
            ));
            status.diagnostics.iter().for_each(|it| self.say(format!("  {}", it.message)));
            status.drift.iter().for_each(|drift| self.say(format!("  drift: {drift}")));
        }
    }

    pub(super) fn wanted(&self, words: &[&str]) -> Wanted {
        Wanted {
            stack: self.stack.clone(),
            remove_orphans: words.contains(&"--remove-orphans"),
            force_recreate: words.contains(&"--force-recreate"),
            prune: words.contains(&"--prune"),
            prune_volumes: words.contains(&"--prune-volumes"),
            show_values: words.contains(&"--show-values"),
        }
    }

    /// What would happen; `apply` does it as long as nothing else was changed.
    pub(super) fn plan(&mut self, words: &[&str]) {
        self.complete();
        let plan = orchestrator::preview(self.world.manager.snapshot(), &self.wanted(words), self.world.now);
        let plan = match plan {
            Ok(plan) => plan,
            Err(Response::Refused { diagnostics, .. }) => {
                return diagnostics.iter().for_each(|it| self.say(format!("plan refused: {}", it.message)));
            }
            Err(other) => panic!("{other:?}"),
        };
        self.basis = Some(plan.basis.clone());
        if plan.is_empty() {
            self.say("plan: nothing");
        }
        for object in &plan.objects {
            self.say(format!("plan: {} {} {:?} {}", object.kind, object.name, object.action, object.fields.join(", ")));
        }
        for service in plan.services.iter().filter(|service| service.action != PlanAction::Stay) {
            let how = if service.replaces { format!(" ({})", service.how) } else { String::new() };
            let notes: String = service.notes.iter().map(|note| format!(", {note}")).collect();
            self.say(format!("plan: {} {:?} {:?}{how}{notes}", service.key, service.action, service.replicas));
            for field in &service.fields {
                let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                self.say(format!("plan:   {}: {} → {}", field.path, text(&field.old), text(&field.new)));
            }
        }
        for (round, steps) in plan.rounds.iter().enumerate() {
            let steps: Vec<String> = steps
                .iter()
                .map(|step| format!("{}{} on {}", if step.starts { '+' } else { '-' }, step.replica, step.node))
                .collect();
            self.say(format!("plan: {}. {}", round + 1, steps.join(", ")));
        }
        plan.waiting.iter().for_each(|(replica, why)| self.say(format!("plan: {replica} waits: {why}")));
        plan.warnings.iter().for_each(|warning| self.say(format!("plan: warning: {}", warning.message)));
    }
}
