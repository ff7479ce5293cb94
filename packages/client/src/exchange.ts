import { isErrorCode, limits, SessiondError } from "@sessiond/shared";
import type { Dial, Wire, WireEnd } from "./wire.ts";

/**
 * Requests and their answers over one connection: which reply belongs to which call.
 * Knows tRPC's JSON on the wire, not its library. Every failure leaves here as a
 * SessiondError; whoever waits when the connection ends is told, once.
 */
export interface Request {
  readonly method: "query" | "mutation" | "subscription";
  readonly path: string;
  readonly input: unknown;
}

/** Where the answers of one request go: `data` any number of times, then `done` or `failed`. */
export interface Answers {
  data(value: unknown): void;
  done(): void;
  failed(error: SessiondError): void;
}

interface Reply {
  readonly id?: number | null;
  readonly error?: { readonly message?: unknown; readonly data?: unknown };
  readonly result?: { readonly type?: string; readonly data?: unknown };
}

interface Waiting {
  readonly id: number;
  readonly request: Request;
  readonly bytes: number;
  readonly answers: Answers;
}

/** The connection broke: what was under way may have happened or not. */
export const linkLost = (reason: string, elsewhere = false): SessiondError =>
  new SessiondError("daemon_unreachable", { reason, lost: true, ...(elsewhere && { elsewhere }) });
export const isLinkLost = (error: unknown): boolean => error instanceof SessiondError && error.detail["lost"] === true;
export const isNobody = (error: unknown): boolean => error instanceof SessiondError && error.detail["nobody"] === true;

export class Exchange {
  /** Largest request that the peer takes; known better after `hello`. */
  requestBytesMax: number = limits.request_bytes_max;
  readonly #wire: Wire;
  readonly #waiting = new Map<number, Waiting>();
  #end: SessiondError | null = null;
  #opened = false;
  #requests = 0;

  /** @throws SessiondError when the dial is refused before it began */
  constructor(dial: Dial, on: { opened(): void; ended(error: SessiondError): void }) {
    this.#wire = dial({
      opened: () => {
        this.#opened = true;
        on.opened();
      },
      received: (text) => this.#receive(text),
      closed: (end) => {
        this.#finish(end);
        on.ended(this.#end ?? linkLost(end.reason));
      },
    });
  }

  get wire(): Wire {
    return this.#wire;
  }

  get ended(): boolean {
    return this.#end !== null;
  }

  /** Sends; the returned function forgets the request, and stops a subscription at the peer. */
  request(request: Request, answers: Answers): () => void {
    if (this.#end !== null) return settled(answers, this.#end);
    const { method, path, input } = request;
    const id = ++this.#requests;
    const text = JSON.stringify({ id, method, params: { path, input } });
    const bytes = bytesOf(text, this.requestBytesMax);
    if (bytes > this.requestBytesMax) return settled(answers, tooLarge(this.requestBytesMax, bytes));
    this.#waiting.set(id, { id, request, bytes, answers });
    this.#wire.send(text);
    return () => {
      if (this.#waiting.delete(id) && method === "subscription" && this.#end === null) this.#wire.send(JSON.stringify({ id, method: "subscription.stop" }));
    };
  }

  close(): void {
    if (this.#end !== null) return;
    this.#fail(linkLost("the connection was closed on this side"));
    this.#wire.close();
  }

  #receive(text: string): void {
    // The adapter's own keep-alive, where it is switched on.
    if (text === "PING") return this.#wire.send("PONG");
    const reply = parse(text);
    if (reply === null || this.#end !== null) return;
    const waiting = typeof reply.id === "number" ? this.#waiting.get(reply.id) : undefined;
    if (reply.error !== undefined && waiting === undefined && reply.id === null) return this.#giveUp(fromWire(reply.error, ""));
    if (waiting === undefined) return;
    const { id, request, answers } = waiting;
    if (reply.error !== undefined) {
      this.#waiting.delete(id);
      answers.failed(fromWire(reply.error, request.path));
    } else if (reply.result?.type === "stopped") {
      this.#waiting.delete(id);
      answers.done();
    } else if (reply.result?.type !== "started") {
      if (request.method !== "subscription") this.#waiting.delete(id);
      answers.data(reply.result?.data);
    }
  }

  /** An error without a request speaks of the connection as a whole. */
  #giveUp(error: SessiondError): void {
    this.#fail(error);
    this.#wire.close();
  }

  #finish({ code, reason, nobody, hopeless }: WireEnd): void {
    if (this.#end !== null) return;
    const { elsewhere } = this.#wire;
    if (!this.#opened)
      return this.#fail(
        new SessiondError("daemon_unreachable", { reason, ...(nobody ? { nobody } : !hopeless && { lost: true }), ...(elsewhere && { elsewhere }) }),
      );
    if (code === 1009) this.#blameLargest();
    const word = isErrorCode(reason) ? reason : code === 1001 || code === 1012 ? "shutting_down" : null;
    this.#fail(word === null ? linkLost(reason === "" ? "the link was lost" : reason, elsewhere) : new SessiondError(word));
  }

  /** Closed for a message too large: it was the largest; the others only shared its connection. */
  #blameLargest(): void {
    const largest = [...this.#waiting.values()].reduce<Waiting | null>((most, each) => (most === null || each.bytes > most.bytes ? each : most), null);
    if (largest === null) return;
    this.#waiting.delete(largest.id);
    largest.answers.failed(tooLarge(this.requestBytesMax, largest.bytes));
  }

  #fail(error: SessiondError): void {
    this.#end = error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    // The daemon's closing word is the end of a stream; a call under way was only not answered.
    const unanswered = isLinkLost(error) || !this.#opened ? error : linkLost(error.message);
    for (const { request, answers } of waiting) answers.failed(request.method === "subscription" ? error : unanswered);
  }
}

function settled(answers: Answers, error: SessiondError): () => void {
  answers.failed(error);
  return () => undefined;
}

const tooLarge = (limit: number, bytes: number): SessiondError =>
  new SessiondError("limit_reached", { limit: "request_bytes_max", value: limit, unit: "bytes", bytes });

/** Bytes as UTF-8; counted only where the length leaves a doubt. */
const bytesOf = (text: string, limit: number): number => (text.length * 3 <= limit ? text.length : new TextEncoder().encode(text).length);

function parse(text: string): Reply | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : null;
  } catch {
    return null;
  }
}

/** The stock server's own words for what happens before our error formatter is asked. */
const stockCodes: Readonly<Record<string, "unknown_verb" | "bad_request">> = {
  NOT_FOUND: "unknown_verb",
  METHOD_NOT_SUPPORTED: "unknown_verb",
  BAD_REQUEST: "bad_request",
  PARSE_ERROR: "bad_request",
};

function fromWire({ data, message }: NonNullable<Reply["error"]>, verb: string): SessiondError {
  const { code, detail } = typeof data === "object" && data !== null ? (data as { code?: unknown; detail?: unknown }) : {};
  if (isErrorCode(code)) return new SessiondError(code, typeof detail === "object" && detail !== null ? { ...detail } : {});
  // A newer daemon's code that this build has no row for: its name and its sentence are kept.
  const stock = typeof code === "string" ? stockCodes[code] : undefined;
  return new SessiondError(stock ?? "internal", { verb, code, ...(typeof message === "string" && { said: message }) });
}
