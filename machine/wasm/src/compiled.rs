//! Modules of compiled code, which the host instantiates.

use compiler::tiers::Order;

use crate::machine;

/// The last order, from `order` on.
static mut ORDER: Option<Order> = None;

fn last() -> Option<&'static Order> {
    // As for the machine: there is one thread.
    unsafe { (*(&raw const ORDER)).as_ref() }
}

/// Whether there is code worth a module. Its bytes, `order_length` of them, are at `order_address`
/// until the next call.
#[no_mangle]
pub extern "C" fn order() -> bool {
    let machine = machine();
    let order = machine.tiers.order(&mut machine.cpu);
    let any = order.is_some();
    unsafe { ORDER = order };
    any
}

#[no_mangle]
pub extern "C" fn order_address() -> *const u8 {
    last().map_or(core::ptr::null(), |order| order.bytes.as_ptr())
}

#[no_mangle]
pub extern "C" fn order_length() -> usize {
    last().map_or(0, |order| order.bytes.len())
}

/// Its number, for `install` and `refuse`.
#[no_mangle]
pub extern "C" fn order_number() -> u32 {
    last().map_or(0, |order| order.number)
}

/// How many places it takes in the table.
#[no_mangle]
pub extern "C" fn order_functions() -> u32 {
    last().map_or(0, |order| order.functions)
}

/// Whether all functions of former orders are dead, so that their places are free.
#[no_mangle]
pub extern "C" fn order_is_first() -> bool {
    last().is_some_and(|order| order.first)
}

/// The order is instantiated, with its functions in the table from `base` on.
#[no_mangle]
pub extern "C" fn install(number: u32, base: u32) {
    let machine = machine();
    machine.tiers.install(&mut machine.cpu, number, base, |place| place as usize);
}

/// The host has no room for it.
#[no_mangle]
pub extern "C" fn refuse(number: u32) {
    machine().tiers.refuse(number);
}
