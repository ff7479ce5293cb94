import type { Limits } from "../limits.ts";
import { AcpError } from "./acp-error.ts";
import { Fifo } from "./fifo.ts";
import { readMessage, type Message } from "./json-rpc-message.ts";
import { LineCutter, type CutLine } from "./line-cutter.ts";
import { OurRequests, type RequestOptions } from "./our-requests.ts";
import { OutgoingLines } from "./outgoing-lines.ts";
import { TheirRequests, type RequestHandler } from "./their-requests.ts";

export interface PeerOptions {
  /** Sends one message; the text ends with "\n". A promise is back-pressure: the next is written when it resolves. */
  readonly write: (line: string) => void | Promise<void>;
  /**
   * Their requests. Called in the order in which messages came; what comes later waits for its synchronous part only. What it
   * resolves with is the result (`{}` for nothing); an AcpError is told as it is, anything else as internal_error, and reported.
   */
  readonly onRequest: RequestHandler;
  /** Their notifications, in order. The next message is handled when it is done, so it must not wait for an answer of theirs. */
  readonly onNotification: (method: string, params: unknown) => void | Promise<void>;
  /** Why a notification of theirs was not read, being beyond a limit: nobody else is told. */
  readonly onDropped?: ((why: string) => void) | undefined;
  readonly limits: Limits;
  /** Bugs: what handlers threw that is no AcpError. */
  readonly report?: ((error: unknown) => void) | undefined;
}

/** A line that waits costs this much beside its text. */
const lineCost = 128;

/**
 * One end of an ACP connection: JSON-RPC 2.0, a message a line, for the agent's side and the client's alike.
 *
 * Messages are handled strictly in the order in which they came. A response is handled too: whoever awaits it sees the effects
 * of all that came before it, and has run on before anything that came after it is handled. What we say goes out in the order
 * in which it was said. Nothing that comes makes it throw; every request of theirs gets one response, unless the connection
 * ends first. A reader that waits for `handled` after each chunk never has more than that chunk
 * waiting; for one that does not, the connection ends at `acp_unhandled_bytes_max`.
 */
export class JsonRpcPeer {
  /** Resolves with the reason when the connection has ended; never rejects. */
  readonly closed: Promise<string>;
  readonly #options: PeerOptions;
  readonly #cutter: LineCutter;
  readonly #out: OutgoingLines;
  readonly #ours: OurRequests;
  readonly #theirs: TheirRequests;
  readonly #inbox = new Fifo<CutLine | { readonly end: string }>();
  #inboxBytes = 0;
  #handling = false;
  #idlers: (() => void)[] = [];
  #reason: string | null = null;
  #tellClosed!: (reason: string) => void;

  constructor(options: PeerOptions) {
    const { limits } = options;
    this.#options = options;
    this.closed = new Promise((resolve) => (this.#tellClosed = resolve));
    this.#cutter = new LineCutter(limits, (line) => {
      this.#inbox.add(line);
      this.#inboxBytes += weight(line);
    });
    this.#out = new OutgoingLines(options.write, limits.acp_unwritten_bytes_max, (reason) => this.close(reason));
    const say = (message: object): void => this.#out.say(message);
    this.#ours = new OurRequests(limits.acp_requests_open_max, say);
    this.#theirs = new TheirRequests(limits.acp_requests_open_max, options.onRequest, { say, report: (error) => this.#report(error) });
  }

  /** Bytes as they come; lines may be cut anywhere. */
  receive(bytes: Uint8Array): void {
    if (this.#reason !== null) return;
    this.#cutter.add(bytes);
    this.#handleAll();
    const max = this.#options.limits.acp_unhandled_bytes_max;
    if (this.#inboxBytes > max) this.close(`more than ${max} bytes wait to be handled (limit acp_unhandled_bytes_max)`);
  }

  /** Their end of file. When what came before it has been handled, every open request of ours fails, and theirs are aborted. */
  end(reason = "the other side closed it"): void {
    if (this.#reason !== null) return;
    this.#cutter.end();
    this.#inbox.add({ end: reason });
    this.#handleAll();
  }

  /**
   * @returns their result, as it came
   * @throws AcpError their error (`theirs`), or with a code of ours: `request_cancelled` when `signal` aborted, `timed_out`,
   * `connection_closed`, `internal_error` when `acp_requests_open_max` of ours are open or their answer is beyond a limit
   */
  request(method: string, params: unknown, options: RequestOptions = {}): Promise<unknown> {
    return this.#ours.ask(method, params, options);
  }

  /** @throws TypeError when `params` is not JSON */
  notify(method: string, params: unknown): void {
    if (this.#reason === null) this.#out.say({ jsonrpc: "2.0", method, params });
  }

  /** Resolves when all that was said so far has been taken by `write`, or the connection could not take it. */
  flushed(): Promise<void> {
    return this.#out.flushed();
  }

  /** Resolves when all messages received so far have been handled; a request is when its handler waits for the first time. */
  handled(): Promise<void> {
    return this.#handling && this.#reason === null ? new Promise((resolve) => this.#idlers.push(resolve)) : Promise.resolve();
  }

  /** Ends it at once: what came and was not handled is dropped, what was said is still written, and nothing more is said. */
  close(reason: string): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.#inbox.clear();
    this.#ours.close(reason);
    this.#theirs.close(reason);
    this.#tellClosed(reason);
    this.#tellIdle();
  }

  #handleAll(): void {
    if (this.#handling) return;
    this.#handling = true;
    for (let next = this.#inbox.take(); next !== undefined; next = this.#inbox.take()) {
      if ("end" in next) {
        this.close(next.end);
        break;
      }
      this.#inboxBytes -= weight(next);
      const held = this.#handle(readMessage(next, this.#options.limits));
      if (held !== undefined) {
        void held.then(() => {
          this.#handling = false;
          this.#handleAll();
        });
        return;
      }
    }
    this.#handling = false;
    this.#tellIdle();
  }

  #tellIdle(): void {
    for (const idle of this.#idlers.splice(0)) idle();
  }

  /** @returns what the next message has to wait for; it does not reject */
  #handle(message: Message): Promise<void> | undefined {
    switch (message.kind) {
      case "request":
        this.#theirs.take(message.id, message.method, message.params);
        return undefined;
      case "notification":
        return this.#notified(message.method, message.params);
      case "response":
        return this.#ours.answered(message.id, { result: message.result }) ? turn() : undefined;
      case "failure":
        return this.#ours.answered(message.id, new AcpError(message.code, message.message, message.data, message.theirs)) ? turn() : undefined;
      case "refused":
        this.#theirs.refuse(message.id, { code: message.code, message: message.why });
        return undefined;
      case "dropped":
        this.#options.onDropped?.(message.why);
        return undefined;
      case "ignored":
        return undefined;
    }
  }

  #notified(method: string, params: unknown): Promise<void> | undefined {
    if (method === "$/cancel_request") {
      const id = typeof params === "object" && params !== null && "requestId" in params ? params.requestId : undefined;
      this.#theirs.cancel(id);
      return undefined;
    }
    // Other messages of the protocol itself may be ignored by those who do not know them.
    if (method.startsWith("$/")) return undefined;
    try {
      const held = this.#options.onNotification(method, params);
      return held === undefined ? undefined : Promise.resolve(held).catch((error: unknown) => this.#report(error));
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.report?.(error);
    } catch {
      // Who cannot even be told of a bug must not stop the messages behind it.
    }
  }
}

const weight = (line: CutLine): number => ("text" in line ? line.bytes : 0) + lineCost;

/** Whoever awaits the answer goes on first, through however many promises it is handed. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
