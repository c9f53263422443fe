//! `image history`.

use crate::args::image::History;
use crate::context::{Context, now, unexpected};
use crate::render::human::{ago, created_at, decimal_size, ellipsis};
use crate::render::list::{List, Row};
use anyhow::Result;
use api::{Call, Reply};

pub(super) async fn run(context: &Context, args: History) -> Result<u8> {
    let rows = match context.call(Call::History(args.image)).await? {
        Reply::History(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let (at, whole) = (now(), args.listing.no_trunc);
    let rows = rows.iter().map(|row| {
        let created = u64::try_from(row.created).unwrap_or(0).saturating_mul(1000);
        let id = if whole { row.id.clone() } else { super::images::short(&row.id) };
        Row::default()
            .with("ID", id)
            .with("CreatedSince", if args.human { ago(created, at) } else { created_at(created) })
            .with("CreatedAt", created_at(created))
            .with("CreatedBy", if whole { row.created_by.clone() } else { ellipsis(&row.created_by, 45) })
            .with("Size", if args.human { decimal_size(row.size) } else { row.size.to_string() })
            .with("Comment", row.comment.as_str())
    });
    let list = List {
        headings: &[
            ("ID", "IMAGE"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
        ],
        columns: vec!["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
        key: "ID",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}
