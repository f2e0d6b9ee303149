//! One connection with a program of the container: bytes in, bytes out.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConnectionData,
    UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{AlertDescription, Error, ServerConfig};

use crate::authority::{self, Authority};
use crate::provider;

/// Protocols that are understood behind TLS (RFC 7301), the best one first.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// What encryption adds to a record at most: header, nonce, type and tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;
const RECORD: usize = 1 << 14;
/// Bytes that a server's messages of the handshake have, about.
const FLIGHT: usize = 1 << 10;
/// Bytes of an encrypted alert.
const ALERT: usize = 2 + RECORD_OVERHEAD;

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Bytes can be sent.
    pub established: bool,
    /// The other side has said that it sends no more.
    pub ended: bool,
    /// The connection is over, as something is wrong.
    pub failed: bool,
    /// What is wrong is that the client does not trust our certificate.
    pub distrusted: bool,
}

/// The server's end of a connection.
pub struct Connection {
    tls: UnbufferedServerConnection,
    incoming: Vec<u8>,
    encrypted: Vec<u8>,
    plain: Vec<u8>,
    progress: Progress,
    failure: String,
}

enum Wanted<'a> {
    Nothing,
    Send(&'a [u8]),
    Close,
}

impl Connection {
    /// Begins with a connection to `host`, for which there is a certificate where the client does
    /// not name a server.
    ///
    /// # Errors
    /// The host is not one, or there are not all of the parts that rustls needs.
    pub fn new(authority: &Arc<Authority>, host: &str, now: u64) -> Result<Self, String> {
        let host = authority::checked(host).ok_or("the host has no name")?;
        let config = config(authority, host, now).map_err(|error| describe(&error))?;
        let tls = UnbufferedServerConnection::new(Arc::new(config));
        Ok(Self {
            tls: tls.map_err(|error| describe(&error))?,
            incoming: Vec::new(),
            encrypted: Vec::new(),
            plain: Vec::new(),
            progress: Progress::default(),
            failure: String::new(),
        })
    }

    /// Takes what the client has sent.
    pub fn receive(&mut self, data: &[u8]) {
        if !self.progress.failed {
            self.incoming.extend_from_slice(data);
            self.run(Wanted::Nothing);
        }
    }

    /// Sends bytes; nothing where that cannot be done now.
    pub fn send(&mut self, data: &[u8]) {
        self.run(Wanted::Send(data));
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.run(Wanted::Close);
    }

    /// What the client is to be sent.
    pub fn encrypted(&mut self) -> &mut Vec<u8> {
        &mut self.encrypted
    }

    /// What the client has said.
    pub fn plain(&mut self) -> &mut Vec<u8> {
        &mut self.plain
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What is wrong; nothing where all is well.
    pub fn failure(&self) -> &str {
        &self.failure
    }

    fn run(&mut self, mut wanted: Wanted<'_>) {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut self.incoming[at..]);
            let mut waits = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        // What cannot be decrypted does not come here: it is an error of the state.
                        let Ok(record) = record else { break };
                        self.plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.encrypted, FLIGHT, |space| {
                        match data.encode(space) {
                            Ok(size) => Ok(size),
                            Err(EncodeError::InsufficientSize(error)) => Err(error.required_size),
                            Err(EncodeError::AlreadyEncoded) => Ok(0),
                        }
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress.ended = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    self.progress.established = true;
                    // What was written may have something to be sent before it: a new key.
                    waits = matches!(wanted, Wanted::Nothing);
                    write(
                        traffic,
                        mem::replace(&mut wanted, Wanted::Nothing),
                        &mut self.encrypted,
                    );
                }
                Ok(_) => waits = true,
                Err(error) => {
                    // Once more: there may be an alert to send.
                    waits = self.progress.failed;
                    if !waits {
                        self.progress.failed = true;
                        self.progress.distrusted = is_distrust(&error);
                        self.failure = describe(&error);
                    }
                }
            }
            at += discard;
            if waits {
                break;
            }
        }
        self.incoming.drain(..at);
        if self.incoming.is_empty() {
            // There may be hundreds of connections that wait.
            self.incoming = Vec::new();
        }
    }
}

fn is_distrust(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
        )
    )
}

/// What is wrong, for a person. What rustls itself says needs all names of the protocol.
fn describe(error: &Error) -> String {
    match error {
        Error::AlertReceived(_) if is_distrust(error) => "it does not trust the certificate".into(),
        Error::AlertReceived(alert) => {
            let number = u8::from(*alert).to_string();
            ["it has given up with the alert ", &number].concat()
        }
        Error::NoApplicationProtocol => "it wants to speak another protocol than HTTP 1.1".into(),
        Error::PeerIncompatible(_) => "it knows no TLS 1.2 or 1.3 with X25519 or P-256, ChaCha20 \
            or AES-128-GCM, and ECDSA"
            .into(),
        Error::DecryptError => "what it has sent was changed on the way".into(),
        _ => "what it has sent is not TLS".into(),
    }
}

fn write(
    mut traffic: WriteTraffic<'_, ServerConnectionData>,
    wanted: Wanted<'_>,
    encrypted: &mut Vec<u8>,
) {
    let size = |result: Result<usize, EncryptError>| match result {
        Ok(size) => Ok(size),
        Err(EncryptError::InsufficientSize(error)) => Err(error.required_size),
        // So many records were sent that the keys are worn out.
        Err(EncryptError::EncryptExhausted) => Ok(0),
    };
    match wanted {
        Wanted::Nothing => {}
        Wanted::Send(data) => {
            let guess = data.len() + (data.len() / RECORD + 1) * RECORD_OVERHEAD;
            append(encrypted, guess, |space| size(traffic.encrypt(data, space)));
        }
        Wanted::Close => {
            append(encrypted, ALERT, |space| {
                size(traffic.queue_close_notify(space))
            });
        }
    }
}

/// Lets `fill` write behind what is there. It says how much it has written, or needs room for.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, usize>,
) {
    let start = out.len();
    let mut room = guess;
    let size = loop {
        out.resize(start + room, 0);
        match fill(&mut out[start..]) {
            Ok(size) => break size,
            Err(needed) => room = needed,
        }
    };
    out.truncate(start + size);
}

fn config(authority: &Arc<Authority>, host: String, now: u64) -> Result<ServerConfig, Error> {
    let clock = Arc::new(Clock(now));
    let mut config = ServerConfig::builder_with_details(Arc::new(provider::provider()), clock)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Names {
            authority: authority.clone(),
            host,
            now,
        }));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Our order, and not the client's: see the cipher suites.
    config.ignore_client_order = true;
    Ok(config)
}

/// The time at which a connection began.
#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// Certificates for whatever name a client asks for.
#[derive(Debug)]
struct Names {
    authority: Arc<Authority>,
    host: String,
    now: u64,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(&self.host);
        Some(Arc::new(self.authority.certify(name, self.now)))
    }
}
