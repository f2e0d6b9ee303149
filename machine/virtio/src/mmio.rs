//! The transport by registers in memory, version 2 (Virtio 4.2).

use alloc::vec::Vec;

use crate::memory::GuestMemory;
use crate::queue::{Chain, Fault, Queue};
use crate::state::{save_section, Field, Reader, State, StateError};

/// How many bytes of addresses a device takes.
pub const WINDOW: u64 = 0x1000;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
/// Any number that is not somebody else's: Linux prints it only.
const VENDOR: u32 = u32::from_le_bytes(*b"brmt");

mod register {
    pub const MAGIC_VALUE: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    pub const QUEUE_NUM: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    pub const CONFIG: u64 = 0x100;
}

/// Bits of the device status (Virtio 2.1).
pub mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 64;
    pub const FAILED: u8 = 128;
}

/// Feature bits of all devices (Virtio 6).
pub mod feature {
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
}
const COMMON_FEATURES: u64 = feature::INDIRECT_DESC | feature::EVENT_IDX | feature::VERSION_1;

const INTERRUPT_USED: u32 = 1;
const INTERRUPT_CONFIG: u32 = 2;

/// What a device is behind its registers. Its [`State`] is what it has beside its queues.
pub trait Device: State {
    /// Virtio 5.
    const ID: u32;
    /// The largest sizes of its queues, powers of 2.
    const QUEUES: &'static [u16];

    /// Those of its own.
    fn features(&self) -> u64 {
        0
    }

    /// The whole configuration space.
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn write_config(&mut self, _offset: u64, _bytes: &[u8]) {}

    /// Does all that can be done now, with what is in the queues. Called whenever the driver has
    /// notified of something.
    fn run(&mut self, io: &mut Io) -> Result<(), Fault>;

    /// Forgets all that the driver has told.
    fn reset(&mut self);

    /// Whether there is something for the host to take.
    fn has_output(&self) -> bool;
}

/// What a running device works with.
pub struct Io<'a> {
    queues: &'a mut [Queue],
    pub memory: &'a mut dyn GuestMemory,
    /// Those that were negotiated.
    pub features: u64,
    /// How many chains may still be taken. The driver does not run meanwhile: no queue has more to give
    /// than it has entries, unless the driver lets what is written be what is read.
    left: usize,
}

impl Io<'_> {
    pub fn queue(&self, queue: usize) -> &Queue {
        &self.queues[queue]
    }

    pub fn pop(&mut self, queue: usize) -> Result<Option<Chain>, Fault> {
        let chain = self.queues[queue].pop(self.memory)?;
        if chain.is_some() {
            self.left = self.left.checked_sub(1).ok_or(Fault::Endless)?;
        }
        Ok(chain)
    }

    pub fn unpop(&mut self, queue: usize) {
        self.queues[queue].unpop();
        self.left += 1;
    }

    pub fn push(&mut self, queue: usize, head: u16, written: usize) -> Result<(), Fault> {
        self.queues[queue].push(self.memory, head, written as u32)
    }

    pub fn has_available(&self, queue: usize) -> Result<bool, Fault> {
        self.queues[queue].has_available(self.memory)
    }

    /// The chain that was popped from there before, and not pushed.
    pub fn chain(&self, queue: usize, head: u16) -> Result<Chain, Fault> {
        self.queues[queue].chain(head, self.memory)
    }
}

/// A device's registers, as a bus sees them.
pub trait Transport: State {
    /// Reads a register. Bytes that are none are 0.
    fn read(&mut self, offset: u64, size: u8) -> u64;
    fn write(&mut self, offset: u64, size: u8, value: u64, memory: &mut dyn GuestMemory);
    /// Whether the device interrupts.
    fn irq_level(&self) -> bool;
    fn has_output(&self) -> bool;
    /// Goes on with what waited. For devices whose state was restored.
    fn poll(&mut self, memory: &mut dyn GuestMemory);
    /// What the driver did wrong, when the device needs to be reset.
    fn fault(&self) -> Option<Fault>;
}

/// A device behind its registers.
pub struct Mmio<D> {
    pub(crate) device: D,
    queues: Vec<Queue>,
    status: u8,
    driver_features: u64,
    device_features_select: u32,
    driver_features_select: u32,
    queue_select: u32,
    interrupts: u32,
    generation: u32,
    fault: Option<Fault>,
}

impl<D: Device> Mmio<D> {
    pub fn new(device: D) -> Mmio<D> {
        Mmio {
            device,
            queues: D::QUEUES.iter().map(|&size| Queue::new(size)).collect(),
            status: 0,
            driver_features: 0,
            device_features_select: 0,
            driver_features_select: 0,
            queue_select: 0,
            interrupts: 0,
            generation: 0,
            fault: None,
        }
    }

    pub fn status(&self) -> u8 {
        self.status
    }

    /// Whether the driver is there, and has done nothing wrong.
    pub fn is_running(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    fn offered_features(&self) -> u64 {
        COMMON_FEATURES | self.device.features()
    }

    /// Lets a running device do something, then interrupts as it has given back buffers. None when it
    /// does not run, or not any more.
    pub(crate) fn drive<T>(
        &mut self,
        memory: &mut dyn GuestMemory,
        act: impl FnOnce(&mut D, &mut Io) -> Result<T, Fault>,
    ) -> Option<T> {
        if !self.is_running() {
            return None;
        }
        let left = D::QUEUES.iter().map(|&size| usize::from(size)).sum();
        let mut io = Io { queues: &mut self.queues, memory, features: self.driver_features, left };
        let mut result = act(&mut self.device, &mut io);
        for queue in &mut self.queues {
            match queue.take_interrupt(memory) {
                Ok(true) => self.interrupts |= INTERRUPT_USED,
                Ok(false) => {}
                Err(fault) => result = result.and(Err(fault)),
            }
        }
        result.map_err(|fault| self.fail(fault)).ok()
    }

    /// Virtio 2.1.2.
    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.status |= status::NEEDS_RESET;
        self.config_changed();
    }

    /// Tells the driver that the configuration has changed.
    pub(crate) fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.status & status::DRIVER_OK != 0 {
            self.interrupts |= INTERRUPT_CONFIG;
        }
    }

    fn reset(&mut self) {
        self.device.reset();
        self.queues = D::QUEUES.iter().map(|&size| Queue::new(size)).collect();
        self.status = 0;
        self.driver_features = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.queue_select = 0;
        self.interrupts = 0;
        self.fault = None;
    }

    /// Virtio 3.1.1: no features are taken that were not offered, or without VERSION_1.
    fn set_status(&mut self, value: u8) {
        if value == 0 {
            return self.reset();
        }
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
        let mut new = self.status | value & (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | FAILED);
        let acceptable = self.driver_features & !self.offered_features() == 0
            && self.driver_features & feature::VERSION_1 != 0;
        if !acceptable {
            new &= !FEATURES_OK;
        }
        if new & FEATURES_OK == 0 {
            new &= !DRIVER_OK;
        }
        self.status = new;
        for queue in &mut self.queues {
            queue.event_index = self.driver_features & feature::EVENT_IDX != 0;
        }
    }

    fn write_register(&mut self, offset: u64, value: u32, memory: &mut dyn GuestMemory) {
        match offset {
            register::DEVICE_FEATURES_SEL => self.device_features_select = value,
            register::DRIVER_FEATURES_SEL => self.driver_features_select = value,
            register::DRIVER_FEATURES => {
                if self.status & status::FEATURES_OK == 0 {
                    set_half(&mut self.driver_features, self.driver_features_select, value);
                }
            }
            register::QUEUE_SEL => self.queue_select = value,
            register::QUEUE_NOTIFY => {
                if (value as usize) < self.queues.len() {
                    self.poll(memory);
                }
            }
            register::INTERRUPT_ACK => self.interrupts &= !value,
            register::STATUS => self.set_status(value as u8),
            _ => self.write_queue_register(offset, value),
        }
    }

    /// Those of the selected queue, which is set up before it is ready.
    fn write_queue_register(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else { return };
        if offset == register::QUEUE_READY {
            let enabled = match value & 1 {
                1 if !queue.ready => queue.enable(),
                1 => Ok(()),
                _ => {
                    queue.ready = false;
                    Ok(())
                }
            };
            return enabled.unwrap_or_else(|fault| self.fail(fault));
        }
        if queue.ready {
            return;
        }
        match offset {
            // What is no size is refused when the queue is enabled.
            register::QUEUE_NUM => queue.size = value.try_into().unwrap_or(0),
            register::QUEUE_DESC_LOW => set_half(&mut queue.descriptors, 0, value),
            register::QUEUE_DESC_HIGH => set_half(&mut queue.descriptors, 1, value),
            register::QUEUE_DRIVER_LOW => set_half(&mut queue.available, 0, value),
            register::QUEUE_DRIVER_HIGH => set_half(&mut queue.available, 1, value),
            register::QUEUE_DEVICE_LOW => set_half(&mut queue.used, 0, value),
            register::QUEUE_DEVICE_HIGH => set_half(&mut queue.used, 1, value),
            _ => {}
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        let queue = self.queues.get(self.queue_select as usize);
        match offset {
            register::MAGIC_VALUE => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => D::ID,
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => half(self.offered_features(), self.device_features_select),
            register::QUEUE_NUM_MAX => queue.map_or(0, |queue| u32::from(queue.max_size())),
            register::QUEUE_READY => queue.map_or(0, |queue| u32::from(queue.ready)),
            register::INTERRUPT_STATUS => self.interrupts,
            register::STATUS => u32::from(self.status),
            // There is no shared memory.
            register::SHM_LEN_LOW..=register::SHM_BASE_HIGH => u32::MAX,
            register::CONFIG_GENERATION => self.generation,
            _ => 0,
        }
    }
}

fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_half(value: &mut u64, select: u32, half: u32) {
    match select {
        0 => *value = *value & !0xffff_ffff | u64::from(half),
        1 => *value = *value & 0xffff_ffff | u64::from(half) << 32,
        _ => {}
    }
}

impl<D: Device> Transport for Mmio<D> {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        if offset < register::CONFIG {
            // Virtio 4.2.2.2: registers are read by words only.
            return if size == 4 { u64::from(self.read_register(offset)) } else { 0 };
        }
        let config = self.device.config();
        let start = (offset - register::CONFIG).min(config.len() as u64) as usize;
        let end = config.len().min(start + usize::from(size.min(8)));
        let mut bytes = [0; 8];
        bytes[..end - start].copy_from_slice(&config[start..end]);
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, memory: &mut dyn GuestMemory) {
        if offset >= register::CONFIG {
            let bytes = value.to_le_bytes();
            self.device.write_config(offset - register::CONFIG, &bytes[..usize::from(size.min(8))]);
        } else if size == 4 {
            self.write_register(offset, value as u32, memory);
        }
    }

    fn irq_level(&self) -> bool {
        self.interrupts != 0
    }

    fn has_output(&self) -> bool {
        self.device.has_output()
    }

    fn poll(&mut self, memory: &mut dyn GuestMemory) {
        self.drive(memory, |device, io| device.run(io));
    }

    fn fault(&self) -> Option<Fault> {
        self.fault
    }
}

impl<D: Device> State for Mmio<D> {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VMIO", 1, |out| {
            D::ID.save(out);
            self.status.save(out);
            self.driver_features.save(out);
            [self.device_features_select, self.driver_features_select, self.queue_select].save(out);
            [self.interrupts, self.generation].save(out);
            self.queues.iter().for_each(|queue| queue.save(out));
            self.device.save(out);
        });
    }

    /// The reason why a device needs a reset is not in the state.
    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VMIO", 1)?;
        if u32::load(&mut section)? != D::ID {
            return Err(StateError::Value("the kind of a device"));
        }
        self.reset();
        self.status = Field::load(&mut section)?;
        self.driver_features = Field::load(&mut section)?;
        [self.device_features_select, self.driver_features_select, self.queue_select] =
            Field::load(&mut section)?;
        [self.interrupts, self.generation] = Field::load(&mut section)?;
        for queue in &mut self.queues {
            queue.restore(&mut section)?;
        }
        self.device.restore(&mut section)?;
        section.finish()
    }
}
