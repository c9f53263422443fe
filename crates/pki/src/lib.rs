//! Layer: edge.
//!
//! Who a peer is, and how it proves that: the cluster's own certificate authority, the certificates of its
//! nodes, the tokens that let new ones in, and the TLS configurations that hold both ends to it. Keys and
//! bytes only: no socket, no file and no clock (chance is the operating system's).
//!
//! One kind of key (ECDSA on P-256), one version of TLS (1.3), one kind of name: a URI in the certificate
//! that says cluster, role and node ([`PeerIdentity`]). Host names and addresses are in no certificate: a node
//! may change them.

mod authority;
mod credentials;
mod der;
mod error;
mod key;
mod peer;
mod pem;
mod pinned;
mod renewal;
mod request;
mod tls;
mod token;

pub use authority::{Certificate, LIFETIME, new_authority, sign};
pub use credentials::{Credentials, root};
pub use error::Error;
pub use key::{Key, digest};
pub use peer::{PeerIdentity, PeerRole};
pub use pinned::pinned_client_config;
pub use renewal::renew_at;
pub use request::requested_key;
pub use tls::{Keyring, client_config, peer_identity, server_config, server_name};
pub use token::{Token, new_secret};
