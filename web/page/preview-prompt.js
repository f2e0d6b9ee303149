/** Asks before a preview is opened that has the rights of this page. */

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
  /** @param {string} label @param {() => void} action */
  const button = (label, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "bm-button";
    made.textContent = label;
    made.addEventListener("click", () => {
      close();
      action();
    });
    buttons.append(made);
    return made;
  };
  button("Open in a new tab", open);
  const cancel = button("Cancel", () => {});
  prompt.append(question, buttons);
  prompt.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  });
  element.append(prompt);
  cancel.focus();
}
