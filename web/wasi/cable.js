/**
 * A machine's network cable: a stream of Ethernet frames, each with its length in front as 32 bits,
 * big-endian, as QEMU's `-netdev socket` and container2wasm's `--net=socket` have it.
 */

import { ByteQueue } from "./byte-queue.js";

const LENGTH_SIZE = 4;
/** An IPv4 packet of the largest size, behind an Ethernet header. */
const MAX_FRAME = 65535 + 14;

/** Of what the machine does not read, so much waits; what comes then is lost, as on a card that is full. */
const MAX_WAITING = 4 << 20;

export class Cable {
  /** What the machine has not read yet. */
  incoming = new ByteQueue();
  /** Whether it has sent what is no frame, so that nothing behind that can be found. */
  broken = false;
  #send;
  #outgoing = new ByteQueue();

  /** @param {(frames: Uint8Array<ArrayBuffer>[]) => void} send takes frames, each in a buffer of its own */
  constructor(send) {
    this.#send = send;
  }

  /** @param {Uint8Array} frame for the machine */
  receive(frame) {
    if (this.incoming.length + LENGTH_SIZE + frame.length > MAX_WAITING) return;
    const length = new Uint8Array(LENGTH_SIZE);
    new DataView(length.buffer).setUint32(0, frame.length);
    this.incoming.push(length);
    this.incoming.push(frame);
  }

  /** @param {Uint8Array} data what the machine sends next */
  write(data) {
    if (this.broken) return;
    this.#outgoing.push(data);
    const frames = [];
    const head = new Uint8Array(LENGTH_SIZE);
    while (this.#outgoing.read(head, true) === LENGTH_SIZE) {
      const size = new DataView(head.buffer).getUint32(0);
      if (size > MAX_FRAME) {
        this.broken = true;
        break;
      }
      if (this.#outgoing.length < LENGTH_SIZE + size) break;
      this.#outgoing.read(head);
      const frame = new Uint8Array(size);
      this.#outgoing.read(frame);
      if (size > 0) frames.push(frame);
    }
    if (frames.length > 0) this.#send(frames);
  }
}
