//! Image references and digests (OCI distribution spec; Docker's reference grammar).
