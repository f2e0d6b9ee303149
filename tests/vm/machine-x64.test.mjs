/** The same promises, of the 64-bit machine. */
process.env.MACHINE = "x64";
await import("./machine.test.mjs");
