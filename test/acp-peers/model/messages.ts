import { sse, textsOf, type Content, type Dialect } from "./dialect.ts";

/** Anthropic's Messages: claude. Tools' results come in messages of the user. */
interface Block {
  readonly type: string;
  readonly text?: string;
  readonly content?: Content;
}
interface Request {
  readonly messages: readonly { readonly role: string; readonly content: string | readonly Block[] }[];
  readonly tools?: readonly { readonly name: string }[];
  readonly stream?: boolean;
  readonly output_config?: { readonly format?: { readonly schema?: unknown } };
}

const line = (event: { readonly type: string } & Record<string, unknown>): string => sse(event, event.type);
const usage = { input_tokens: 100, output_tokens: 20, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
// Two of one id are one message to claude, which then sends them back as one.
const message = (): object => ({ id: `msg_${process.hrtime.bigint()}`, type: "message", role: "assistant", model: "mock", stop_sequence: null });
/** What the user said may share a message with a tool's result before it, where a turn was cancelled; claude's own words there are marked. */
const isUsers = ({ type, text }: Block): boolean => type === "text" && text !== undefined && !/^\s*(?:<|\[Request interrupted)/.test(text);
const blocks = (content: string | readonly Block[]): readonly Block[] => (typeof content === "string" ? [{ type: "text", text: content }] : content);

export const messages: Dialect = {
  name: "messages",
  path: /\/messages$/,
  read(body) {
    const { messages: all, tools, output_config } = body as Request;
    const last = all.findLastIndex(({ role, content }) => role === "user" && blocks(content).some(isUsers));
    const after = all.slice(last + 1).flatMap(({ content }) => blocks(content));
    return {
      texts: textsOf(blocks(all[last]?.content ?? []).filter(isUsers)),
      results: after.flatMap(({ type, content }) => (type === "tool_result" ? [textsOf(content).join("\n")] : [])),
      tools: (tools ?? []).map(({ name }) => name),
      schema: output_config?.format?.schema,
    };
  },
  streams: (body) => (body as Request).stream === true,
  stream() {
    let reason = "end_turn";
    let texts = false;
    const stop = line({ type: "content_block_stop", index: 0 });
    return {
      begin: line({ type: "message_start", message: { ...message(), content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } } }),
      text(piece) {
        const opened = texts ? "" : line({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } });
        texts = true;
        return `${opened}${line({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: piece } })}`;
      },
      call({ id, name, input }) {
        reason = "tool_use";
        const block = { type: "tool_use", id, name, input: {} };
        const delta = { type: "input_json_delta", partial_json: JSON.stringify(input) };
        return `${line({ type: "content_block_start", index: 0, content_block: block })}${line({ type: "content_block_delta", index: 0, delta })}${stop}`;
      },
      end: () =>
        `${texts ? stop : ""}${line({ type: "message_delta", delta: { stop_reason: reason, stop_sequence: null }, usage })}${line({ type: "message_stop" })}`,
    };
  },
  whole: (reply) => ({
    ...message(),
    content: ["call" in reply ? { type: "tool_use", ...reply.call } : { type: "text", text: reply.text }],
    stop_reason: "call" in reply ? "tool_use" : "end_turn",
    usage,
  }),
};
