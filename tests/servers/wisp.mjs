/**
 * A relay of somebody else's making, for tests: every name is this machine's.
 *
 *   node wisp.mjs PORT
 */

import http from "node:http";
// @ts-expect-error: it comes without types
import { logging, server } from "@mercuryworkshop/wisp-js/server";

logging.set_level(logging.ERROR);
Object.assign(server.options, {
  allow_loopback_ips: true,
  // Names under "none" are not there.
  dns_method: async (/** @type {string} */ name) => {
    if (name.endsWith(".none.example")) throw new Error("no such name");
    return "127.0.0.1";
  },
  hostname_blacklist: [/^blocked\.example$/],
});

http
  .createServer()
  .on("upgrade", (request, socket, head) => server.routeRequest(request, socket, head))
  .listen(Number(process.argv[2]), "127.0.0.1");
