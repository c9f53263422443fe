//! How much an archive may ask for. Far above every honest image, far below what fills a disk or
//! memory before anybody notices.

/// Limits on what comes from outside.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest manifest, index or config, in bytes: what registries themselves accept.
    pub document: u64,
    /// Most layers of an image: as many as Docker's storage drivers stack.
    pub layers: usize,
    /// Most entries of a layer. A large distribution image has some 500 000.
    pub entries: u64,
    /// Longest unpacked layer in bytes, also the longest logical size of a sparse file.
    pub layer_bytes: u64,
    /// From how many unpacked bytes on the ratio counts: small bombs hurt nobody.
    pub ratio_from: u64,
    /// How many times its compressed size a layer may unpack to. Text reaches 20; gzip's bound is 1032.
    pub ratio: u64,
    /// Longest path in bytes, links in it resolved: PATH_MAX, so that everything unpacked can be named.
    pub path: usize,
    /// Deepest path in components: removing a tree needs a descriptor per level.
    pub depth: usize,
    /// Longest extended header (PAX) in bytes: xattrs have at most 64 KiB each.
    pub extended_header: u64,
    /// Most bytes outside of files in a layer's archive (headers, padding, what follows its end):
    /// they are kept to write the same archive again. Some 1.5 KiB per entry.
    pub overhead: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            document: 4 << 20,
            layers: 127,
            entries: 2 << 20,
            layer_bytes: 256 << 30,
            ratio_from: 1 << 30,
            ratio: 200,
            path: 4096,
            depth: 256,
            extended_header: 1 << 20,
            overhead: 4 << 30,
        }
    }
}
