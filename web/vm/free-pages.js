/**
 * Which pages of a stopped guest's memory are free, so that a saved state can do without their content.
 *
 * image.json says where the kernel keeps that: see tools/vm/facts.py, which has the same names. What is
 * read is the guest's own memory, and may be anything: it decides over the guest's own pages alone.
 */

const PAGE = 4096;
const PRESENT = 1;
const LARGE = 1 << 7;
/** The lowest bit of an address that each level of page tables looks at. */
const SHIFTS = [39n, 30n, 21n, 12n];
const ADDRESS = ((1n << 52n) - 1n) & ~BigInt(PAGE - 1);
/** No block of free pages is larger, as a power of two (Linux, MAX_ORDER). */
const MAX_ORDER = 10;

/**
 * As in image.json.
 * @typedef {object} FreePagesFacts
 * @property {number} wordSize
 * @property {number | string} [pageStructs] more than a double is exact for, so that only its text is
 * @property {number} [pageTables]
 * @property {number} [pageStructsPointer]
 * @property {number} [kernelMap]
 * @property {number} pageStructSize
 * @property {number} typeOffset
 * @property {number} freeMask
 * @property {number} freeValue
 * @property {number} orderOffset
 * @property {number} maxPage
 * @property {number} freeCount
 */

/**
 * @param {string} text of image.json
 * @returns {{ recipe: string, freePages: FreePagesFacts }}
 */
export function parseImageDescription(text) {
  // JSON's numbers are doubles here, and the kernel's addresses have 64 bits.
  return JSON.parse(text.replace(/("pageStructs": )(\d+)/, '$1"$2"'));
}

/**
 * @param {Uint8Array} memory the guest's, which stands still
 * @param {FreePagesFacts} facts
 * @returns {Uint8Array | undefined} a bit for each page, the lowest one first, that is set where the page is
 *   free; undefined where they are not as many as the kernel counts
 */
export function freePages(memory, facts) {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const pages = Math.min(memory.length / PAGE, read(view, facts.maxPage, facts.wordSize) ?? 0);
  const place = placer(view, facts);
  const bits = new Uint8Array(Math.ceil(memory.length / PAGE / 8));
  const size = facts.pageStructSize;
  let count = 0;
  for (let page = 0; page < pages;) {
    const at = place(page);
    if (at === undefined || at + size > memory.length) {
      page += 1;
      continue;
    }
    const kind = view.getUint32(at + facts.typeOffset, true);
    const order = view.getUint32(at + facts.orderOffset, true);
    if ((kind & facts.freeMask) >>> 0 !== facts.freeValue || order > MAX_ORDER) {
      page += 1;
      continue;
    }
    for (const end = Math.min(page + (1 << order), pages); page < end; page += 1, count += 1)
      bits[page >> 3] |= 1 << (page & 7);
  }
  return count === read(view, facts.freeCount, facts.wordSize) ? bits : undefined;
}

/**
 * @param {DataView} view
 * @param {number} address
 * @param {number} size 4 or 8
 */
function read(view, address, size) {
  if (address < 0 || address + size > view.byteLength) return undefined;
  return size === 4 ? view.getUint32(address, true) : Number(view.getBigUint64(address, true));
}

/**
 * Where a page's structure is in physical memory.
 * @param {DataView} view
 * @param {FreePagesFacts} facts
 * @returns {(page: number) => number | undefined}
 */
function placer(view, facts) {
  if (facts.pageTables === undefined) {
    const array = read(view, facts.pageStructsPointer ?? -1, facts.wordSize);
    const first = (array ?? 0) - (facts.kernelMap ?? 0);
    return (page) => (array === undefined ? undefined : first + page * facts.pageStructSize);
  }
  const tables = BigInt(facts.pageTables);
  const structs = BigInt(facts.pageStructs ?? 0);
  let known = -1n;
  /** @type {number | undefined} */
  let base;
  return (page) => {
    const address = structs + BigInt(page * facts.pageStructSize);
    const within = Number(address & BigInt(PAGE - 1));
    // Neighbours are mostly in the same page.
    if (address >> 12n !== known) {
      known = address >> 12n;
      base = translate(view, tables, known << 12n);
    }
    return base === undefined ? undefined : base + within;
  };
}

/**
 * @param {DataView} view
 * @param {bigint} tables
 * @param {bigint} address virtual
 */
function translate(view, tables, address) {
  let table = tables;
  for (const shift of SHIFTS) {
    const at = Number(table + ((address >> shift) & 511n) * 8n);
    if (at + 8 > view.byteLength) return undefined;
    const entry = view.getBigUint64(at, true);
    const flags = Number(entry & 0xfffn);
    if (!(flags & PRESENT)) return undefined;
    if (shift === 12n || flags & LARGE) {
      const within = (1n << shift) - 1n;
      return Number((entry & ADDRESS & ~within) | (address & within));
    }
    table = entry & ADDRESS;
  }
  return undefined;
}
