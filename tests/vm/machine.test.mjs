/** What the machine, its init and its starter promise.  Needs root, and diod. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { ROM_END } from "../../web/vm/v86.js";
import { LINUX, newEmulator, runContainer } from "./container.mjs";

/** @param {string} script @param {import("./container.mjs").Run} [how] */
const sh = (script, how) => runContainer(["sh", "-c", script], how);
/** @param {string | Uint8Array} data */
const md5 = (data) => createHash("md5").update(data).digest("hex");

/** Lines of 64 bytes. @param {number} count */
const lines = (count) =>
  Buffer.from(Array.from({ length: count }, (_, i) => `${String(i).padStart(63, "x")}\n`).join(""));

test("resumes and passes streams and the exit code on", async () => {
  const result = await sh("echo out; echo err >&2; exit 3");
  assert.deepEqual(result.stages, ["resumed", "ready", "mounted", "started"]);
  assert.equal(result.stdout, "out\n");
  assert.equal(result.stderr, "err\n");
  assert.deepEqual(result.exit, { code: 3 });
});

const ofV86 = { skip: process.env.MACHINE === "x64" && "it has no ROMs" };
test(
  "a new machine's memory is zero above its ROMs, as resuming takes for granted",
  ofV86,
  async () => {
    const memory = 64 << 20;
    const emulator = await newEmulator(memory);
    const { cpu } = emulator.v86;
    for (let address = ROM_END; address < memory; address += 1 << 20)
      assert.ok(cpu.is_memory_zeroed(address, 1 << 20), `at ${address}`);
  },
);

test("boots without a snapshot", async () => {
  const result = await sh("exit 4", { boot: true });
  assert.deepEqual(result.stages, ["booting", "ready", "mounted", "started"]);
  assert.deepEqual(result.exit, { code: 4 });
});

test("boots when the snapshot belongs to another machine", async () => {
  const withSnapshot = { state: new ArrayBuffer(64), info: { memoryMiB: 128 } };
  const result = await sh("exit 5", { withSnapshot });
  assert.equal(result.stages[0], "booting");
  assert.deepEqual(result.exit, { code: 5 });
});

test("the clock is right, and random numbers differ, after resuming", async () => {
  const script = "date +%s; od -An -tx1 -N16 /dev/urandom";
  const [one, two] = [await sh(script), await sh(script)].map((r) => r.stdout.split("\n"));
  assert.ok(Math.abs(Number(two[0]) - Date.now() / 1000) < 10, two[0]);
  assert.notEqual(one[1], two[1]);
});

test("a terminal has its size, and is resized", async () => {
  let resized = false;
  const result = await sh(
    "stty size; trap 'stty size; exit 9' WINCH; echo ok; while :; do sleep 0.1; done",
    {
      process: { terminal: true },
      output: (text, machine) => {
        if (!text.includes("ok") || resized) return;
        resized = true;
        machine.resize(77, 22);
      },
    },
  );
  assert.equal(result.stdout, "33 101\r\nok\r\n22 77\r\n");
  assert.deepEqual(result.exit, { code: 9 });
});

test("Ctrl-C reaches the foreground process", async () => {
  let sent = false;
  const result = await sh("(trap - INT; echo ok; exec sleep 60); echo $?", {
    process: { terminal: true },
    output: (text, machine) => {
      if (!text.includes("ok") || sent) return;
      sent = true;
      machine.write(Buffer.from([3]));
    },
  });
  assert.match(result.stdout, /\^C/);
  assert.equal(result.exit.code, 130);
});

for (const mode of ["raw -echo", "-echo"])
  test(`a paste of 64 KiB arrives complete (stty ${mode})`, async () => {
    const data = lines(1024);
    let sent = false;
    const result = await sh(`stty ${mode}; echo ok; head -c ${data.length} | md5sum`, {
      process: { terminal: true },
      output: (text, machine) => {
        if (!text.includes("ok") || sent) return;
        sent = true;
        machine.write(data);
      },
    });
    assert.ok(result.stdout.includes(md5(data)), result.stdout);
  });

test("standard input ends where the host ends it", async () => {
  const data = lines(3000);
  const result = await runContainer(["md5sum"], {
    started: (machine) => {
      machine.write(data);
      machine.closeInput();
    },
  });
  assert.equal(result.stdout, `${md5(data)}  -\n`);
});

test("a program that is not found, or may not be executed", async () => {
  assert.deepEqual((await runContainer(["nope"])).error, {
    stage: "start",
    code: 127,
    message: 'exec: "nope": executable file not found in $PATH',
  });
  assert.deepEqual((await runContainer(["/nope"])).error, {
    stage: "start",
    code: 127,
    message: 'exec: "/nope": no such file or directory',
  });
  assert.deepEqual((await runContainer(["/etc/passwd"])).error, {
    stage: "start",
    code: 126,
    message: 'exec: "/etc/passwd": permission denied',
  });
});

test("a specification that cannot be carried out", async () => {
  const result = await sh("true", { spec: { linux: { namespaces: [{ type: "user" }] } } });
  assert.equal(result.error.stage, "bundle");
  assert.match(result.error.message, /"user" is not supported/);
});

test("signals, and kill -9 of the first process", async () => {
  const result = await sh("sleep 60", { started: (machine) => machine.signal(9) });
  assert.deepEqual(result.exit, { code: 137, signal: 9 });
  const stopped = await sh("trap 'exit 8' TERM; echo ok; while :; do sleep 0.1; done", {
    output: (_text, machine) => machine.terminate(),
  });
  assert.deepEqual(stopped.exit, { code: 8 });
});

test("what the first process sends to itself does not end it, as in any container", async () => {
  const result = await sh("kill -TERM $$; kill -SEGV $$; kill -STOP $$; echo still here");
  assert.equal(result.stdout, "still here\n");
  assert.deepEqual(result.exit, { code: 0 });
});

test("the process is what the specification says", async () => {
  const script =
    "id; umask; pwd; echo $HOME; hostname; grep -E 'CapBnd|NoNew|Max open' /proc/self/status /proc/self/limits";
  const result = await sh(script, {
    process: {
      user: { uid: 1000, gid: 1001, additionalGids: [7, 8], umask: 0o77 },
      cwd: "/made/here",
      noNewPrivileges: true,
      capabilities: { bounding: ["CAP_CHOWN", "CAP_KILL"] },
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 100, hard: 200 }],
    },
  });
  const [id, umask, cwd, home, host, ...status] = result.stdout.split("\n");
  // As from Docker, the primary group is one of them.
  assert.equal(id, "uid=1000(user) gid=1001 groups=7,8,1001");
  assert.deepEqual([umask, cwd, home, host], ["0077", "/made/here", "/home/user", "box"]);
  assert.match(status.join(" "), /CapBnd:\t0000000000000021/);
  assert.match(status.join(" "), /NoNewPrivs:\t1/);
  assert.match(status.join(" "), /Max open files +100 +200/);
});

test("root in the container opens neither the control channel nor the serial port", async () => {
  const script =
    "open() { busybox mknod /$1 c $2 $3 && (: </$1) && echo $1; (: >/$1) && echo $1; };" +
    "for port in 0 1 2 3; do open hvc$port 229 $port; done; open ttyS0 4 64; open console 5 1;" +
    "open kmsg 1 11; open null 1 3; [ -c /hvc1 ] && echo made";
  const result = await sh(script);
  assert.equal(result.stdout, "null\nnull\nmade\n");
  assert.equal(result.stderr.match(/Operation not permitted/g)?.length, 14);
});

test("a device of the specification can be opened", async () => {
  const devices = [{ path: "/dev/message", type: "c", major: 1, minor: 11 }];
  const script = "(: </dev/message) && echo opened; busybox mknod /x c 229 1; cat </x";
  const result = await sh(script, { spec: { linux: { ...LINUX, devices } } });
  assert.equal(result.stdout, "opened\n");
  assert.match(result.stderr, /Operation not permitted/);
});

test("a container has a limit of processes", async () => {
  const script =
    "cat /sys/fs/cgroup/pids.max; seq() { busybox seq $1; }; " +
    "seq 40 | while read i; do sleep 60 & done";
  /** @param {number} limit */
  const limited = (limit) =>
    sh(script, { spec: { linux: { ...LINUX, resources: { pids: { limit } } } } });
  assert.equal((await sh(script)).stdout, "1024\n");
  const result = await limited(30);
  assert.equal(result.stdout, "30\n");
  assert.match(result.stderr, /can't fork: Resource temporarily unavailable/);
  assert.equal((await limited(-1)).stdout, "max\n");
});

test("a fork bomb does not keep the machine from stopping its container", async () => {
  let asked = 0;
  const script = "bomb() { bomb | bomb & bomb; }; (bomb 2>/dev/null) & echo ok; exec sleep 600";
  const result = await sh(script, {
    output: (text, machine) => {
      if (asked || !text.includes("ok")) return;
      asked = Date.now() + 5000;
      setTimeout(() => machine.terminate(1), 5000);
    },
  });
  assert.deepEqual(result.exit, { code: 137, signal: 9 });
  assert.ok(Date.now() - asked < 60_000, `${Date.now() - asked} ms`);
});

test("ports below 1024 and ping are for all users of a new network", async () => {
  const script =
    "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range";
  assert.equal((await sh(script)).stdout, "0\n0\t2147483647\n");
});

test("namespaces are new where the specification wants them", async () => {
  const script =
    "for name in net ipc uts; do [ $(readlink /proc/1/ns/$name) = " +
    "$(readlink /proc/self/ns/$name) ] && echo old || echo new; done; " +
    "busybox ifconfig lo | grep -o 'UP LOOPBACK RUNNING'";
  /** @param {string[]} types */
  const within = (...types) =>
    sh(script, { spec: { linux: { namespaces: ["mount", ...types].map((type) => ({ type })) } } });
  assert.equal((await within()).stdout, "old\nold\nold\nUP LOOPBACK RUNNING\n");
  assert.equal((await within("network")).stdout, "new\nold\nold\nUP LOOPBACK RUNNING\n");
  assert.equal((await within("ipc", "uts")).stdout, "old\nnew\nnew\nUP LOOPBACK RUNNING\n");
});

test("a file of the bundle that is bound into the container can be written to", async () => {
  const result = await sh(
    "echo more >>/etc/hosts; cat /etc/hosts; echo new >/etc/hosts; cat /etc/hosts",
  );
  assert.equal(result.stdout, "127.0.0.1 localhost\nmore\nnew\n");
});

test("the host is not asked for what an overlay keeps for itself", async () => {
  /** @type {string[]} */
  const requests = [];
  await sh("ls / /bin", {
    request: (frame) => requests.push(Buffer.from(frame).toString("latin1")),
  });
  assert.ok(requests.some((request) => request.includes("busybox")));
  assert.deepEqual(
    requests.filter((request) => request.includes("trusted.overlay")),
    [],
  );
});

test("the host is not asked again for what was executed before", async () => {
  /** @param {number} count */
  const requests = async (count) => {
    let number = 0;
    const script = `i=0; while [ $((i += 1)) -le ${count} ]; do busybox true; done`;
    await sh(script, { request: () => number++ });
    return number;
  };
  assert.equal(await requests(20), await requests(2));
});

// The 64-bit machine alone has interpreters.
const translates = { skip: process.env.MACHINE !== "x64" };
test(
  "the machine runs an interpreter before the image is there, and ends that",
  translates,
  async () => {
    const TREAD = 116;
    let bytes = 0;
    // All of the machine's processes, as there is no PID namespace.
    const result = await sh("for f in /proc/[0-9]*/cmdline; do cat $f; echo; done", {
      spec: { linux: { namespaces: [{ type: "mount" }] } },
      processor: "riscv64",
      prepared: async () => {
        while (bytes < 1 << 20) await new Promise((resolve) => setTimeout(resolve, 50));
      },
      request: (frame) => {
        if (frame[4] === TREAD) bytes += Buffer.from(frame).readUInt32LE(19);
      },
    });
    assert.deepEqual(result.exit, { code: 0 });
    assert.match(result.stdout, /cmdline/);
    assert.doesNotMatch(result.stdout, /warmup|riscv64/);
  },
);

test("links of the image do not lead mounts astray", async () => {
  const mounts = [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/hostile/deep", type: "tmpfs", source: "tmpfs" },
    { destination: "/etc/hosts", type: "bind", source: "hosts", options: ["bind", "ro"] },
  ];
  const script = "grep -E 'outside' /proc/mounts | cut -d' ' -f2; cat /outside/file";
  const result = await sh(script.replace("cut -d' ' -f2", "while read a b c; do echo $b; done"), {
    spec: { mounts },
  });
  assert.equal(result.stdout, "/outside/deep\n/outside/file\n127.0.0.1 localhost\n");
});

test("the root file system can be written to, or not", async () => {
  assert.equal((await sh("echo x >/new && cat /new")).stdout, "x\n");
  const result = await sh("echo x >/new", { spec: { root: { path: "rootfs", readonly: true } } });
  assert.match(result.stderr, /Read-only file system/);
});

/** In the machine's own process namespace, with all that root may do. */
const UNCONFINED = { spec: { linux: { namespaces: [{ type: "mount" }] } } };

test("a kernel panic ends the machine with the kernel's words", async () => {
  // Init runs into zeros in the place of its code, and a kernel cannot do without it.
  const script =
    "start=$(head -1 /proc/1/maps | busybox cut -d- -f1); busybox grep r-x /proc/1/maps | " +
    "busybox sed 's/[- ].*//' | while read a; do busybox dd if=/dev/zero of=/proc/1/mem bs=4096 " +
    "count=16 seek=$((0x$a / 4096)) conv=notrunc; done; sleep 60";
  const { error } = await sh(script, UNCONFINED);
  assert.equal(error.stage, "machine");
  assert.equal(error.code, 125);
  assert.match(error.message, /^Kernel panic - not syncing: Attempted to kill init!/);
});

for (const how of ["halt", "reboot"])
  test(`a machine that its container makes ${how} is reported`, async () => {
    const { error } = await sh(`busybox ${how} -f; sleep 60`, UNCONFINED);
    assert.equal(error.stage, "machine");
    assert.match(error.message, /the machine (halted|was reset)/);
  });

test("output waits for a receiver that is slow, and none of it is lost", async () => {
  const size = 4 << 20;
  let received = 0;
  let acknowledged = 0;
  let most = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  const result = await sh(`busybox yes ${"x".repeat(63)} | head -c ${size}`, {
    started: (machine) => {
      machine.acknowledge(0);
      // Nothing is dealt with for a while, and then a little at a time.
      let waits = 40;
      timer = setInterval(() => {
        if (received < 512 * 1024 || waits-- > 0) return;
        const bytes = Math.min(256 * 1024, received - acknowledged);
        acknowledged += bytes;
        machine.acknowledge(bytes);
      }, 50);
    },
    output: (text) => {
      received = text.length;
      most = Math.max(most, received - acknowledged);
    },
  });
  clearInterval(timer);
  assert.equal(result.stdout.length, size);
  assert.ok(result.stdout === `${"x".repeat(63)}\n`.repeat(size / 64));
  assert.ok(most >= 512 * 1024 && most < 1024 * 1024, `${most} bytes waited`);
});
