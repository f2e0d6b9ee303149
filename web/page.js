/** index.html: one terminal that fills the window, for the image that the address names. */

import "./container-terminal.js";
import { imageOf, parameterOf } from "./location.js";

const DEFAULT_IMAGE = "images/default/";

const image = imageOf(location) ?? DEFAULT_IMAGE;
const terminal = document.createElement("container-terminal");
terminal.setAttribute("image", image);
terminal.setAttribute("autofocus", "");
for (const name of ["mirror", "platform", "toc", "fetch", "session"]) {
  const configured = document.querySelector(`meta[name=browsermount-${name}]`);
  const given = parameterOf(location, name);
  const value = given || configured?.getAttribute("content");
  // Whoever made the link would read what a person signs in with.
  if (name === "mirror" && given) terminal.setAttribute("mirror-without-credentials", "");
  if (value) terminal.setAttribute(name, value);
}
// A link may take the network away; what can be reached, the page's owner decides.
const limit = document.querySelector("meta[name=browsermount-network]")?.getAttribute("content");
const closed = parameterOf(location, "network") === "none";
if (closed || limit) terminal.setAttribute("network", closed ? "none" : (limit ?? ""));
document.title = `${image === DEFAULT_IMAGE ? "browsermount" : image} – browsermount`;
document.querySelector("main")?.append(terminal);
