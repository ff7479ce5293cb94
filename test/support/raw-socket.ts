import WebSocket from "ws";

/**
 * tRPC's frames over a plain WebSocket, on the daemon's unix socket or its TCP door, for what the client
 * library would never send. A call ends with its first answer; a stream's first item counts as one.
 */
export interface RawReply {
  /** As it came: the whole error, or undefined. */
  readonly error?: { readonly message: string; readonly data: { readonly code: string; readonly detail: unknown } };
  readonly data?: unknown;
}

interface Answer {
  readonly id: number;
  readonly error?: RawReply["error"];
  readonly result?: { readonly type: string; readonly data?: unknown };
}

export class RawSocket {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (reply: RawReply) => void>();
  /** Everything that ever came in. */
  readonly received: string[] = [];
  /** With the code. */
  readonly closed: Promise<number>;
  #ids = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", resolve));
    socket.on("message", (data) => this.#take(String(data)));
  }

  /** @param place  path of a socket, or the address of a TCP door */
  static async open(place: string): Promise<RawSocket> {
    const socket = new WebSocket(place.startsWith("ws://") ? place : `ws+unix://${place}:/`, { perMessageDeflate: false });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return new RawSocket(socket);
  }

  /** @param input  a JSON text, so that a test can say what no object can hold */
  call(method: string, path: string, input: string): Promise<RawReply> {
    const id = ++this.#ids;
    const reply = new Promise<RawReply>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.send(`{"id":${id},"method":${JSON.stringify(method)},"params":{"path":${JSON.stringify(path)},"input":${input}}}`);
    return reply;
  }

  /** The next answer under an id that was answered before: a stream's further items and its end. */
  next(id = this.#ids): Promise<RawReply> {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  close(): void {
    this.#socket.terminate();
  }

  #take(text: string): void {
    this.received.push(text);
    const answer = JSON.parse(text) as Answer;
    if (answer.result?.type === "started") return;
    const resolve = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    resolve?.(answer.error === undefined ? { data: answer.result?.data } : { error: answer.error });
  }
}
