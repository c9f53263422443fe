//! Which image of an index is for this machine.

use crate::error::{Error, Result};
use crate::schema::{Descriptor, Platform};

/// This machine's architecture in Go's words, as registries use them.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// The variants that this machine runs, the best first.
fn variants() -> &'static [&'static str] {
    match architecture() {
        // Whoever publishes for v2 and later publishes plain amd64 as well.
        "amd64" => &["", "v1"],
        "arm64" => &["v8", ""],
        "arm" => &["v7", "v6", "v5", ""],
        _ => &[""],
    }
}

/// Chooses from an index.
///
/// # Errors
/// There is none for this machine; the error lists those that there are.
pub(crate) fn choose<'a>(manifests: &'a [Descriptor], what: &str) -> Result<&'a Descriptor> {
    let fits = |wanted: &str, platform: &Platform| {
        platform.os == "linux"
            && platform.architecture == architecture()
            && platform.variant.as_deref().unwrap_or_default() == wanted
    };
    for variant in variants() {
        let mut candidates = manifests.iter();
        if let Some(found) = candidates.find(|it| it.platform.as_ref().is_some_and(|platform| fits(variant, platform)))
        {
            return Ok(found);
        }
    }
    // An index of one entry without a platform says: there is but one.
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let platforms = manifests.iter().filter_map(|it| it.platform.as_ref()).filter(|it| it.os != "unknown");
    let there: Vec<String> = platforms.map(ToString::to_string).collect();
    let why = format!("no image for linux/{}, only for {}", architecture(), there.join(", "));
    Err(Error::corrupt(what, why))
}
