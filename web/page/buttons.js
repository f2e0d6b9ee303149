/** The page's buttons. */

/**
 * @param {string} label
 * @param {() => unknown} action
 * @param {string} [title] what it does, in more words
 */
export function makeButton(label, action, title = "") {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.title = title;
  button.addEventListener("click", () => action());
  return button;
}

/**
 * A button that answers a question.
 * @param {string} label
 * @param {() => unknown} action
 */
export function makeAnswer(label, action) {
  const button = makeButton(label, action);
  button.className = "bm-button";
  return button;
}
