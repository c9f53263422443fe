//! Configs and secrets that belong to no stack.

use crate::world::{World, node};
use model::{ContentKind, ContentSpec, RefusalKind, Request, Response};

fn create(world: &mut World, kind: ContentKind, name: &str, data: &[u8]) -> Response {
    let content = ContentSpec { name: name.to_owned(), data: data.to_vec(), ..ContentSpec::default() };
    world.ask(Request::CreateContent { kind, content: Box::new(content) })
}

fn refusal(response: &Response) -> Option<RefusalKind> {
    match response {
        Response::Refused { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[test]
fn a_content_is_made_once_used_and_removed() {
    for kind in [ContentKind::Config, ContentKind::Secret] {
        let mut world = World::new(1);
        world.join(node(1));
        for (name, data) in [("", &b"x"[..]), ("-a", b"x"), ("a b", b"x"), ("empty", b"")] {
            assert_eq!(refusal(&create(&mut world, kind, name, data)), Some(RefusalKind::Invalid), "{name}");
        }
        assert_eq!(refusal(&create(&mut world, kind, "key", b"one")), None);
        assert_eq!(refusal(&create(&mut world, kind, "key", b"two")), Some(RefusalKind::Conflict));
        let state = world.state();
        let list = if kind == ContentKind::Config { &state.configs } else { &state.secrets };
        assert_eq!(list.iter().map(|content| content.name.as_str()).collect::<Vec<_>>(), ["key"]);
        assert!(list[0].created.0 > 0 && list[0].stack.is_none());

        let mut spec = crate::spec::service(None, "user");
        let (name, target) = ("key".to_owned(), "/key".to_owned());
        match kind {
            ContentKind::Config => {
                let file = model::FileRef { name, target, id: None, uid: 0, gid: 0, mode: 0o444 };
                spec.container.configs.push(file);
            }
            ContentKind::Secret => {
                let file = model::FileRef { name, target, id: None, uid: 0, gid: 0, mode: 0o444 };
                spec.container.secrets.push(file);
            }
        }
        let put = world.ask(Request::PutService { spec: Box::new(spec), create: true });
        assert_eq!(refusal(&put), None, "{put:?}");
        let remove = |name: &str| Request::RemoveContent { kind, name: name.to_owned() };
        assert_eq!(refusal(&world.ask(remove("key"))), Some(RefusalKind::Conflict), "it is in use");
        assert_eq!(refusal(&world.ask(remove("other"))), Some(RefusalKind::NotFound));
        let id = world.state().services[0].id;
        world.ask(Request::RemoveService { id, force: true, volumes: false });
        world.run(std::time::Duration::from_secs(20));
        assert_eq!(refusal(&world.ask(remove("key"))), None);
        let state = world.state();
        assert!(state.configs.is_empty() && state.secrets.is_empty());
    }
}
