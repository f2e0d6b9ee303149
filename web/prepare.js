/** Starts the workers while the rest of the page is still being loaded. */

import { prepare } from "./workers.js";

prepare();
