// Worker threads, with so many megabytes of addresses for compiled code each as the argument says.
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

if (isMainThread) {
  const limits = process.argv[2] ? { codeRangeSizeMb: Number(process.argv[2]) } : {};
  const results = [1, 2, 3].map(
    (number) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: number, resourceLimits: limits });
        worker.on("message", resolve).on("error", reject);
      }),
  );
  Promise.all(results).then((squares) => console.log(squares, 2 ** 53, 1 / 3));
} else {
  parentPort.postMessage(workerData ** 2);
}
