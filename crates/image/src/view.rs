//! Images as people look at them.

use crate::error::{Error, Result};
use crate::remove::{familiar, familiar_digest};
use crate::schema::seconds;
use crate::store::Store;
use model::image::{Digest, Reference};
use serde_json::{Value, json};

/// One line of `image ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Id.
    pub id: Digest,
    /// Repository as people write it.
    pub repository: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// What the registry calls it.
    pub digest: Option<Digest>,
    /// Seconds since the epoch; 0 unknown.
    pub created: i64,
    /// Bytes in its files.
    pub size: u64,
}

/// One line of `image history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Seconds since the epoch; 0 unknown.
    pub created: i64,
    /// What made it.
    pub created_by: String,
    /// Comment.
    pub comment: String,
    /// Bytes in the files of its layer.
    pub size: u64,
}

impl Store {
    /// All images, a row for each name, the newest first. Those without a name have a row as well.
    pub fn list(&self) -> Vec<Row> {
        let state = self.inner.state();
        let mut rows = Vec::new();
        for id in state.table.images.keys() {
            let created = state.config(id).map_or(0, |config| config.created_seconds());
            let row = |repository: Option<String>, tag: Option<String>, digest| {
                let size = state.size(id);
                Row { id: id.clone(), repository, tag, digest, created, size }
            };
            let mut has_name = false;
            for (name, named) in state.table.names.iter().filter(|(_, named)| named.id == *id) {
                let Ok(reference) = name.parse::<Reference>() else { continue };
                has_name = true;
                let tag = Some(reference.tag_or_latest().to_owned());
                rows.push(row(Some(reference.familiar_repository()), tag, named.digest.clone()));
            }
            let digests = state.table.digests_of(id);
            if !has_name {
                let first = digests.first();
                let repository = first.and_then(|(_, name)| name.parse::<Reference>().ok());
                let repository = repository.map(|reference| reference.familiar_repository());
                rows.push(row(repository, None, first.map(|(digest, _)| digest.clone())));
            }
        }
        rows.sort_by(|a, b| (b.created, &a.repository, &a.tag, &a.id).cmp(&(a.created, &b.repository, &b.tag, &b.id)));
        rows
    }

    /// An image in the shape of Docker's `image inspect`. Blocks.
    ///
    /// # Errors
    /// As [`Store::lookup`]; the disk.
    pub fn inspect(&self, text: &str) -> Result<Value> {
        let image = self.lookup(text)?;
        let path = self.inner.blob(&image.id);
        let raw = std::fs::read(&path).map_err(Error::on("read", &path))?;
        let raw: Value = serde_json::from_slice(&raw).map_err(|error| Error::corrupt(text, error.to_string()))?;
        let state = self.inner.state();
        let names: Vec<String> = state.table.names_of(&image.id).iter().map(|name| familiar(name)).collect();
        let digests = state.table.digests_of(&image.id);
        let digests: Vec<String> = digests.iter().map(|(digest, of)| familiar_digest(of, digest)).collect();
        let tagged = state.table.images.get(&image.id).map_or(0, |record| record.tagged);
        let tagged = jiff::Timestamp::from_second(tagged).map(|time| time.to_string()).unwrap_or_default();
        let lower = image.layers.iter().rev().map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":");
        let text_of = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut value = json!({
            "Id": image.id,
            "RepoTags": names,
            "RepoDigests": digests,
            "Parent": "",
            "Comment": text_of("comment"),
            "Created": text_of("created"),
            "DockerVersion": text_of("docker_version"),
            "Author": text_of("author"),
            "Config": raw.get("config").cloned().unwrap_or(Value::Null),
            "Architecture": image.config.architecture,
            "Os": image.config.os,
            "Size": state.size(&image.id),
            "GraphDriver": { "Name": "overlay2", "Data": { "LowerDir": lower } },
            "RootFS": { "Type": "layers", "Layers": image.config.rootfs.diff_ids },
            "Metadata": { "LastTagTime": tagged },
        });
        if let (Some(object), Some(variant)) = (value.as_object_mut(), &image.config.variant) {
            object.insert("Variant".to_owned(), json!(variant));
        }
        Ok(value)
    }

    /// How an image came about, newest first.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn history(&self, text: &str) -> Result<(Digest, Vec<Step>)> {
        let image = self.lookup(text)?;
        let state = self.inner.state();
        let mut layers = image.config.rootfs.diff_ids.iter();
        let mut size = |is_empty: bool| match is_empty {
            true => 0,
            false => layers.next().and_then(|layer| state.layers.get(layer)).map_or(0, |layer| layer.size),
        };
        let steps = image.config.history.iter().map(|step| Step {
            created: seconds(step.created.as_deref()),
            created_by: step.created_by.clone(),
            comment: step.comment.clone(),
            size: size(step.empty_layer),
        });
        let mut steps: Vec<Step> = steps.collect();
        // Layers that its history does not speak of.
        let created = image.config.created_seconds();
        for layer in layers {
            let size = state.layers.get(layer).map_or(0, |layer| layer.size);
            steps.push(Step { created, created_by: String::new(), comment: String::new(), size });
        }
        steps.reverse();
        Ok((image.id, steps))
    }
}
