//! Where images are.
//!
//! ```text
//! images.json           names → digests → images; replaced as a whole, and the last step of everything
//! blobs/HEX             configs and manifests as they came
//! layers/HEX24/         fs (for overlayfs), recipe.zst, layer.json; names are short because the options
//!                       of an overlay mount with 127 of them have to fit into one page
//! partial/HEX           what came of layers that are under way, to go on from after a restart
//! staging/              what is being made; cleared at every start
//! ```
//!
//! A layer gets its name when its archive's digest is known to be right. An image gets into the
//! table when all of its layers have theirs and one `syncfs` has put them on the disk. So whatever
//! dies whenever, an image in the table is whole. A layer without an image that is from this boot
//! of the machine is whole as well (only the machine's end loses what was not synced) and serves the
//! next pull; one from an earlier boot is thrown away.

pub(crate) mod layers;
pub(crate) mod table;

use crate::error::{Error, Result};
use crate::layer::{ABOUT, About, FILES};
use crate::limits::Limits;
use crate::pulls::Pulls;
use crate::registry::Registry;
use crate::schema::Config;
use layers::{Hold, LayerInfo, Stage};
use model::image::{Digest, Reference};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use table::{By, Table};

/// How long unfinished downloads and layers without an image are kept.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where Docker looks for the certificates of registries.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made if missing.
    pub root: PathBuf,
    /// Registries (`host:port`) that may be spoken to without or with unverified TLS.
    pub insecure_registries: Vec<String>,
    /// Folder of Docker's `config.json`, which has credentials; `None`: there are none.
    pub docker_config: Option<PathBuf>,
    /// Folder of registries' certificates, one folder `host:port` each, as Docker has it.
    pub certificates: PathBuf,
    /// Bounds for what comes from outside.
    pub limits: Limits,
}

impl Options {
    /// The usual ones: credentials from `$DOCKER_CONFIG` or `~/.docker`, certificates from
    /// `/etc/docker/certs.d`.
    pub fn new(root: PathBuf, insecure_registries: Vec<String>) -> Options {
        Options {
            root,
            insecure_registries,
            docker_config: crate::credentials::folder(),
            certificates: CERTIFICATES.into(),
            limits: Limits::default(),
        }
    }
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of its config.
    pub id: Digest,
    /// Its config.
    pub config: Arc<Config>,
    /// Folders of its layers, bottom first, with whiteouts in overlayfs's form.
    pub layers: Vec<PathBuf>,
}

/// As long as this lives its image is not removed.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "it is there to be dropped")] pub(crate) Hold);

/// The images of one daemon. Cheap to clone. One process at a time may have it open.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) pulls: Pulls,
    boot: String,
    staged: AtomicU64,
    /// Who changes the table holds this from reading to writing, so that looking never waits for a disk.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) table: Arc<Table>,
    pub(crate) layers: BTreeMap<Digest, LayerInfo>,
    configs: BTreeMap<Digest, Arc<Config>>,
    /// Blobs and layers that something under way counts on.
    pub(crate) holds: BTreeMap<Digest, usize>,
}

impl Store {
    /// Opens the store and clears up what an earlier process left half done. Blocks.
    ///
    /// # Errors
    /// The disk fails, or the table is damaged.
    pub fn open(options: Options) -> Result<Store> {
        let root = &options.root;
        for name in ["blobs", "layers", "partial", "staging"] {
            let path = root.join(name);
            std::fs::create_dir_all(&path).map_err(Error::on("make the folder", &path))?;
        }
        private(root)?;
        empty(&root.join("staging"))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut table = Table::read(&root.join("images.json"))?;
        let layers = scan(root, &table, &boot)?;
        let configs = check(root, &mut table, &layers);
        clear_blobs(root, &table)?;
        let inner = Inner {
            root: options.root.clone(),
            limits: options.limits.clone(),
            registry: Registry::new(&options),
            pulls: Pulls::default(),
            boot,
            staged: AtomicU64::new(0),
            writing: Mutex::new(()),
            state: Mutex::new(State { table: Arc::new(table), layers, configs, holds: BTreeMap::new() }),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The image that a name, digest, id or prefix of an id means.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn lookup(&self, text: &str) -> Result<Image> {
        let state = self.inner.state();
        let (id, _) = state.table.find(text)?;
        state.image(&id)
    }

    /// The image that a container was pinned to: by digest if it has one, else by name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Reference`].
    pub fn pinned(&self, reference: &str, digest: Option<&str>) -> Result<Image> {
        let Some(digest) = digest else {
            return self.lookup(reference);
        };
        let state = self.inner.state();
        let missing = || Error::NotFound(format!("{reference} ({digest})"));
        let digest: Digest = digest.parse()?;
        let id = match state.table.digests.get(&digest) {
            Some(known) => known.id.clone(),
            None => digest,
        };
        state.image(&id).map_err(|_| missing())
    }

    /// The digest to pin a name to: a registry's if the name came from one, else the image's id. The
    /// image stays until the lease is dropped. May wait for a write of the table.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn pin(&self, text: &str) -> Result<(Digest, Lease)> {
        // Whoever removes images looks at the leases with this lock held.
        let _writing = self.inner.writing();
        let table = self.inner.state().table.clone();
        let (id, by) = table.find(text)?;
        let lease = Lease(Hold::new(&self.inner, vec![id.clone()]));
        let digest = match by {
            By::Name(name) => table.names.get(&name).and_then(|named| named.digest.clone()).unwrap_or(id),
            By::Digest(digest, _) => digest,
            By::Id => id,
        };
        Ok((digest, lease))
    }

    /// Is this a tag, and did what is here of that name come from a registry?
    pub fn is_of_a_registry(&self, text: &str) -> bool {
        let table = self.inner.state().table.clone();
        let Ok((_, By::Name(name))) = table.find(text) else { return false };
        table.names.get(&name).is_some_and(|named| named.digest.is_some())
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Reference`]; the disk.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let target: Reference = target.parse()?;
        if target.digest().is_some() {
            return Err(Error::Invalid(format!("{target}: a new name has a tag, not a digest")));
        }
        self.inner.change(|table| {
            let (id, _) = table.find(source)?;
            table.name(target.tagged(), id, None);
            Ok(())
        })
    }
}

impl Table {
    /// A name means this image from now on.
    pub(crate) fn name(&mut self, name: String, id: Digest, digest: Option<Digest>) {
        if let Some(record) = self.images.get_mut(&id) {
            record.tagged = jiff::Timestamp::now().as_second();
        }
        // The same image under a name that it has already keeps what its registry called it.
        let digest = digest.or_else(|| self.names.get(&name).filter(|it| it.id == id)?.digest.clone());
        self.names.insert(name, table::Named { id, digest });
    }
}

impl State {
    pub(crate) fn image(&self, id: &Digest) -> Result<Image> {
        let missing = || Error::NotFound(id.to_string());
        let record = self.table.images.get(id).ok_or_else(missing)?;
        let config = self.configs.get(id).ok_or_else(missing)?.clone();
        let folders = record.layers.iter().map(|layer| Some(self.layers.get(layer)?.folder.join(FILES)));
        let layers = folders.collect::<Option<Vec<_>>>().ok_or_else(missing)?;
        Ok(Image { id: id.clone(), config, layers })
    }

    pub(crate) fn config(&self, id: &Digest) -> Option<&Arc<Config>> {
        self.configs.get(id)
    }

    /// Bytes in the files of an image.
    pub(crate) fn size(&self, id: &Digest) -> u64 {
        let layers = self.table.images.get(id).map(|record| record.layers.as_slice()).unwrap_or_default();
        layers.iter().filter_map(|layer| self.layers.get(layer)).map(|layer| layer.size).sum()
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under way count on that?
    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.state().holds.contains_key(digest)
    }

    /// Changes the table on disk, then in memory.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T>) -> Result<T> {
        let _writing = self.writing();
        let mut table = Table::clone(&self.state().table);
        let result = change(&mut table)?;
        table.write(&self.root.join("images.json"))?;
        let mut state = self.state();
        state.configs.retain(|id, _| table.images.contains_key(id));
        state.table = Arc::new(table);
        Ok(result)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.hex())
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.root.join("partial").join(digest.hex())
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// A new folder in which something is made.
    pub(crate) fn stage(&self) -> Result<Stage> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        Stage::make(self.root.join("staging").join(number.to_string()))
    }

    /// Puts a finished image into the table: its layers have their names, its config is `config`.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn add(
        &self,
        id: &Digest,
        raw_config: &[u8],
        documents: &[(Digest, Vec<u8>)],
        name: impl FnOnce(&mut Table),
    ) -> Result<()> {
        let config = Arc::new(Config::parse(raw_config, id.as_str())?);
        table::write_atomically(&self.blob(id), raw_config)?;
        for (digest, bytes) in documents {
            table::write_atomically(&self.blob(digest), bytes)?;
        }
        self.sync()?;
        let layers = config.rootfs.diff_ids.clone();
        self.state().configs.insert(id.clone(), config);
        self.change(|table| {
            let record = table.images.entry(id.clone()).or_insert_with(|| table::Record {
                layers,
                documents: Default::default(),
                tagged: jiff::Timestamp::now().as_second(),
            });
            record.documents.extend(documents.iter().map(|(digest, _)| digest.clone()));
            name(table);
            Ok(())
        })
    }

    /// Puts everything that was written on the disk.
    fn sync(&self) -> Result<()> {
        let folder = std::fs::File::open(&self.root).map_err(Error::on("open", &self.root))?;
        rustix::fs::syncfs(&folder).map_err(|errno| Error::io("sync", &self.root, errno.into()))
    }
}

/// Nobody but us looks into images: there are programs with set-user-id in them.
fn private(root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(root, mode).map_err(Error::on("set the mode of", root))
}

fn empty(folder: &Path) -> Result<()> {
    for entry in read(folder)? {
        layers::remove(&entry)?;
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::on("read", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    paths.map_err(Error::on("read", folder))
}

/// The layers that can be used; others are removed.
fn scan(root: &Path, table: &Table, boot: &str) -> Result<BTreeMap<Digest, LayerInfo>> {
    let mut layers = BTreeMap::new();
    for folder in read(&root.join("layers"))? {
        let about = std::fs::read(folder.join(ABOUT)).ok();
        let about = about.and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
        match about {
            Some(about) if table.needs(&about.diff_id) || (about.boot == boot && is_recent(&folder)) => {
                layers.insert(about.diff_id.clone(), LayerInfo::new(folder, &about));
            }
            _ => layers::remove(&folder)?,
        }
    }
    Ok(layers)
}

/// Takes images that are not whole out of the table (which takes a disk that lies); reads the
/// configs of the rest.
fn check(root: &Path, table: &mut Table, layers: &BTreeMap<Digest, LayerInfo>) -> BTreeMap<Digest, Arc<Config>> {
    let mut configs = BTreeMap::new();
    table.images.retain(|id, record| {
        let bytes = std::fs::read(root.join("blobs").join(id.hex())).ok();
        let bytes = bytes.filter(|bytes| crate::digest::of(bytes) == *id);
        let config = bytes.and_then(|bytes| Config::parse(&bytes, id.as_str()).ok());
        match config {
            Some(config) if record.layers.iter().all(|layer| layers.contains_key(layer)) => {
                configs.insert(id.clone(), Arc::new(config));
                true
            }
            _ => {
                tracing::error!(image = %id, "the image is damaged on disk and is dropped: pull or load it again");
                false
            }
        }
    });
    let images = &table.images;
    table.names.retain(|_, named| images.contains_key(&named.id));
    table.digests.retain(|_, known| images.contains_key(&known.id));
    configs
}

fn clear_blobs(root: &Path, table: &Table) -> Result<()> {
    for path in read(&root.join("blobs"))? {
        let digest = path.file_name().and_then(|name| format!("sha256:{}", name.to_str()?).parse().ok());
        if !digest.is_some_and(|digest| table.needs(&digest)) {
            layers::remove(&path)?;
        }
    }
    for path in read(&root.join("partial"))? {
        if !is_recent(&path) {
            layers::remove(&path)?;
        }
    }
    Ok(())
}

fn is_recent(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_none_or(|age| age < KEEP)
}
