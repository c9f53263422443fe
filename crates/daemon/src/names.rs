//! `api::names` on states as managers tell them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::testing::{service, task};
use api::ErrorKind;
use api::names::container;
use model::{Desired, State};
use std::sync::Arc;

fn state() -> State {
    let web = service("shop_web", "web", Some("shop"));
    let mut box_ = service("box", "box", None);
    box_.standalone = true;
    let mut old = task(0xa1 << 120, &web, 1);
    old.desired = Desired::Shutdown;
    let mut box_task = task(0xb0 << 120, &box_, 1);
    box_task.created = model::Time(9);
    let tasks = vec![task(0xa2 << 120, &web, 1), old, task(0xa3 << 120, &web, 2), box_task];
    State { tasks: tasks.into_iter().map(Arc::new).collect(), ..State::default() }
}

#[test]
fn every_way_to_name_a_container() {
    let state = state();
    let found = |name: &str| container(&state, name).map(|task| task.id.0 >> 120).map_err(|error| error.kind);
    assert_eq!(found("shop-web-1"), Ok(0xa2));
    assert_eq!(found("shop_web.1"), Ok(0xa2));
    assert_eq!(found("shop-web-2"), Ok(0xa3));
    assert_eq!(found(&format!("shop_web.1.{}", state.tasks[1].id)), Ok(0xa1));
    assert_eq!(found("/box"), Ok(0xb0));
    assert_eq!(found("b0"), Ok(0xb0));
    assert_eq!(found("a1"), Ok(0xa1));
    assert_eq!(found("a"), Err(ErrorKind::Conflict));
    assert_eq!(found("shop-web-3"), Err(ErrorKind::NotFound));
    assert_eq!(found("box.1"), Err(ErrorKind::NotFound));
    assert_eq!(found(""), Err(ErrorKind::NotFound));
    let text = container(&state, "a").unwrap_err().message;
    assert!(text.contains("a20000000000 (shop_web.1.") && text.contains("a30000000000"), "{text}");
}
