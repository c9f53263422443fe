//! `explain`: what an error code means.

use crate::args::stack::Explain;
use crate::codes;
use crate::context::Context;
use crate::failure::advised;
use anyhow::Result;

pub(super) fn run(context: &Context, args: Explain) -> Result<u8> {
    let Some(wanted) = args.code else {
        for code in codes::all() {
            context.line(&format!("{}  {}", code.code, code.title))?;
        }
        return Ok(0);
    };
    match codes::find(&wanted) {
        Some(code) => {
            context.line(&format!("{}: {}\n\n{}", code.code, code.title, code.explanation))?;
            Ok(0)
        }
        None => Err(advised(format!("there is no code `{wanted}`"), "`rswarm explain` lists all")),
    }
}
