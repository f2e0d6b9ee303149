//! The cryptography that rustls is given: no more than the container's programs need.

use alloc::sync::Arc;
use alloc::vec;

use rustls::crypto::tls12::PrfUsingHmac;
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{
    CipherSuiteCommon, CryptoProvider, KeyExchangeAlgorithm, KeyProvider, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{
    CipherSuite, Error, SignatureScheme, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use crate::exchange::{P256, X25519};
use crate::hash::{Hash, KeyedHash};
use crate::random::Random;
use crate::record::{AesGcm, ChaCha20};

/// Records that may be sent with one key (RFC 8446, section 5.5).
const AES_GCM_RECORDS: u64 = 1 << 24;

const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

const fn common(suite: CipherSuite, records: u64) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite,
        hash_provider: &Hash,
        confidentiality_limit: records,
    }
}

static CHACHA20_13: Tls13CipherSuite = Tls13CipherSuite {
    common: common(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, u64::MAX),
    hkdf_provider: &HkdfUsingHmac(&KeyedHash),
    aead_alg: &ChaCha20,
    quic: None,
};

static AES_GCM_13: Tls13CipherSuite = Tls13CipherSuite {
    common: common(CipherSuite::TLS13_AES_128_GCM_SHA256, AES_GCM_RECORDS),
    hkdf_provider: &HkdfUsingHmac(&KeyedHash),
    aead_alg: &AesGcm,
    quic: None,
};

static CHACHA20_12: Tls12CipherSuite = Tls12CipherSuite {
    common: common(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        u64::MAX,
    ),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: SCHEMES,
    prf_provider: &PrfUsingHmac(&KeyedHash),
    aead_alg: &ChaCha20,
};

static AES_GCM_12: Tls12CipherSuite = Tls12CipherSuite {
    common: common(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        AES_GCM_RECORDS,
    ),
    kx: KeyExchangeAlgorithm::ECDHE,
    sign: SCHEMES,
    prf_provider: &PrfUsingHmac(&KeyedHash),
    aead_alg: &AesGcm,
};

/// What a server needs. The emulated processor has no instructions for AES: it is the last choice.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&CHACHA20_13),
            SupportedCipherSuite::Tls13(&AES_GCM_13),
            SupportedCipherSuite::Tls12(&CHACHA20_12),
            SupportedCipherSuite::Tls12(&AES_GCM_12),
        ],
        kx_groups: vec![&X25519, &P256],
        // Clients are not asked for certificates.
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: &[],
            mapping: &[],
        },
        secure_random: &Random,
        key_provider: &NoFiles,
    }
}

/// Keys do not come from files.
#[derive(Debug)]
struct NoFiles;

impl KeyProvider for NoFiles {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("no keys are read".into()))
    }
}
