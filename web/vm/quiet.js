/**
 * When a container that was just started waits for what a person types: its prompt is shown, and for a while
 * it has said and asked for nothing.
 *
 * Whether it calculates something meanwhile does not matter: a state of the machine is whole at any moment,
 * and what goes on from it calculates on.
 */

/** For so long nothing has happened then. */
const QUIET_MS = 1000;

/** What was shown is a part of the state. With more, a start has not come to a prompt. */
const MAX_SHOWN = 64 * 1024;

/** What moves, colours and names things, and shows nothing (ECMA-48, sections 5.2 to 5.6). */
const INVISIBLE = new RegExp(
  [
    "\\x1b\\[[0-?]*[ -/]*[@-~]", // control sequences
    "\\x1b[\\]PX^_][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\)", // control strings
    "\\x1b[ -/]*[0-~]", // other escapes
    "[\\x00-\\x08\\x0e-\\x1f\\x7f]",
  ].join("|"),
  "g",
);

/** What a terminal says when it is asked where its cursor is, what it is, and so on. */
const ANSWERS = new RegExp(
  `^(?:${["\\x1b\\[[?>]?[\\d;]*\\$?[Rcntuy]", "\\x1b[\\]P_][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\)"].join("|")})+$`,
);

/**
 * Whether nobody has typed what came from a terminal.
 * @param {Uint8Array} bytes
 */
export function isAnswer(bytes) {
  return ANSWERS.test(String.fromCharCode(...bytes.subarray(0, 4096)));
}

/**
 * Whether a terminal's last line is one that somebody is to go on with.
 * @param {string} shown
 */
export function endsWithPrompt(shown) {
  const lines = shown.replace(INVISIBLE, "").split(/[\r\n]+/);
  return /\S/.test(lines[lines.length - 1]);
}

export class Quiet {
  #tell;
  #milliseconds;
  /** @type {Uint8Array[]} */
  #shown = [];
  #length = 0;
  /** Whether somebody wants to know, and whether nobody can any more. */
  #watched = false;
  #over = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => void} tell called once
   * @param {number} [milliseconds]
   */
  constructor(tell, milliseconds = QUIET_MS) {
    this.#tell = tell;
    this.#milliseconds = milliseconds;
  }

  /** From now on, tell. */
  watch() {
    this.#watched = true;
    this.activity();
  }

  /** All that the container has shown. */
  get shown() {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#shown) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /** @param {Uint8Array} bytes that the container has shown */
  output(bytes) {
    if (this.#over) return;
    this.#length += bytes.length;
    if (this.#length > MAX_SHOWN) {
      this.end();
      return;
    }
    this.#shown.push(bytes.slice());
    this.activity();
  }

  /** Something else has happened: it has read a file, for example. */
  activity() {
    if (this.#over || !this.#watched || this.#length === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), this.#milliseconds);
  }

  /** @param {Uint8Array} bytes that came from its terminal */
  input(bytes) {
    if (isAnswer(bytes)) this.activity();
    else this.end();
  }

  /** It is not what it is whenever it is started any more. */
  end() {
    this.#over = true;
    this.#shown = [];
    this.#length = 0;
    clearTimeout(this.#timer);
  }

  /** Whether that was so. */
  get over() {
    return this.#over;
  }

  #look() {
    if (endsWithPrompt(new TextDecoder().decode(this.shown))) this.#tell();
  }
}
