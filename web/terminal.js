/**
 * The terminal that a container is used through: xterm.js, fitted to its
 * element, with xterm-pty between it and the machine's console.
 */

import { FitAddon } from "./vendor/addon-fit.mjs";
import { Terminal } from "./vendor/xterm.mjs";
import { Termios, openpty } from "./vendor/xterm-pty.mjs";
import { OutputQueue, inPortions } from "./console-bridge.js";

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

/** Where the machine's console is connected. */
export class ContainerConsole {
  /**
   * @param {HTMLElement} element
   * @param {object} peer The machine's side.
   * @param {(data: Uint8Array) => void} peer.onInput What was typed or pasted.
   * @param {(cols: number, rows: number) => void} peer.onResize
   * @param {(bytes: number) => void} peer.onShown So many bytes of output were dealt with.
   */
  constructor(element, { onInput, onResize, onShown }) {
    this.terminal = new Terminal({
      allowProposedApi: false,
      cursorBlink: true,
      fontFamily: 'ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
      fontSize: 14,
      lineHeight: 1.15,
      scrollback: 10000,
      theme: THEME,
    });
    const { master, slave } = openpty();
    slave.ioctl("TCSETS", makeRaw(slave.ioctl("TCGETS")));
    this.fitAddon = new FitAddon();
    this.terminal.loadAddon(this.fitAddon);
    master.activate(inPortions(this.terminal));
    this.output = new OutputQueue(slave, onShown);
    slave.onReadable(() => onInput(Uint8Array.from(slave.read())));
    slave.onSignal((signal) => {
      if (signal === "SIGWINCH") onResize(...slave.ioctl("TIOCGWINSZ"));
    });
    this.master = master;
    this.terminal.attachCustomKeyEventHandler((event) => this.#handleKey(event));
    this.terminal.open(element);
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
    this.output.push(data);
  }

  /** Make it as new, for the next container. */
  reset() {
    this.terminal.reset();
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

  /**
   * Ctrl+Shift+C copies: without Shift it is an interrupt.  Pasting needs nothing,
   * since the browser does it for Ctrl+Shift+V as well.
   *
   * @param {KeyboardEvent} event
   */
  #handleKey(event) {
    const copy = event.ctrlKey && event.shiftKey && event.code === "KeyC";
    if (!copy || !this.terminal.hasSelection()) return true;
    if (event.type === "keydown") navigator.clipboard?.writeText(this.terminal.getSelection());
    event.preventDefault();
    return false;
  }
}
