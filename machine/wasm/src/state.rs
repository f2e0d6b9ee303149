//! A whole machine as bytes: its processor, its board, and the pages of its memory that are not zero.

use alloc::vec::Vec;

use cpu::memory::PAGE;
use ruzstd::io::Read;
use virtio::State;

use crate::Machine;

const MAGIC: &[u8; 8] = b"bmx64\0\0\x01";
/// The most words and bytes that a processor's and a board's state have.
const MAX_PART: usize = 1 << 22;
/// So many bytes of memory are taken at once: what unpacks a state keeps as much as it is asked for.
const STEP: usize = 1 << 16;

/// `free` has a bit for each page, the lowest one first, that is set where the page's content does not matter.
/// It may be shorter than the memory. None where there is no room for the state.
pub fn save(machine: &mut Machine, free: &[u8]) -> Option<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    let words = machine.cpu.save();
    let size = machine.cpu.ram.size();
    put(&mut out, words.len() as u32);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let mut part = Vec::new();
    machine.board().0.save(&mut part);
    put(&mut out, part.len() as u32);
    out.extend_from_slice(&part);
    out.extend_from_slice(&size.to_le_bytes());
    let (board, memory) = machine.board();
    let balloon = board.balloon.is_running();
    let is_free = |page: u64| free.get((page / 8) as usize).is_some_and(|bits| bits >> (page % 8) & 1 == 1);
    let wanted = |page: u64| {
        if is_free(page) {
            return false;
        }
        let bytes = memory.bytes(page * PAGE, PAGE).unwrap_or_default();
        !(balloon && board.balloon.holds(page)) && !is_zero(bytes)
    };
    let pages = size / PAGE;
    // The first page of each run, and how many they are.
    let mut runs = Vec::new();
    let mut page = 0;
    while page < pages {
        if !wanted(page) {
            page += 1;
            continue;
        }
        let first = page;
        while page < pages && wanted(page) {
            page += 1;
        }
        runs.push((first, page - first));
    }
    // As it grows, it would be there twice.
    let length: u64 = runs.iter().map(|&(_, count)| 8 + count * PAGE).sum::<u64>() + 8;
    out.try_reserve_exact(usize::try_from(length).ok()?).ok()?;
    for (first, count) in runs {
        put(&mut out, first as u32);
        put(&mut out, count as u32);
        out.extend_from_slice(memory.bytes(first * PAGE, count * PAGE).unwrap_or_default());
    }
    put(&mut out, 0);
    put(&mut out, 0);
    Some(out)
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn is_zero(page: &[u8]) -> bool {
    page.chunks_exact(8).all(|word| word == [0; 8])
}

fn take<const N: usize>(source: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn part(source: &mut impl Read, size: usize) -> Option<Vec<u8>> {
    let length = (u32::from_le_bytes(take(source)?) as usize).checked_mul(size)?;
    if length > MAX_PART {
        return None;
    }
    let mut bytes = alloc::vec![0; length];
    source.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// None when that is no state of a machine like this one, which must not be used then.
pub fn restore(machine: &mut Machine, mut source: impl Read) -> Option<()> {
    let source = &mut source;
    if take(source)? != *MAGIC {
        return None;
    }
    let words: Vec<u64> = part(source, 8)?
        .chunks_exact(8)
        .map(|word| word.try_into().map(u64::from_le_bytes))
        .collect::<Result<_, _>>()
        .ok()?;
    let board = part(source, 1)?;
    let size = u64::from_le_bytes(take(source)?);
    // One with less than what a machine can start with is of another one.
    if size != machine.cpu.ram.size() && !machine.cpu.memory().grow(size) {
        return None;
    }
    loop {
        let [first, count] = [take(source)?, take(source)?].map(|word| u64::from(u32::from_le_bytes(word)));
        if count == 0 {
            break;
        }
        let mut memory = machine.cpu.memory();
        for step in memory.bytes_mut(first * PAGE, count * PAGE)?.chunks_mut(STEP) {
            source.read_exact(step).ok()?;
        }
    }
    machine.board().0.restore_all(&board).ok()?;
    machine.cpu.restore(&words).ok()?;
    let (board, mut memory) = machine.board();
    board.resume(&mut memory);
    Some(())
}
