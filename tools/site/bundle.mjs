// Usage: node bundle.mjs WEB SITE [NAME=FILE...]
//
// Writes the page's scripts into a site: of each one that others know by its address, a file with all
// that it imports. What is imported is that of WEB, where vendor/NAME is the FILE.
//
// The page and its two workers start on the same few processors: sixty modules are sixty requests, which
// the browser, its network process and the page's own thread have to deal with.

import { readFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { build } from "esbuild";

const [web, site] = process.argv.slice(2, 4).map((path) => resolve(path));
const vendor = new Map(process.argv.slice(4).map((pair) => /** @type {any} */ (pair.split("="))));

// One module is shared by two scripts of the page, since it has a state: which workers were started.
const SHARED = "page/workers.js";
const SCRIPTS = [
  SHARED,
  "page/prepare.js",
  "page/page.js",
  "container-terminal.js",
  "worker.js",
  "vm/worker.js",
  // Of ordinary layers.
  "mount/early-worker.js",
  // Machines of others alone need these.
  "page/wasi-machine.js",
  "wasi/worker.js",
  "wasi/service-worker.js",
];

/**
 * @param {string} script as SCRIPTS has it
 * @returns {import("esbuild").Plugin}
 */
function parts(script) {
  const folder = dirname(join(web, script));
  return {
    name: "parts",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /\/vendor\// }, ({ path }) => {
        const file = vendor.get(path.slice(path.lastIndexOf("/") + 1));
        return file ? { path: resolve(file) } : undefined;
      });
      onResolve({ filter: /\.js$/ }, ({ path, resolveDir, kind }) => {
        const name = relative(web, join(resolveDir, path));
        const apart = name === SHARED || (script !== name && SCRIPTS.includes(name));
        if (kind === "entry-point" || !apart) return undefined;
        const from = relative(folder, join(web, name));
        return { path: from.startsWith(".") ? from : `./${from}`, external: true };
      });
      // What a module finds beside itself is where it was.
      onLoad({ filter: /\.js$/ }, async ({ path }) => {
        const text = await readFile(path, "utf8");
        const from = relative(folder, path);
        const contents = from.includes("/")
          ? text.replaceAll("import.meta.url", `new URL(${JSON.stringify(from)}, import.meta.url)`)
          : text;
        return { contents };
      });
    },
  };
}

await Promise.all(
  SCRIPTS.map((script) =>
    build({
      entryPoints: [join(web, script)],
      outfile: join(site, script),
      bundle: true,
      // Not its syntax: that makes one expression of calls of handles to files, of which then nobody holds
      // any. In Chromium the answer to such a call may never come: docs/architecture.md.
      minifyWhitespace: true,
      minifyIdentifiers: true,
      format: "esm",
      target: "esnext",
      legalComments: "none",
      banner: { js: "// The licences of all that is in here: THIRD-PARTY-NOTICES.txt" },
      logLevel: "warning",
      plugins: [parts(script)],
    }),
  ),
);
