//! The builders that there may be, and how each is told what to do. Their command lines are alike because all follow
//! that of `docker build`.

use crate::failure::advised;
use anyhow::{Result, bail};
use compose::{Build, SecretSource};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A program that builds images from Dockerfiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Buildah,
    Podman,
    Docker,
}

/// What the command line says beyond the file.
#[derive(Debug, Default)]
pub(super) struct How {
    pub(super) no_cache: bool,
    pub(super) pull: bool,
    pub(super) args: Vec<(String, String)>,
}

/// Names the builder: a program of one of these names, or its path.
const CHOICE: &str = "RSWARM_BUILDER";

const ALL: [Tool; 3] = [Tool::Buildah, Tool::Podman, Tool::Docker];

/// The one that is asked for, else the first that is there.
///
/// # Errors
/// There is none.
pub(super) fn find() -> Result<(Tool, PathBuf)> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &Path| std::env::split_paths(&folders).map(|it| it.join(program)).find(|it| it.is_file());
    if let Some(choice) = std::env::var_os(CHOICE).filter(|choice| !choice.is_empty()) {
        let choice = PathBuf::from(choice);
        let tool = choice.file_name().and_then(|name| ALL.into_iter().find(|tool| name == OsStr::new(tool.name())));
        return match (tool, there(&choice)) {
            (Some(tool), Some(path)) => Ok((tool, path)),
            _ => Err(advised(
                format!("{CHOICE}: {} is no builder that is here", choice.display()),
                "buildah, podman and docker are known; the last part of a path has to be one of these",
            )),
        };
    }
    let found = ALL.into_iter().find_map(|tool| Some((tool, there(Path::new(tool.name()))?)));
    found.ok_or_else(|| {
        advised(
            "an image is to be built, and there is no builder here",
            "install buildah (or podman, or docker), or build it elsewhere and `rswarm load` it under its name",
        )
    })
}

/// Those that are wanted, and those whose images they begin with: the builder may not have these.
pub(super) fn with_bases<'b>(builds: &'b [Build], wanted: &BTreeSet<&'b str>) -> BTreeSet<&'b str> {
    let mut all = wanted.clone();
    let mut open: Vec<&str> = wanted.iter().copied().collect();
    while let Some(service) = open.pop() {
        let of_it = builds.iter().filter(|build| build.service == service).flat_map(|build| &build.contexts);
        let bases = of_it.filter_map(|(_, context)| context.strip_prefix("service:"));
        open.extend(bases.filter(|base| all.insert(base)));
    }
    all
}

/// Those that are wanted, each after the services whose images it begins with.
///
/// # Errors
/// They wait for each other.
pub(super) fn sorted<'b>(builds: &'b [Build], wanted: &BTreeSet<&str>) -> Result<Vec<&'b Build>> {
    let mut open: Vec<&Build> = builds.iter().filter(|build| wanted.contains(build.service.as_str())).collect();
    let mut sorted = Vec::new();
    while !open.is_empty() {
        let waits = |build: &Build| {
            let mut others = build.contexts.iter().filter_map(|(_, of)| of.strip_prefix("service:"));
            others.any(|other| open.iter().any(|it| it.service == other))
        };
        let Some(next) = open.iter().position(|build| !waits(build)) else {
            let names: Vec<&str> = open.iter().map(|build| build.service.as_str()).collect();
            bail!("the builds of these services wait for each other: {}", names.join(", "));
        };
        sorted.push(open.remove(next));
    }
    Ok(sorted)
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Buildah => "buildah",
            Tool::Podman => "podman",
            Tool::Docker => "docker",
        }
    }

    /// The words that build an image under its name. `images`: what the images of all services are called.
    ///
    /// # Errors
    /// A context names a service that there is not.
    pub(super) fn build(
        self,
        build: &Build,
        inline: Option<&Path>,
        images: &BTreeMap<&str, &str>,
        how: &How,
    ) -> Result<Vec<String>> {
        let mut words = vec!["build".to_owned()];
        let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        flag("-t", &tagged(&build.image));
        if let Some(path) = inline {
            flag("-f", &path.display().to_string());
        } else if let Some(dockerfile) = &build.dockerfile {
            flag("-f", &from_context(&build.context, dockerfile));
        }
        for (name, value) in build.args.iter().chain(&how.args) {
            flag("--build-arg", &format!("{name}={value}"));
        }
        for (name, value) in &build.labels {
            flag("--label", &format!("{name}={value}"));
        }
        for (name, context) in &build.contexts {
            let context = match context.strip_prefix("service:") {
                Some(service) => match images.get(service) {
                    Some(image) => format!("docker-image://{}", self.own(image)),
                    None => bail!(
                        "services.{}.build.additional_contexts.{name}: service `{service}` has no `build`",
                        build.service
                    ),
                },
                None => context.clone(),
            };
            flag("--build-context", &format!("{name}={context}"));
        }
        let options = [
            ("--target", &build.target),
            ("--network", &build.network),
            ("--shm-size", &build.shm_size),
            // Of several only this machine's makes an image that can run here.
            ("--platform", &build.platforms.first().filter(|_| build.platforms.len() == 1).cloned()),
        ];
        for (name, value) in options {
            value.iter().for_each(|value| flag(name, value));
        }
        build.extra_hosts.iter().for_each(|host| flag("--add-host", host));
        build.ulimits.iter().for_each(|limit| flag("--ulimit", limit));
        build.ssh.iter().for_each(|ssh| flag("--ssh", ssh));
        for (id, from) in &build.secrets {
            match from {
                SecretSource::File(path) => flag("--secret", &format!("id={id},src={path}")),
                SecretSource::Variable(name) => flag("--secret", &format!("id={id},env={name}")),
            }
        }
        if build.no_cache || how.no_cache {
            words.push("--no-cache".to_owned());
        }
        if build.pull || how.pull {
            words.push(if self == Tool::Docker { "--pull" } else { "--pull=always" }.to_owned());
        }
        match self {
            // Theirs is a format that has no health checks. What has not changed is the same image again, as with the
            // others, and nothing is left of a build that fails.
            Tool::Buildah => words.extend(["--format=docker", "--layers", "--force-rm"].map(str::to_owned)),
            Tool::Podman => words.extend(["--format=docker", "--force-rm"].map(str::to_owned)),
            Tool::Docker => {}
        }
        words.push(build.context.clone());
        Ok(words)
    }

    /// What an image that was built here is called in the builder's store, so that it is asked for at no registry.
    pub(super) fn own(self, image: &str) -> String {
        let first = image.split_once('/').map(|(first, _)| first);
        let has_host = first.is_some_and(|first| first.contains(['.', ':']) || first == "localhost");
        match self {
            Tool::Buildah | Tool::Podman if !has_host => format!("localhost/{}", tagged(image)),
            _ => tagged(image),
        }
    }

    /// The words that write an image to an archive.
    pub(super) fn export(self, image: &str, archive: &Path) -> Vec<String> {
        let (image, archive) = (tagged(image), archive.display().to_string());
        match self {
            Tool::Docker => vec!["save".to_owned(), "-o".to_owned(), archive, image],
            Tool::Buildah | Tool::Podman => {
                vec!["push".to_owned(), "-q".to_owned(), image.clone(), format!("docker-archive:{archive}:{image}")]
            }
        }
    }
}

/// A Dockerfile's path is told from the context, where that is a folder.
fn from_context(context: &str, dockerfile: &str) -> String {
    match context.starts_with('/') && !dockerfile.starts_with('/') {
        true => format!("{context}/{dockerfile}"),
        false => dockerfile.to_owned(),
    }
}

/// An image's name with its tag.
pub(super) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(service: &str) -> Build {
        Build {
            service: service.to_owned(),
            image: format!("shop-{service}"),
            context: "/p/web".to_owned(),
            ..Build::default()
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn each_builder_is_told_in_its_words() {
        let web = Build {
            dockerfile: Some("prod/Dockerfile".to_owned()),
            args: vec![pair("A", "1")],
            contexts: vec![pair("base", "service:api"), pair("more", "/p/more")],
            platforms: vec!["linux/amd64".to_owned()],
            secrets: vec![
                ("tok".to_owned(), SecretSource::File("/p/tok".to_owned())),
                ("x".to_owned(), SecretSource::Variable("T".to_owned())),
            ],
            pull: true,
            ..build("web")
        };
        let images = [("api", "api:1")].into();
        let how = How { args: vec![pair("B", "2")], ..How::default() };
        let line = |tool: Tool| {
            tool.build(&web, None, &images, &how).unwrap().join(" ").replace("//localhost/api:1", "//api:1")
        };
        let common = "build -t shop-web:latest -f /p/web/prod/Dockerfile --build-arg A=1 --build-arg B=2 \
                      --build-context base=docker-image://api:1 --build-context more=/p/more --platform linux/amd64 \
                      --secret id=tok,src=/p/tok --secret id=x,env=T";
        assert_eq!(line(Tool::Docker), format!("{common} --pull /p/web"));
        assert_eq!(line(Tool::Podman), format!("{common} --pull=always --format=docker --force-rm /p/web"));
        assert_eq!(line(Tool::Buildah), format!("{common} --pull=always --format=docker --layers --force-rm /p/web"));
        let own = |tool: Tool, image: &str| tool.own(image);
        assert_eq!(own(Tool::Buildah, "shop-api"), "localhost/shop-api:latest");
        assert_eq!(own(Tool::Podman, "r:5000/api:2"), "r:5000/api:2");
        assert_eq!(own(Tool::Docker, "shop-api"), "shop-api:latest");
        let archive = Path::new("/t/a.tar");
        assert_eq!(Tool::Docker.export("r:5000/web", archive).join(" "), "save -o /t/a.tar r:5000/web:latest");
        let push = "push -q web:1 docker-archive:/t/a.tar:web:1";
        assert_eq!(Tool::Buildah.export("web:1", archive).join(" "), push);
        assert!(Tool::Docker.build(&web, None, &BTreeMap::new(), &how).is_err());
    }

    #[test]
    fn what_others_begin_with_is_built_first() {
        let after = |name: &str, other: &str| Build {
            contexts: vec![pair("base", &format!("service:{other}"))],
            ..build(name)
        };
        let builds = [after("a", "b"), build("b"), after("c", "a")];
        let names = |wanted: &[&str]| -> Result<Vec<String>> {
            let wanted = wanted.iter().copied().collect();
            Ok(sorted(&builds, &wanted)?.iter().map(|build| build.service.clone()).collect())
        };
        assert_eq!(names(&["a", "b", "c"]).unwrap(), ["b", "a", "c"]);
        assert_eq!(names(&["a", "c"]).unwrap(), ["a", "c"]);
        assert_eq!(with_bases(&builds, &["c"].into()), ["a", "b", "c"].into());
        let circle = [after("a", "b"), after("b", "a")];
        assert!(sorted(&circle, &["a", "b"].into()).is_err());
    }
}
