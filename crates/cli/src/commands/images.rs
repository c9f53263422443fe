//! `image ls`, `rm`, `tag`.

use super::each;
use crate::args::image::{Ls, Rm, Tag};
use crate::context::{Context, is_not_found, now, unexpected};
use crate::render::human::{ago, created_at, decimal_size};
use crate::render::list::{List, Row};
use anyhow::{Result, bail};
use api::{Call, ImageRow, Reply};

/// Does a filter keep the row?
type Keep = Box<dyn Fn(&ImageRow) -> bool>;

pub(super) async fn ls(context: &Context, args: Ls) -> Result<u8> {
    let mut keep: Vec<Keep> = Vec::new();
    for filter in &args.filter {
        keep.push(self::filter(filter)?);
    }
    if let Some(reference) = &args.reference {
        keep.push(named(reference));
    }
    let rows = match context.call(Call::Images { all: args.all }).await? {
        Reply::Images(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let mut rows: Vec<ImageRow> = rows.into_iter().filter(|row| keep.iter().all(|keep| keep(row))).collect();
    rows.sort_by(|a, b| (b.created, &a.repository, &a.tag).cmp(&(a.created, &b.repository, &b.tag)));
    let at = now();
    let mut columns = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if args.digests {
        columns.insert(2, "Digest");
    }
    let list = List {
        headings: &[
            ("Repository", "REPOSITORY"),
            ("Tag", "TAG"),
            ("Digest", "DIGEST"),
            ("ID", "IMAGE ID"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("Size", "SIZE"),
        ],
        columns,
        key: "ID",
        rows: rows.iter().map(|row| self::row(row, at, args.listing.no_trunc)).collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

fn row(row: &ImageRow, now: u64, whole: bool) -> Row {
    let created = u64::try_from(row.created).unwrap_or(0).saturating_mul(1000);
    Row::default()
        .with("Repository", row.repository.as_str())
        .with("Tag", row.tag.as_str())
        .with("Digest", row.digest.as_deref().unwrap_or("<none>"))
        .with("ID", if whole { row.id.clone() } else { short(&row.id) })
        .with("CreatedSince", ago(created, now))
        .with("CreatedAt", created_at(created))
        .with("Size", decimal_size(row.size))
}

/// The first twelve digits of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(12).collect()
}

fn filter(text: &str) -> Result<Keep> {
    Ok(match text.split_once('=') {
        Some(("dangling", "true" | "1")) => Box::new(|row| row.tag == "<none>"),
        Some(("dangling", "false" | "0")) => Box::new(|row| row.tag != "<none>"),
        Some(("reference", pattern)) => named(pattern),
        _ => bail!("--filter {text}: dangling=BOOL and reference=PATTERN are known"),
    })
}

/// `REPOSITORY[:TAG]`, with `*` for any text without a slash.
fn named(pattern: &str) -> Keep {
    let after_slash = pattern.rfind('/').map_or(0, |at| at + 1);
    let colon = pattern.get(after_slash..).and_then(|rest| rest.find(':')).map(|at| at + after_slash);
    let (repository, tag) = match colon {
        Some(at) => (pattern.get(..at).unwrap_or("").to_owned(), pattern.get(at + 1..).map(str::to_owned)),
        None => (pattern.to_owned(), None),
    };
    Box::new(move |row| {
        matches(&repository, &row.repository) && tag.as_deref().is_none_or(|tag| matches(tag, &row.tag))
    })
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            let mut ends = ends.take_while(|at| !rest.get(..*at).unwrap_or("").contains('/'));
            ends.any(|at| matches(after, rest.get(at..).unwrap_or("")))
        }),
    }
}

pub(super) async fn rm(context: &Context, args: Rm) -> Result<u8> {
    let force = args.force;
    each(context, &args.images, |reference| async move {
        match context.call(Call::RemoveImage { reference, force }).await {
            Ok(Reply::Lines(lines)) if lines.is_empty() => Ok(None),
            Ok(Reply::Lines(lines)) => Ok(Some(lines.join("\n"))),
            Ok(other) => Err(unexpected(&other)),
            Err(error) if force && is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

pub(super) async fn tag(context: &Context, args: Tag) -> Result<u8> {
    context.order(Call::Tag { source: args.source, target: args.target }).await?;
    Ok(0)
}

/// Does the name that a container was made with mean this image?
pub(super) fn is_named(image: &ImageRow, name: &str) -> bool {
    let id = |text: &str| text.trim_start_matches("sha256:").to_owned();
    name == format!("{}:{}", image.repository, image.tag)
        || image.tag == "latest" && name == image.repository
        || image.digest.as_deref().is_some_and(|digest| name.ends_with(digest))
        || name.len() >= 12 && id(&image.id).starts_with(&id(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_match_by_pattern() {
        let row = ImageRow {
            id: "sha256:0123456789abcdef".to_owned(),
            repository: "example.com:5000/a/web".to_owned(),
            tag: "1.2".to_owned(),
            digest: None,
            created: 0,
            size: 0,
        };
        for (pattern, fits) in [
            ("example.com:5000/a/web", true),
            ("example.com:5000/a/web:1.2", true),
            ("example.com:5000/a/web:1.*", true),
            ("example.com:5000/*/web", true),
            ("example.com:5000/*", false),
            ("web", false),
            ("example.com:5000/a/web:2", false),
        ] {
            assert_eq!(named(pattern)(&row), fits, "{pattern}");
        }
        assert_eq!(short(&row.id), "0123456789ab");
    }
}
