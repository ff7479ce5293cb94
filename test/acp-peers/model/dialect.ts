/**
 * One way to speak to a model over HTTP, as its server. What is said is the same in each (script.ts); only the form
 * differs. Nothing here is measured or limited: it serves tests, on loopback.
 */
export interface Dialect {
  readonly name: "chat" | "responses" | "messages" | "gemini";
  /** Of the path, without the query. */
  readonly path: RegExp;
  read(body: unknown): Asked;
  /** Whether the answer is streamed; else it is `whole`. */
  streams(body: unknown, path: string): boolean;
  stream(asked: Asked): Stream;
  whole(reply: Reply): unknown;
}

/** What a request comes down to, whichever dialect it is in. */
export interface Asked {
  /** The texts of the last message of the user that is no tool's result, in order. */
  readonly texts: readonly string[];
  /** What tools answered after it. */
  readonly results: readonly string[];
  readonly tools: readonly string[];
  /** A JSON schema that the answer has to be of. */
  readonly schema?: unknown;
}

export type Reply = { readonly text: string } | { readonly call: ToolCall };

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** Lines of one streamed answer, each to be written as it is: `begin`, then texts or one call, then `end`. */
export interface Stream {
  readonly begin: string;
  text(piece: string): string;
  call(call: ToolCall): string;
  /** @param whole  all text of the answer */
  end(whole: string): string;
}

/** Text, or parts with text, as three of the four write it. */
export type Content = string | readonly { readonly text?: string }[] | null;

export const textsOf = (content: Content | undefined): string[] =>
  typeof content === "string" ? [content] : (content ?? []).flatMap(({ text }) => (text === undefined ? [] : [text]));

/** A server-sent event. */
export const sse = (data: object, event?: string): string => `${event === undefined ? "" : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
