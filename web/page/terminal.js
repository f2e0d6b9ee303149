/**
 * The terminal that a container is used through: xterm.js, fitted to its
 * element, with xterm-pty between it and the machine's console.
 */

import { FitAddon } from "../vendor/addon-fit.mjs";
import { Terminal } from "../vendor/xterm.mjs";
import { Termios, openpty } from "../vendor/xterm-pty.mjs";
import { isAnswer } from "../vm/quiet.js";
import { OutputQueue, inPortions } from "./console-bridge.js";
import { openStyled } from "./constructed-styles.js";
import { LinkPrompt } from "./links.js";
import { OutputGuard } from "./output-guard.js";
import { TouchSelection } from "./touch-selection.js";
import { LibcWidths } from "./unicode-widths.js";

/** How long output that the terminal has not taken is waited for: the machine may stand still. */
const SETTLE_MS = 200;
/** How many lines that were scrolled off are saved. */
const SAVED_LINES = 1000;

const THEME = {
  background: "#0d1117",
  foreground: "#d7dde5",
  cursor: "#6cb6ff",
  cursorAccent: "#0d1117",
  selectionBackground: "#3b5b83",
  black: "#30363d",
  red: "#ff7b72",
  green: "#57c469",
  yellow: "#dba642",
  blue: "#6cb6ff",
  magenta: "#c99bff",
  cyan: "#49c5d1",
  white: "#d7dde5",
  brightBlack: "#768390",
  brightRed: "#ffa198",
  brightGreen: "#7ee08b",
  brightYellow: "#f0c674",
  brightBlue: "#96d0ff",
  brightMagenta: "#dcbdfb",
  brightCyan: "#7fdbe4",
  brightWhite: "#ffffff",
};

/**
 * The machine's Linux has its own line discipline, which must be the only one:
 * here no echo, no line editing, no signals, no output processing.
 *
 * @param {Termios} termios
 */
function makeRaw(termios) {
  return new Termios(0, 0, termios.cflag, 0, termios.cc);
}

/**
 * Text without what could end bracketed paste: the rest would run at once, as if it was typed.
 * What is pasted shows where it was.
 *
 * @param {string} text
 */
function harmless(text) {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\x1b\x9b]/g, "\u241b");
}

/** Where the machine's console is connected. */
export class ContainerConsole {
  /** Whether what is asked of the terminal was answered long ago. */
  #replays = false;

  /**
   * @param {HTMLElement} element
   * @param {object} peer The machine's side.
   * @param {(data: Uint8Array) => void} peer.onInput What was typed or pasted.
   * @param {(cols: number, rows: number) => void} peer.onResize
   * @param {(bytes: number) => void} peer.onShown So many bytes of output were dealt with; less than 0 takes back.
   */
  constructor(element, { onInput, onResize, onShown }) {
    this.links = new LinkPrompt(element, () => this.focus());
    this.terminal = new Terminal({
      allowProposedApi: true, // for terminal.unicode
      cursorBlink: true,
      fontFamily: 'ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
      fontSize: 14,
      lineHeight: 1.15,
      linkHandler: this.links.handler,
      scrollback: 10000,
      theme: THEME,
    });
    this.terminal.unicode.register(new LibcWidths());
    this.terminal.unicode.activeVersion = "libc";
    const paste = this.terminal.paste.bind(this.terminal);
    this.terminal.paste = (text) => paste(harmless(text));
    const { master, slave } = openpty();
    slave.ioctl("TCSETS", makeRaw(slave.ioctl("TCGETS")));
    this.fitAddon = new FitAddon();
    this.terminal.loadAddon(this.fitAddon);
    master.activate(inPortions(this.terminal));
    this.guard = new OutputGuard(() => this.size);
    this.output = new OutputQueue(slave, onShown);
    this.onShown = onShown;
    slave.onReadable(() => {
      const data = Uint8Array.from(slave.read());
      if (!this.#replays || !isAnswer(data)) onInput(data);
    });
    slave.onSignal((signal) => {
      if (signal === "SIGWINCH") onResize(...slave.ioctl("TIOCGWINSZ"));
    });
    this.master = master;
    this.terminal.attachCustomKeyEventHandler((event) => this.#handleKey(event));
    openStyled(this.terminal, element);
    this.touch = new TouchSelection(this.terminal, element, () => this.#copy());
    // Before xterm.js sees it, which would paste it as it is.
    element.addEventListener("paste", (event) => this.#handlePaste(event), { capture: true });
    this.resizeObserver = new ResizeObserver(() => this.fit());
    this.resizeObserver.observe(element);
    this.fit();
  }

  get size() {
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  fit() {
    this.fitAddon.fit();
  }

  focus() {
    this.terminal.focus();
  }

  /** @param {Uint8Array} data */
  write(data) {
    const passed = this.guard.pass(data);
    this.output.push(passed);
    // What is kept back or left out counts as shown, and no longer when it comes later.
    if (passed.length !== data.length) this.onShown(data.length - passed.length);
  }

  /**
   * Show what a program had written that goes on now: what it has asked of the terminal was answered then.
   * @param {Uint8Array} data
   */
  async replay(data) {
    this.#replays = true;
    this.write(data);
    await this.#settle();
    this.#replays = false;
  }

  /** Wait until all output was taken, for a while. */
  async #settle() {
    const end = performance.now() + SETTLE_MS;
    while (!this.output.empty && performance.now() < end)
      await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => this.terminal.write("", () => resolve(undefined)));
  }

  /** What is shown, as what a terminal is sent to show it, when all output has been taken. */
  async serialize() {
    const { SerializeAddon } = await import("../vendor/addon-serialize.mjs");
    await this.#settle();
    const addon = new SerializeAddon();
    this.terminal.loadAddon(addon);
    const text = addon.serialize({ scrollback: SAVED_LINES });
    addon.dispose();
    return text;
  }

  /**
   * Show what serialize() has returned in a terminal of a certain size, where lines break as they did.
   * @param {string} text
   * @param {{ cols: number, rows: number }} size
   */
  async restore(text, { cols, rows }) {
    this.terminal.resize(Math.min(Math.max(cols, 2), 1000), Math.min(Math.max(rows, 1), 1000));
    await new Promise((resolve) => this.terminal.write(text, () => resolve(undefined)));
    this.fit();
  }

  /** Make it as new, for the next container. */
  reset() {
    this.output.clear();
    this.terminal.reset();
    this.guard.reset();
    this.links.close();
    this.terminal.options.disableStdin = false;
  }

  /** Nobody listens any more. */
  stopInput() {
    this.terminal.options.disableStdin = true;
    this.terminal.blur();
  }

  dispose() {
    this.resizeObserver.disconnect();
    this.output.dispose();
    this.master.dispose();
    this.terminal.dispose();
  }

  /** @param {ClipboardEvent} event */
  #handlePaste(event) {
    if (!event.clipboardData) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.terminal.options.disableStdin) return;
    this.terminal.paste(event.clipboardData.getData("text/plain"));
  }

  /**
   * Ctrl+Shift+C and Ctrl+Insert copy: without Shift, the former is an interrupt.  Pasting is the
   * browser's own, by Ctrl+Shift+V, Shift+Insert and the context menu.
   *
   * @param {KeyboardEvent} event
   */
  #handleKey(event) {
    if (!event.ctrlKey || event.altKey || event.metaKey) return true;
    const copies = event.shiftKey ? event.code === "KeyC" : event.code === "Insert";
    if (!copies) return true;
    event.preventDefault();
    if (event.type === "keydown" && this.terminal.hasSelection()) this.#copy();
    return false;
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.terminal.getSelection());
    } catch {
      // A page that came over plain http has no clipboard; xterm.js answers the event.
      document.execCommand("copy");
    }
  }
}
