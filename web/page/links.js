/**
 * Links that a program puts on the terminal (OSC 8): their text says what the program likes, so a
 * person sees where they go before anything is opened.
 */

import { makeAnswer } from "./buttons.js";

/** How long an address is shown: what is in the middle of a longer one is left out. */
const SHOWN = 300;

/**
 * Where a link goes, as the browser understands it.
 *
 * @param {string} text as the program gave it
 * @returns {{ href: string, host: string, shown: string } | undefined} the host as it is asked for,
 *   with letters of other scripts as xn--; undefined for what is no web address
 */
export function destination(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  // Nobody is signed in by a link, but they make one host look like another.
  url.username = "";
  url.password = "";
  const { href, host } = url;
  const half = SHOWN / 2;
  const shown = href.length > SHOWN ? `${href.slice(0, half)} … ${href.slice(-half)}` : href;
  return { href, host, shown };
}

/** Asks before a link is opened; `handler` is xterm.js's option `linkHandler`. */
export class LinkPrompt {
  /** @type {HTMLElement | undefined} */
  #prompt;

  /**
   * @param {HTMLElement} element gets the question
   * @param {() => void} onClosed
   */
  constructor(element, onClosed) {
    this.element = element;
    this.onClosed = onClosed;
    this.handler = {
      activate: (/** @type {unknown} */ _event, /** @type {string} */ text) => this.#ask(text),
      hover: (/** @type {unknown} */ _event, /** @type {string} */ text) => {
        element.title = destination(text)?.shown ?? "";
      },
      leave: () => element.removeAttribute("title"),
    };
  }

  /** @param {string} text */
  #ask(text) {
    const where = destination(text);
    if (!where) return;
    this.close();
    const question = document.createElement("p");
    const host = document.createElement("strong");
    host.textContent = where.host;
    question.append("The program’s link goes to ", host, ":");
    const address = document.createElement("p");
    address.className = "bm-address";
    address.textContent = where.shown;
    const open = this.#button("Open in a new tab", () => {
      window.open(where.href, "_blank", "noopener,noreferrer");
    });
    const cancel = this.#button("Cancel", () => {});
    const buttons = document.createElement("div");
    buttons.className = "bm-buttons";
    buttons.append(open, cancel);
    const prompt = document.createElement("div");
    prompt.className = "bm-link";
    prompt.setAttribute("role", "alertdialog");
    prompt.setAttribute("aria-label", "Open a link");
    prompt.append(question, address, buttons);
    prompt.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.#answer(() => {});
    });
    this.element.append(prompt);
    this.#prompt = prompt;
    // Not the one that opens: whoever is typing would press it.
    cancel.focus();
  }

  /** @param {string} label @param {() => void} action */
  #button(label, action) {
    return makeAnswer(label, () => this.#answer(action));
  }

  /** @param {() => void} action */
  #answer(action) {
    this.close();
    action();
    this.onClosed();
  }

  close() {
    this.#prompt?.remove();
    this.#prompt = undefined;
  }
}
