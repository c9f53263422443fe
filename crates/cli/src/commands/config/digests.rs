//! `--resolve-image-digests`: what the tags of images mean on their registries now.

use compose::{Places, Project};
use futures_util::stream::{self, StreamExt as _};
use image::{Error, Options, Registries, TlsProblem};
use model::diagnostic::Diagnostic;
use model::image::Reference;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Registries are asked for so many images at a time.
const AT_ONCE: usize = 8;

/// Why an image has no digest, and what to do.
type Problem = (String, Option<String>);

/// Gives every image its full name with its digest. What comes back are the errors, at the places of
/// the images: all images are asked for, and each once however many services use it.
pub(super) async fn resolve(project: &mut Project, mut places: Places, insecure: &[String]) -> Vec<Diagnostic> {
    let uses: Vec<(String, String)> =
        project.named_images().map(|(service, image)| (service.to_owned(), image.to_owned())).collect();
    let registries = Registries::new(&Options::new(PathBuf::new(), insecure.to_vec()));
    let mut found: BTreeMap<String, Option<Result<String, Problem>>> =
        uses.iter().map(|(_, image)| (image.clone(), None)).collect();
    let asked: Vec<String> = found.keys().cloned().collect();
    let mut answers = stream::iter(asked)
        .map(|image| {
            let registries = &registries;
            async move { (pinned(registries, &image).await, image) }
        })
        .buffer_unordered(AT_ONCE);
    while let Some((answer, image)) = answers.next().await {
        found.insert(image, Some(answer));
    }
    drop(answers);
    for (service, image) in &uses {
        match found.get(image) {
            Some(Some(Ok(name))) => project.set_image(service, name),
            Some(Some(Err((why, hint)))) => {
                let message = format!("services.{service}.image: no digest of `{image}`: {why}");
                places.image_error(project, service, message, hint.clone());
            }
            _ => {}
        }
    }
    places.into_errors()
}

/// The name as the reference implementation gives it: full, and without a tag where a digest was written.
async fn pinned(registries: &Registries, image: &str) -> Result<String, Problem> {
    let reference: Reference = image.parse().map_err(|error: model::image::ReferenceError| {
        let hint = image.contains('$').then(|| "variables are left alone by --no-interpolate".to_owned());
        (error.to_string(), hint)
    })?;
    if let Some(digest) = reference.digest() {
        return Ok(format!("{}@{digest}", reference.repository()));
    }
    match registries.digest(&reference).await {
        Ok(digest) => Ok(format!("{}@{digest}", reference.tagged())),
        Err(error) => Err((whole(&error), advice(&error, reference.host()))),
    }
}

/// An error with its causes in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn advice(error: &Error, host: &str) -> Option<String> {
    match error {
        Error::Denied { .. } | Error::NotOnRegistry { .. } => {
            Some("check the name; `rswarm login` makes logins, which are kept in Docker's config.json".to_owned())
        }
        Error::Tls { problem: TlsProblem::NoTls | TlsProblem::UnknownAuthority, .. } => {
            Some(format!("--insecure-registry {host} asks without TLS, or without verifying it"))
        }
        _ => None,
    }
}
