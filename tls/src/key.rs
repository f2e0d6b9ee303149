//! Keys for signatures: ECDSA with P-256 and SHA-256.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::SecretKey;
use rustls::sign::{Signer, SigningKey as Signing};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::random;

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// A new secret key.
pub(crate) fn generate() -> SecretKey {
    loop {
        // Nearly all numbers of this length are one.
        if let Ok(key) = SecretKey::from_slice(&random::bytes::<32>()) {
            return key;
        }
    }
}

/// A key that signs.
#[derive(Clone)]
pub(crate) struct Key(Arc<SigningKey>);

impl Key {
    /// A new key.
    pub(crate) fn new() -> Self {
        Self(Arc::new(SigningKey::from(generate())))
    }

    /// The key with a secret number; None where it is not one.
    pub(crate) fn from_bytes(secret: &[u8]) -> Option<Self> {
        SigningKey::from_slice(secret)
            .ok()
            .map(|key| Self(Arc::new(key)))
    }

    /// The secret number.
    pub(crate) fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The public key: a point that is not compressed (SEC 1, section 2.3.3).
    pub(crate) fn public(&self) -> Vec<u8> {
        self.0
            .verifying_key()
            .to_sec1_point(false)
            .as_bytes()
            .to_vec()
    }

    /// A signature in DER (RFC 3279, section 2.2.3).
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl Signing for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = offered.contains(&SCHEME);
        known.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(Self::sign(self, message))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
