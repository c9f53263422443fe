//! What is to be built (Compose Build Specification), for whoever can.

use crate::finish::plain_text;
use crate::project::Project;
use crate::tree::Node;

/// `services.NAME.build` of an active service. Paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Key of the service.
    pub service: String,
    /// What the image is called: `image`, or `PROJECT-SERVICE`.
    pub image: String,
    /// Further names for it.
    pub tags: Vec<String>,
    /// `pull_policy: build`: also when there is an image of that name.
    pub always: bool,
    /// A folder, or a URL that the builder knows.
    pub context: String,
    /// Path of the Dockerfile, from the context.
    pub dockerfile: Option<String>,
    /// The Dockerfile itself.
    pub dockerfile_inline: Option<String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Network of `RUN`.
    pub network: Option<String>,
    /// `/dev/shm` of `RUN`, with a unit or in bytes.
    pub shm_size: Option<String>,
    /// For which machines.
    pub platforms: Vec<String>,
    /// Without what earlier builds left.
    pub no_cache: bool,
    /// Ask the registry for the images that it begins with.
    pub pull: bool,
    /// Variables of `ARG`, with values.
    pub args: Vec<(String, String)>,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// Further contexts, by name.
    pub contexts: Vec<(String, String)>,
    /// `HOST:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// Agents or keys of ssh: `ID` or `ID=PATH`.
    pub ssh: Vec<String>,
    /// Secrets of `RUN --mount`: as what, and where from.
    pub secrets: Vec<(String, SecretSource)>,
    /// `NAME=SOFT:HARD`.
    pub ulimits: Vec<String>,
}

/// Where a secret of a build is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(String),
    /// A variable of the builder's environment.
    Variable(String),
}

impl Project {
    /// What the active services build, sorted by service.
    pub fn builds(&self) -> Vec<Build> {
        let services = self.model.entries("services");
        services.filter_map(|(name, service)| Some(self.build(name, service, service.get("build")?))).collect()
    }

    fn build(&self, name: &str, service: &Node, build: &Node) -> Build {
        let text = |key: &str| build.get(key).and_then(plain_text);
        let texts = |key: &str| build.items(key).iter().filter_map(plain_text).collect::<Vec<_>>();
        let pairs = |key: &str| -> Vec<(String, String)> {
            build.entries(key).map(|(name, value)| (name.clone(), plain_text(value).unwrap_or_default())).collect()
        };
        let secret = |item: &Node| {
            let source = item.get_text("source")?;
            let whose = self.model.get("secrets")?.get(source)?;
            let from = match (whose.get_text("file"), whose.get_text("environment")) {
                (Some(file), _) => SecretSource::File(file.to_owned()),
                (None, variable) => SecretSource::Variable(variable?.to_owned()),
            };
            Some((item.get_text("target").unwrap_or(source).to_owned(), from))
        };
        let ulimit = |(name, limit): (&String, &Node)| {
            let part = |key: &str| limit.get(key).and_then(plain_text);
            match plain_text(limit) {
                Some(both) => Some(format!("{name}={both}")),
                None => Some(format!("{name}={}:{}", part("soft")?, part("hard")?)),
            }
        };
        Build {
            service: name.to_owned(),
            image: self.image(name, service),
            tags: texts("tags"),
            always: service.get_text("pull_policy") == Some("build"),
            context: text("context").unwrap_or_else(|| self.folder.clone()),
            dockerfile: text("dockerfile"),
            dockerfile_inline: text("dockerfile_inline"),
            target: text("target"),
            network: text("network"),
            shm_size: text("shm_size"),
            platforms: texts("platforms"),
            no_cache: build.flag("no_cache"),
            pull: build.flag("pull"),
            args: pairs("args"),
            labels: pairs("labels"),
            contexts: pairs("additional_contexts"),
            extra_hosts: texts("extra_hosts").into_iter().map(|host| host.replacen('=', ":", 1)).collect(),
            ssh: texts("ssh"),
            secrets: build.items("secrets").iter().filter_map(secret).collect(),
            ulimits: build.entries("ulimits").filter_map(ulimit).collect(),
        }
    }
}
