//! The protection of records: AEAD as TLS 1.2 (RFC 5288, RFC 7905) and 1.3 (RFC 8446) use it.

use alloc::boxed::Box;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::Aes128Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use rustls::crypto::cipher::{
    make_tls12_aad, make_tls13_aad, AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv,
    KeyBlockShape, MessageDecrypter, MessageEncrypter, Nonce, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError, NONCE_LEN,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

const TAG: usize = 16;
/// Plain bytes of a record at most (RFC 8446, section 5.1).
const MAX_PLAIN: usize = 1 << 14;
/// What of the nonce is sent with each record of TLS 1.2 with AES-GCM (RFC 5288, section 3).
const EXPLICIT: usize = 8;

type Tag = [u8; TAG];

/// An AEAD with a key.
trait Cipher: Send + Sync {
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<Tag, Error>;

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Error>;
}

macro_rules! cipher {
    ($kind:ty) => {
        impl Cipher for $kind {
            fn seal(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
            ) -> Result<Tag, Error> {
                let tag = self.encrypt_inout_detached(nonce.into(), aad, data.into());
                Ok(tag.map_err(|_| Error::EncryptError)?.into())
            }

            fn open(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
                tag: &Tag,
            ) -> Result<(), Error> {
                self.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into())
                    .map_err(|_| Error::DecryptError)
            }
        }
    };
}

cipher!(ChaCha20Poly1305);
cipher!(Aes128Gcm);

/// ChaCha20-Poly1305.
pub(crate) struct ChaCha20;

/// AES-128-GCM.
pub(crate) struct AesGcm;

fn chacha20(key: &AeadKey) -> Box<dyn Cipher> {
    Box::new(ChaCha20Poly1305::new_from_slice(key.as_ref()).expect("rustls knows the length"))
}

fn aes_gcm(key: &AeadKey) -> Box<dyn Cipher> {
    Box::new(Aes128Gcm::new_from_slice(key.as_ref()).expect("rustls knows the length"))
}

/// Opens and seals the records of one direction, with what is different between the versions.
struct Records {
    cipher: Box<dyn Cipher>,
    iv: Iv,
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// TLS 1.3: the type is within what is encrypted.
    V13,
    /// TLS 1.2 with a nonce that both sides know.
    V12,
    /// TLS 1.2 with a nonce of which a part is sent.
    V12Explicit,
}

impl Records {
    fn explicit(&self) -> usize {
        if self.form == Form::V12Explicit {
            EXPLICIT
        } else {
            0
        }
    }
}

impl MessageEncrypter for Records {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let plain = message.payload.len();
        let size = self.encrypted_payload_len(plain);
        let explicit = self.explicit();
        let nonce = Nonce::new(&self.iv, number).0;
        let mut payload = PrefixedPayload::with_capacity(size);
        payload.extend_from_slice(&nonce[NONCE_LEN - explicit..]);
        payload.extend_from_chunks(&message.payload);
        if self.form == Form::V13 {
            payload.extend_from_slice(&message.typ.to_array());
            let data = payload.as_mut();
            let tag = self.cipher.seal(&nonce, &make_tls13_aad(size), data)?;
            payload.extend_from_slice(&tag);
            let kind = ContentType::ApplicationData;
            return Ok(OutboundOpaqueMessage::new(
                kind,
                ProtocolVersion::TLSv1_2,
                payload,
            ));
        }
        let aad = make_tls12_aad(number, message.typ, message.version, plain);
        let tag = self
            .cipher
            .seal(&nonce, &aad, &mut payload.as_mut()[explicit..])?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(
            message.typ,
            message.version,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, plain: usize) -> usize {
        self.explicit() + plain + usize::from(self.form == Form::V13) + TAG
    }
}

impl MessageDecrypter for Records {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let explicit = self.explicit();
        let payload = &mut message.payload;
        let size = payload.len();
        let plain = size
            .checked_sub(explicit + TAG)
            .ok_or(Error::DecryptError)?;
        let mut nonce = Nonce::new(&self.iv, number).0;
        nonce[NONCE_LEN - explicit..].copy_from_slice(&payload[..explicit]);
        let (data, tag) = payload[explicit..].split_at_mut(plain);
        let tag = (&*tag).try_into().map_err(|_| Error::DecryptError)?;
        if self.form == Form::V13 {
            self.cipher.open(&nonce, &make_tls13_aad(size), data, tag)?;
            payload.truncate(plain);
            return message.into_tls13_unpadded_message();
        }
        let aad = make_tls12_aad(number, message.typ, message.version, plain);
        self.cipher.open(&nonce, &aad, data, tag)?;
        if plain > MAX_PLAIN {
            return Err(Error::PeerSentOversizedRecord);
        }
        payload.copy_within(explicit..explicit + plain, 0);
        payload.truncate(plain);
        Ok(message.into_plain_message())
    }
}

// The keys stay where they are.
const NO_KEYS: Result<ConnectionTrafficSecrets, UnsupportedOperationError> =
    Err(UnsupportedOperationError);

impl Tls13AeadAlgorithm for ChaCha20 {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Records {
            cipher: chacha20(&key),
            iv,
            form: Form::V13,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Records {
            cipher: chacha20(&key),
            iv,
            form: Form::V13,
        })
    }

    fn key_len(&self) -> usize {
        32
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        NO_KEYS
    }
}

impl Tls13AeadAlgorithm for AesGcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Records {
            cipher: aes_gcm(&key),
            iv,
            form: Form::V13,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Records {
            cipher: aes_gcm(&key),
            iv,
            form: Form::V13,
        })
    }

    fn key_len(&self) -> usize {
        16
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        NO_KEYS
    }
}

impl Tls12AeadAlgorithm for ChaCha20 {
    fn encrypter(&self, key: AeadKey, iv: &[u8], _: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Records {
            cipher: chacha20(&key),
            iv: Iv::copy(iv),
            form: Form::V12,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Records {
            cipher: chacha20(&key),
            iv: Iv::copy(iv),
            form: Form::V12,
        })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape {
            enc_key_len: 32,
            fixed_iv_len: NONCE_LEN,
            explicit_nonce_len: 0,
        }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        NO_KEYS
    }
}

impl Tls12AeadAlgorithm for AesGcm {
    fn encrypter(&self, key: AeadKey, iv: &[u8], explicit: &[u8]) -> Box<dyn MessageEncrypter> {
        let iv = gcm_iv(iv, explicit);
        Box::new(Records {
            cipher: aes_gcm(&key),
            iv,
            form: Form::V12Explicit,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        let iv = gcm_iv(iv, &[0; EXPLICIT]);
        Box::new(Records {
            cipher: aes_gcm(&key),
            iv,
            form: Form::V12Explicit,
        })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        let fixed_iv_len = NONCE_LEN - EXPLICIT;
        KeyBlockShape {
            enc_key_len: 16,
            fixed_iv_len,
            explicit_nonce_len: EXPLICIT,
        }
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        NO_KEYS
    }
}

/// What each nonce is made from: with the record's number, none comes twice.
fn gcm_iv(fixed: &[u8], explicit: &[u8]) -> Iv {
    let mut iv = [0; NONCE_LEN];
    iv[..NONCE_LEN - EXPLICIT].copy_from_slice(fixed);
    iv[NONCE_LEN - EXPLICIT..].copy_from_slice(explicit);
    Iv::new(iv)
}
