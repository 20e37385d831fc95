/**
 * The socket between a view and its walk: messages packed and unpacked, and a new socket when one is lost.
 */

/** Milliseconds to the next attempt; the last one is kept. */
const WAITS_MS = [300, 600, 1200, 2500];
/** Every input is answered; a socket that has been silent for so long after one is dead. */
const SILENCE_MS = 10_000;

/**
 * A binary message: the length of its header as uint32, the header as JSON, the pictures one after the other.
 * @param {ArrayBuffer} buffer
 * @returns {{header: object, pictures: Blob[], thumbnail: Blob | undefined}}
 */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const type = `image/${header.format}`;
  let at = 4 + length;
  const next = (bytes) => new Blob([new Uint8Array(buffer, at, bytes)], { type: ((at += bytes), type) });
  const pictures = header.pictures.map(next);
  return { header, pictures, thumbnail: header.thumbnail ? next(header.thumbnail) : undefined };
}

export class Wire {
  #socket = null;
  #attempt = 0;
  #retry = 0;
  #silence = 0;

  /**
   * @param {object} on
   * @param {() => string | URL | null} on.address asked for at every attempt; null while there is none
   * @param {(connected: boolean) => void} on.connected the socket has opened, or was lost
   * @param {(message: object) => void} on.told
   * @param {(message: ReturnType<typeof unpack>) => void} on.pictures
   * @param {{WebSocket: Function, setTimeout: Function, clearTimeout: Function}} host
   */
  constructor(on, host = globalThis) {
    this.on = on;
    this.host = host;
  }

  /** Whether a socket is open or looked for. */
  get isOpen() {
    return this.#socket !== null || this.#retry !== 0;
  }

  open() {
    if (!this.isOpen) this.#connect();
  }

  close() {
    this.host.clearTimeout(this.#retry);
    this.#retry = 0;
    this.#attempt = 0;
    const socket = this.#socket;
    this.#drop();
    socket?.close();
  }

  /** Say something; lost while there is no socket, since the server releases all keys then. */
  send(message) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    if (message.type === "input" && !this.#silence) {
      this.#silence = this.host.setTimeout(() => this.#lost(this.#socket), SILENCE_MS);
    }
    return true;
  }

  #connect() {
    this.#retry = 0;
    const address = this.on.address();
    if (!address) return this.#again();
    const socket = (this.#socket = new this.host.WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#attempt = 0;
      this.on.connected(true);
    };
    socket.onmessage = ({ data }) => {
      this.#heard();
      if (typeof data === "string") this.on.told(JSON.parse(data));
      else this.on.pictures(unpack(data));
    };
    socket.onclose = () => this.#lost(socket);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#drop();
    socket.close();
    this.#again();
    this.on.connected(false);
  }

  #again() {
    const wait = WAITS_MS[Math.min(this.#attempt++, WAITS_MS.length - 1)];
    this.#retry = this.host.setTimeout(() => this.#connect(), wait);
  }

  #drop() {
    this.#heard();
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket = null;
  }

  #heard() {
    this.host.clearTimeout(this.#silence);
    this.#silence = 0;
  }
}
