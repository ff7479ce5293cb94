import { createTRPCClient, getUntypedClient, TRPCClientError, type TRPCLink } from "@trpc/client";
import { observable } from "@trpc/server/observable";
import {
  limits,
  protocol,
  rangeText,
  SessiondError,
  verbs,
  type Auth,
  type ProtocolRange,
  type VerbInput,
  type VerbName,
  type VerbOutput,
} from "@sessiond/shared";
import type { SessiondRouter } from "@sessiond/shared/router-type";
import { callLimit, orAborted } from "./call-limit.ts";
import { Exchange, linkLost } from "./exchange.ts";
import type { Dial } from "./wire.ts";

/**
 * One connection that has said hello, as a tRPC client on a link of our own. The stock
 * wsLink waits a timer tick before each call and reconnects by rules of its own; this one
 * sends at once and never reconnects: who holds it decides that. A call, which is one
 * question and one answer, goes by the same exchange without an observable round it.
 *
 * The only file of the client that imports tRPC, and the seam where types are asserted:
 * the verb table says what goes in and comes out.
 */
export type Hello = VerbOutput<"hello">;
export type Call<V extends VerbName> = VerbInput<V> & { readonly auth?: Auth };

export interface StreamListener<V extends VerbName> {
  data(item: VerbOutput<V>): void;
  /** Once: null when the daemon completed the stream. */
  ended(error: SessiondError | null): void;
}

export interface Opening {
  readonly signal: AbortSignal;
  /** What is spoken here; this build's range unless given. */
  readonly speaks?: ProtocolRange | undefined;
  ended(link: Link, error: SessiondError): void;
}

export class Link {
  readonly hello: Hello;
  readonly #exchange: Exchange;
  readonly #trpc: Untyped;

  private constructor(hello: Hello, exchange: Exchange) {
    this.hello = hello;
    this.#exchange = exchange;
    this.#trpc = getUntypedClient(createTRPCClient<SessiondRouter>({ links: [exchangeLink(exchange)] }));
  }

  /**
   * Dials and agrees on a protocol version, within `hello_wait_ms`: until then nothing probes the link, and a daemon that
   * took the connection and hangs would be waited for without end.
   *
   * @throws SessiondError `daemon_unreachable` (detail `nobody` where nothing listens), `protocol_mismatch`, or the signal's reason
   */
  static async open(dial: Dial, { signal: caller, ended, speaks = protocol }: Opening): Promise<Link> {
    if (caller.aborted) throw caller.reason;
    let link: Link | null = null;
    const { promise, resolve, reject } = deferred();
    const exchange = new Exchange(dial, { opened: resolve, ended: (error) => (link === null ? reject(error) : ended(link, error)) });
    const { signal, release } = callLimit(limits.hello_wait_ms, caller);
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await promise;
      const hello = await answered<"hello">(exchange, "hello", { protocol: { ...speaks } }, signal);
      if (hello.protocol < speaks.min || hello.protocol > speaks.max)
        throw new SessiondError("protocol_mismatch", { client: rangeText(speaks), daemon: rangeText(hello.range), daemon_version: hello.version });
      exchange.requestBytesMax = hello.limits["request_bytes_max"] ?? exchange.requestBytesMax;
      const { heartbeat_ms: every, heartbeat_wait_ms: wait } = hello.limits;
      if (every !== undefined && wait !== undefined) exchange.wire.heartbeat(every, wait);
      return (link = new Link(hello, exchange));
    } catch (error) {
      exchange.close();
      throw signal.aborted && !caller.aborted ? linkLost("the daemon took the connection and does not answer", exchange.wire.elsewhere) : error;
    } finally {
      signal.removeEventListener("abort", abort);
      release();
    }
  }

  /** @throws SessiondError: the daemon's refusal, `daemon_unreachable` with detail `lost`, or the signal's reason */
  call<V extends VerbName>(verb: V, input: Call<V>, signal: AbortSignal): Promise<VerbOutput<V>> {
    return answered(this.#exchange, verb, input, signal);
  }

  /** @returns what stops the stream; `ended` is not called after that */
  subscribe<V extends VerbName>(verb: V, input: Call<V>, listener: StreamListener<V>): () => void {
    const subscription = this.#trpc.subscription(verb, input, {
      // Tracked values arrive as {id, data}; the id is the cursor, which our items carry themselves.
      onData: (value) => listener.data((value as { data: VerbOutput<V> }).data),
      onError: (error) => listener.ended(sessiondErrorOf(error)),
      onStopped: () => listener.ended(null),
    });
    return () => subscription.unsubscribe();
  }

  /** It has ended; nothing can be sent on it any more. */
  get broken(): boolean {
    return this.#exchange.ended;
  }

  close(): void {
    this.#exchange.close();
  }
}

type Untyped = ReturnType<typeof getUntypedClient<SessiondRouter>>;

async function answered<V extends VerbName>(exchange: Exchange, verb: V, input: Call<V>, signal: AbortSignal): Promise<VerbOutput<V>> {
  if (signal.aborted) throw signal.reason;
  let forget = (): void => undefined;
  const answer = new Promise<unknown>((data, failed) => {
    const done = (): void => failed(new SessiondError("internal", { verb }));
    forget = exchange.request({ method: verbs[verb].kind, path: verb, input }, { data, done, failed });
  });
  try {
    return (await orAborted(answer, signal)) as VerbOutput<V>;
  } catch (error) {
    throw sessiondErrorOf(error);
  } finally {
    forget();
  }
}

function sessiondErrorOf(error: unknown): SessiondError {
  if (error instanceof SessiondError) return error;
  if (error instanceof Error && error.cause instanceof SessiondError) return error.cause;
  return new SessiondError("internal", {}, { cause: error });
}

/** The terminating link of streams: one exchange, no queue, no batch, no timer. */
function exchangeLink(exchange: Exchange): TRPCLink<SessiondRouter> {
  return () =>
    ({ op }) =>
      observable((observer) =>
        exchange.request(
          { method: op.type, path: op.path, input: op.input },
          {
            data: (data) => observer.next({ result: { type: "data", data } }),
            done: () => {
              observer.next({ result: { type: "stopped" } });
              observer.complete();
            },
            failed: (error) => observer.error(TRPCClientError.from(error)),
          },
        ),
      );
}

/** Node 20 has no Promise.withResolvers. */
function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let resolve: () => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
