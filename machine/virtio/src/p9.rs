//! A 9P server's transport (Virtio 5.15 has its device ID; the layout is that of Linux's virtio_9p.h).
//!
//! The server is the host's: whole frames go out and come back, in any order, and are matched by their
//! tags. A frame begins with its length (4 bytes), its type and its tag (2 bytes).

use alloc::string::String;
use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::mmio::{Device, Io, Mmio};
use crate::queue::{Chain, Fault};
use crate::state::{save_section, Field, Reader, State, StateError};

/// The longest request: more than the largest message size (512000) of our clients.
pub const MAX_FRAME: usize = 1 << 20;
const HEADER: usize = 7;
const QUEUE_SIZE: u16 = 128;

/// VIRTIO_9P_MOUNT_TAG
const FEATURE_MOUNT_TAG: u64 = 1;
/// A request to forget another one, whose tag follows the header, and its answer: from then on the other
/// one's tag is free, whether it was answered or not.
const TFLUSH: u8 = 108;
const RFLUSH: u8 = 109;
/// 9P2000.L's answer of an error: its number follows the header.
const RLERROR: u8 = 7;
const EIO: u32 = 5;

/// Why a reply went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyError {
    /// It is no frame: too short, or not as long as it says.
    Malformed,
    /// No request with this tag waits for a reply.
    UnknownTag(u16),
    /// The guest has made no room for so much. It was told that there was an I/O error.
    TooLong(u16),
    /// The guest has no driver for the device, or the device needs to be reset.
    NotRunning,
}

struct Outstanding {
    tag: u16,
    chain: Chain,
    /// The tag of the request that this one flushes.
    flushes: Option<u16>,
}

pub struct P9 {
    mount_tag: String,
    /// Requests that the host has and has not answered.
    outstanding: Vec<Outstanding>,
    /// Heads of requests that were not answered when the state was saved, the last one first.
    unanswered: Vec<u16>,
    /// Tags of requests that the host has, but no driver waits for. What comes for them is dropped, and
    /// until it has come no new request goes out that might have the same tag.
    abandoned: Vec<u16>,
    waiting: bool,
}

impl P9 {
    /// A server's tree that the guest can mount by this name.
    pub fn new(mount_tag: &str) -> P9 {
        P9 {
            mount_tag: String::from(mount_tag),
            outstanding: Vec::new(),
            unanswered: Vec::new(),
            abandoned: Vec::new(),
            waiting: false,
        }
    }

    fn next_request(&mut self, io: &mut Io) -> Result<Option<Vec<u8>>, Fault> {
        if !self.abandoned.is_empty() {
            return Ok(None);
        }
        let chain = match self.unanswered.pop() {
            Some(head) => Some(io.chain(0, head)?),
            None => io.pop(0)?,
        };
        self.waiting = chain.is_some();
        let Some(chain) = chain else { return Ok(None) };
        let mut frame = chain.readable.to_vec(io.memory, 0, MAX_FRAME)?;
        let Some((length, tag)) = header(&frame) else { return Err(Fault::Request("a 9P frame's length")) };
        frame.truncate(length);
        if self.outstanding.iter().any(|other| other.tag == tag) {
            return Err(Fault::Request("a 9P tag that is in use"));
        }
        let flushes = match frame.get(HEADER..HEADER + 2) {
            Some(old) if frame[4] == TFLUSH => Some(u16::from_le_bytes([old[0], old[1]])),
            _ => None,
        };
        self.outstanding.push(Outstanding { tag, chain, flushes });
        Ok(Some(frame))
    }
}

/// Length and tag of a frame that is all there.
fn header(frame: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_le_bytes(frame.get(..4)?.try_into().ok()?) as usize;
    let tag = u16::from_le_bytes(frame.get(5..HEADER)?.try_into().ok()?);
    (HEADER..=frame.len()).contains(&length).then_some((length, tag))
}

impl Device for P9 {
    const ID: u32 = 9;
    const QUEUES: &'static [u16] = &[QUEUE_SIZE];

    fn features(&self) -> u64 {
        FEATURE_MOUNT_TAG
    }

    fn config(&self) -> Vec<u8> {
        let mut config = (self.mount_tag.len() as u16).to_le_bytes().to_vec();
        config.extend_from_slice(self.mount_tag.as_bytes());
        config
    }

    /// Requests stay in the queue until the host takes them.
    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        self.waiting = !self.unanswered.is_empty() || io.has_available(0)?;
        Ok(())
    }

    fn reset(&mut self) {
        self.abandoned.extend(self.outstanding.drain(..).map(|request| request.tag));
        self.unanswered.clear();
        self.waiting = false;
    }

    fn has_output(&self) -> bool {
        self.waiting && self.abandoned.is_empty()
    }
}

impl Mmio<P9> {
    /// The next request's frame, which the host owes a reply from now on.
    pub fn take_request(&mut self, memory: &mut dyn GuestMemory) -> Option<Vec<u8>> {
        let request = self.drive(memory, |device, io| device.next_request(io));
        self.device.waiting &= request.is_some();
        request.flatten()
    }

    /// Brings a reply to who waits for it.
    pub fn reply(&mut self, frame: &[u8], memory: &mut dyn GuestMemory) -> Result<(), ReplyError> {
        let tag = match header(frame) {
            Some((length, tag)) if length == frame.len() => tag,
            _ => return Err(ReplyError::Malformed),
        };
        if let Some(index) = self.device.abandoned.iter().position(|&other| other == tag) {
            self.device.abandoned.swap_remove(index);
            return Ok(());
        }
        let outstanding = &mut self.device.outstanding;
        let index = outstanding.iter().position(|request| request.tag == tag);
        let Outstanding { chain, flushes, .. } = outstanding.swap_remove(index.ok_or(ReplyError::UnknownTag(tag))?);
        // No answer will come to what was flushed: its buffers are given back without one.
        let flushed = flushes
            .filter(|_| frame[4] == RFLUSH)
            .and_then(|old| outstanding.iter().position(|request| request.tag == old))
            .map(|index| outstanding.swap_remove(index).chain.head);
        let fits = frame.len() <= chain.writable.len();
        let error = error_reply(tag, EIO);
        let bytes = if fits { frame } else { &error };
        self.drive(memory, |_, io| {
            if let Some(head) = flushed {
                io.push(0, head, 0)?;
            }
            if chain.writable.write(io.memory, 0, bytes)? < bytes.len() {
                return Err(Fault::Request("no room for a 9P reply"));
            }
            io.push(0, chain.head, bytes.len())
        })
        .ok_or(ReplyError::NotRunning)?;
        if fits {
            Ok(())
        } else {
            Err(ReplyError::TooLong(tag))
        }
    }

    /// How many requests the host has not answered.
    pub fn outstanding(&self) -> usize {
        self.device.outstanding.len() + self.device.abandoned.len()
    }
}

fn error_reply(tag: u16, error: u32) -> [u8; 11] {
    let mut frame = [0; 11];
    frame[0] = 11;
    frame[4] = RLERROR;
    frame[5..7].copy_from_slice(&tag.to_le_bytes());
    frame[7..].copy_from_slice(&error.to_le_bytes());
    frame
}

/// Of requests without an answer only the heads are saved. Their frames are still in the guest's memory,
/// since the driver may not touch them, and are read there and sent again once the state is restored.
impl State for P9 {
    fn save(&self, out: &mut Vec<u8>) {
        let taken = self.outstanding.iter().rev().map(|request| request.chain.head);
        let heads: Vec<u16> = self.unanswered.iter().copied().chain(taken).collect();
        save_section(out, b"VP9 ", 1, |out| heads.save(out));
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VP9 ", 1)?;
        let heads = Vec::<u16>::load(&mut section)?;
        section.finish()?;
        if heads.len() > usize::from(QUEUE_SIZE) {
            return Err(StateError::Value("the number of unanswered 9P requests"));
        }
        self.outstanding.clear();
        self.abandoned.clear();
        self.unanswered = heads;
        self.waiting = true;
        Ok(())
    }
}
