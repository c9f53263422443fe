//! `logs`: of containers, or of a stack's services.

use crate::args::container::Logs;
use crate::args::stack::ProjectRest;
use crate::args::swarm::Who;
use crate::commands::tasks;
use crate::context::{Context, is_not_found, now};
use crate::failure::advised;
use crate::printer::{Colour, paint};
use crate::{parse, project};
use anyhow::{Context as _, Result};
use api::client::Items;
use api::{LogLine, StreamCall, StreamItem};
use compose::Options;
use model::{Desired, State, Task};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: Logs) -> Result<u8> {
    print(context, args, None).await
}

/// `service logs`: each line says which task wrote it, and where (Docker).
pub(super) async fn of_services(context: &Context, args: Logs, who: Who) -> Result<u8> {
    print(context, args, Some(Callers { who, known: BTreeMap::new() })).await
}

async fn print(context: &Context, args: Logs, callers: Option<Callers>) -> Result<u8> {
    let query = Query::new(&args)?;
    let Source { mut items, several } = open(context, &args, &query).await?;
    let mut printed = Printed::new(context, &args, several || callers.is_some());
    printed.callers = callers;
    while let Some(item) = items.next().await? {
        match item {
            StreamItem::Log(line) => {
                if let Some(callers) = printed.callers.as_mut().filter(|it| !it.known.contains_key(&line.container)) {
                    callers.learn(&context.state().await?, &line.container);
                }
                printed.show(&line).map_err(crate::failure::stdout)?;
            }
            StreamItem::Message(text) => context.printer.warn(&text),
            _ => {}
        }
    }
    Ok(0)
}

/// Which part of the logs.
struct Query {
    follow: bool,
    tail: Option<u64>,
    since: Option<u64>,
    until: Option<u64>,
}

impl Query {
    fn new(args: &Logs) -> Result<Query> {
        let at = now();
        let moment =
            |text: &Option<String>, flag| text.as_deref().map(|text| parse::moment(text, at)).transpose().context(flag);
        let tail = match args.tail.as_str() {
            "all" | "-1" => None,
            text => match text.parse() {
                Ok(count) => Some(count),
                Err(_) => anyhow::bail!("--tail: `{text}` is neither a number nor `all`"),
            },
        };
        Ok(Query {
            follow: args.follow,
            tail,
            since: moment(&args.since, "--since")?,
            until: moment(&args.until, "--until")?,
        })
    }

    fn call(&self, containers: Vec<String>, stack: Option<String>, services: Vec<String>) -> StreamCall {
        let Query { follow, tail, since, until } = *self;
        StreamCall::Logs { containers, stack, services, follow, tail, since, until }
    }
}

struct Source {
    items: Items,
    /// Lines of more than one container may come: each says whose it is.
    several: bool,
}

/// A stack that was named; else containers; else services of the stack that the working folder is in.
async fn open(context: &Context, args: &Logs, query: &Query) -> Result<Source> {
    if args.project.name.is_some() || !args.files.is_empty() || args.names.is_empty() {
        let stack = stack(context, &args.files, &args.project)?;
        let items = context.client.stream(&query.call(Vec::new(), Some(stack), args.names.clone())).await?;
        return Ok(Source { items, several: true });
    }
    let call = query.call(args.names.clone(), None, Vec::new());
    let error = match context.client.stream(&call).await {
        Ok(items) => return Ok(Source { items, several: args.names.len() > 1 }),
        Err(error) if is_not_found(&error) => error,
        Err(error) => return Err(error.into()),
    };
    let loaded = project::load_parts(&[], &args.project, Options::default())?;
    let Some(here) = loaded.project.filter(|project| !project.name.is_empty()) else { return Err(error.into()) };
    let state = context.state().await?;
    let known = |key: &String| {
        state.services.iter().any(|service| service.spec.stack.as_ref() == Some(&here.name) && service.spec.key == *key)
    };
    if !args.names.iter().all(known) {
        return Err(error.into());
    }
    let items = context.client.stream(&query.call(Vec::new(), Some(here.name), args.names.clone())).await?;
    Ok(Source { items, several: true })
}

fn stack(context: &Context, files: &[String], rest: &ProjectRest) -> Result<String> {
    if let Some(name) = &rest.name {
        return Ok(name.clone());
    }
    let loaded = project::load_parts(files, rest, Options::default())?;
    match loaded.project {
        Some(project) if !project.name.is_empty() => Ok(project.name),
        _ if files.is_empty() => {
            Err(advised("whose logs?", "name containers, a stack with -p, or be in the folder of a Compose file"))
        }
        _ => {
            project::show(context, &loaded.diagnostics);
            Err(crate::failure::Silent(1).into())
        }
    }
}

/// What tasks are called that write lines: `web.1.0123456789ab@node1`.
struct Callers {
    who: Who,
    /// By the names of their containers.
    known: BTreeMap<String, String>,
}

impl Callers {
    fn learn(&mut self, state: &State, container: &str) {
        let Who { no_task_ids, no_trunc, no_resolve } = self.who;
        // Of those that share a name the one that is there.
        let mut all: Vec<&Arc<Task>> = state.tasks.iter().collect();
        all.sort_by_key(|task| (task.desired <= Desired::Running, task.created, task.id));
        for task in all {
            let name = tasks::name(task);
            let id = if no_trunc { task.id.to_string() } else { task.id.short() };
            let called = if no_task_ids { name } else { format!("{name}.{id}") };
            self.known.insert(task.name(), format!("{called}@{}", tasks::node(state, task, no_resolve)));
        }
        // One that is gone by now.
        self.known.entry(container.to_owned()).or_insert_with(|| container.to_owned());
    }
}

/// Writes lines with what stands before them.
struct Printed {
    callers: Option<Callers>,
    prefix: bool,
    timestamps: bool,
    colour: bool,
    width: usize,
    seen: Vec<String>,
}

const COLOURS: [Colour; 3] = [Colour::Cyan, Colour::Yellow, Colour::Green];

impl Printed {
    fn new(context: &Context, args: &Logs, several: bool) -> Printed {
        Printed {
            callers: None,
            prefix: several && !args.no_log_prefix,
            timestamps: args.timestamps,
            colour: context.printer.colour_out && !args.no_color,
            width: 0,
            seen: Vec::new(),
        }
    }

    /// Lines of a container's standard error go to ours, as in Docker; with prefixes all are data.
    fn show(&mut self, line: &LogLine) -> std::io::Result<()> {
        let text = self.text(line);
        if line.stream == "stderr" && !self.prefix {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
    }

    fn text(&mut self, line: &LogLine) -> String {
        let mut text = String::new();
        if self.prefix {
            let called = self.callers.as_ref().and_then(|callers| callers.known.get(&line.container));
            let who = if let Some(called) = called {
                called.clone()
            } else if line.slot == 0 || line.service == line.container {
                line.service.clone()
            } else {
                format!("{}-{}", line.service, line.slot)
            };
            let at = self.seen.iter().position(|seen| *seen == who).unwrap_or_else(|| {
                self.seen.push(who.clone());
                self.seen.len() - 1
            });
            self.width = self.width.max(who.chars().count());
            let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or(Colour::Cyan);
            text.push_str(&paint(self.colour, colour, &format!("{who:width$}  | ", width = self.width)));
        }
        if self.timestamps {
            text.push_str(&line.time);
            text.push(' ');
        }
        text.push_str(&line.line);
        if line.newline || self.prefix || self.timestamps {
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, slot: u32, newline: bool) -> LogLine {
        LogLine {
            container: format!("shop_{service}.{slot}.x"),
            service: service.to_owned(),
            slot,
            stream: "stdout".to_owned(),
            time: "2026-01-02T15:04:05.000000001Z".to_owned(),
            line: "hello".to_owned(),
            newline,
        }
    }

    #[test]
    fn lines_say_whose_they_are_when_there_are_several() {
        let mut plain =
            Printed { callers: None, prefix: false, timestamps: false, colour: false, width: 0, seen: Vec::new() };
        assert_eq!(plain.text(&line("web", 1, true)), "hello\n");
        assert_eq!(plain.text(&line("web", 1, false)), "hello");
        plain.timestamps = true;
        assert_eq!(plain.text(&line("web", 1, true)), "2026-01-02T15:04:05.000000001Z hello\n");
        let mut several =
            Printed { callers: None, prefix: true, timestamps: false, colour: false, width: 0, seen: Vec::new() };
        assert_eq!(several.text(&line("worker", 2, true)), "worker-2  | hello\n");
        assert_eq!(several.text(&line("db", 1, false)), "db-1      | hello\n");
    }
}
