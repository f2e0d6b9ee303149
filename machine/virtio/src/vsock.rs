//! Stream sockets between host and guest (Virtio 5.10).
//!
//! The host listens at ports and connects to the guest's. A direction has as much in flight as its
//! receiver has granted ("credit"). Nothing that the host sends is buffered: it takes its bytes back when
//! the guest has no room. Connections do not survive saving and restoring: the guest's ends are reset.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::mmio::{Device, Io, Mmio};
use crate::queue::{Chain, Fault};
use crate::state::{save_section, Field, Reader, State, StateError};

/// The host's address.
pub const HOST_CID: u64 = 2;
/// How many bytes of a connection wait for the host at most.
pub const BUFFER: usize = 64 * 1024;
pub const MAX_CONNECTIONS: usize = 256;
/// How many events, and how many answers to strangers, wait before the guest's packets have to.
const BACKLOG: usize = 64;
/// Where the host's own ports begin, when it connects.
const FIRST_PORT: u32 = 0xc000_0000;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENTS: usize = 2;
const HEADER: usize = 44;
const TYPE_STREAM: u16 = 1;
const EVENT_TRANSPORT_RESET: u32 = 0;

mod operation {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RST: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const RW: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flags of SHUTDOWN: its sender will not receive, or not send any more.
const SHUTDOWN_RECEIVE: u32 = 1;
const SHUTDOWN_SEND: u32 = 2;
const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// A connection, by the ports of its two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket {
    pub host_port: u32,
    pub guest_port: u32,
}

/// What has happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The guest has connected to a port that the host listens at.
    Accepted(Socket),
    /// The guest has accepted what the host asked for.
    Connected(Socket),
    /// The guest will send no more. What it has sent can still be read.
    Finished(Socket),
    /// The connection is gone, or was refused. What the guest has sent before can still be read.
    Closed(Socket),
}

/// There is no such connection (any more).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotConnected;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest was asked and has not answered.
    Connecting,
    Open,
    /// The host has closed it and waits for the guest to confirm.
    Closing,
    /// Only what was received is left.
    Closed,
}

struct Connection {
    socket: Socket,
    phase: Phase,
    /// Operations that are to be sent, as bits.
    pending: u16,
    received: VecDeque<u8>,
    /// Bytes that the host has taken in all, and what the guest knows of it (both modulo 2^32).
    forwarded: u32,
    announced: u32,
    sent: u32,
    peer_buffer: u32,
    peer_forwarded: u32,
    /// Flags of both sides' SHUTDOWN.
    peer_shutdown: u32,
    shutdown: u32,
}

struct Packet {
    source_cid: u64,
    destination_cid: u64,
    socket: Socket,
    length: u32,
    kind: u16,
    operation: u16,
    flags: u32,
    buffer: u32,
    forwarded: u32,
}

impl Packet {
    /// One from the guest.
    fn parse(bytes: &[u8; HEADER]) -> Packet {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Packet {
            source_cid: long(0),
            destination_cid: long(8),
            socket: Socket { guest_port: word(16), host_port: word(20) },
            length: word(24),
            kind: word(28) as u16,
            operation: (word(28) >> 16) as u16,
            flags: word(32),
            buffer: word(36),
            forwarded: word(40),
        }
    }

    /// One for the guest.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(&self.source_cid.to_le_bytes());
        bytes.extend_from_slice(&self.destination_cid.to_le_bytes());
        let operation = u32::from(self.kind) | u32::from(self.operation) << 16;
        let (from, to) = (self.socket.host_port, self.socket.guest_port);
        for word in [from, to, self.length, operation, self.flags, self.buffer, self.forwarded] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl Connection {
    fn new(socket: Socket, phase: Phase, operation: u16) -> Connection {
        Connection {
            socket,
            phase,
            pending: 1 << operation,
            received: VecDeque::new(),
            forwarded: 0,
            announced: 0,
            sent: 0,
            peer_buffer: 0,
            peer_forwarded: 0,
            peer_shutdown: 0,
            shutdown: 0,
        }
    }

    /// How many bytes the guest has room for.
    fn credit(&self) -> usize {
        self.peer_buffer.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded)) as usize
    }

    fn packet(&mut self, guest_cid: u64, operation: u16, length: usize) -> Packet {
        self.pending &= !(1 << operation | 1 << operation::CREDIT_UPDATE);
        self.announced = self.forwarded;
        Packet {
            source_cid: HOST_CID,
            destination_cid: guest_cid,
            socket: self.socket,
            length: length as u32,
            kind: TYPE_STREAM,
            operation,
            flags: if operation == operation::SHUTDOWN { self.shutdown } else { 0 },
            buffer: BUFFER as u32,
            forwarded: self.forwarded,
        }
    }
}

pub struct Vsock {
    guest_cid: u64,
    listening: BTreeSet<u32>,
    connections: Vec<Connection>,
    events: VecDeque<Event>,
    /// RST packets for connections that are not there.
    resets: VecDeque<(Socket, u16)>,
    next_port: u32,
    /// The guest is to be told that its connections are gone.
    transport_reset: bool,
}

impl Vsock {
    /// `guest_cid` is the guest's address, at least 3.
    pub fn new(guest_cid: u64) -> Vsock {
        Vsock {
            guest_cid,
            listening: BTreeSet::new(),
            connections: Vec::new(),
            events: VecDeque::new(),
            resets: VecDeque::new(),
            next_port: FIRST_PORT,
            transport_reset: false,
        }
    }

    fn find(&mut self, socket: Socket) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.socket == socket)
    }

    /// The guest has no part in it any more. It is kept while there is something to read.
    fn drop_connection(&mut self, socket: Socket) {
        let Some(index) = self.connections.iter().position(|other| other.socket == socket) else { return };
        let connection = &mut self.connections[index];
        let told = matches!(connection.phase, Phase::Closing | Phase::Closed);
        if connection.phase == Phase::Closing || connection.received.is_empty() {
            self.connections.swap_remove(index);
        } else {
            connection.phase = Phase::Closed;
            connection.pending = 0;
        }
        if !told {
            self.events.push_back(Event::Closed(socket));
        }
    }

    fn receive(&mut self, packet: &Packet, data: Vec<u8>) {
        let Packet { socket, operation, .. } = *packet;
        let known = packet.source_cid == self.guest_cid && packet.destination_cid == HOST_CID;
        if packet.kind != TYPE_STREAM || !known {
            return self.refuse(packet);
        }
        let (room, listening) =
            (self.connections.len() < MAX_CONNECTIONS, self.listening.contains(&socket.host_port));
        let Some(connection) = self.find(socket).filter(|connection| connection.phase != Phase::Closed)
        else {
            let old = self.find(socket).is_some();
            if operation != operation::REQUEST || !room || !listening || old {
                return self.refuse(packet);
            }
            let mut connection = Connection::new(socket, Phase::Open, operation::RESPONSE);
            connection.peer_buffer = packet.buffer;
            connection.peer_forwarded = packet.forwarded;
            self.connections.push(connection);
            return self.events.push_back(Event::Accepted(socket));
        };
        connection.peer_buffer = packet.buffer;
        connection.peer_forwarded = packet.forwarded;
        match (operation, connection.phase) {
            (operation::RST, _) => self.drop_connection(socket),
            (operation::RESPONSE, Phase::Connecting) => {
                connection.phase = Phase::Open;
                self.events.push_back(Event::Connected(socket));
            }
            (operation::SHUTDOWN, Phase::Open) => {
                let finished = !connection.peer_shutdown & packet.flags & SHUTDOWN_SEND != 0;
                connection.peer_shutdown |= packet.flags & SHUTDOWN_BOTH;
                let both = connection.peer_shutdown == SHUTDOWN_BOTH;
                if finished {
                    self.events.push_back(Event::Finished(socket));
                }
                if both {
                    self.refuse(packet);
                }
            }
            (operation::SHUTDOWN, Phase::Closing) => self.refuse(packet),
            (operation::RW, Phase::Open) => {
                let room = BUFFER - connection.received.len();
                if data.len() > room || connection.peer_shutdown & SHUTDOWN_SEND != 0 {
                    return self.refuse(packet);
                }
                connection.received.extend(data);
            }
            (operation::RW, Phase::Closing) => {
                connection.forwarded = connection.forwarded.wrapping_add(data.len() as u32);
            }
            (operation::CREDIT_UPDATE, _) => {}
            (operation::CREDIT_REQUEST, _) => connection.pending |= 1 << operation::CREDIT_UPDATE,
            _ => self.refuse(packet),
        }
    }

    /// Answers with RST, but never an RST, and forgets the connection.
    fn refuse(&mut self, packet: &Packet) {
        self.drop_connection(packet.socket);
        if packet.operation != operation::RST {
            self.resets.push_back((packet.socket, packet.kind));
        }
    }

    /// Sends what waits for the guest's buffers.
    fn send(&mut self, io: &mut Io) -> Result<(), Fault> {
        while !self.resets.is_empty() || self.connections.iter().any(|other| other.pending != 0) {
            let Some(chain) = io.pop(RECEIVE)? else { break };
            if let Some(packet) = self.next_packet() {
                send_packet(io, &chain, &packet, &[])?;
            }
        }
        Ok(())
    }

    fn next_packet(&mut self) -> Option<Packet> {
        let cid = self.guest_cid;
        if let Some((socket, kind)) = self.resets.pop_front() {
            let reset = Connection::new(socket, Phase::Closed, operation::RST).packet(cid, operation::RST, 0);
            return Some(Packet { kind, ..reset });
        }
        let connection = self.connections.iter_mut().find(|other| other.pending != 0)?;
        let next = connection.pending.trailing_zeros() as u16;
        Some(connection.packet(cid, next, 0))
    }

    fn write(&mut self, socket: Socket, bytes: &[u8], io: &mut Io) -> Result<usize, Fault> {
        let cid = self.guest_cid;
        let Some(connection) = self.find(socket) else { return Ok(0) };
        let mut done = 0;
        // The answer to the guest's request goes first.
        while connection.pending & 1 << operation::RESPONSE == 0 {
            let credit = (bytes.len() - done).min(connection.credit());
            if credit == 0 {
                break;
            }
            let Some(chain) = io.pop(RECEIVE)? else { break };
            let length = credit.min(chain.writable.len().saturating_sub(HEADER)).min(BUFFER);
            if length == 0 {
                return Err(Fault::Request("a socket's receive buffer"));
            }
            let packet = connection.packet(cid, operation::RW, length);
            send_packet(io, &chain, &packet, &bytes[done..done + length])?;
            connection.sent = connection.sent.wrapping_add(length as u32);
            done += length;
        }
        Ok(done)
    }
}

fn send_packet(io: &mut Io, chain: &Chain, packet: &Packet, data: &[u8]) -> Result<(), Fault> {
    let length = chain.writable.write(io.memory, 0, &packet.bytes())?
        + chain.writable.write(io.memory, HEADER, data)?;
    if length < HEADER + data.len() {
        return Err(Fault::Request("a socket's receive buffer"));
    }
    io.push(RECEIVE, chain.head, length)
}

impl Device for Vsock {
    const ID: u32 = 19;
    /// Linux fills the first with 4 KiB an entry.
    const QUEUES: &'static [u16] = &[16, 32, 8];

    fn config(&self) -> Vec<u8> {
        self.guest_cid.to_le_bytes().to_vec()
    }

    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        if self.transport_reset {
            if let Some(chain) = io.pop(EVENTS)? {
                let event = EVENT_TRANSPORT_RESET.to_le_bytes();
                if chain.writable.write(io.memory, 0, &event)? < event.len() {
                    return Err(Fault::Request("a socket's event buffer"));
                }
                io.push(EVENTS, chain.head, event.len())?;
                self.transport_reset = false;
            }
        }
        loop {
            self.send(io)?;
            if self.events.len() >= BACKLOG || self.resets.len() >= BACKLOG {
                return Ok(());
            }
            let Some(chain) = io.pop(TRANSMIT)? else { return Ok(()) };
            let mut header = [0; HEADER];
            let whole = chain.readable.read(io.memory, 0, &mut header)? == HEADER;
            let packet = Packet::parse(&header);
            let data = chain.readable.to_vec(io.memory, HEADER, BUFFER + 1)?;
            if !whole || data.len() != packet.length as usize || data.len() > BUFFER {
                return Err(Fault::Request("a socket's packet"));
            }
            io.push(TRANSMIT, chain.head, 0)?;
            self.receive(&packet, data);
        }
    }

    fn reset(&mut self) {
        let sockets: Vec<Socket> = self.connections.iter().map(|connection| connection.socket).collect();
        sockets.into_iter().for_each(|socket| self.drop_connection(socket));
        self.resets.clear();
        self.transport_reset = false;
    }

    fn has_output(&self) -> bool {
        !self.events.is_empty() || self.connections.iter().any(|connection| !connection.received.is_empty())
    }
}

impl Mmio<Vsock> {
    /// Accepts what the guest connects to this port from now on.
    pub fn listen(&mut self, port: u32) {
        self.device.listening.insert(port);
    }

    /// Connections that are there stay.
    pub fn stop_listening(&mut self, port: u32) {
        self.device.listening.remove(&port);
    }

    /// Connects to a port of the guest: [`Event::Connected`] or [`Event::Closed`] follows. None when
    /// there are too many connections.
    pub fn connect(&mut self, guest_port: u32, memory: &mut dyn GuestMemory) -> Option<Socket> {
        if self.device.connections.len() >= MAX_CONNECTIONS || !self.is_running() {
            return None;
        }
        let socket = loop {
            let socket = Socket { host_port: self.device.next_port, guest_port };
            // The last number stands for "any port".
            self.device.next_port = match self.device.next_port {
                ..FIRST_PORT | 0xffff_fffe.. => FIRST_PORT,
                port => port + 1,
            };
            if self.device.find(socket).is_none() {
                break socket;
            }
        };
        let connection = Connection::new(socket, Phase::Connecting, operation::REQUEST);
        self.device.connections.push(connection);
        self.drive(memory, |device, io| device.run(io));
        Some(socket)
    }

    pub fn take_event(&mut self, memory: &mut dyn GuestMemory) -> Option<Event> {
        let event = self.device.events.pop_front()?;
        if self.device.events.len() == BACKLOG - 1 {
            self.drive(memory, |device, io| device.run(io));
        }
        Some(event)
    }

    /// At most `limit` bytes of what the guest has sent: none when there is nothing new.
    pub fn read(
        &mut self,
        socket: Socket,
        limit: usize,
        memory: &mut dyn GuestMemory,
    ) -> Result<Vec<u8>, NotConnected> {
        let connection = self.device.find(socket).ok_or(NotConnected)?;
        let length = limit.min(connection.received.len());
        let bytes: Vec<u8> = connection.received.drain(..length).collect();
        if connection.phase == Phase::Closed {
            if connection.received.is_empty() {
                self.device.connections.retain(|other| other.socket != socket);
            }
            return Ok(bytes);
        }
        connection.forwarded = connection.forwarded.wrapping_add(length as u32);
        if connection.forwarded.wrapping_sub(connection.announced) as usize >= BUFFER / 4 {
            connection.pending |= 1 << operation::CREDIT_UPDATE;
            self.drive(memory, |device, io| device.run(io));
        }
        Ok(bytes)
    }

    /// Sends, and tells how many bytes the guest had room for.
    pub fn write(
        &mut self,
        socket: Socket,
        bytes: &[u8],
        memory: &mut dyn GuestMemory,
    ) -> Result<usize, NotConnected> {
        let connection = self.device.find(socket).ok_or(NotConnected)?;
        match connection.phase {
            Phase::Connecting => return Ok(0),
            Phase::Open if connection.peer_shutdown & SHUTDOWN_RECEIVE == 0 && connection.shutdown == 0 => {}
            _ => return Err(NotConnected),
        }
        let written = self.drive(memory, |device, io| {
            device.run(io)?;
            device.write(socket, bytes, io)
        });
        written.ok_or(NotConnected)
    }

    /// Sends no more. What the guest sends can still be read.
    pub fn finish(&mut self, socket: Socket, memory: &mut dyn GuestMemory) {
        self.shut_down(socket, SHUTDOWN_SEND, memory);
    }

    /// Ends a connection in order. What was not read is lost.
    pub fn close(&mut self, socket: Socket, memory: &mut dyn GuestMemory) {
        self.shut_down(socket, SHUTDOWN_BOTH, memory);
    }

    fn shut_down(&mut self, socket: Socket, flags: u32, memory: &mut dyn GuestMemory) {
        let Some(connection) = self.device.find(socket) else { return };
        match connection.phase {
            Phase::Open => {
                connection.shutdown |= flags;
                connection.pending |= 1 << operation::SHUTDOWN;
                if flags == SHUTDOWN_BOTH {
                    connection.phase = Phase::Closing;
                    connection.received.clear();
                }
                self.drive(memory, |device, io| device.run(io));
            }
            Phase::Closed => self.device.connections.retain(|other| other.socket != socket),
            Phase::Connecting | Phase::Closing => self.abort(socket, memory),
        }
    }

    /// Ends a connection at once: the guest's end is reset.
    pub fn abort(&mut self, socket: Socket, memory: &mut dyn GuestMemory) {
        let connections = &mut self.device.connections;
        let Some(index) = connections.iter().position(|other| other.socket == socket) else { return };
        if connections.swap_remove(index).phase != Phase::Closed {
            self.device.resets.push_back((socket, TYPE_STREAM));
        }
        self.drive(memory, |device, io| device.run(io));
    }
}

impl State for Vsock {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VSOK", 1, |out| self.next_port.save(out));
    }

    /// Ports that the host listens at stay.
    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VSOK", 1)?;
        self.next_port = u32::load(&mut section)?;
        self.connections.clear();
        self.events.clear();
        self.resets.clear();
        self.transport_reset = true;
        section.finish()
    }
}
