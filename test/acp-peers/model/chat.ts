import { sse, textsOf, type Content, type Dialect } from "./dialect.ts";

/** OpenAI's Chat Completions: opencode, qwen. */
interface Request {
  readonly messages: readonly { readonly role: string; readonly content: Content }[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
  readonly stream?: boolean;
  readonly response_format?: { readonly json_schema?: { readonly schema?: unknown } };
}

const line = (rest: object): string => sse({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "mock", ...rest });
const delta = (content: object, finish_reason: string | null = null): string => line({ choices: [{ index: 0, delta: content, finish_reason }] });
const usage = { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 };
const calls = (id: string, name: string, input: object): object[] => [{ index: 0, id, type: "function", function: { name, arguments: JSON.stringify(input) } }];

export const chat: Dialect = {
  name: "chat",
  path: /\/chat\/completions$/,
  read(body) {
    const { messages, tools, response_format } = body as Request;
    const last = messages.findLastIndex(({ role }) => role === "user");
    return {
      texts: textsOf(messages[last]?.content),
      results: messages.slice(last + 1).flatMap(({ role, content }) => (role === "tool" ? [textsOf(content).join("\n")] : [])),
      tools: (tools ?? []).map((tool) => tool.function.name),
      schema: response_format?.json_schema?.schema,
    };
  },
  streams: (body) => (body as Request).stream === true,
  stream() {
    let reason = "stop";
    return {
      begin: delta({ role: "assistant", content: "" }),
      text: (piece) => delta({ content: piece }),
      call({ id, name, input }) {
        reason = "tool_calls";
        return delta({ tool_calls: calls(id, name, input) });
      },
      end: () => `${delta({}, reason)}${line({ choices: [], usage })}data: [DONE]\n\n`,
    };
  },
  whole(reply) {
    const called = "call" in reply;
    const message = {
      role: "assistant",
      ...(called ? { content: null, tool_calls: calls(reply.call.id, reply.call.name, reply.call.input) } : { content: reply.text }),
    };
    return {
      id: "chatcmpl-1",
      object: "chat.completion",
      created: 1,
      model: "mock",
      choices: [{ index: 0, message, finish_reason: called ? "tool_calls" : "stop" }],
      usage,
    };
  },
};
