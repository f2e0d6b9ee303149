/**
 * Selecting on the terminal by touch, which xterm.js does not do: a long press selects the word under
 * the finger, moving on extends it, and a button copies what is selected.
 */

const LONG_PRESS_MS = 500;
/** How far a finger may wander, in CSS pixels, and still be said to press. */
const SLACK = 10;

/** @import { Terminal } from "@xterm/xterm" */

export class TouchSelection {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {{ x: number, y: number } | undefined} where the finger came down */
  #start;
  /** @type {{ first: number, last: number } | undefined} the cells that the press selected */
  #anchor;

  /**
   * @param {Terminal} terminal which has been opened
   * @param {HTMLElement} element what it was opened in
   * @param {() => void} copy copies what is selected
   */
  constructor(terminal, element, copy) {
    this.terminal = terminal;
    this.element = element;
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "bm-button bm-copy";
    this.button.textContent = "Copy";
    this.button.hidden = true;
    this.button.addEventListener("click", () => {
      copy();
      terminal.clearSelection();
    });
    element.append(this.button);
    terminal.onSelectionChange(() => {
      if (!terminal.hasSelection()) this.button.hidden = true;
    });
    // Before xterm.js, which scrolls by touch, and would open the menu of its hidden text field.
    const early = { capture: true, passive: false };
    element.addEventListener("touchstart", (event) => this.#down(event), early);
    element.addEventListener("touchmove", (event) => this.#move(event), early);
    element.addEventListener("touchend", (event) => this.#up(event), early);
    element.addEventListener("touchcancel", (event) => this.#up(event), early);
    element.addEventListener("contextmenu", (event) => this.#menu(event), early);
  }

  /** @param {TouchEvent} event */
  #down(event) {
    clearTimeout(this.#timer);
    this.#anchor = undefined;
    if (event.touches.length !== 1 || event.target === this.button) return;
    const { clientX: x, clientY: y } = event.touches[0];
    this.#start = { x, y };
    this.#timer = setTimeout(() => this.#press(x, y), LONG_PRESS_MS);
  }

  /** @param {number} x @param {number} y */
  #press(x, y) {
    const cell = this.#cellAt(x, y);
    if (cell === undefined) return;
    this.#anchor = this.#wordAt(cell);
    this.#select(this.#anchor.first, this.#anchor.last);
  }

  /** @param {TouchEvent} event */
  #move(event) {
    const { clientX: x, clientY: y } = event.touches[0];
    if (this.#anchor) {
      event.preventDefault();
      event.stopPropagation();
      const cell = this.#cellAt(x, y);
      if (cell === undefined) return;
      this.#select(Math.min(this.#anchor.first, cell), Math.max(this.#anchor.last, cell));
    } else if (this.#start && Math.hypot(x - this.#start.x, y - this.#start.y) > SLACK) {
      clearTimeout(this.#timer);
    }
  }

  /** @param {TouchEvent} event */
  #up(event) {
    clearTimeout(this.#timer);
    if (!this.#anchor) return;
    this.#anchor = undefined;
    // No click follows, which would take the selection away.
    event.preventDefault();
    event.stopPropagation();
    this.button.hidden = !this.terminal.hasSelection();
  }

  /** @param {Event} event */
  #menu(event) {
    if (!this.#anchor) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * The cell at a place of the page, counted from the beginning of the buffer.
   * @param {number} x @param {number} y
   */
  #cellAt(x, y) {
    const screen = this.element.querySelector(".xterm-screen");
    if (!screen) return undefined;
    const { cols, rows, buffer } = this.terminal;
    const { left, top, width, height } = screen.getBoundingClientRect();
    const column = Math.floor(((x - left) / width) * cols);
    const row = Math.floor(((y - top) / height) * rows);
    const inside = (/** @type {number} */ value, /** @type {number} */ count) =>
      Math.min(Math.max(value, 0), count - 1);
    return (buffer.active.viewportY + inside(row, rows)) * cols + inside(column, cols);
  }

  /** @param {number} cell */
  #wordAt(cell) {
    const { cols, buffer } = this.terminal;
    const row = Math.floor(cell / cols);
    const line = buffer.active.getLine(row);
    // The right half of a wide character has a width of 0.
    const isWord = (/** @type {number} */ column) => {
      const found = line?.getCell(column);
      return found !== undefined && (found.getWidth() === 0 || found.getChars().trim() !== "");
    };
    let [first, last] = [cell % cols, cell % cols];
    if (isWord(first)) {
      while (first > 0 && isWord(first - 1)) first -= 1;
      while (last < cols - 1 && isWord(last + 1)) last += 1;
    }
    return { first: row * cols + first, last: row * cols + last };
  }

  /** @param {number} first @param {number} last */
  #select(first, last) {
    const { cols } = this.terminal;
    this.terminal.select(first % cols, Math.floor(first / cols), last - first + 1);
  }
}
