/** index.html: one terminal that fills the window, for the image that the address names. */

import "./container-terminal.js";
import { imageOf, mirrorOf, platformOf } from "./location.js";

const DEFAULT_IMAGE = "images/default/";

const image = imageOf(location) ?? DEFAULT_IMAGE;
const terminal = document.createElement("container-terminal");
terminal.setAttribute("image", image);
terminal.setAttribute("autofocus", "");
const configured = document.querySelector("meta[name=browsermount-mirror]");
const mirror = mirrorOf(location) || configured?.getAttribute("content");
if (mirror) terminal.setAttribute("mirror", mirror);
const platform = platformOf(location);
if (platform) terminal.setAttribute("platform", platform);
document.title = `${image === DEFAULT_IMAGE ? "browsermount" : image} – browsermount`;
document.querySelector("main")?.append(terminal);
