/** Asks before a preview is opened that has the rights of this page. */

import { makeAnswer } from "./buttons.js";

/**
 * @param {HTMLElement} element gets the question
 * @param {number} port
 * @param {() => void} open
 * @param {() => void} onClosed
 */
export function askPreview(element, port, open, onClosed) {
  element.querySelector(".bm-link")?.remove();
  const prompt = document.createElement("div");
  prompt.className = "bm-link";
  prompt.setAttribute("role", "alertdialog");
  prompt.setAttribute("aria-label", "Open a preview");
  const question = document.createElement("p");
  const strong = document.createElement("strong");
  strong.textContent = location.host;
  question.append(
    `What the container serves at port ${port} will be a page of `,
    strong,
    ". It can do there what this page can: read and change what the site keeps in your browser, and " +
      "act in this page. Open it only if you trust the image.",
  );
  const buttons = document.createElement("div");
  buttons.className = "bm-buttons";
  const close = () => {
    prompt.remove();
    onClosed();
  };
  const cancel = makeAnswer("Cancel", close);
  buttons.append(
    makeAnswer("Open in a new tab", () => {
      close();
      open();
    }),
    cancel,
  );
  prompt.append(question, buttons);
  prompt.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  });
  element.append(prompt);
  cancel.focus();
}
