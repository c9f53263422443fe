//! A node's key pair. The private key is made here, lies in `DATA-ROOT/mesh.key`, and goes nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519::{PublicKey, StaticSecret};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the private key lies: base64, as `wg genkey` writes it.
fn path(data_root: &Path) -> PathBuf {
    data_root.join("mesh.key")
}

/// The public key of this node in base64; the pair is made when it is asked for first.
///
/// # Errors
/// The file can't be read or written, or holds something else than a key.
pub fn own_key(data_root: &Path) -> io::Result<String> {
    let secret = match private_key(data_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(data_root)?,
        found => found?,
    };
    Ok(STANDARD.encode(PublicKey::from(&secret).as_bytes()))
}

/// The private key, once there is one.
///
/// # Errors
/// As with [`own_key`]; `NotFound`: none was made yet.
pub(crate) fn private_key(data_root: &Path) -> io::Result<StaticSecret> {
    let path = path(data_root);
    let text = std::fs::read_to_string(&path)?;
    let bytes = decode(text.trim()).ok_or_else(|| {
        let text = format!("{} holds no WireGuard key (32 bytes in base64)", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    Ok(StaticSecret::from(bytes))
}

/// A key from its base64 form.
pub(crate) fn decode(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn make(data_root: &Path) -> io::Result<StaticSecret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random bytes: {error}")))?;
    let path = path(data_root);
    let fresh = path.with_extension("key.new");
    // What an earlier try left is of no use: it was never told to anybody.
    let _absent = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{}\n", STANDARD.encode(bytes)).as_bytes())?;
    file.sync_all()?;
    // A link, not a rename: of two who make one at the same time, the first has made it.
    match std::fs::hard_link(&fresh, &path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::remove_file(&fresh)?;
    private_key(data_root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let public = own_key(folder.path()).unwrap();
        assert_eq!(decode(&public).map(|key| key.len()), Some(32));
        assert_eq!(own_key(folder.path()).unwrap(), public, "the same again");
        let file = std::fs::metadata(folder.path().join("mesh.key")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        std::fs::write(folder.path().join("mesh.key"), "nonsense").unwrap();
        assert_eq!(own_key(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
