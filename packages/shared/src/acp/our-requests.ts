import { AcpError, acpErrors } from "./acp-error.ts";

export interface RequestOptions {
  /** Ends the wait; the other side is told by `$/cancel_request`, and what it answers then is not waited for. */
  readonly signal?: AbortSignal | undefined;
  /** The same after so long. */
  readonly timeoutMs?: number | undefined;
}

/** A longer timer fires at once. */
const timerMax = 2_147_483_647;

interface Open {
  readonly method: string;
  settle(outcome: { readonly result: unknown } | AcpError): void;
}

/** What we asked and have no answer to. */
export class OurRequests {
  readonly #openMax: number;
  readonly #say: (message: object) => void;
  readonly #open = new Map<number, Open>();
  #lastId = 0;
  #closed: string | null = null;

  constructor(openMax: number, say: (message: object) => void) {
    this.#openMax = openMax;
    this.#say = say;
  }

  /** @throws AcpError as `JsonRpcPeer.request` */
  ask(method: string, params: unknown, { signal, timeoutMs }: RequestOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== null) throw unanswered(method, this.#closed);
      if (signal?.aborted) throw cancelled(method);
      if (this.#open.size >= this.#openMax)
        throw new AcpError(acpErrors.internal_error, `${this.#openMax} requests have no answer yet (limit acp_requests_open_max): ${method} was not sent.`);
      const id = (this.#lastId += 1);
      const giveUp = (error: AcpError): void => {
        this.#settle(id, error);
        this.#say({ jsonrpc: "2.0", method: "$/cancel_request", params: { requestId: id } });
      };
      const onAbort = (): void => giveUp(cancelled(method));
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => giveUp(new AcpError(acpErrors.timed_out, `No answer to ${method} within ${timeoutMs} ms.`)), Math.min(timeoutMs, timerMax));
      const settle: Open["settle"] = (outcome) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        if (outcome instanceof AcpError) reject(outcome);
        else resolve(outcome.result);
      };
      this.#open.set(id, { method, settle });
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        this.#say({ jsonrpc: "2.0", id, method, params });
      } catch (error) {
        this.#settle(id, new AcpError(acpErrors.internal_error, `${method} could not be said: ${String(error)}`));
      }
    });
  }

  /** Their answer; false if nothing waits for it. */
  answered(id: unknown, outcome: { readonly result: unknown } | AcpError): boolean {
    // Some peers give numbers back as strings.
    const known = typeof id === "string" && /^\d{1,15}$/.test(id) ? Number(id) : id;
    return typeof known === "number" && this.#settle(known, outcome);
  }

  /** Nothing will be answered any more. */
  close(reason: string): void {
    this.#closed = reason;
    for (const [id, { method }] of [...this.#open]) this.#settle(id, unanswered(method, reason));
  }

  #settle(id: number, outcome: { readonly result: unknown } | AcpError): boolean {
    const open = this.#open.get(id);
    this.#open.delete(id);
    open?.settle(outcome);
    return open !== undefined;
  }
}

const cancelled = (method: string): AcpError => new AcpError(acpErrors.request_cancelled, `${method} was cancelled on this side.`);
const unanswered = (method: string, reason: string): AcpError => new AcpError(acpErrors.connection_closed, `${method} has no answer: ${reason}`);
