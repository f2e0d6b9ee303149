/** Starts the workers while the rest of the page is still being loaded. */

import { likelyMachine } from "./likely-machine.js";
import { imageOf, parameterOf } from "./location.js";
import { prepare } from "./workers.js";

const image = imageOf(location);
const platform = parameterOf(location, "platform");
const machine = parameterOf(location, "machine");
const own = document
  .querySelector("meta[name=browsermount-default-machine]")
  ?.getAttribute("content");
if (image || platform || machine) prepare(likelyMachine({ image: image ?? "", platform, machine }));
else prepare(own === "x64" ? own : "v86");
