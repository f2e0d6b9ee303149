/** index.html: one terminal that fills the window, for the image that the address names. */

import "../container-terminal.js";
import { DEFAULT_IMAGE } from "./location.js";
import { attributesOf } from "./page-attributes.js";

const attributes = attributesOf(location, document);
const image = attributes.get("image") ?? DEFAULT_IMAGE;
const terminal = document.createElement("container-terminal");
terminal.setAttribute("autofocus", "");
for (const [name, value] of attributes) terminal.setAttribute(name, value);
// The address is that of what is shown, also when the person comes back.
terminal.addEventListener("session", () => {
  const address = new URL(location.href);
  for (const name of ["image", "platform", "session", "persist"]) {
    const value = terminal.getAttribute(name);
    if (value) address.searchParams.set(name, value);
  }
  if (!terminal.hasAttribute("vm")) address.searchParams.delete("vm");
  if (terminal.getAttribute("image") === DEFAULT_IMAGE) address.searchParams.delete("image");
  history.replaceState(null, "", address);
});
document.title = `${image === DEFAULT_IMAGE ? "browsermount" : image} – browsermount`;
document.querySelector("main")?.append(terminal);
