/**
 * Lets xterm.js style itself in a page whose Content-Security-Policy allows no inline styles.
 *
 * It makes `<style>` elements and sets `style` attributes, which such a policy blocks. Style sheets
 * that a script constructs, and properties that it sets, are allowed: so a `<style>` element of its
 * becomes a sheet, and the attribute the properties.
 */

/** @import { Terminal } from "@xterm/xterm" */

/** @this {HTMLElement} @param {string} name @param {string} value */
function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

/** An element that stands for a `<style>` element, and shows nothing itself. */
function makeStyle() {
  const sheet = new CSSStyleSheet();
  const element = document.createElement("template");
  Object.defineProperty(element, "textContent", {
    set(/** @type {string} */ text) {
      sheet.replaceSync(text);
    },
  });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    Element.prototype.remove.call(element);
  };
  document.adoptedStyleSheets.push(sheet);
  return element;
}

/** @param {string} name @param {any} [options] @returns {any} */
function createElement(name, options) {
  if (name === "style") return makeStyle();
  const element = Document.prototype.createElement.call(document, name, options);
  element.setAttribute = setAttribute;
  return element;
}

/**
 * Put a terminal into the page.
 *
 * xterm.js 6.0 has an option for the document that it uses, but neither its scroll bar nor its rows
 * heed that. So the page's own document is another one while the terminal is made, and the rows get
 * theirs where they keep it, since they make elements whenever something is shown.
 *
 * @param {Terminal} terminal
 * @param {HTMLElement} parent
 */
export function openStyled(terminal, parent) {
  document.createElement = createElement;
  try {
    terminal.open(parent);
  } finally {
    Reflect.deleteProperty(document, "createElement");
  }
  /** @type {any} */ (terminal)._core._renderService._renderer.value._rowFactory._document = {
    createElement,
  };
}
