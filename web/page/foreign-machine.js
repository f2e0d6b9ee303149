/** A machine of others, as the page's owner or the page's address names it. */

import { makeAnswer } from "./buttons.js";

/** @import { Failure } from "../messages.js" */

/**
 * @param {string} vm its address, which may be relative to the page's; empty for none
 * @param {{ base: string, linked: boolean }} how whether a link has chosen it
 * @returns {{ url: string, foreign: boolean, lacking?: Failure }} its whole address, and whether it is one that
 *   the page's owner knows nothing of; or what is wrong
 */
export function foreignMachineOf(vm, { base, linked }) {
  if (!vm) return { url: "", foreign: false };
  const url = URL.canParse(vm, base) ? new URL(vm, base) : undefined;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") {
    return {
      url: "",
      foreign: linked,
      lacking: {
        code: "vm",
        message: `${vm} is not the address of a machine`,
        hint: "Give the http or https address of what c2w --external-bundle has made, such as ./out.wasm.gz.",
        details: "",
      },
    };
  }
  // What lies beside the page is its owner's, whoever has made the link.
  return { url: url.href, foreign: linked && url.origin !== new URL(base).origin };
}

/**
 * Ask whether a machine is started that a link has chosen.
 * @param {HTMLElement} element gets the question
 * @param {{ url: string, image: string }} what
 * @returns {Promise<boolean>}
 */
export function askForeignMachine(element, { url, image }) {
  const prompt = document.createElement("div");
  prompt.className = "bm-body";
  prompt.setAttribute("role", "alertdialog");
  prompt.setAttribute("aria-label", "Run a machine of others");
  const question = document.createElement("p");
  question.className = "bm-message";
  const host = document.createElement("strong");
  host.textContent = new URL(url).host;
  question.append("The link to this page runs the image on a virtual machine from ", host, ".");
  const why = document.createElement("p");
  why.className = "bm-hint";
  why.textContent =
    "It is a program in WebAssembly that this page knows nothing of. It cannot reach more of your browser than " +
    `a container can, but it sees all of the image ${image} and what you type, and can send that to whom it ` +
    "likes. Run it only if you trust whoever gave you the link.";
  const address = document.createElement("pre");
  address.className = "bm-details";
  address.textContent = url;
  prompt.append(question, why, address);
  element.replaceChildren(prompt);
  return new Promise((resolve) => {
    const cancel = makeAnswer("Cancel", () => resolve(false));
    prompt.append(
      makeAnswer("Run it", () => resolve(true)),
      " ",
      cancel,
      " ",
    );
    cancel.focus();
  });
}
