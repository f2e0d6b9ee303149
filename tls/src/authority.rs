//! A certificate authority, and the certificates that it makes for names (RFC 5280).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::der;
use crate::key::Key;
use crate::random;

/// The authority's name. It is always the same, and so is the name of the file that OpenSSL looks
/// for, which is made from it.
const ORGANIZATION: &str = "browsermount";
const COMMON_NAME: &str = "Connections of this container alone";

const DAY: u64 = 86_400;
/// The container's clock may be wrong.
const BEFORE: u64 = 2 * DAY;
/// A saved container trusts the authority for as long as it is kept.
const AUTHORITY_DAYS: u64 = 3650 * DAY;
/// A certificate is made for each connection.
const NAME_DAYS: u64 = 30 * DAY;

/// Characters of a name in the DNS (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const SERIAL_SIZE: usize = 16;
const SECRET_SIZE: usize = 32;

// Encoded object identifiers
const ECDSA_WITH_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const ORGANIZATION_NAME: &[u8] = b"\x55\x04\x0a";
const COMMON_NAME_TYPE: &[u8] = b"\x55\x04\x03";
const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
const SUBJECT_ALTERNATIVE_NAME: &[u8] = b"\x55\x1d\x11";
const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
const SERVER_AUTHENTICATION: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";

/// An authority.
pub struct Authority {
    key: Key,
    certificate: Vec<u8>,
    /// The key of all certificates that it makes.
    names_key: Key,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

impl Authority {
    /// Makes a new authority.
    ///
    /// `now` is in seconds since 1970, as everywhere here.
    pub fn new(now: u64) -> Self {
        let key = Key::new();
        let extensions = [
            critical(
                BASIC_CONSTRAINTS,
                &der::sequence(&[&der::yes(), &der::integer(&[0])]),
            ),
            // keyCertSign and cRLSign
            critical(KEY_USAGE, &der::bits(&[0x06], 1)),
            extension(SUBJECT_KEY_IDENTIFIER, &der::octets(&key_identifier(&key))),
        ];
        let subject = authority_name();
        let certificate = certificate(&key, &subject, &key, now, AUTHORITY_DAYS, &extensions);
        Self {
            key,
            certificate,
            names_key: Key::new(),
        }
    }

    /// The authority that [`Authority::to_bytes`] has given; None where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (secret, certificate) = bytes.split_at_checked(SECRET_SIZE)?;
        let key = Key::from_bytes(secret)?;
        if certificate.is_empty() {
            return None;
        }
        Some(Self {
            key,
            certificate: certificate.to_vec(),
            names_key: Key::new(),
        })
    }

    /// All that is needed to be this authority once more: its secret key, and its certificate.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.key.to_bytes()[..], &self.certificate].concat()
    }

    /// Its certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Makes a certificate for a name, or for an IPv4 address.
    pub(crate) fn certify(&self, name: &str, now: u64) -> CertifiedKey {
        let general_name = match name.parse::<Ipv4Addr>() {
            Ok(address) => der::implicit(7, &address.octets()),
            Err(_) => der::implicit(2, name.as_bytes()),
        };
        let authority = der::implicit(0, &key_identifier(&self.key));
        let extensions = [
            critical(BASIC_CONSTRAINTS, &der::sequence(&[])),
            // digitalSignature
            critical(KEY_USAGE, &der::bits(&[0x80], 7)),
            extension(
                EXTENDED_KEY_USAGE,
                &der::sequence(&[&der::identifier(SERVER_AUTHENTICATION)]),
            ),
            extension(SUBJECT_ALTERNATIVE_NAME, &der::sequence(&[&general_name])),
            extension(
                SUBJECT_KEY_IDENTIFIER,
                &der::octets(&key_identifier(&self.names_key)),
            ),
            extension(AUTHORITY_KEY_IDENTIFIER, &der::sequence(&[&authority])),
        ];
        let subject = der::sequence(&[&attribute(ORGANIZATION_NAME, ORGANIZATION)]);
        let names_key = self.names_key.clone();
        let certificate = certificate(&self.key, &subject, &names_key, now, NAME_DAYS, &extensions);
        let chain = vec![CertificateDer::from(certificate)];
        CertifiedKey::new(chain, Arc::new(names_key))
    }
}

fn certificate(
    issuer: &Key,
    subject: &[u8],
    key: &Key,
    now: u64,
    validity: u64,
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    let mut serial: [u8; SERIAL_SIZE] = random::bytes();
    // Positive, and always of the same length
    serial[0] = serial[0] & 0x3f | 0x40;
    let algorithm = der::sequence(&[&der::identifier(ECDSA_WITH_SHA256)]);
    let times = [
        der::time(now.saturating_sub(BEFORE)),
        der::time(now + validity),
    ];
    let key_algorithm = der::sequence(&[&der::identifier(EC_PUBLIC_KEY), &der::identifier(P256)]);
    let to_be_signed = der::sequence(&[
        &der::explicit(0, &der::integer(&[2])), // version 3
        &der::integer(&serial),
        &algorithm,
        &authority_name(),
        &der::sequence(&[&times[0], &times[1]]),
        subject,
        &der::sequence(&[&key_algorithm, &der::bits(&key.public(), 0)]),
        &der::explicit(3, &der::sequence(&[&extensions.concat()])),
    ]);
    let signature = issuer.sign(&to_be_signed);
    der::sequence(&[&to_be_signed, &algorithm, &der::bits(&signature, 0)])
}

fn authority_name() -> Vec<u8> {
    let organization = attribute(ORGANIZATION_NAME, ORGANIZATION);
    der::sequence(&[&organization, &attribute(COMMON_NAME_TYPE, COMMON_NAME)])
}

fn attribute(kind: &[u8], text: &str) -> Vec<u8> {
    der::set(&der::sequence(&[&der::identifier(kind), &der::text(text)]))
}

fn extension(kind: &[u8], content: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::identifier(kind), &der::octets(content)])
}

fn critical(kind: &[u8], content: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::identifier(kind), &der::yes(), &der::octets(content)])
}

/// RFC 7093, section 2, method 1.
fn key_identifier(key: &Key) -> [u8; 20] {
    let digest = Sha256::digest(key.public());
    core::array::from_fn(|at| digest[at])
}

/// The name, where a certificate can be made for it.
pub(crate) fn checked(name: &str) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME;
    (fits && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| name.into())
}
