/**
 * What a program writes to the terminal, made such that it costs no more than what it takes to write.
 *
 * xterm.js does what a control sequence says as often as it says: `CSI 99999999 S`, fourteen bytes,
 * keeps the page busy for minutes. Here numbers are clamped to what makes a difference on a terminal
 * of this size. A sequence is passed on only when it is complete, so that there is nothing that this
 * parser and xterm.js could understand differently: between two of them both are at plain text.
 *
 * The grammar is that of ECMA-48 as https://vt100.net/emu/dec_ansi_parser has it, with controls of
 * one character (C1) in UTF-8. Knows no terminal and no page.
 */

/** No CSI sequence that means something is longer. */
export const MAX_SEQUENCE = 1024;

/** No title, link or colour is longer: xterm.js itself would keep ten million characters of each. */
export const MAX_STRING = 4096;

/** No number in a sequence that counts nothing is larger. */
export const MAX_NUMBER = 65535;

const CODE = {
  BEL: 0x07,
  CAN: 0x18,
  SUB: 0x1a,
  ESC: 0x1b,
  DEL: 0x7f,
  /** The first byte of U+0080 to U+00BF. */
  LEAD: 0xc2,
};

const GROUND = 0;
const ESCAPE = 1;
const CSI = 2;
/** A CSI sequence that means nothing, up to its end. */
const CSI_IGNORE = 3;
/** OSC or DCS: kept until its end. */
const STRING = 4;
/** A string that nobody wants: SOS, PM, APC, or one that is too long. */
const STRING_IGNORE = 5;
/** Behind the ESC that has ended a string, and is usually followed by a backslash. */
const STRING_END = 6;

/**
 * The sequences whose first number says how often something is done, by what stands behind the
 * numbers: more than that many make no difference, or (b) none that a program relies on.
 * @type {Record<string, "rows" | "cols">}
 */
const COUNTING = {
  S: "rows", // SU: scroll up
  T: "rows", // SD: scroll down
  L: "rows", // IL: insert lines
  M: "rows", // DL: delete lines
  P: "cols", // DCH: delete characters
  "@": "cols", // ICH: insert characters
  X: "cols", // ECH: erase characters
  I: "cols", // CHT: tabulate forwards
  Z: "cols", // CBT: tabulate backwards
  b: "cols", // REP: repeat the character before
  " @": "cols", // SL: scroll left
  " A": "cols", // SR: scroll right
  "'}": "cols", // DECIC: insert columns
  "'~": "cols", // DECDC: delete columns
};

/** Bytes, of which there may be more and more. */
class Bytes {
  #array;
  length = 0;

  /** @param {number} capacity */
  constructor(capacity) {
    this.#array = new Uint8Array(capacity);
  }

  /** @param {number} byte */
  push(byte) {
    if (this.length === this.#array.length) this.#grow(1);
    this.#array[this.length] = byte;
    this.length += 1;
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    if (this.length + bytes.length > this.#array.length) this.#grow(bytes.length);
    this.#array.set(bytes, this.length);
    this.length += bytes.length;
  }

  clear() {
    this.length = 0;
  }

  /** A view, until something is added. */
  get view() {
    return this.#array.subarray(0, this.length);
  }

  /** @param {number} more */
  #grow(more) {
    const larger = new Uint8Array(2 * this.#array.length + more);
    larger.set(this.view);
    this.#array = larger;
  }
}

/**
 * Whether these are numbers, and such that nothing is done too often: colours (m) count nothing.
 * @param {Uint8Array} held
 * @param {number} final
 */
function small(held, final) {
  let digits = 0;
  let first = final !== 0x6d;
  for (const byte of held) {
    if (byte >= 0x30 && byte <= 0x39) {
      digits += 1;
      if (digits > (first ? 1 : 4)) return false;
    } else if (byte === 0x3b) {
      digits = 0;
      first = false;
    } else return false;
  }
  return true;
}

const decoder = new TextDecoder("latin1");
const encoder = new TextEncoder();

export class OutputGuard {
  #size;
  #state = GROUND;
  /** Whether the byte before was CODE.LEAD, whose meaning the next one tells. */
  #led = false;
  /** What is known of the sequence, without what introduces it. */
  #held = new Bytes(256);
  /** What introduces the string that is held: "]" or "P". */
  #kind = 0;
  #out = new Bytes(0);

  /** @param {() => { cols: number, rows: number }} size of the terminal, in cells */
  constructor(size) {
    this.#size = size;
  }

  /**
   * Give what the terminal may get of the next bytes: all of it that belongs to no sequence whose
   * end has not come.
   *
   * @param {Uint8Array} bytes
   * @returns {Uint8Array<ArrayBuffer>}
   */
  pass(bytes) {
    this.#out = new Bytes(bytes.length + 16);
    let plain = 0; // where text begins that has not been passed on
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (this.#state === GROUND && !this.#led && byte !== CODE.ESC && byte !== CODE.LEAD) continue;
      if (this.#state === GROUND && !this.#led) this.#out.append(bytes.subarray(plain, at));
      this.#take(byte);
      plain = at + 1;
    }
    this.#out.append(bytes.subarray(plain));
    return this.#out.view;
  }

  /** Forget a sequence that has begun: what comes now is of another program. */
  reset() {
    this.#state = GROUND;
    this.#led = false;
    this.#held.clear();
  }

  /** @param {number} byte */
  #take(byte) {
    if (this.#led) {
      this.#led = false;
      // What is not continued is no character: xterm.js leaves it out, too.
      if (byte >= 0x80 && byte <= 0x9f) return this.#control(byte);
      if (byte >= 0xa0 && byte <= 0xbf) {
        this.#character(CODE.LEAD);
        return this.#character(byte);
      }
    }
    if (byte === CODE.LEAD) this.#led = true;
    else if (byte === CODE.ESC) this.#escape();
    else if (byte === CODE.CAN || byte === CODE.SUB) this.#state = GROUND;
    else this.#character(byte);
  }

  #escape() {
    if (this.#state === STRING) {
      this.#passString(CODE.ESC, 0x5c);
      this.#state = STRING_END;
    } else this.#state = this.#state === STRING_IGNORE ? STRING_END : ESCAPE;
    this.#held.clear();
  }

  /**
   * A control of one character, which ends whatever has begun.
   * @param {number} code from 0x80
   */
  #control(code) {
    if (code === 0x9c) {
      if (this.#state === STRING) this.#passString(CODE.ESC, 0x5c);
      this.#state = GROUND;
    } else if ("PX[]^_".includes(String.fromCharCode(code - 0x40))) {
      this.#introduce(code - 0x40);
    } else {
      this.#state = GROUND;
      this.#out.push(CODE.LEAD);
      this.#out.push(code);
    }
  }

  /** @param {number} byte the one behind ESC that begins a longer sequence */
  #introduce(byte) {
    this.#held.clear();
    this.#kind = byte;
    if (byte === 0x5b) this.#state = CSI;
    else if (byte === 0x5d || byte === 0x50) this.#state = STRING;
    else this.#state = STRING_IGNORE;
  }

  /** @param {number} byte neither ESC, CAN, SUB nor a part of a C1 control */
  #character(byte) {
    switch (this.#state) {
      case GROUND:
        this.#out.push(byte);
        break;
      case STRING_END:
        if (byte === 0x5c) this.#state = GROUND;
        else {
          this.#state = ESCAPE;
          this.#character(byte);
        }
        break;
      case ESCAPE:
        this.#inEscape(byte);
        break;
      case CSI:
      case CSI_IGNORE:
        this.#inCSI(byte);
        break;
      case STRING:
      case STRING_IGNORE:
        this.#inString(byte);
        break;
    }
  }

  /** @param {number} byte */
  #inEscape(byte) {
    if (byte < 0x20) {
      this.#out.push(byte); // done at once, also in the middle of a sequence
    } else if (byte < 0x30) {
      // xterm.js keeps no more than two.
      if (this.#held.length < 8) this.#held.push(byte);
    } else if (byte >= 0x80) {
      this.#state = GROUND;
      this.#out.push(byte);
    } else if (this.#held.length === 0 && "PX[]^_".includes(String.fromCharCode(byte))) {
      this.#introduce(byte);
    } else if (byte !== CODE.DEL) {
      this.#state = GROUND;
      this.#out.push(CODE.ESC);
      this.#out.append(this.#held.view);
      this.#out.push(byte);
    }
  }

  /** @param {number} byte */
  #inCSI(byte) {
    if (byte < 0x20) {
      this.#out.push(byte);
    } else if (byte >= 0x80) {
      this.#state = GROUND;
      this.#out.push(byte);
    } else if (byte === CODE.DEL) {
      return;
    } else if (byte >= 0x40) {
      if (this.#state === CSI) this.#passCSI(byte);
      this.#state = GROUND;
    } else if (this.#held.length < MAX_SEQUENCE) {
      this.#held.push(byte);
    } else {
      this.#state = CSI_IGNORE;
    }
  }

  /** @param {number} final */
  #passCSI(final) {
    const held = this.#held.view;
    // Nearly all of them are numbers that are harmless whatever they count.
    if (held.length < 32 && small(held, final)) {
      this.#out.push(CODE.ESC);
      this.#out.push(0x5b);
      this.#out.append(held);
      this.#out.push(final);
    } else this.#clampCSI(final);
  }

  /** @param {number} final */
  #clampCSI(final) {
    const body = decoder.decode(this.#held.view);
    // What is not of this form means nothing.
    const parts = /^([<-?]?)([0-9:;]*)([ -/]*)$/.exec(body);
    if (!parts) return;
    const [, prefix, parameters, intermediates] = parts;
    const counted = prefix ? undefined : COUNTING[intermediates + String.fromCharCode(final)];
    let limit = counted ? this.#size()[counted] : MAX_NUMBER;
    const clamped = parameters.replace(/[0-9]+|[:;]/g, (found) => {
      if (found === ";" || found === ":") {
        limit = MAX_NUMBER;
        return found;
      }
      return Number(found) > limit ? String(limit) : found;
    });
    this.#out.push(CODE.ESC);
    this.#out.push(0x5b);
    this.#out.append(encoder.encode(prefix + clamped + intermediates));
    this.#out.push(final);
  }

  /** @param {number} byte */
  #inString(byte) {
    if (byte === CODE.BEL && this.#kind === 0x5d) {
      if (this.#state === STRING) this.#passString(CODE.BEL);
      this.#state = GROUND;
    } else if (byte < 0x20 || this.#state === STRING_IGNORE) {
      return;
    } else if (this.#held.length < MAX_STRING) {
      this.#held.push(byte);
    } else {
      this.#state = STRING_IGNORE;
    }
  }

  /** @param {...number} end */
  #passString(...end) {
    const held = this.#held.view;
    // Reading and writing the clipboard: nobody has asked for it.
    if (this.#kind === 0x5d && /^0*52(;|$)/.test(decoder.decode(held))) return;
    this.#out.push(CODE.ESC);
    this.#out.push(this.#kind);
    this.#out.append(held);
    for (const byte of end) this.#out.push(byte);
  }
}
