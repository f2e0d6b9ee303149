/** Starts the workers while the rest of the page is still being loaded. */

import { likelyMachine } from "./likely-machine.js";
import { imageOf, parameterOf } from "./location.js";
import { prepare } from "./workers.js";

const image = imageOf(location);
const platform = parameterOf(location, "platform");
const own = document.querySelector("meta[name=browsermount-machine]")?.getAttribute("content");
prepare(image || platform ? likelyMachine(image ?? "", platform) : own === "x64" ? own : "v86");
