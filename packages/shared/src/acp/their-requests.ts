import { AcpError, acpErrors, toldOf, type AcpErrorShape } from "./acp-error.ts";
import type { RequestId } from "./json-rpc-message.ts";

/** A request of theirs, for whoever handles it. */
export interface IncomingRequest {
  readonly id: RequestId;
  /** Aborts when they cancel the request, and when the connection ends; its reason is an AcpError. */
  readonly signal: AbortSignal;
  /**
   * `work` runs when the response has its place among what is written, before anything else can be said: for updates that
   * may only follow it. Not run when the response is an error, or the connection has ended.
   */
  afterResponse(work: () => void): void;
}

export type RequestHandler = (method: string, params: unknown, request: IncomingRequest) => unknown;

interface Told {
  say(message: object): void;
  report(error: unknown): void;
}

/** What they asked and we have not answered. Each is answered once. */
export class TheirRequests {
  readonly #openMax: number;
  readonly #handler: RequestHandler;
  readonly #told: Told;
  readonly #open = new Map<RequestId, AbortController>();
  #closed = false;

  constructor(openMax: number, handler: RequestHandler, told: Told) {
    this.#openMax = openMax;
    this.#handler = handler;
    this.#told = told;
  }

  /** Runs the handler up to its first wait. */
  take(id: RequestId, method: string, params: unknown): void {
    if (this.#open.size >= this.#openMax) {
      const data = { limit: "acp_requests_open_max", value: this.#openMax };
      return this.refuse(id, { code: acpErrors.internal_error, message: `${this.#openMax} requests are open (limit acp_requests_open_max).`, data });
    }
    if (this.#open.has(id)) return this.refuse(id, { code: acpErrors.invalid_request, message: "A request with this id is open." });
    const controller = new AbortController();
    const hooks: (() => void)[] = [];
    this.#open.set(id, controller);
    const request: IncomingRequest = { id, signal: controller.signal, afterResponse: (work) => void hooks.push(work) };
    const failed = (error: unknown): void => this.#fail(id, controller.signal, error);
    try {
      const outcome = this.#handler(method, params, request);
      if (isThenable(outcome)) outcome.then((result) => this.#answer(id, controller.signal, result, hooks), failed);
      else this.#answer(id, controller.signal, outcome, hooks);
    } catch (error) {
      failed(error);
    }
  }

  /** Theirs that is refused, or a line that is none. */
  refuse(id: RequestId, error: AcpErrorShape): void {
    if (!this.#closed) this.#told.say({ jsonrpc: "2.0", id, error });
  }

  /** They do not want the answer any more; there is one all the same. */
  cancel(id: unknown): void {
    if (id === null || typeof id === "string" || typeof id === "number") {
      this.#open.get(id)?.abort(new AcpError(acpErrors.request_cancelled, "The request was cancelled."));
    }
  }

  /** Nothing can be answered any more. */
  close(reason: string): void {
    this.#closed = true;
    for (const controller of [...this.#open.values()]) controller.abort(new AcpError(acpErrors.connection_closed, `The connection ended: ${reason}`));
  }

  #answer(id: RequestId, signal: AbortSignal, result: unknown, hooks: readonly (() => void)[]): void {
    if (this.#closed) return void this.#open.delete(id);
    try {
      // Answers of ACP are objects, also where there is nothing to say.
      this.#told.say({ jsonrpc: "2.0", id, result: result === undefined ? {} : result });
    } catch (error) {
      return this.#fail(id, signal, error); // not JSON
    }
    this.#open.delete(id);
    for (const work of hooks) {
      try {
        work();
      } catch (error) {
        this.#told.report(error);
      }
    }
  }

  #fail(id: RequestId, signal: AbortSignal, error: unknown): void {
    this.#open.delete(id);
    const { shape, bug } = toldOf(error, signal);
    if (bug) this.#told.report(error);
    try {
      this.refuse(id, shape);
    } catch (unsayable) {
      this.#told.report(unsayable); // its `data` is not JSON
      this.refuse(id, { code: shape.code, message: shape.message });
    }
  }
}

const isThenable = (value: unknown): value is Promise<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
