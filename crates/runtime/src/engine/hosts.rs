//! What the /etc/hosts of a container says.

use super::disk::failed;
use super::*;
use model::HostLines;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// Its name in the folder of a container, from where it is mounted.
pub(super) const FILE: &str = "hosts";
/// More than this is not what anybody needs.
const LONGEST: u64 = 16 << 20;

/// Every host name file begins so (as Docker's).
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

impl Engine {
    /// Has the /etc/hosts of a container, which may run, say this instead of what it was made with, as in
    /// [`CreateContainer::hosts`]. What the container itself has written there stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]; files.
    pub async fn set_hosts(&self, task: TaskId, hosts: HostLines) -> Result<()> {
        let entry = self.known(task)?;
        let _operation = entry.operation.lock().await;
        let config = entry.config().ok_or(Error::NotFound(task))?;
        self.readdress(&entry, config, None, Some(hosts)).await.map(drop)
    }

    /// Its place in the network as it is from now on.
    pub(super) async fn readdress(
        &self,
        entry: &Entry,
        config: Arc<Config>,
        net: Option<NetMode>,
        hosts: Option<HostLines>,
    ) -> Result<Arc<Config>> {
        let net = net.filter(|net| *net != config.create.net);
        let hosts = hosts.filter(|hosts| *hosts != config.create.hosts);
        if net.is_none() && hosts.is_none() {
            return Ok(config);
        }
        let mut changed = Config::clone(&config);
        changed.create.net = net.unwrap_or(changed.create.net);
        let old = hosts.map(|hosts| std::mem::replace(&mut changed.create.hosts, hosts));
        let (task, changed) = (entry.task, Arc::new(changed));
        let written = changed.clone();
        self.block(move |inner| {
            let folder = inner.disk.layout.container(task);
            let path = folder.path.join(FILE);
            match old.map_or(Ok(()), |old| rewrite(&path, &old, &written.create.hosts)) {
                // What the container has done to it is no reason not to start it.
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    tracing::warn!(path = %path.display(), %error, "its lines stay as they are");
                }
                other => other.map_err(failed("write", &path))?,
            }
            inner.disk.write_config(&folder, &written)
        })
        .await?;
        entry.set_config(Some(changed.clone()));
        Ok(changed)
    }
}

/// Text of /etc/hosts: with the host's network the host's own, and what was asked for.
pub(super) fn text(create: &CreateContainer) -> String {
    let mut text = match create.net {
        NetMode::Host => fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCAL_HOSTS.to_owned()),
        NetMode::Path(_) => LOCAL_HOSTS.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    create.hosts.iter().for_each(|line| text.push_str(&shown(line)));
    text
}

fn shown((address, names): &(IpAddr, Vec<String>)) -> String {
    format!("{address}\t{}\n", names.join(" "))
}

/// Takes the lines of `old` away that are not in `new`, and adds those that are not there. In place: it is mounted.
fn rewrite(path: &Path, old: &[(IpAddr, Vec<String>)], new: &[(IpAddr, Vec<String>)]) -> io::Result<()> {
    /// The container may write at the same time: then it is read again.
    const TRIES: usize = 5;
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let seen = || file.metadata().map(|it| (it.len(), it.mtime(), it.mtime_nsec()));
    for _ in 0..TRIES {
        let before = seen()?;
        if before.0 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the container has made it larger than 16 MiB"));
        }
        let mut bytes = vec![0; usize::try_from(before.0).unwrap_or_default()];
        let read = file.read_at(&mut bytes, 0)?;
        let mut fresh = changed(&bytes, old, new);
        let rest = fresh.len();
        // In one go, so that nobody finds half of it, with nothing of the old one behind it.
        fresh.resize(rest.max(bytes.len()), b'\n');
        if read == bytes.len() && seen()? == before {
            file.write_all_at(&fresh, 0)?;
            return file.set_len(rest as u64);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "the container writes all the time"))
}

/// What was already done is not done again.
fn changed(text: &[u8], old: &[(IpAddr, Vec<String>)], new: &[(IpAddr, Vec<String>)]) -> Vec<u8> {
    let mut gone: Vec<String> = old.iter().filter(|line| !new.contains(line)).map(shown).collect();
    let mut kept = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match gone.iter().position(|gone| is_same(gone, line)) {
            Some(found) => drop(gone.swap_remove(found)),
            None => kept.extend_from_slice(line),
        }
    }
    for line in new.iter().filter(|line| !old.contains(line)).map(shown) {
        if kept.split(|byte| *byte == b'\n').any(|known| is_same(&line, known)) {
            continue;
        }
        if kept.last().is_some_and(|last| *last != b'\n') {
            kept.push(b'\n');
        }
        kept.extend_from_slice(line.as_bytes());
    }
    kept
}

fn is_same(ours: &str, line: &[u8]) -> bool {
    ours.as_bytes().trim_ascii_end() == line.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[(&str, &str)]) -> HostLines {
        all.iter().map(|(address, name)| (address.parse().unwrap(), vec![(*name).to_owned()])).collect()
    }

    #[test]
    fn what_the_container_has_written_stays() {
        let old = lines(&[("10.0.0.2", "web"), ("10.0.0.9", "extra")]);
        let new = lines(&[("10.0.0.9", "extra"), ("10.0.0.3", "web")]);
        let text = b"127.0.0.1\tlocalhost\n10.0.0.2\tweb\n# m\xfcne\r\n10.0.0.9\textra\n10.0.0.5\tother";
        let expected = b"127.0.0.1\tlocalhost\n# m\xfcne\r\n10.0.0.9\textra\n10.0.0.5\tother\n10.0.0.3\tweb\n";
        assert_eq!(changed(text, &old, &new), expected);
        assert_eq!(changed(expected, &old, &new), expected, "twice is no more than once");
        let alone = b"127.0.0.1\tlocalhost\n# m\xfcne\r\n10.0.0.9\textra\n10.0.0.5\tother\n";
        assert_eq!(changed(expected, &new, &lines(&[("10.0.0.9", "extra")])), alone);
    }

    #[test]
    fn it_is_written_in_place_and_no_larger_than_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let old = lines(&[("10.0.0.2", "a-name-that-is-rather-long")]);
        fs::write(&path, format!("127.0.0.1\tlocalhost\n{}", shown(&old[0]))).unwrap();
        let mounted = fs::File::open(&path).unwrap();
        rewrite(&path, &old, &lines(&[("10.0.0.3", "b")])).unwrap();
        assert_eq!(io::read_to_string(mounted).unwrap(), "127.0.0.1\tlocalhost\n10.0.0.3\tb\n");
        fs::File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        assert_eq!(rewrite(&path, &old, &old).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::metadata(&path).unwrap().len(), LONGEST + 1);
    }
}
