import WebSocket from "ws";

/**
 * Somebody who tries on credentials as fast as he can: many calls in one message, many messages in one go, from an
 * address of his choice. It counts what it is told.
 */
export interface Told {
  readonly code: string;
  /** The whole error. */
  readonly text: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

interface Answer {
  readonly id: number | null;
  readonly error?: { readonly message: string; readonly data: { readonly code: string; readonly detail: Readonly<Record<string, unknown>> } };
}

export class Guesser {
  readonly told: Told[] = [];
  /** With the code. */
  readonly closed: Promise<number>;
  /** At each answer, before the next one is looked at. */
  onTold: (told: Told) => void = () => undefined;
  readonly #socket: WebSocket;
  readonly #waiting = new Set<() => void>();
  #over = false;
  /** It was closed for having tried too often. */
  turnedOut = false;
  #ids = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data) => {
      const answer = JSON.parse(String(data)) as Answer;
      const error = answer.error;
      const told: Told = { code: error?.data.code ?? "ok", text: JSON.stringify(error), detail: error?.data.detail ?? {} };
      this.told.push(told);
      this.onTold(told);
      for (const check of [...this.#waiting]) check();
    });
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) =>
      socket.once("close", (code) => {
        this.#over = true;
        this.turnedOut = code === 4029;
        for (const check of [...this.#waiting]) check();
        resolve(code);
      }),
    );
  }

  /** @param place  path of a socket, or the URL of a TCP door. @throws the HTTP answer's status line, where it was not let in */
  static async open(place: string, from?: string): Promise<Guesser> {
    const url = place.startsWith("ws://") ? place : `ws+unix://${place}:/`;
    const socket = new WebSocket(url, { perMessageDeflate: false, ...(from !== undefined && { localAddress: from }) });
    const guesser = new Guesser(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve).once("error", reject);
      socket.once("unexpected-response", (_request, { statusCode, statusMessage, headers }) => {
        socket.terminate();
        reject(new Error(`${statusCode} ${statusMessage} | Retry-After: ${headers["retry-after"]}`));
      });
    });
    return guesser;
  }

  /** Says it all at once. @param together  so many calls a message */
  say(verb: string, input: object, count: number, together = 1): void {
    const method = ["hello", "session_info", "list_sessions", "authorize"].includes(verb) ? "query" : "mutation";
    const calls = Array.from({ length: count }, () => ({ id: (this.#ids += 1), method, params: { path: verb, input } }));
    for (let at = 0; at < count; at += together) this.#socket.send(JSON.stringify(together === 1 ? calls[at] : calls.slice(at, at + together)));
  }

  /** Resolves when so many answers have come in all, or the connection has closed. */
  until(count: number): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.told.length < count && !this.#over) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  /** One more call's answer. */
  async ask(verb: string, input: object): Promise<Told> {
    const before = this.told.length;
    this.say(verb, input, 1);
    await this.until(before + 1);
    return this.told[before] as Told;
  }

  count(code: string): number {
    return this.told.filter((told) => told.code === code).length;
  }

  close(): void {
    this.#socket.terminate();
  }
}
