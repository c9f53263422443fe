//! How an operator's request finds the manager that leads, and its answer the way back.

use super::{Between, Joint};
use crate::world::{Event, World};
use model::{Request, RequestId, Response};

/// Managers pass a request on so often at most.
const HOPS: u8 = 3;

impl World {
    /// Sends a request to some manager.
    pub(crate) fn ask_managers(&mut self, id: RequestId, request: Request) {
        let Some(Joint { group, links, helpful, chance, .. }) = self.joint.as_deref_mut() else {
            return;
        };
        let members = group.members();
        let known = helpful.filter(|_| chance.coin());
        let to = known.or_else(|| chance.pick(&members).copied()).unwrap_or(1);
        let lost = chance.permille(links.loss);
        let (soon, late) = (chance.delay(links.latency), chance.between(100, 5_000));
        let twice = chance.permille(links.doubled);
        let request = Box::new(request);
        if twice {
            let request = request.clone();
            self.after(late, Event::Between(Between::Ask { to, id, request, hops: 0 }));
        }
        if !lost {
            self.after(soon, Event::Between(Between::Ask { to, id, request, hops: 0 }));
        }
    }

    /// A request arrives at a manager, which passes it on if another leads.
    pub(super) fn asked(&mut self, to: u64, id: RequestId, request: Box<Request>, hops: u8) {
        let now = self.now;
        let Some(joint) = &mut self.joint else { return };
        if joint.group.life(to).is_none() {
            return;
        }
        if joint.group.request(now, to, id, &request) {
            self.trace.say(now, format_args!("request {} at {to}", id.0));
            self.busy = now;
            self.hear();
        } else if let Some(leader) = joint.group.follows(to).filter(|_| hops < HOPS) {
            self.after(20, Event::Between(Between::Ask { to: leader, id, request, hops: hops + 1 }));
        }
    }

    pub(super) fn answer_operator(&mut self, member: u64, id: RequestId, response: Box<Response>) {
        let Some(joint) = &mut self.joint else { return };
        if joint.chance.permille(joint.links.loss) {
            return;
        }
        joint.helpful = Some(member);
        let delay = joint.chance.delay(joint.links.latency);
        self.after(delay, Event::Reply { id, response });
    }
}
