//! `pull`, and the progress of pulls wherever they are needed.

use crate::args::image::Pull;
use crate::context::{Context, is_not_found};
use crate::logins;
use crate::printer::Printer;
use crate::render::human::{decimal_size, ellipsis};
use anyhow::{Result, bail};
use api::client::ClientError;
use api::{Call, PullProgress, StreamCall, StreamItem};
use model::Logins;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a registry may take to say what a name means, where there is something of that name.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context, args: Pull) -> Result<u8> {
    crate::start::ensure(context).await?;
    let logins = logins::of(context, [args.reference.as_str()]).await;
    one(context, &args.reference, &logins, args.quiet).await?;
    context.line(&args.reference)?;
    Ok(0)
}

/// Is the image on this machine?
///
/// # Errors
/// The daemon can't be reached, or the reference makes no sense.
pub(super) async fn is_here(context: &Context, image: &str) -> Result<bool> {
    match context.inspect(Call::InspectImage(image.to_owned())).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Pulls one image, with whichever of the logins is for its registry, and shows how it goes.
///
/// # Errors
/// It can't be pulled.
pub(super) async fn one(context: &Context, reference: &str, logins: &Logins, quiet: bool) -> Result<()> {
    pull(context, reference, logins, quiet, None).await
}

/// The same; with patience, the registry has to say something within that time.
async fn pull(
    context: &Context,
    reference: &str,
    logins: &Logins,
    quiet: bool,
    mut patience: Option<Duration>,
) -> Result<()> {
    let mut layers = Layers::new(context.printer, reference, quiet);
    let call = StreamCall::Pull { reference: reference.to_owned(), logins: logins.for_image(reference) };
    let mut items = context.client.stream(&call).await?;
    let result = loop {
        let next = match patience.take() {
            Some(patience) => match tokio::time::timeout(patience, items.next()).await {
                Ok(next) => next,
                Err(_) => bail!("its registry is silent for {} s", patience.as_secs()),
            },
            None => items.next().await,
        };
        match next {
            Ok(Some(StreamItem::Pull(progress))) => layers.take(progress),
            Ok(Some(StreamItem::Message(text))) => layers.say(&text),
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    layers.end();
    result.map_err(ClientError::into)
}

/// The image of a service: pulled if it is not here, else looked up again, if that is wanted. In a cluster another
/// manager may have it, which the one that is asked for the service finds out, so that no registry has it is told then.
///
/// # Errors
/// It can't be pulled.
pub(super) async fn of_service(
    context: &Context,
    image: &str,
    logins: &Logins,
    resolve: bool,
    quiet: bool,
) -> Result<()> {
    if is_here(context, image).await? {
        if resolve {
            refresh(context, &[image.to_owned()].into(), logins).await;
        }
        return Ok(());
    }
    match one(context, image, logins, quiet).await {
        Err(error) if context.state().await?.cluster.is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Asks the registries what these names mean now. What is not told stays what is here, with a warning. An image that
/// came from no registry (loaded, imported) is asked for at none.
pub(super) async fn refresh(context: &Context, images: &BTreeSet<String>, logins: &Logins) {
    let asked = images.iter().map(|image| async move {
        let seen = context.inspect(Call::InspectImage(image.clone())).await.unwrap_or_default();
        let is_local = seen["RepoDigests"].as_array().is_none_or(Vec::is_empty);
        if is_local || image.contains('@') {
            return;
        }
        if let Err(error) = pull(context, image, logins, true, Some(PATIENCE)).await {
            context.printer.warn(&format!(
                "image {image}: what this name means now is not known, so what is here is used ({error:#})"
            ));
        }
    });
    futures_util::future::join_all(asked).await;
}

/// Pulls several, all at once. One that can't be had is told by whoever needs it.
pub(super) async fn several(context: &Context, references: &[String], logins: &Logins, quiet: bool) {
    match references {
        [] => {}
        [reference] => {
            context.printer.say(&format!("pulling {reference}"));
            let _told_by_deploy = one(context, reference, logins, quiet).await;
        }
        several => {
            // Blocks that are redrawn would overwrite each other: here lines tell beginning and end.
            let pulls = several.iter().map(|reference| async move {
                context.printer.say(&format!("pulling {reference}"));
                if one(context, reference, logins, true).await.is_ok() {
                    context.printer.say(&format!("pulled {reference}"));
                }
            });
            futures_util::future::join_all(pulls).await;
        }
    }
}

/// Layers of an image on their way.
struct Layers {
    printer: Printer,
    reference: String,
    quiet: bool,
    list: Vec<PullProgress>,
    drawn: usize,
    last_draw: Option<std::time::Instant>,
}

impl Layers {
    fn new(printer: Printer, reference: &str, quiet: bool) -> Layers {
        Layers { printer, reference: reference.to_owned(), quiet, list: Vec::new(), drawn: 0, last_draw: None }
    }

    fn take(&mut self, progress: PullProgress) {
        let known = self.list.iter_mut().find(|known| known.id == progress.id);
        let news = known.as_ref().is_none_or(|known| known.status != progress.status);
        match known {
            Some(known) => *known = progress.clone(),
            None => self.list.push(progress.clone()),
        }
        if self.quiet {
            return;
        }
        if self.printer.live {
            // A fast pull reports thousands of times a second.
            let due = self.last_draw.is_none_or(|last| last.elapsed() > std::time::Duration::from_millis(50));
            if news || due {
                self.draw();
            }
        } else if news {
            self.printer.say(&format!("{}: {}", progress.id, progress.status));
        }
    }

    fn say(&mut self, text: &str) {
        if !self.quiet {
            self.printer.say(text);
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        let (rows, columns) = crate::terminal::size().unwrap_or((24, 80));
        let text = self.block(usize::from(rows), usize::from(columns));
        self.printer.raw_err(&text);
        self.last_draw = Some(std::time::Instant::now());
    }

    fn block(&mut self, rows: usize, columns: usize) -> String {
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        let room = rows.saturating_sub(2).max(1);
        let skipped = self.list.len().saturating_sub(room);
        let shown: Vec<String> =
            self.list.iter().skip(skipped).map(|layer| ellipsis(&line(layer), columns.saturating_sub(1))).collect();
        self.drawn = shown.len();
        for text in shown {
            out.push_str(&text);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        out
    }

    fn end(&mut self) {
        if !self.quiet && self.printer.live && !self.list.is_empty() {
            self.draw();
        }
        self.list.retain(|layer| layer.id == self.reference);
    }
}

/// `4f4fb700ef54: downloading [=====>    ]  1.2MB/5MB`.
fn line(layer: &PullProgress) -> String {
    if layer.total == 0 || layer.current >= layer.total {
        return format!("{}: {}", layer.id, layer.status);
    }
    const WIDTH: u64 = 30;
    let filled = usize::try_from(layer.current.saturating_mul(WIDTH) / layer.total).unwrap_or(0);
    let bar = format!("{}>", "=".repeat(filled));
    let width = usize::try_from(WIDTH + 1).unwrap_or(31);
    format!(
        "{}: {} [{bar:width$}] {}/{}",
        layer.id,
        layer.status,
        decimal_size(layer.current),
        decimal_size(layer.total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_show_how_far_they_are() {
        let layer =
            |current, total| PullProgress { id: "abc".to_owned(), status: "downloading".to_owned(), current, total };
        assert_eq!(line(&layer(0, 0)), "abc: downloading");
        assert_eq!(line(&layer(500, 1000)), "abc: downloading [===============>               ] 500B/1kB");
        assert_eq!(line(&layer(1000, 1000)), "abc: downloading");
    }
}
