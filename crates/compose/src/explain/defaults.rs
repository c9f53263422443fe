//! Which rule made a value that nobody wrote.

/// The rule for a path of the normalised project; `written` is the scalar beside which the value
/// stands (a short form).
pub(super) fn rule(path: &[String], written: Option<&str>) -> Option<&'static str> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    Some(match names.as_slice() {
        ["networks", "default", "name"] => "the name of the project and `default`, joined by `_`",
        ["networks", "default", ..] => "the network of all services that name none",
        ["networks" | "volumes" | "configs" | "secrets", _, "name"] if written.is_none() => {
            "the name of the project and the key, joined by `_`; the key alone where it is `external`"
        }
        ["services", service @ ..] if service.len() > 1 => return of_service(&service[1..], written),
        _ => return None,
    })
}

fn of_service(names: &[&str], written: Option<&str>) -> Option<&'static str> {
    Some(match names {
        ["networks"] | ["networks", "default"] => "a service that names no network joins the project's `default`",
        ["ports", _, "protocol"] if written.is_none_or(|text| !text.contains('/')) => "ports are `tcp`",
        ["ports", _, "mode"] => "ports are published in the mode `ingress`",
        ["depends_on", _, "condition"] => "a dependency has to be started, no more (`service_started`)",
        ["depends_on", _, "required"] => "dependencies are required",
        ["depends_on", _, "restart"] => "links and shared namespaces restart together with what they need",
        ["secrets", _, "target"] => "secrets are at `/run/secrets/` and their source",
        ["volumes", _, "bind"] | ["volumes", _, "volume"] => "options of the mount; none are written",
        ["volumes", _, "bind", "create_host_path"] => "a folder of the host that is missing is made",
        ["build", "context"] => "a build without a `context` takes the project's folder",
        ["build", "dockerfile"] => "a build without a `dockerfile` takes `Dockerfile`",
        ["command"] => "the command of the image",
        ["entrypoint"] => "the entrypoint of the image",
        ["deploy", "resources" | "placement"] => "nothing is limited, reserved or asked for",
        _ => return None,
    })
}
