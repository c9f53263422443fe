//! `image import`: a root file system → an image of one layer.

mod change;

use crate::digest;
use crate::error::{Error, Result};
use crate::layer;
use crate::platform::architecture;
use crate::schema::{Config, History, RootFs, RunConfig};
use crate::store::Store;
use crate::store::layers::Hold;
use model::image::{Digest, Reference};
use std::io::Read;

impl Store {
    /// Makes an image of a root file system (tar, plain or compressed), with Dockerfile instructions
    /// applied to its config. Blocks.
    ///
    /// # Errors
    /// The reference or an instruction makes no sense; the archive is refused; the disk.
    pub fn import(
        &self,
        source: &mut (dyn Read + Send),
        reference: &str,
        changes: &[String],
        message: Option<&str>,
    ) -> Result<Digest> {
        let reference: Reference = reference.parse()?;
        if reference.digest().is_some() {
            return Err(Error::Invalid(format!("{reference}: a new image has a tag, not a digest")));
        }
        let mut run = RunConfig::default();
        changes.iter().try_for_each(|line| change::apply(&mut run, line))?;
        let stage = self.inner.stage()?;
        let unpacked = layer::unpack(source, stage.path(), &self.inner.limits)?;
        if unpacked.archive_bytes == 0 {
            return Err(Error::corrupt("the archive to import", "it is empty"));
        }
        let created = Some(jiff::Timestamp::now().to_string());
        let config = Config {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            created: created.clone(),
            config: run,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![unpacked.diff_id.clone()] },
            history: vec![History {
                created,
                comment: message.unwrap_or("Imported from -").to_owned(),
                ..History::default()
            }],
            ..Config::default()
        };
        let raw = serde_json::to_vec(&config).map_err(|error| Error::Invalid(error.to_string()))?;
        let id = digest::of(&raw);
        let hold = Hold::new(&self.inner, vec![id.clone(), unpacked.diff_id.clone()]);
        self.inner.add_layer(&stage, &unpacked)?;
        self.inner.add(&id, &raw, &[], |table| table.name(reference.tagged(), id.clone(), None))?;
        drop(hold);
        Ok(id)
    }
}
