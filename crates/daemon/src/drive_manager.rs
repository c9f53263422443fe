//! The manager's driver: consensus, the log on disk and the manager on one thread of their own, for
//! the disk's sake: an fsync blocks nobody else, and what comes in meanwhile shares the next one.

use crate::cluster::{Cluster, Message};
use crate::{clock, config, failure};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use consensus::{Config, Input, Member, Output, Raft, Role};
use model::{Assignment, Node, NodeId, RequestId, Response, State, Time};
use orchestrator::{Entry, Manager, ManagerInput, ManagerOutput};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The log is cut after so many entries, or so many bytes of them, whichever comes first.
const SNAPSHOT_ENTRIES: u64 = 4096;
const SNAPSHOT_BYTES: usize = 32 << 20;

/// Messages taken before the machines are polled: what came together is persisted together.
const BATCH: usize = 256;

/// This member's number in its group of one.
const SELF: Member = Member(1);
