//! The key, certificate and roots of this node on disk: one file, so that they always belong together, sealed as
//! everything of the node is.

use anyhow::{Context as _, Result};
use model::{Authority, ClusterId, NodeId, Time};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use store::{Ledger, NodeKey};

const FILE: &str = "node";
/// The key of a machine that asks to be let in, until that is answered.
const JOINING: &str = "joining.pem";

/// What this node holds.
#[derive(Debug)]
pub(crate) struct Credentials(pub(crate) pki::Credentials);

impl Credentials {
    /// Those of a cluster's first manager.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn own(
        authority: &Authority,
        cluster: ClusterId,
        node: NodeId,
        now: Time,
    ) -> Result<Credentials, pki::Error> {
        pki::Credentials::own(authority, cluster, node, now).map(Credentials)
    }

    /// The name of its key in the state.
    pub(crate) fn key_digest(&self) -> String {
        self.0.key.digest()
    }

    /// Reads them.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub(crate) fn load(folder: &Path, key: &NodeKey) -> Result<Credentials> {
        let path = folder.join(FILE);
        let text = Ledger::new(&path, key.clone()).read().context("read the certificate of this node")?;
        let text = text.with_context(|| format!("the certificate of this node is missing: {}", path.display()))?;
        let read = pki::Credentials::from_pem(&String::from_utf8_lossy(&text));
        read.map(Credentials).with_context(|| format!("make sense of {}", path.display()))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn save(&self, folder: &Path, key: &NodeKey) -> Result<()> {
        make(folder)?;
        Ledger::new(folder.join(FILE), key.clone()).write(self.0.to_pem().as_bytes())?;
        match std::fs::remove_file(folder.join(JOINING)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("clear {}", folder.display()))
            }
            _ => Ok(()),
        }
    }
}

fn make(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make {}", folder.display()))
}

/// The key to join with: the same until an answer was saved, so that one whose answer was lost can ask again.
///
/// # Errors
/// The disk fails, or the system gives no random bytes.
pub(super) fn joining_key(folder: &Path) -> Result<pki::Key> {
    make(folder)?;
    let path = folder.join(JOINING);
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(key) = pki::Key::from_pem(&text)
    {
        return Ok(key);
    }
    let key = pki::Key::generate()?;
    store::write_atomic(&path, key.to_pem().as_bytes())?;
    Ok(key)
}
