//! Handshakes between machines of a cluster, and those that must not succeed. No sockets: both ends are driven
//! by hand, over buffers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use model::{Authority, ClusterId, NodeId, Time};
use pki::{Credentials, Key, Keyring, LIFETIME, PeerIdentity, PeerRole, Token};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CLUSTER: ClusterId = ClusterId(7);

fn now() -> Time {
    Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

fn ago(time: Duration) -> Time {
    Time(now().0 - u64::try_from(time.as_millis()).unwrap())
}

fn authority() -> Authority {
    pki::new_authority(CLUSTER, now()).unwrap()
}

/// What a node holds: signed by `authority` at a moment, trusting `roots`.
fn credentials_at(authority: &Authority, node: u128, role: PeerRole, at: Time, trusts: &[&Authority]) -> Credentials {
    let key = Key::generate().unwrap();
    let identity = PeerIdentity { cluster: CLUSTER, node: NodeId(node), role, since: 3 };
    let certificate = pki::sign(authority, &key.request().unwrap(), &identity, at, LIFETIME).unwrap();
    let roots = trusts.iter().map(|authority| authority.root.clone()).collect();
    Credentials::new(key, &certificate.pem, roots).unwrap()
}

fn keyring(authority: &Authority, node: u128, role: PeerRole) -> Arc<Keyring> {
    Keyring::new(&credentials_at(authority, node, role, now(), &[authority])).unwrap()
}

/// Who each end takes the other for: what the server says, after both are done.
fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
) -> Result<Option<PeerIdentity>, rustls::Error> {
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    // A word each way: with TLS 1.3 a client is told of a refusal only after its own handshake has ended.
    for _ in 0..6 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    Ok(pki::peer_identity(server.peer_certificates()).unwrap())
}

fn dial(client: &Arc<Keyring>, server: &Arc<Keyring>, expect: Option<u128>) -> Result<PeerIdentity, rustls::Error> {
    let name = pki::server_name(expect.map(NodeId));
    let peer = shake(pki::client_config(client).unwrap(), pki::server_config(server).unwrap(), name)?;
    Ok(peer.expect("it has shown a certificate"))
}

#[test]
fn both_know_each_other() {
    let authority = authority();
    let manager = keyring(&authority, 1, PeerRole::Manager);
    for (node, role) in [(2, PeerRole::Worker), (3, PeerRole::Manager), (4, PeerRole::Client)] {
        let peer = dial(&keyring(&authority, node, role), &manager, None).unwrap();
        assert_eq!(peer, PeerIdentity { cluster: CLUSTER, node: NodeId(node), role, since: 3 });
        dial(&keyring(&authority, node, role), &manager, Some(1)).unwrap();
    }
}

#[test]
fn another_node_than_expected_is_refused() {
    let authority = authority();
    let manager = keyring(&authority, 1, PeerRole::Manager);
    dial(&keyring(&authority, 2, PeerRole::Worker), &manager, Some(5)).unwrap_err();
}

#[test]
fn only_managers_are_dialled() {
    let authority = authority();
    let client = keyring(&authority, 9, PeerRole::Worker);
    dial(&client, &keyring(&authority, 1, PeerRole::Worker), None).unwrap_err();
    dial(&client, &keyring(&authority, 1, PeerRole::Client), None).unwrap_err();
}

#[test]
fn another_authority_is_refused_on_either_side() {
    let (ours, theirs) = (authority(), authority());
    let (manager, stranger) = (keyring(&ours, 1, PeerRole::Manager), keyring(&theirs, 1, PeerRole::Manager));
    assert!(dial(&stranger, &manager, None).is_err());
    assert!(dial(&manager, &stranger, None).is_err());
    // One that trusts us, so that it is the server who refuses.
    let spy = credentials_at(&theirs, 2, PeerRole::Manager, now(), &[&theirs, &ours]);
    let refused = dial(&Keyring::new(&spy).unwrap(), &manager, None).unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused:?}");
}

#[test]
fn another_cluster_below_the_same_authority_is_refused() {
    let authority = authority();
    let key = Key::generate().unwrap();
    let other = PeerIdentity { cluster: ClusterId(8), node: NodeId(1), role: PeerRole::Manager, since: 0 };
    let certificate = pki::sign(&authority, &key.request().unwrap(), &other, now(), LIFETIME).unwrap();
    // Signed with the name of an issuer of the other cluster, which is none of ours.
    Credentials::new(key, &certificate.pem, vec![authority.root.clone()]).unwrap_err();
}

#[test]
fn what_has_ended_or_not_begun_is_refused_with_an_hour_for_clocks() {
    let authority = authority();
    let manager = keyring(&authority, 1, PeerRole::Manager);
    let at = |at| Keyring::new(&credentials_at(&authority, 2, PeerRole::Worker, at, &[&authority])).unwrap();
    let ended = dial(&at(ago(LIFETIME + Duration::from_secs(60))), &manager, None).unwrap_err();
    assert_eq!(ended, rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
    let later = |minutes: u64| Time(now().0 + minutes * 60_000);
    dial(&at(later(55)), &manager, None).unwrap();
    let early = dial(&at(later(65)), &manager, None).unwrap_err();
    assert_eq!(early, rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidYet));
}

#[test]
fn one_who_joins_trusts_the_authority_of_its_token_and_nobody_else() {
    let (ours, theirs) = (authority(), authority());
    let token = Token::new(&ours.root.digest, &pki::new_secret().unwrap()).unwrap();
    let joiner = || pki::pinned_client_config(&token.digest()).unwrap();
    let server = |keyring: &Arc<Keyring>| pki::server_config(keyring).unwrap();
    let name = || pki::server_name(None);
    let peer = shake(joiner(), server(&keyring(&ours, 1, PeerRole::Manager)), name()).unwrap();
    assert_eq!(peer, None, "it has no certificate yet");
    // A man in the middle with an authority of his own.
    let refused = shake(joiner(), server(&keyring(&theirs, 1, PeerRole::Manager)), name()).unwrap_err();
    assert_eq!(refused, rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
    // A worker of the cluster that plays the manager.
    shake(joiner(), server(&keyring(&ours, 2, PeerRole::Worker)), name()).unwrap_err();
}

/// One who knows the authority's certificate, which is no secret, sends it along with his own.
#[test]
fn the_right_authority_beside_a_wrong_certificate_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let key = Key::generate().unwrap();
    let identity = PeerIdentity { cluster: CLUSTER, node: NodeId(1), role: PeerRole::Manager, since: 3 };
    let certificate = pki::sign(&theirs, &key.request().unwrap(), &identity, now(), LIFETIME).unwrap();
    let der = |pem: &str| {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    };
    let private = {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap()
    };
    let chain = vec![der(&certificate.pem), der(&ours.root.certificate)];
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .unwrap();
    let joiner = pki::pinned_client_config(&ours.root.digest).unwrap();
    shake(joiner, Arc::new(server), pki::server_name(None)).unwrap_err();
}

#[test]
fn an_older_version_of_tls_is_refused() {
    let authority = authority();
    let manager = keyring(&authority, 1, PeerRole::Manager);
    let old = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    shake(Arc::new(old), pki::server_config(&manager).unwrap(), pki::server_name(None)).unwrap_err();
}

#[test]
fn an_authority_is_replaced_without_a_moment_in_which_nodes_refuse_each_other() {
    let (old, new) = (authority(), authority());
    let manager = keyring(&old, 1, PeerRole::Manager);
    let worker = keyring(&old, 2, PeerRole::Worker);
    let (client, server) = (pki::client_config(&worker).unwrap(), pki::server_config(&manager).unwrap());
    let both_ways = |what: &str| {
        let peer = shake(client.clone(), server.clone(), pki::server_name(Some(NodeId(1))));
        assert!(peer.unwrap_or_else(|error| panic!("{what}: {error}")).is_some(), "{what}");
    };
    let hold = |keyring: &Keyring, node, role, signer: &Authority, trusts: &[&Authority]| {
        keyring.replace(&credentials_at(signer, node, role, now(), trusts)).unwrap();
    };
    both_ways("before");
    hold(&manager, 1, PeerRole::Manager, &old, &[&old, &new]);
    both_ways("one trusts the next one");
    hold(&worker, 2, PeerRole::Worker, &old, &[&old, &new]);
    both_ways("both do");
    hold(&worker, 2, PeerRole::Worker, &new, &[&new, &old]);
    both_ways("one is signed by it");
    hold(&manager, 1, PeerRole::Manager, &new, &[&new, &old]);
    both_ways("both are");
    hold(&manager, 1, PeerRole::Manager, &new, &[&new]);
    both_ways("one has dropped the old one");
    hold(&worker, 2, PeerRole::Worker, &new, &[&new]);
    both_ways("both have");
    let late = keyring(&old, 3, PeerRole::Worker);
    assert!(dial(&late, &manager, None).is_err(), "what the old one signed is worth nothing any more");
}

#[test]
fn credentials_that_do_not_belong_together_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
    let identity = PeerIdentity { cluster: CLUSTER, node: NodeId(1), role: PeerRole::Worker, since: 3 };
    let certificate = pki::sign(&ours, &key.request().unwrap(), &identity, now(), LIFETIME).unwrap();
    let again = || Key::from_pem(&key.to_pem()).unwrap();
    Credentials::new(other, &certificate.pem, vec![ours.root.clone()]).unwrap_err();
    Credentials::new(again(), &certificate.pem, vec![theirs.root.clone()]).unwrap_err();
    Credentials::new(again(), "nothing", vec![ours.root.clone()]).unwrap_err();
    let roots = vec![theirs.root.clone(), ours.root.clone()];
    let credentials = Credentials::new(again(), &certificate.pem, roots).unwrap();
    assert_eq!(credentials.issuer().unwrap(), &ours.root);
    let read = Credentials::from_pem(&credentials.to_pem()).unwrap();
    assert_eq!((read.key.digest(), &read.certificate), (key.digest(), &credentials.certificate));
    assert_eq!(read.roots, credentials.roots);
    Credentials::from_pem(&key.to_pem()).unwrap_err();
    credentials.trusting(vec![theirs.root.clone()]).unwrap_err();
    let only = std::slice::from_ref(&ours.root);
    assert_eq!(credentials.trusting(only.to_vec()).unwrap().roots, only);
    assert_eq!(credentials.certificate.identity, identity);
    assert_eq!(pki::root(&ours.root.certificate).unwrap(), ours.root);
    let life = credentials.certificate.expires.0 - credentials.certificate.begins.0;
    assert_eq!(life / 1000, LIFETIME.as_secs() + 3600);
}
