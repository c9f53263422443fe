//! What registries are asked without fetching images: what tags mean now, and whether a login is good.

use crate::error::Result;
use crate::limits::Limits;
use crate::registry::{Asked, Registry};
use crate::schema::Document;
use crate::store::Options;
use model::Login;
use model::image::{Digest, Reference};

/// Registries, for asking only: there is no store.
#[derive(Debug)]
pub struct Registries {
    registry: Registry,
    limits: Limits,
}

impl Registries {
    /// Speaks to registries as the options say; their root is not used.
    pub fn new(options: &Options) -> Registries {
        Registries { registry: Registry::new(options), limits: options.limits.clone() }
    }

    /// The digest of what the reference names: of the index if there is one, else of the manifest. It
    /// is computed from what came, not taken from the registry's word.
    ///
    /// # Errors
    /// The registry does not have it, denies it, can't be reached, or sends something else.
    pub async fn digest(&self, reference: &Reference) -> Result<Digest> {
        let (bytes, digest) =
            self.registry.manifest(Asked::plainly(reference), reference.digest(), self.limits.document).await?;
        Document::parse(&bytes, &reference.to_string())?;
        Ok(digest)
    }

    /// Asks a registry ([`Reference::host`]) whether it takes a login.
    ///
    /// # Errors
    /// [`crate::Error::Denied`]: it does not. It can't be reached.
    pub async fn check(&self, host: &str, login: &Login) -> Result<()> {
        self.registry.check(host, login).await
    }
}
