//! `top`.

use crate::args::container::Top;
use crate::containers;
use crate::context::{Context, unexpected};
use crate::render::table::table;
use anyhow::Result;
use api::{Call, Reply};

pub(super) async fn run(context: &Context, args: Top) -> Result<u8> {
    let container = containers::one(context, &args.container, &args.stack, None).await?;
    match context.call(Call::Top { container, options: args.options }).await? {
        Reply::Top(top) => {
            let rows: Vec<Vec<String>> = std::iter::once(top.titles).chain(top.processes).collect();
            context.data(&table(&rows))?;
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}
