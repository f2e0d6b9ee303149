/** Starts the workers while the rest of the page is still being loaded. */

import { likelyMachine } from "./likely-machine.js";
import { imageOf } from "./location.js";
import { attributesOf, plainStart } from "./page-attributes.js";
import { warmFor } from "./warm-state.js";
import { prepare } from "./workers.js";

const attributes = attributesOf(location, document);
const get = (/** @type {string} */ name) => attributes.get(name) ?? "";
const start = plainStart(attributes, document.baseURI);
const warm = start && warmFor(start, get("warm"), document.baseURI);

function guess() {
  const [platform, machine] = [get("platform"), get("machine")];
  const image = imageOf(location);
  if (image || platform || machine) return likelyMachine({ image: image ?? "", platform, machine });
  const own = document.querySelector("meta[name=browsermount-default-machine]");
  return own?.getAttribute("content") === "x64" ? "x64" : "v86";
}

// A machine of others is fetched from elsewhere, and only when the page is there.
if (!attributes.has("vm")) prepare(warm?.machine ?? guess(), warm);
