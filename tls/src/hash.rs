//! SHA-256, and HMAC with it, as rustls wants them.

use alloc::boxed::Box;

use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::{hash, hmac as keyed};
use sha2::{Digest, Sha256};

const SIZE: usize = 32;

/// The hash function of all our cipher suites.
pub(crate) struct Hash;

impl hash::Hash for Hash {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Context(Sha256::new()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        hash::Output::new(&Sha256::digest(data))
    }

    fn output_len(&self) -> usize {
        SIZE
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        hash::HashAlgorithm::SHA256
    }
}

struct Context(Sha256);

impl hash::Context for Context {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

/// HMAC (RFC 2104), from which the keys of a connection are derived.
pub(crate) struct KeyedHash;

impl keyed::Hmac for KeyedHash {
    fn with_key(&self, key: &[u8]) -> Box<dyn keyed::Key> {
        let hash = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
        Box::new(Key(hash.expect("a key may have any length")))
    }

    fn hash_output_len(&self) -> usize {
        SIZE
    }
}

struct Key(Hmac<Sha256>);

impl keyed::Key for Key {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> keyed::Tag {
        let mut hash = self.0.clone();
        hash.update(first);
        for part in middle {
            hash.update(part);
        }
        hash.update(last);
        keyed::Tag::new(&hash.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        SIZE
    }
}
