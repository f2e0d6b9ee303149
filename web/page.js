/** index.html: one terminal that fills the window, for the image that the address names. */

import "./container-terminal.js";
import { imageOf } from "./location.js";

const DEFAULT_IMAGE = "images/default/";

const image = imageOf(location) ?? DEFAULT_IMAGE;
const terminal = document.createElement("container-terminal");
terminal.setAttribute("image", image);
terminal.setAttribute("autofocus", "");
document.title = `${image === DEFAULT_IMAGE ? "browsermount" : image} – browsermount`;
document.querySelector("main")?.append(terminal);
