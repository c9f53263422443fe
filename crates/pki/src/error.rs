//! What can be wrong with keys and certificates.

/// Why a key, a certificate, a token or a request for one is no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// A text that should be PEM of one kind.
    #[error("this is no PEM of a {0}")]
    Pem(&'static str),
    /// A private key that is none, or of a kind that is not used here.
    #[error("this private key is not usable: {0}")]
    Key(String),
    /// A request for a certificate that is not what nodes of this program send.
    #[error("this certificate request is not acceptable: {0}")]
    Request(&'static str),
    /// A certificate that is not what nodes of this program have.
    #[error("this certificate is not one of a node: {0}")]
    Certificate(&'static str),
    /// A certificate could not be made.
    #[error("the certificate cannot be made: {0}")]
    Sign(String),
    /// The certificate does not hold before the roots that are trusted.
    #[error("the certificate is not trusted: {0}")]
    Untrusted(String),
    /// A text that is no join token.
    #[error("this is no join token: {0}")]
    Token(&'static str),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
