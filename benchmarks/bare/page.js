/** Runs the bare machine and notes when what happened, for benchmarks/machines.py to read. */

/** @type {{ times: Record<string, number>, text: string, ended: boolean }} */
const benchmark = { times: {}, text: "", ended: false };
Object.assign(window, { benchmark });

/** @param {string} name */
function mark(name) {
  benchmark.times[name] ??= performance.now();
}

// What a terminal would not show.
// eslint-disable-next-line no-control-regex
const COLOURS = /\x1b\[[0-9;]*m/g;

const decoder = new TextDecoder();
const prompt = new URLSearchParams(location.search).get("prompt") ?? "";
const worker = new Worker(new URL("./worker.js?use-scheduling-api", import.meta.url), {
  type: "module",
});
worker.onmessage = (/** @type {MessageEvent<any>} */ { data }) => {
  if (data.type === "output") {
    benchmark.text += decoder.decode(data.bytes, { stream: true });
    mark("first output");
    if (benchmark.text.replace(COLOURS, "").includes(prompt)) mark("prompt");
  } else if (data.type === "stage") {
    mark(data.stage);
  } else {
    benchmark.text += data.message ?? "";
    benchmark.ended = true;
  }
};
