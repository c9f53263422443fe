//! A plan as lines for people.

use crate::printer::{Colour, paint};
use model::{FieldChange, ObjectPlan, PlanAction, ReplicaStep, ServicePlan, StackPlan};
use std::fmt::Write as _;

/// Rounds that are shown; who wants more has `--format json`.
const ROUNDS: usize = 24;

/// The whole of it.
pub(crate) fn whole(plan: &StackPlan, colour: bool) -> String {
    let mut out = headline(plan);
    out.push('\n');
    for object in &plan.objects {
        line(&mut out, object.action, &object_text(object), colour);
    }
    for service in plan.services.iter().filter(|service| service.action != PlanAction::Stay) {
        line(&mut out, service.action, &service_text(service), colour);
        for text in service.fields.iter().map(field_text).chain(service.notes.iter().cloned()) {
            let _ = writeln!(out, "      {text}");
        }
    }
    if !plan.is_empty() && !plan.rounds.is_empty() {
        out.push_str("in this order\n");
        rounds(&mut out, plan);
    }
    if !plan.waiting.is_empty() {
        out.push_str("would wait\n");
        for (replica, why) in &plan.waiting {
            let _ = writeln!(out, "  {replica}: {why}");
        }
    }
    out
}

/// `shop: 2 services change, 1 stays     against revision 1042`.
pub(crate) fn headline(plan: &StackPlan) -> String {
    let count = |action| plan.services.iter().filter(|service| service.action == action).count();
    let mut parts = Vec::new();
    for (action, one, many) in [
        (PlanAction::Create, "is new", "are new"),
        (PlanAction::Change, "changes", "change"),
        (PlanAction::Remove, "goes", "go"),
        (PlanAction::Stay, "stays", "stay"),
    ] {
        let count = count(action);
        if count > 0 {
            let noun = match (parts.is_empty(), count) {
                (true, 1) => " service",
                (true, _) => " services",
                (false, _) => "",
            };
            parts.push(format!("{count}{noun} {}", if count == 1 { one } else { many }));
        }
    }
    let others = plan.objects.len();
    if others > 0 {
        parts.push(format!("{others} other {}", if others == 1 { "change" } else { "changes" }));
    }
    let text = match plan.is_empty() {
        true => "nothing changes".to_owned(),
        false => parts.join(", "),
    };
    format!("{}: {text}     against revision {}", plan.stack, plan.revision)
}

/// Is there nothing of the stack yet?
pub(crate) fn is_all_new(plan: &StackPlan) -> bool {
    let services = plan.services.iter().map(|service| service.action);
    let objects = plan.objects.iter().map(|object| object.action);
    services.chain(objects).all(|action| action == PlanAction::Create)
}

/// What would be removed, a line each.
pub(crate) fn removed(plan: &StackPlan) -> String {
    let mut out = String::new();
    for service in plan.services.iter().filter(|service| service.action == PlanAction::Remove) {
        line(&mut out, service.action, &service_text(service), false);
    }
    for object in plan.objects.iter().filter(|object| object.action == PlanAction::Remove) {
        line(&mut out, object.action, &object_text(object), false);
    }
    out
}

fn line(out: &mut String, action: PlanAction, text: &str, colour: bool) {
    let (sign, shade) = match action {
        PlanAction::Create => ("+", Colour::Green),
        PlanAction::Change => ("~", Colour::Yellow),
        PlanAction::Remove => ("-", Colour::Red),
        PlanAction::Stay => (" ", Colour::Dim),
    };
    let _ = writeln!(out, "  {} {text}", paint(colour, shade, sign));
}

fn object_text(object: &ObjectPlan) -> String {
    match object.fields.is_empty() {
        true => format!("{} {}", object.kind, object.name),
        false => format!("{} {}: {}", object.kind, object.name, object.fields.join(", ")),
    }
}

fn service_text(service: &ServicePlan) -> String {
    let mut text = format!("service {}", service.key);
    let many = |count: u32| if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") };
    match (service.action, service.replicas) {
        (PlanAction::Create, (_, Some(count))) => {
            let _ = write!(text, ": {}, {}", service.image, many(count));
        }
        (PlanAction::Create, (_, None)) => {
            let _ = write!(text, ": {}, one on each node", service.image);
        }
        (PlanAction::Remove, (Some(count), _)) => {
            let _ = write!(text, ": {} stop", many(count));
        }
        (PlanAction::Change, (Some(before), _)) if service.replaces => {
            let _ = write!(text, ": replaces {}, {}", many(before), service.how);
        }
        (PlanAction::Change, _) if service.replaces => {
            let _ = write!(text, ": replaces its replicas, {}", service.how);
        }
        (PlanAction::Change, _) if !service.fields.is_empty() => text.push_str(": in place, no replica is replaced"),
        _ => {}
    }
    text
}

fn field_text(field: &FieldChange) -> String {
    match (&field.old, &field.new) {
        _ if field.hidden => format!("{}: changed", field.path),
        (Some(old), Some(new)) => format!("{}: {old} → {new}", field.path),
        (Some(old), None) => format!("{}: {old} → not set", field.path),
        (None, new) => format!("{}: not set → {}", field.path, new.as_deref().unwrap_or("not set")),
    }
}

fn rounds(out: &mut String, plan: &StackPlan) {
    for (number, steps) in plan.rounds.iter().take(ROUNDS).enumerate() {
        let _ = writeln!(out, "  {}. {}", number + 1, steps.iter().map(step).collect::<Vec<_>>().join(", "));
    }
    let _ = match (plan.rounds.len().saturating_sub(ROUNDS), plan.unfinished) {
        (0, false) => Ok(()),
        (0, true) => writeln!(out, "  … and so on"),
        (more, false) => writeln!(out, "  … and {more} more"),
        (more, true) => writeln!(out, "  … and {more} more at least"),
    };
}

fn step(step: &ReplicaStep) -> String {
    let verb = if step.starts { "starts" } else { "stops" };
    format!("{} {verb} on {}", step.replica, step.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(key: &str, action: PlanAction) -> ServicePlan {
        ServicePlan {
            name: format!("shop_{key}"),
            key: key.to_owned(),
            action,
            image: "nginx:1.27".to_owned(),
            replicas: (Some(3), Some(3)),
            replaces: action == PlanAction::Change,
            how: "1 at a time, old stops first".to_owned(),
            fields: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn field(path: &str, old: Option<&str>, new: Option<&str>, hidden: bool) -> FieldChange {
        FieldChange { path: path.to_owned(), old: old.map(str::to_owned), new: new.map(str::to_owned), hidden }
    }

    #[test]
    fn a_plan_reads_like_this() {
        let mut web = service("web", PlanAction::Change);
        web.fields = vec![
            field("image", Some("nginx:1.26"), Some("nginx:1.27"), false),
            field("environment.TOKEN", None, None, true),
            field("ports", None, Some("80:80/tcp"), false),
            field("user", Some("www"), None, false),
        ];
        let step = |starts| ReplicaStep { replica: "web.1".to_owned(), starts, node: "n1".to_owned() };
        let plan = StackPlan {
            stack: "shop".to_owned(),
            revision: 1042,
            services: vec![
                service("cache", PlanAction::Create),
                service("db", PlanAction::Stay),
                service("old", PlanAction::Remove),
                web,
            ],
            objects: vec![ObjectPlan {
                kind: "config".to_owned(),
                name: "shop_conf".to_owned(),
                action: PlanAction::Change,
                fields: vec!["content".to_owned()],
            }],
            rounds: vec![vec![step(false)], vec![step(true)]],
            waiting: vec![("web.3".to_owned(), "no suitable node: there is no node yet".to_owned())],
            ..StackPlan::default()
        };
        let expected = "\
shop: 1 service is new, 1 changes, 1 goes, 1 stays, 1 other change     against revision 1042
  ~ config shop_conf: content
  + service cache: nginx:1.27, 3 replicas
  - service old: 3 replicas stop
  ~ service web: replaces 3 replicas, 1 at a time, old stops first
      image: nginx:1.26 → nginx:1.27
      environment.TOKEN: changed
      ports: not set → 80:80/tcp
      user: www → not set
in this order
  1. web.1 stops on n1
  2. web.1 starts on n1
would wait
  web.3: no suitable node: there is no node yet
";
        assert_eq!(whole(&plan, false), expected);
        let same = StackPlan { services: vec![service("db", PlanAction::Stay)], objects: Vec::new(), ..plan };
        assert_eq!(headline(&same), "shop: nothing changes     against revision 1042");
    }
}
