//! The committed kernel boots on this board, up to the message that the guest is ready.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use board::boot::{self, Boot};
use board::{Board, Ram};
use cpu::{Cpu, Outcome};

const CONTROL: usize = 1;

fn image(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../web/vm/image64");
    fs::read(folder.join(name)).expect("the guest is committed")
}

struct Machine {
    cpu: Box<Cpu>,
    log: String,
    control: String,
    time: u64,
}

impl Machine {
    fn new(mib: u64) -> Machine {
        let size = mib << 20;
        let memory = Box::leak(vec![0u128; (size + 4096) as usize / 16].into_boxed_slice());
        let base = memory.as_mut_ptr().cast::<u8>();
        let base = unsafe { base.add(base.align_offset(4096)) };
        let ram = unsafe { cpu::memory::Ram::new(base, size) };
        let cpu = Cpu::new(ram, Box::new(Board::new(size)));
        Machine { cpu, log: String::new(), control: String::new(), time: 0 }
    }

    fn boot(mib: u64, command_line: &str) -> Machine {
        let mut machine = Machine::new(mib);
        let mut kernel = Vec::new();
        let packed = image("vmlinux.zst");
        ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap().read_to_end(&mut kernel).unwrap();
        let line = format!("{command_line}{}", Board::command_line());
        let boot = Boot {
            kernel: &kernel,
            initramfs: &image("initramfs.cpio.zst"),
            command_line: line.as_bytes(),
            seed: &[7; 64],
        };
        boot::load(&mut machine.cpu, &boot).unwrap();
        machine
    }

    fn step(&mut self, instructions: u32) -> Outcome {
        let outcome = self.cpu.run(instructions);
        // Here time is what the instructions take, or the wait for the next timer.
        self.time += 1_000_000;
        let executed = self.cpu.executed();
        let (bus, mut memory) = self.cpu.bus_and_memory();
        let board = (bus as &mut dyn std::any::Any).downcast_mut::<Board>().unwrap();
        if outcome == Outcome::Halt {
            self.time = self.time.max(board.next_timer().unwrap_or(0));
        }
        board.clock.look(self.time, executed, false);
        self.log.push_str(&String::from_utf8_lossy(&board.uart.take_output()));
        let output = board.console.take_output(CONTROL, &mut Ram(&mut memory));
        self.control.push_str(&String::from_utf8_lossy(&output));
        board.entropy.provide(&[1; 64], &mut Ram(&mut memory));
        board.update_lines();
        outcome
    }

    fn run_until(&mut self, message: &str, instructions: u64) {
        while !self.control.contains(message) {
            let outcome = self.step(100_000);
            assert!(
                matches!(outcome, Outcome::Budget | Outcome::Halt),
                "{outcome:?} after {} at {:#x}:\n{}",
                self.cpu.executed(),
                self.cpu.state.rip,
                self.log
            );
            assert!(
                self.cpu.executed() < instructions,
                "no {message:?} at {:#x}; control: {}; log:\n{}",
                self.cpu.state.rip,
                self.control,
                self.log
            );
        }
    }
}

#[test]
fn the_kernel_boots_until_it_is_ready() {
    let verbose = if std::env::var_os("BOOT_VERBOSE").is_some() { "earlyprintk=serial" } else { "quiet" };
    let mut machine = Machine::boot(256, &format!("console=ttyS0 {verbose} tsc=reliable reboot=t nowatchdog"));
    machine.run_until("ready", 60_000_000);
    eprintln!("ready after {} instructions", machine.cpu.executed());
}
