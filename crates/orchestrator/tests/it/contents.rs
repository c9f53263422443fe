//! Configs and secrets that belong to no stack.

use crate::world::{World, node};
use model::{ContentKind, ContentSpec, RefusalKind, Request, Response, StackSpec};

fn create(world: &mut World, kind: ContentKind, name: &str, data: &[u8]) -> Response {
    world.ask(creation(kind, name, data))
}

fn creation(kind: ContentKind, name: &str, data: &[u8]) -> Request {
    let content = ContentSpec { name: name.to_owned(), data: data.to_vec(), ..ContentSpec::default() };
    Request::CreateContent { kind, content: Box::new(content) }
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

#[test]
fn a_request_that_is_refused_half_way_leaves_nothing_among_others_that_came_with_it() {
    let mut world = World::new(1);
    world.join(node(1));
    let config = |name: &str| creation(ContentKind::Config, name, b"x");
    let content = ContentSpec { name: "half".to_owned(), data: b"x".to_vec(), ..ContentSpec::default() };
    let mut stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    stack.configs.insert("half".to_owned(), content);
    stack.external_networks.push("missing".to_owned());
    let deploy = Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false };
    // The first is under way alone; what comes meanwhile is decided together.
    let asked = [config("first"), config("a"), deploy, config("b")].map(|request| world.post(request));
    world.settle();
    let answers = asked.map(|id| world.reply(id).and_then(refusal));
    assert_eq!(answers, [None, None, Some(RefusalKind::NotFound), None]);
    assert!(asked.iter().all(|id| world.reply(*id).is_some()));
    let names: Vec<_> = world.state().configs.iter().map(|config| config.name.clone()).collect();
    assert_eq!(names, ["a", "b", "first"]);
}
