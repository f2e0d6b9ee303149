/** What benchmarks/packed.py wrote, put into v86's own file system. */

/**
 * @typedef {object} Entry
 * @property {string} path
 * @property {number} mode with the type, as in st_mode
 * @property {number} uid
 * @property {number} gid
 * @property {number} mtime in seconds
 * @property {number} [size] of a regular file; the contents of all follow each other
 * @property {string} [target] of a symlink
 * @property {[number, number]} [device]
 * @property {string} [link] the path of an earlier entry that this is another name of
 */

const TYPE = { mask: 0o170000, directory: 0o040000, regular: 0o100000, symlink: 0o120000 };

/**
 * @param {any} fs v86's file system, which has only its root
 * @param {Entry[]} entries parents first
 * @param {Uint8Array} contents
 */
export async function fill(fs, entries, contents) {
  /** @type {Map<string, number>} */
  const numbers = new Map([["", 0]]);
  let offset = 0;
  for (const entry of entries) {
    const slash = entry.path.lastIndexOf("/");
    const parent = numbers.get(entry.path.slice(0, slash));
    const name = entry.path.slice(slash + 1);
    if (entry.link !== undefined) {
      fs.Link(parent, numbers.get(entry.link), name);
      continue;
    }
    let number;
    switch (entry.mode & TYPE.mask) {
      case TYPE.directory:
        number = fs.CreateDirectory(name, parent);
        break;
      case TYPE.regular: {
        const end = offset + (entry.size ?? 0);
        number = await fs.CreateBinaryFile(name, parent, contents.subarray(offset, end));
        offset = end;
        break;
      }
      case TYPE.symlink:
        number = fs.CreateSymlink(name, parent, entry.target);
        break;
      default:
        number = fs.CreateNode(name, parent, ...(entry.device ?? [0, 0]));
    }
    const { mode, uid, gid, mtime } = entry;
    Object.assign(fs.inodes[number], { mode, uid, gid, mtime, atime: mtime, ctime: mtime });
    numbers.set(entry.path, number);
  }
}
