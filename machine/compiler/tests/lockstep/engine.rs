//! WebAssembly: an interpreter for it, with the arena as its memory.

use cpu::compiled::*;
use cpu::Cpu;
use wasmi::{
    Config, Engine, Global, Linker, Memory, MemoryType, Module, Mutability, Ref, Store, Table, TableType, Val, ValType,
};

pub struct Wasm {
    store: Store<()>,
    linker: Linker<()>,
    table: Table,
    /// How often compiled functions were called.
    pub calls: u64,
}

const ENTRIES: u32 = 1 << 16;

impl Wasm {
    /// The memory's contents are lost.
    pub fn new(memory: &'static mut [u8]) -> Wasm {
        let mut config = Config::default();
        config.wasm_tail_call(true);
        let engine = Engine::new(&config);
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let pages = (memory.len() >> 16) as u32;
        let memory = Memory::new_static(&mut store, MemoryType::new(pages, Some(pages)), memory).unwrap();
        linker.define("env", "memory", memory).unwrap();
        let nothing = Val::default(ValType::FuncRef);
        let table = Table::new(&mut store, TableType::new(ValType::FuncRef, ENTRIES, None), nothing).unwrap();
        linker.define("env", "table", table).unwrap();
        let whole = |low: u32| -> *mut Cpu { whole_address(low) as *mut Cpu };
        linker
            .func_wrap("env", "compiled_read", move |cpu: u32, va: u64, size: u32| unsafe {
                compiled_read(whole(cpu), va, size)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_write", move |cpu: u32, va: u64, value: u64, size: u32| unsafe {
                compiled_write(whole(cpu), va, value, size)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_modify", move |cpu: u32, va: u64, size: u32| unsafe {
                compiled_modify(whole(cpu), va, size)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_write_scratch", move |cpu: u32, va: u64, size: u32| unsafe {
                compiled_write_scratch(whole(cpu), va, size)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_window", move |cpu: u32, va: u64, size: u32, writes: u32| unsafe {
                compiled_window(whole(cpu), va, size, writes)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_fused", move |cpu: u32, how: u32, halves: u32| unsafe {
                compiled_fused(whole(cpu), how, halves)
            })
            .unwrap();
        linker
            .func_wrap("env", "compiled_interpret", move |cpu: u32, count: u32| unsafe {
                compiled_interpret(whole(cpu), count)
            })
            .unwrap();
        linker.func_wrap("env", "compiled_flags", move |cpu: u32| unsafe { compiled_flags(whole(cpu)) }).unwrap();
        linker.func_wrap("env", "compiled_cross", move |cpu: u32| unsafe { compiled_cross(whole(cpu)) }).unwrap();
        linker
            .func_wrap("env", "compiled_x87", move |cpu: u32, operation: u32, at: u64| unsafe {
                compiled_x87(whole(cpu), operation, at)
            })
            .unwrap();
        linker
            .func_wrap(
                "env",
                "compiled_x87_memory",
                move |host: u32, offset: u64, cpu: u32, operation: u32, at: u64| unsafe {
                    compiled_x87_memory(host, offset, whole(cpu), operation, at)
                },
            )
            .unwrap();
        linker.func_wrap("env", "compiled_multiply_high", |a: u64, b: u64| compiled_multiply_high(a, b)).unwrap();
        Wasm { store, linker, table, calls: 0 }
    }

    /// Puts a module's functions into the table from `base` on.
    pub fn instantiate(&mut self, bytes: &[u8], base: u32) {
        if let Err(error) = wasmparser::Validator::new().validate_all(bytes) {
            let path = std::env::temp_dir().join("invalid.wasm");
            std::fs::write(&path, bytes).unwrap();
            panic!("{error}: see {}", path.display());
        }
        let module = Module::new(self.store.engine(), bytes).unwrap();
        let global = Global::new(&mut self.store, Val::I32(base as i32), Mutability::Const);
        self.linker.allow_shadowing(true);
        self.linker.define("env", "base", global).unwrap();
        self.linker.instantiate_and_start(&mut self.store, &module).unwrap();
    }

    pub fn call(&mut self, index: u32, parameters: (u32, u64, i64)) -> u32 {
        self.calls += 1;
        let Some(Val::FuncRef(Ref::Val(function))) = self.table.get(&self.store, u64::from(index)) else {
            panic!("no function {index}");
        };
        function.typed::<(u32, u64, i64), u32>(&self.store).unwrap().call(&mut self.store, parameters).unwrap()
    }
}

fn whole_address(low: u32) -> usize {
    crate::arena::base() | low as usize
}
