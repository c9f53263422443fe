//! The table that translates virtual addresses in a client's namespace: one lookup of the destination tells how
//! many backends there are, which is the chain to go to; that one draws a slot, and a second lookup of address and
//! slot tells the backend. Both cost the same whatever the number of services, and a changed backend is one element.

use super::{
    BATCH_BEGIN, BATCH_END, CHAIN_HOOK, CHAIN_NAME, CHAIN_TABLE, CHAIN_TYPE, DELTABLE, ELEMENTS, ELEMENTS_SET,
    ELEMENTS_TABLE, HOOK_OUTPUT, IPV4, LIST_ELEM, NAME, NEWCHAIN, NEWRULE, NEWTABLE, REG_1, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_TABLE, SET_FLAGS, SET_NAME, SET_TABLE, SUBSYSTEM, VALUE, compare, expression, generic,
    immediate, payload,
};
use crate::kernel::connect::MARK;
use crate::kernel::conntrack::Asked;
use crate::kernel::link::octets;
use crate::kernel::netlink::{Batch, F_ACK, F_APPEND, F_CREATE, Socket, attr};
use crate::vips::{Changes, Table};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

const TABLE: &str = "rswarm_vips";
/// The table of what was translated when it began, and has to go elsewhere.
const ELSEWHERE: &str = "rswarm_elsewhere";
const SERVICES: &str = "services";
const SLOTS: &str = "slots";
const OUTPUT: &str = "output";

const IPV6: u8 = 10;
const DELRULE: u16 = SUBSYSTEM | 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWELEMENTS: u16 = SUBSYSTEM | 12;
const DELELEMENTS: u16 = SUBSYSTEM | 14;
const GETGENERATION: u16 = SUBSYSTEM | 16;
const GENERATION_ID: u16 = 1;

const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
const SET_IS_MAP: u32 = 8;
const VERDICTS: u32 = 0xffff_ff00;

const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const GOTO: i32 = -4;

/// What the `nft` program calls a key, so that it can show these sets.
const TYPE_MARK: u32 = 19;
/// Elements of one message: its list has a length of 16 bits.
const PER_MESSAGE: usize = 500;
/// The first register of four bytes; four of them are one of sixteen.
const REG32_0: u32 = 8;
/// A batch of this many bytes fits a socket as the kernel makes it.
const USUAL: usize = 64 << 10;

/// How a family differs from the other.
#[derive(Clone, Copy)]
struct Family {
    number: u8,
    /// Bytes of an address, and where the destination is in a header.
    length: u32,
    destination: u32,
    /// How `nft` calls an address.
    kind: u32,
    /// "Port unreachable", as this family has it.
    unreachable: u8,
}

const V4: Family = Family { number: IPV4, length: 4, destination: 16, kind: 7, unreachable: 3 };
const V6: Family = Family { number: IPV6, length: 16, destination: 24, kind: 8, unreachable: 4 };

/// What a namespace has to be told to come from one table to another, as one transaction: the same for each of
/// those that hold the same.
pub(crate) struct Letter {
    batch: Option<Batch>,
}

impl Letter {
    /// `None` for `before`: nobody knows what is there, and it is replaced. `marks`: connections may have been translated
    /// when they began.
    pub(crate) fn new(before: Option<&Table>, after: &Table, marks: bool) -> Letter {
        let nothing = Table::default();
        let known = before.unwrap_or(&nothing);
        let sides = [(V4, known.v4.changes(&after.v4)), (V6, known.v6.changes(&after.v6))];
        if before.is_some() && sides.iter().all(|(_, changes)| changes.is_empty()) {
            return Letter { batch: None };
        }
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, &generic(0, 10));
        for (family, changes) in sides {
            if before.is_none() {
                // Made and deleted: no error where there is none.
                let header = generic(family.number, 0);
                for table in [TABLE, ELSEWHERE] {
                    batch.message(NEWTABLE, F_CREATE, &header).text(NAME, table);
                    batch.message(DELTABLE, 0, &header).text(NAME, table);
                }
            }
            family.write(&mut batch, &changes, marks);
        }
        batch.acknowledged().message(BATCH_END, 0, &generic(0, 10));
        Letter { batch: Some(batch) }
    }

    /// Has the kernel of the socket's namespace do all of it, or nothing.
    pub(crate) fn send(&self, socket: &Socket) -> io::Result<()> {
        let Some(batch) = &self.batch else { return Ok(()) };
        if batch.len() > USUAL {
            socket.room(batch.len() * 2)?;
        }
        socket.commit(batch.clone())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_none()
    }
}

/// A number that rises with each change of whatever nftables the socket's namespace has.
pub(crate) fn generation(socket: &Socket) -> io::Result<Option<u32>> {
    let mut batch = Batch::default();
    batch.message(GETGENERATION, F_ACK, &generic(0, 0));
    let replies = socket.dump(batch)?;
    let number = replies.iter().find_map(|reply| attr(reply.payload.get(4..)?, GENERATION_ID)?.first_chunk::<4>());
    Ok(number.map(|bytes| u32::from_be_bytes(*bytes)))
}

/// In the calling thread's namespace: has connections that were translated when they began go elsewhere when they ask again, and all others not. What
/// the backend itself may still say by then is dropped: who began the connection would believe it, and go on with
/// somebody else.
pub(crate) fn lead(calls: &BTreeMap<Asked, IpAddr>) -> io::Result<()> {
    let mut text = String::new();
    for (family, address, v4) in [("ip", "ipv4_addr", true), ("ip6", "ipv6_addr", false)] {
        let _infallible = writeln!(text, "table {family} {ELSEWHERE}\ndelete table {family} {ELSEWHERE}");
        let calls = || calls.iter().filter(|(asked, _)| asked.backend.is_ipv4() == v4);
        if calls().next().is_none() {
            continue;
        }
        let key = |it: &Asked| format!("{} . {} . {}", it.backend, it.port, it.server);
        let asked: Vec<String> = calls().map(|(asked, _)| key(asked)).collect();
        let led: Vec<String> = calls().map(|(asked, to)| format!("{} : {to}", key(asked))).collect();
        let (asked, led) = (asked.join(", "), led.join(", "));
        let kind = format!("{address} . inet_service . inet_service");
        let _infallible = write!(
            text,
            "table {family} {ELSEWHERE} {{\n\
             \tset asked {{ type {kind}; elements = {{ {asked} }}; }}\n\
             \tmap led {{ type {kind} : {address}; elements = {{ {led} }}; }}\n\
             \tchain output {{\n\t\ttype nat hook output priority -101;\n\
             \t\tmeta l4proto tcp meta mark {MARK} ct mark set meta mark \
             dnat to {family} daddr . tcp sport . tcp dport map @led\n\t}}\n\
             \tchain input {{\n\t\ttype filter hook input priority 0;\n\
             \t\tct state invalid tcp flags & (syn | ack) == syn | ack \
             {family} saddr . tcp dport . tcp sport @asked drop\n\t}}\n}}\n"
        );
    }
    super::run(&text)
}

fn chain(count: u32) -> String {
    if count == 0 { "nobody".to_owned() } else { format!("of{count}") }
}

impl Family {
    fn write(self, batch: &mut Batch, changes: &Changes, marks: bool) {
        if changes.first {
            self.table(batch);
        }
        changes.counts.iter().for_each(|count| self.chain(batch, *count));
        if changes.first {
            self.entrance(batch, marks);
        }
        let slot = |vip: IpAddr, slot: u32| [octets(vip), slot.to_ne_bytes().to_vec()].concat();
        self.elements(batch, DELELEMENTS, SLOTS, &changes.emptied, |b, (vip, number)| {
            value(b, ELEMENT_KEY, &slot(*vip, *number));
        });
        self.elements(batch, NEWELEMENTS, SLOTS, &changes.filled, |b, (vip, number, backend)| {
            value(b, ELEMENT_KEY, &slot(*vip, *number));
            value(b, ELEMENT_DATA, &octets(*backend));
        });
        self.elements(batch, DELELEMENTS, SERVICES, &changes.uncounted, |b, vip| {
            value(b, ELEMENT_KEY, &octets(*vip));
        });
        self.elements(batch, NEWELEMENTS, SERVICES, &changes.counted, |b, (vip, count)| {
            value(b, ELEMENT_KEY, &octets(*vip));
            b.nest(ELEMENT_DATA, |b| {
                b.nest(VERDICT, |b| {
                    b.attr(VERDICT_CODE, &GOTO.to_be_bytes()).text(VERDICT_CHAIN, &chain(*count));
                });
            });
        });
    }

    fn table(self, batch: &mut Batch) {
        let header = generic(self.number, 0);
        batch.message(NEWTABLE, F_CREATE, &header).text(NAME, TABLE);
        let set = |batch: &mut Batch, name: &str, id: u32, key: (u32, u32), data: (u32, u32)| {
            batch.message(NEWSET, F_CREATE, &header).text(SET_TABLE, TABLE).text(SET_NAME, name);
            let numbers = [
                (SET_FLAGS, SET_IS_MAP),
                (SET_KEY_TYPE, key.0),
                (SET_KEY_LENGTH, key.1),
                (SET_DATA_TYPE, data.0),
                (SET_DATA_LENGTH, data.1),
                (SET_ID, id),
            ];
            for (kind, number) in numbers {
                batch.attr(kind, &number.to_be_bytes());
            }
        };
        set(batch, SERVICES, 1, (self.kind, self.length), (VERDICTS, 0));
        set(batch, SLOTS, 2, (self.kind << 6 | TYPE_MARK, self.length + 4), (self.kind, self.length));
    }

    /// `ip daddr vmap @services`, for what programs of the namespace send.
    fn entrance(self, batch: &mut Batch, marks: bool) {
        let header = generic(self.number, 0);
        batch.message(NEWCHAIN, F_CREATE, &header).text(CHAIN_TABLE, TABLE).text(CHAIN_NAME, OUTPUT);
        batch.nest(CHAIN_HOOK, |b| {
            b.attr(1, &HOOK_OUTPUT.to_be_bytes()).attr(2, &(-100_i32).to_be_bytes());
        });
        batch.text(CHAIN_TYPE, "nat");
        if marks {
            // `meta mark MARK ct mark set meta mark`: tracked connections can be told apart as well.
            self.rule(batch, OUTPUT, |b| {
                expression(b, "meta", &[(1, REG_1), (2, 3)]);
                compare(b, &MARK.to_ne_bytes());
                expression(b, "ct", &[(2, 3), (4, REG_1)]);
            });
        }
        // Twice: an element that is replaced in this very moment may be missed once.
        for _ in 0..2 {
            self.rule(batch, OUTPUT, |b| {
                payload(b, 1, self.destination, self.length);
                lookup(b, SERVICES, REG_1, 0);
            });
        }
    }

    /// What is done with a connection to one of so many.
    fn chain(self, batch: &mut Batch, count: u32) {
        let name = chain(count);
        let header = generic(self.number, 0);
        batch.message(NEWCHAIN, F_CREATE, &header).text(CHAIN_TABLE, TABLE).text(CHAIN_NAME, &name);
        // One of an earlier time may be there, with its rules.
        batch.message(DELRULE, 0, &header).text(RULE_TABLE, TABLE).text(RULE_CHAIN, &name);
        if count > 0 {
            self.choose(batch, &name, |b, register| {
                expression(b, "numgen", &[(1, register), (2, count), (3, 1)]);
            });
            // Reached when the number of backends shrank since it was looked up: the first slot is the last to go.
            self.choose(batch, &name, |b, register| immediate(b, register, &0_u32.to_ne_bytes()));
        }
        self.rule(batch, &name, |b| {
            expression(b, "meta", &[(1, REG_1), (2, 16)]);
            compare(b, &[6]);
            reject(b, 1, 0);
        });
        self.rule(batch, &name, |b| reject(b, 0, self.unreachable));
    }

    /// `dnat to ip daddr . SLOT map @slots`
    fn choose(self, batch: &mut Batch, chain: &str, slot: impl Fn(&mut Batch, u32)) {
        self.rule(batch, chain, |b| {
            expression(b, "payload", &[(1, REG32_0), (2, 1), (3, self.destination), (4, self.length)]);
            slot(b, REG32_0 + self.length / 4);
            lookup(b, SLOTS, REG32_0, REG_1);
            expression(b, "nat", &[(1, 1), (2, u32::from(self.number)), (3, REG_1)]);
        });
    }

    fn rule(self, batch: &mut Batch, chain: &str, expressions: impl FnOnce(&mut Batch)) {
        batch.message(NEWRULE, F_CREATE | F_APPEND, &generic(self.number, 0));
        batch.text(RULE_TABLE, TABLE).text(RULE_CHAIN, chain).nest(RULE_EXPRESSIONS, expressions);
    }

    fn elements<T>(self, batch: &mut Batch, kind: u16, set: &str, all: &[T], each: impl Fn(&mut Batch, &T)) {
        let flags = if kind == NEWELEMENTS { F_CREATE } else { 0 };
        for some in all.chunks(PER_MESSAGE) {
            batch.message(kind, flags, &generic(self.number, 0)).text(ELEMENTS_TABLE, TABLE).text(ELEMENTS_SET, set);
            batch.nest(ELEMENTS, |b| {
                for one in some {
                    b.nest(LIST_ELEM, |b| each(b, one));
                }
            });
        }
    }
}

fn value(batch: &mut Batch, kind: u16, bytes: &[u8]) {
    batch.nest(kind, |b| {
        b.attr(VALUE, bytes);
    });
}

/// `to`: where the result goes; 0: it is the verdict.
fn lookup(batch: &mut Batch, set: &str, from: u32, to: u32) {
    batch.nest(LIST_ELEM, |b| {
        b.text(1, "lookup").nest(2, |b| {
            b.text(1, set).attr(2, &from.to_be_bytes()).attr(3, &to.to_be_bytes());
        });
    });
}

/// `kind`: 0 for an ICMP message with this code, 1 for a reset of TCP.
fn reject(batch: &mut Batch, kind: u32, code: u8) {
    batch.nest(LIST_ELEM, |b| {
        b.text(1, "reject").nest(2, |b| {
            b.attr(1, &kind.to_be_bytes()).attr(2, &[code]);
        });
    });
}
