//! Codes of what the daemon tells, beside those of Compose files, for `rswarm explain`.

use compose::codes::Code;

const fn code(code: &'static str, title: &'static str, explanation: &'static str) -> Code {
    Code { code, title, explanation }
}

/// In order.
const DAEMON: &[Code] = &[
    code(
        "RS8001",
        "what was named does not exist",
        "The request names a service, container, network, volume, config, secret, node or source that is not there, \
         or not any more. Nothing was changed.",
    ),
    code(
        "RS8002",
        "the request meets something that is in its way",
        "A name is taken, a thing is in use, or the state has changed since the plan or the version that the request \
         was made for. Nothing was changed; the message says by whom or what, and often the hint says what to do.",
    ),
    code(
        "RS8003",
        "the request makes no sense",
        "What was asked for contradicts itself or what is there, whatever the moment: a field of a service that can't \
         be changed, say. Nothing was changed.",
    ),
    code(
        "RS8010",
        "something of the stack stays",
        "A network or volume of the stack is used by a container or service of somebody else, so `down` left it. Once \
         that one is gone, `rswarm down` again, `rswarm network rm` or `rswarm volume rm` removes it.",
    ),
    code(
        "RS8011",
        "there is nothing to remove",
        "No service, network, config or secret of a stack of that name is known. The name is that of `-p`, else \
         `COMPOSE_PROJECT_NAME`, else `name:` in the file, else the folder's; `rswarm ls -a` lists all stacks.",
    ),
    code(
        "RS8012",
        "a volume is there already, of somebody else",
        "The file declares a volume whose name another stack, or nobody's, has already. It is used as it is, options \
         and data, and two stacks share it then. Say `external: true` if that is meant, else give it another `name:`.",
    ),
    code(
        "RS8013",
        "the stack has services that the file does not name",
        "They were deployed from an earlier version of the file, or from another file. They stay as they are until \
         `up --remove-orphans` removes them.",
    ),
    code(
        "RS8014",
        "what a tag means is not known yet",
        "A plan does not fetch images, so for these the plan can't say whether the tag means another image than the \
         one that runs. `rswarm pull` fetches them.",
    ),
    code(
        "RS8015",
        "a stack is no longer in its source",
        "The folder or repository that the stack is followed from does not hold it any more. It is left as it is and \
         no longer followed; with `--prune` it would have been removed.",
    ),
    code(
        "RS8016",
        "a source asks for what it may not have",
        "Whoever can write to a repository that is followed can start containers here. What reaches further than a \
         container (mounts of the host, privileges, host namespaces, things of other stacks) has to be allowed to the \
         source: `rswarm gitops add … --allow WORD`. The commit is not applied.",
    ),
    code(
        "RS8017",
        "the projects of a source can't be told",
        "There is no Compose file where the source says that one is, there are too many, or two of them make the same \
         stack. Give each a `name:` of its own, or name the files with `--path`.",
    ),
    code(
        "RS8018",
        "a commit is not signed as it should be",
        "The source wants commits that are signed by a key that it knows, and this one has no such signature. What \
         runs stays as it is.",
    ),
    code(
        "RS8019",
        "the stack is followed from a source",
        "What is changed by hand does not come from the repository: it shows as drift, or is put back if the source \
         heals itself. Commit the change there, or stop following with `rswarm gitops suspend`.",
    ),
    code(
        "RS8020",
        "a secret of a source can't be opened",
        "A file that is encrypted with age needs an identity of the source that it was encrypted for. The commit is \
         not applied.",
    ),
    code(
        "RS8021",
        "a branch was rewritten",
        "The commit that runs is no longer in the branch: somebody pushed with force. The new commit is applied, and \
         the history of the source tells; with `--forward-only` it is refused, and what runs stays. `rswarm gitops \
         sync` takes it all the same.",
    ),
    code(
        "RS8022",
        "an image of a source is not to be had at this moment",
        "The registry does not answer, or the image was loaded on a machine that is away. A service that runs under \
         this image name already goes on with what it has, and the rest of the commit is applied.",
    ),
    code(
        "RS9001",
        "the disk of the daemon is full",
        "Every change is written to disk before it counts, so none is taken while there is no room. Containers go on. \
         Free some space below the data root (`rswarm system df`, `rswarm image prune`); the daemon goes on by itself.",
    ),
    code(
        "RS9002",
        "a node asked for more than it may",
        "A node may report about its own containers and ask for what becomes of them, and nothing else. Requests that \
         change the cluster go to a manager.",
    ),
    code(
        "RS9003",
        "this node is a worker",
        "A worker knows what it runs itself and nothing of the rest of the cluster. Run the command on a manager: \
         the refusal names those that are known.",
    ),
];

/// Every code, in order.
pub(crate) fn all() -> impl Iterator<Item = &'static Code> {
    compose::codes::ALL.iter().chain(DAEMON)
}

/// The entry of a code; case does not matter.
pub(crate) fn find(code: &str) -> Option<&'static Code> {
    all().find(|entry| entry.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_kinds_are_found_and_none_stands_twice() {
        let codes: Vec<&str> = all().map(|entry| entry.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        for known in ["rs0104", "RS8012"] {
            assert!(find(known).is_some(), "{known}");
        }
        assert_eq!(find("RS7000"), None);
    }
}
