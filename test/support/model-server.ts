import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A model server on loopback, in the real streaming format, that does what a test tells it. */
export interface ChatRequest {
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model: string;
    readonly messages: readonly ChatMessage[];
    readonly tools?: readonly { readonly function: { readonly name: string } }[];
  };
}
export interface ChatMessage {
  readonly role: string;
  readonly content: string | null;
  readonly tool_call_id?: string;
  readonly tool_calls?: readonly { readonly id: string; readonly function: { readonly name: string; readonly arguments: string } }[];
}

export interface Reply {
  /** An answer that is no stream. */
  status(code: number, headers?: Record<string, string>, body?: unknown): void;
  text(content: string): void;
  /** Any delta, as it stands. */
  delta(delta: object, finish_reason?: string): void;
  /** One whole tool call. */
  call(index: number, name: string, args: string | object, id?: string): void;
  usage(input: number, output: number): void;
  /** The last chunk with its reason, then `[DONE]`. */
  finish(reason?: string): void;
  /** End the stream as if all were well. */
  end(): void;
  /** Cut the connection. */
  cut(): void;
  /** What no server in its senses sends. */
  readonly raw: ServerResponse;
  /** Resolves when the client has gone. */
  readonly gone: Promise<void>;
}

/** One function a request; the last one serves all further requests. */
export type Script = readonly ((reply: Reply, request: ChatRequest) => void | Promise<void>)[];

export interface ModelServer {
  readonly baseURL: string;
  readonly requests: ChatRequest[];
  close(): Promise<void>;
}

export async function startModelServer(script: Script): Promise<ModelServer> {
  const requests: ChatRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const request: ChatRequest = { headers: incoming.headers, body: JSON.parse(await textOf(incoming)) as ChatRequest["body"] };
    requests.push(request);
    const step = script[Math.min(requests.length, script.length) - 1];
    if (step === undefined) return response.writeHead(500).end();
    return step(replyOn(response), request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    baseURL: `http://127.0.0.1:${port}/v1`,
    requests,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function replyOn(response: ServerResponse): Reply {
  const send = (data: object): void => {
    if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "m", ...data })}\n\n`);
  };
  const delta = (content: object, finish_reason: string | null = null): void => send({ choices: [{ index: 0, delta: content, finish_reason }] });
  return {
    status: (code, headers = {}, body = { error: { message: "no", type: "error", code: null } }) =>
      void response.writeHead(code, { "content-type": "application/json", ...headers }).end(JSON.stringify(body)),
    text: (content) => delta({ content }),
    delta,
    call: (index, name, args, id = `call_${index}`) =>
      delta({ tool_calls: [{ index, id, type: "function", function: { name, arguments: typeof args === "string" ? args : JSON.stringify(args) } }] }),
    usage: (input, output) => send({ choices: [], usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output } }),
    finish: (reason = "stop") => {
      delta({}, reason);
      response.end("data: [DONE]\n\n");
    },
    end: () => {
      if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
      response.end();
    },
    raw: response,
    cut: () => void response.socket?.destroy(),
    gone: new Promise<void>((resolve) => response.once("close", () => resolve())),
  };
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of incoming) text += String(chunk);
  return text;
}
