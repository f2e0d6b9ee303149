/**
 * Runs containers in the machine for the tests: a tiny root file system of
 * Debian's busybox-static, served by diod (an independent 9P server).
 */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { createMachine } from "../../web/vm/machine.js";
import { handle9pOver, loadMachine } from "../../web/vm/node.mjs";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TOOLS = path.join(ROOT, "tools/vm");
/** Which machine runs the containers; machine-x64.test.mjs sets it. */
const KIND = process.env.MACHINE === "x64" ? "x64" : "v86";
const IMAGE = path.join(ROOT, KIND === "x64" ? "web/vm/image64" : "web/vm/image");
const INTERPRETERS = path.join(ROOT, "web/vm/interpreters");
const EMULATOR = path.join(
  ROOT,
  KIND === "x64" ? "web/vm/x64/machine.wasm" : "node_modules/v86/build",
);
const CACHE = path.join(homedir(), ".cache/browsermount/vm-tests");

const APPLETS =
  "sh cat stty id sleep kill echo date head md5sum ls grep umask od mount readlink hostname pwd";

/** Makes something in the cache once; its name says what it depends on.
 * @param {string} name
 * @param {(directory: string) => Promise<void>} make
 */
async function cached(name, make) {
  const directory = path.join(CACHE, name);
  if (existsSync(directory)) return directory;
  await mkdir(CACHE, { recursive: true });
  const unfinished = await mkdtemp(`${directory}.`);
  await make(unfinished);
  try {
    await rename(unfinished, directory);
  } catch (error) {
    if (!existsSync(directory)) throw error;
    // Another process was faster.
    await rm(unfinished, { recursive: true, force: true });
  }
  return directory;
}

async function rootfs() {
  const architecture = KIND === "x64" ? "amd64" : "i386";
  return cached(`rootfs-3-${architecture}`, async (directory) => {
    const script = [
      "import sys; from pathlib import Path; from debian import Archive, unpack",
      "work = Path(sys.argv[1]); archive = Archive(work / 'apt'); archive.update()",
      `unpack(archive.fetch('busybox-static:${architecture}'), work / 'package')`,
    ].join("\n");
    await run("python3", ["-c", script, directory], {
      env: { ...process.env, PYTHONPATH: TOOLS },
    });
    await chmod(directory, 0o755); // of the container's "/"
    const bin = path.join(directory, "bin");
    await mkdir(bin);
    await rename(path.join(directory, "package/bin/busybox"), path.join(bin, "busybox"));
    for (const applet of APPLETS.split(" ")) await symlink("busybox", path.join(bin, applet));
    await mkdir(path.join(directory, "etc"));
    await writeFile(
      path.join(directory, "etc/passwd"),
      "root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n",
    );
    // Links that point out of the root, below which things are mounted.
    await symlink("../../../../outside/file", path.join(directory, "etc/hosts"));
    await symlink("/../../../../outside", path.join(directory, "hostile"));
    for (const name of ["apt", "package"])
      await rm(path.join(directory, name), { recursive: true, force: true });
  });
}

/** An emulator that has not run. @param {number} memory in bytes */
export async function newEmulator(memory) {
  const { emulator: kind } = await loadMachine({ image: IMAGE, [KIND]: EMULATOR });
  const V86 = /** @type {any} */ ((await import("v86")).V86);
  const module = await WebAssembly.compile(kind.wasm);
  const emulator = new V86({
    wasm_fn: async (/** @type {WebAssembly.Imports} */ imports) =>
      (await WebAssembly.instantiate(module, imports)).exports,
    memory_size: memory,
    virtio_console: true,
    filesystem: { handle9p: () => {} },
    autostart: false,
  });
  await new Promise((resolve) => {
    emulator.add_listener("emulator-loaded", resolve);
  });
  return emulator;
}

/** A snapshot of the machine as it is now. */
async function snapshot() {
  const { recipe, emulator } = await loadMachine({ image: IMAGE, [KIND]: EMULATOR });
  const code = createHash("sha256").update(new Uint8Array(emulator.wasm)).digest("hex");
  return cached(`snapshot-${recipe.slice(0, 16)}-${code.slice(0, 16)}`, async (directory) => {
    await run("node", [path.join(TOOLS, "snapshot.mjs"), IMAGE, EMULATOR, "256", directory]);
    await rename(path.join(directory, "snapshot.bin"), path.join(directory, "snapshot.zst"));
  });
}

/**
 * The kernel's client attaches to the root of what is served, as user "any";
 * diod wants the path that it exports, and a user that it knows.
 * @param {Uint8Array} frame
 * @param {string} exported
 */
function adaptAttach(frame, exported) {
  const TATTACH = 104;
  if (frame[4] !== TATTACH) return frame;
  const request = Buffer.from(frame);
  const afterUser = 17 + request.readUInt16LE(15);
  const name = Buffer.from(exported);
  const adapted = Buffer.concat([
    request.subarray(0, afterUser),
    Buffer.from([name.length & 255, name.length >> 8]),
    name,
    Buffer.alloc(4), // n_uname: root
  ]);
  adapted.writeUInt32LE(adapted.length, 0);
  return adapted;
}

export const LINUX = {
  namespaces: ["pid", "ipc", "uts", "mount", "network", "cgroup"].map((type) => ({ type })),
  maskedPaths: ["/proc/kcore"],
  readonlyPaths: ["/proc/sys"],
};

const MOUNTS = [
  { destination: "/proc", type: "proc", source: "proc" },
  {
    destination: "/dev",
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "mode=755", "size=65536k"],
  },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "ro"] },
  { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro"] },
  { destination: "/etc/hosts", type: "bind", source: "hosts", options: ["rbind", "rw"] },
];

/**
 * @typedef {object} Run
 * @property {boolean} [boot] without the snapshot
 * @property {Record<string, unknown>} [process] of the spec
 * @property {Record<string, unknown>} [spec]
 * @property {{ state: ArrayBuffer, info: any }} [withSnapshot]
 * @property {(machine: import("../../web/vm/machine.js").Machine) => void} [started]
 * @property {string} [processor] whose interpreter the machine prepares itself with
 * @property {() => Promise<void>} [prepared] how long it may do that
 * @property {(request: Uint8Array) => void} [request] of 9P
 * @property {(output: string, machine: import("../../web/vm/machine.js").Machine) => void} [output]
 */

/**
 * Runs a program to its end.
 * @param {string[]} args
 * @param {Run} [how]
 */
export async function runContainer(args, how = {}) {
  const tree = await mkdtemp(path.join(tmpdir(), "browsermount-vm-"));
  await cp(await rootfs(), path.join(tree, "rootfs"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  await mkdir(path.join(tree, "config"));
  await writeFile(path.join(tree, "config/hosts"), "127.0.0.1 localhost\n");
  const config = {
    ociVersion: "1.0.2",
    root: { path: "rootfs" },
    hostname: "box",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args,
      env: ["PATH=/nowhere:/bin"],
      cwd: "/",
      ...how.process,
    },
    mounts: MOUNTS,
    linux: LINUX,
    ...how.spec,
  };
  await writeFile(path.join(tree, "config/config.json"), JSON.stringify(config));

  if (how.processor) {
    const directory = path.join(tree, "interpreters");
    const program = path.join(directory, how.processor);
    await mkdir(directory);
    await run("zstd", ["-q", "-d", path.join(INTERPRETERS, `${how.processor}.zst`), "-o", program]);
    await chmod(program, 0o755);
  }

  const server = spawn("diod", ["-f", "-n", "-N", "-e", tree, "-r3", "-w3", "-L/dev/null"], {
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  const connection = /** @type {import("node:net").Socket} */ (server.stdio[3]);
  const handle9p = handle9pOver(connection);

  /** @type {{ stdout: string, stderr: string, stages: string[], exit?: any, error?: any }} */
  const result = { stdout: "", stderr: "", stages: [] };
  /** @type {import("../../web/vm/machine.js").Machine | undefined} */
  let machine;
  /** @param {Uint8Array} bytes */
  const output = (bytes) => {
    result.stdout += Buffer.from(bytes).toString("latin1");
    if (machine) how.output?.(result.stdout, machine);
  };
  try {
    await new Promise((resolve, reject) => {
      const begin = async () => {
        machine = await createMachine({
          ...(await loadMachine({
            image: IMAGE,
            [KIND]: EMULATOR,
            ...(!how.boot && { snapshot: await snapshot() }),
          })),
          ...(how.withSnapshot && { snapshot: how.withSnapshot }),
          memoryMiB: 256,
          handle9p: (request, reply) => {
            how.request?.(request);
            handle9p(adaptAttach(request, tree), reply);
          },
          on: {
            stage: ({ stage }) => {
              result.stages.push(stage);
              if (stage === "started" && machine) how.started?.(machine);
            },
            output,
            stdout: output,
            stderr: (bytes) => (result.stderr += Buffer.from(bytes)),
            exit: (exit) => resolve((result.exit = exit)),
            error: ({ stage, code, message }) => resolve((result.error = { stage, code, message })),
          },
        });
        if (how.processor) {
          machine.prepare();
          await how.prepared?.();
        }
        machine.start({ cols: 101, rows: 33 });
      };
      begin().catch(reject);
    });
  } finally {
    machine?.stop();
    connection.destroy();
    server.kill("SIGKILL");
    await rm(tree, { recursive: true });
  }
  return result;
}
