import { sse, textsOf, type Content, type Dialect, type Reply, type ToolCall } from "./dialect.ts";

/** OpenAI's Responses: codex. Each answer is made of items that are begun, grow, and are repeated whole. */
interface Tool {
  readonly name?: string;
  /** Of a namespace. */
  readonly tools?: readonly Tool[];
}
interface Item {
  readonly type?: string;
  readonly role?: string;
  readonly content?: Content;
  readonly output?: Content;
  /** Of an item of the input that brings tools along, as newer models have them. */
  readonly tools?: readonly Tool[];
}
interface Request {
  readonly input: readonly Item[];
  readonly tools?: readonly Tool[];
  readonly stream?: boolean;
  readonly text?: { readonly format?: { readonly schema?: unknown } };
}

const line = (event: { readonly type: string } & Record<string, unknown>): string => sse(event, event.type);
const usage = { input_tokens: 100, input_tokens_details: null, output_tokens: 20, output_tokens_details: null, total_tokens: 120 };
// Codex marks its own words to the model by tags around the whole message.
const isUsers = ({ role, content }: Item): boolean => role === "user" && !textsOf(content).every((text) => text.trimStart().startsWith("<"));

const namesOf = (tools: readonly Tool[] | undefined): string[] => (tools ?? []).flatMap(({ name, tools: within }) => (within ? namesOf(within) : (name ?? [])));

/** Two tools take their text as it is, without JSON: `input` has then a single field, `input`. */
const callItem = ({ id, name, input }: ToolCall): object =>
  name === "apply_patch" || name === "exec"
    ? { type: "custom_tool_call", id: `ctc_${id}`, call_id: id, name, input: input["input"] }
    : { type: "function_call", id: `fc_${id}`, call_id: id, name, arguments: JSON.stringify(input) };
const messageItem = (id: string, text: string): object => ({
  type: "message",
  id,
  role: "assistant",
  status: "completed",
  content: [{ type: "output_text", text, annotations: [] }],
});

export const responses: Dialect = {
  name: "responses",
  path: /\/responses$/,
  read(body) {
    const { input, tools, text } = body as Request;
    const last = input.findLastIndex(isUsers);
    return {
      texts: textsOf(input[last]?.content),
      results: input.slice(last + 1).flatMap(({ output }) => (output === undefined ? [] : [textsOf(output).join("\n")])),
      tools: [...namesOf(tools), ...input.flatMap((item) => namesOf(item.tools))],
      schema: text?.format?.schema,
    };
  },
  streams: (body) => (body as Request).stream === true,
  stream() {
    const id = `msg_${process.hrtime.bigint()}`;
    const items: object[] = [];
    let texts = false;
    return {
      begin: line({ type: "response.created", response: { id: `resp_${id}` } }),
      text(piece) {
        const opened = texts
          ? ""
          : line({ type: "response.output_item.added", output_index: 0, item: { type: "message", id, role: "assistant", content: [] } });
        texts = true;
        return `${opened}${line({ type: "response.output_text.delta", item_id: id, output_index: 0, content_index: 0, delta: piece })}`;
      },
      call(call) {
        const item = callItem(call);
        items.push(item);
        return `${line({ type: "response.output_item.added", output_index: 0, item })}${line({ type: "response.output_item.done", output_index: 0, item })}`;
      },
      end(whole) {
        const done = texts ? line({ type: "response.output_item.done", output_index: 0, item: messageItem(id, whole) }) : "";
        return `${done}${line({ type: "response.completed", response: { id: `resp_${id}`, output: items, usage } })}`;
      },
    };
  },
  whole: (reply: Reply) => ({
    id: "resp_1",
    object: "response",
    status: "completed",
    model: "mock",
    output: ["call" in reply ? callItem(reply.call) : messageItem("msg_1", reply.text)],
    usage,
  }),
};
