/** index.html: one terminal that fills the window, for the image that the address names. */

import "../container-terminal.js";
import { DEFAULT_IMAGE, imageOf, parameterOf } from "./location.js";

const image = imageOf(location) ?? DEFAULT_IMAGE;
const terminal = document.createElement("container-terminal");
terminal.setAttribute("image", image);
terminal.setAttribute("autofocus", "");
for (const name of [
  "mirror",
  "platform",
  "machine",
  "memory",
  "toc",
  "fetch",
  "relay",
  "network-proxy",
  "network-name",
  "hostname",
  "session",
  "persist",
]) {
  const configured = document.querySelector(`meta[name=browsermount-${name}]`);
  const given = parameterOf(location, name);
  const value = given || configured?.getAttribute("content");
  // Whoever made the link would read what a person signs in with.
  if (given && /^(mirror|network-proxy)$/.test(name)) {
    terminal.setAttribute(`${name}-without-credentials`, "");
  }
  // What the container sends without encryption, its relay reads.
  if (name === "relay" && given) terminal.setAttribute("relay-by-link", "");
  // Other containers of this browser can be reached from here, and reach this one.
  if (name === "network-name" && given) terminal.setAttribute("network-name-by-link", "");
  if (value) terminal.setAttribute(name, value);
}
// Where previews are shown, the page's owner decides alone.
const preview = document.querySelector("meta[name=browsermount-preview]")?.getAttribute("content");
if (preview) terminal.setAttribute("preview", preview);
// A link may take the network away; what can be reached, the page's owner decides.
const limit = document.querySelector("meta[name=browsermount-network]")?.getAttribute("content");
const closed = parameterOf(location, "network") === "none";
if (closed || limit) terminal.setAttribute("network", closed ? "none" : (limit ?? ""));
// The address is that of what is shown, also when the person comes back.
terminal.addEventListener("session", () => {
  const address = new URL(location.href);
  for (const name of ["image", "platform", "session", "persist"]) {
    const value = terminal.getAttribute(name);
    if (value) address.searchParams.set(name, value);
  }
  if (terminal.getAttribute("image") === DEFAULT_IMAGE) address.searchParams.delete("image");
  history.replaceState(null, "", address);
});
document.title = `${image === DEFAULT_IMAGE ? "browsermount" : image} – browsermount`;
document.querySelector("main")?.append(terminal);
