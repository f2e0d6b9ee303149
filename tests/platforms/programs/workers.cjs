// Worker threads and a subprocess.
const { execSync } = require("node:child_process");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

if (isMainThread) {
  const numbers = [1, 2, 3];
  const results = numbers.map(
    (number) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: number });
        worker.on("message", resolve).on("error", reject);
      }),
  );
  Promise.all(results).then((squares) => {
    console.log(squares, 2 ** 53, 1 / 3, execSync("echo from a shell").toString().trim());
  });
} else {
  parentPort.postMessage(workerData ** 2);
}
