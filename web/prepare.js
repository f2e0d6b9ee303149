/** Starts the workers while the rest of the page is still being loaded. */

import { DEFAULT_IMAGE, imageOf, parameterOf } from "./location.js";
import { likelyMachine } from "./platform.js";
import { prepare } from "./workers.js";

prepare(
  likelyMachine({
    image: imageOf(location) ?? DEFAULT_IMAGE,
    platform: parameterOf(location, "platform"),
    machine: parameterOf(location, "machine"),
  }),
);
