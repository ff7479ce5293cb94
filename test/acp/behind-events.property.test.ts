import fc from "fast-check";
import { expect, test } from "vitest";
import { eventTable, limits, type SessionEvent } from "@sessiond/shared";
import { readAcp, permissionRequest, sessionUpdate } from "@sessiond/shared/acp";
import type { AgentFact } from "../../packages/daemon/src/agents/agent.ts";
import { Conversation } from "../../packages/daemon/src/agents/acp/conversation.ts";
import { hiding } from "../../packages/daemon/src/agents/acp/hidden-secrets.ts";
import { offered } from "../../packages/daemon/src/agents/acp/permission.ts";
import { TurnEvents } from "../../packages/daemon/src/agents/acp/turn-events.ts";

/** Whatever an agent says, what becomes of it are events: as the table has them, and no larger than a line of the journal. */
const turn_id = "trn_0000000000000000000000";
const odd = fc.oneof(
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.constantFrom("", "a", "b", "\u202e", "\ud800", "x".repeat(3_000), "\u0001".repeat(300_000)),
  fc.double(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const any = fc.oneof({ weight: 3, arbitrary: odd }, { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<unknown> });
const word = (...words: readonly string[]) => fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...words) }, { weight: 1, arbitrary: any });
const text = fc.oneof({ weight: 4, arbitrary: fc.string({ maxLength: 20 }) }, { weight: 1, arbitrary: odd });
const some = <T>(shape: Record<string, fc.Arbitrary<T> | fc.Arbitrary<unknown>>) => fc.record(shape, { requiredKeys: [] });
const many = (one: fc.Arbitrary<unknown>) => fc.oneof({ weight: 5, arbitrary: fc.array(one, { maxLength: 5 }) }, { weight: 1, arbitrary: any });

const block = fc.oneof(
  some({
    type: word("text", "image", "audio", "resource", "resource_link"),
    text,
    data: text,
    mimeType: text,
    uri: text,
    name: text,
    resource: some({ uri: text, text, blob: text }),
  }),
  any,
);
const content = many(fc.oneof(some({ type: word("content", "diff", "terminal"), content: block, path: text, oldText: text, newText: text }), any));
const call = {
  toolCallId: word("c1", "c2", "c3"),
  title: text,
  name: text,
  kind: word("edit", "execute", "read"),
  status: word("pending", "in_progress", "completed", "failed"),
  content,
  locations: many(some({ path: text, line: any })),
  rawInput: any,
  rawOutput: any,
};
const option = some({
  id: text,
  name: text,
  description: text,
  category: word("model", "mode"),
  type: word("select", "boolean"),
  currentValue: any,
  options: many(fc.oneof(some({ value: text, name: text }), some({ group: text, name: text, options: many(some({ value: text, name: text })) }))),
});
const update = fc.oneof(
  some({ sessionUpdate: word("agent_message_chunk", "agent_thought_chunk", "user_message_chunk"), content: block, messageId: text }),
  some({ sessionUpdate: word("tool_call", "tool_call_update"), ...call }),
  some({ sessionUpdate: word("plan"), entries: many(some({ content: text, priority: word("high", "low"), status: word("pending", "completed") })) }),
  some({ sessionUpdate: word("config_option_update"), configOptions: many(option) }),
  some({ sessionUpdate: word("current_mode_update"), currentModeId: text }),
  some({ sessionUpdate: word("available_commands_update"), availableCommands: many(some({ name: text, description: text, input: some({ hint: text }) })) }),
  some({ sessionUpdate: word("session_info_update", "usage_update"), title: text, used: any, size: any, cost: some({ amount: any, currency: text }) }),
  some({ sessionUpdate: word("notice", "compaction_update", "never_heard_of"), title: text, more: any }),
);

/** @throws when it is no event, or too large for a frame */
function mustFit(event: { readonly type: string; readonly turn_id?: string }): void {
  const row = eventTable[event.type as SessionEvent["type"]];
  row.schema.parse(event);
  expect(Buffer.byteLength(JSON.stringify(event))).toBeLessThan(limits.journal_line_bytes_max - 1_000);
}

test("B7 whatever an agent tells in a turn becomes events that fit, of calls that go forwards only", () => {
  fc.assert(
    fc.property(fc.array(update, { maxLength: 12 }), (updates) => {
      const events = new TurnEvents(turn_id, limits);
      const seen = new Map<string, number>();
      for (const one of updates) {
        const read = readAcp(sessionUpdate, { sessionId: "s", update: JSON.parse(JSON.stringify(one)) as unknown });
        if (!read.ok) continue;
        for (const event of events.of(read.value.update)) {
          if (event.type === "turn_end") throw new Error("a turn is ended by its prompt's answer alone");
          mustFit({ ...event, turn_id });
          if (event.type === "tool_call") seen.set(event.tool_call_id, 0);
          if (event.type !== "tool_call_update") continue;
          const rank = event.status === "in_progress" ? 1 : 2;
          expect(rank).toBeGreaterThan(seen.get(event.tool_call_id) ?? 3);
          seen.set(event.tool_call_id, rank);
        }
      }
    }),
    { numRuns: 400 },
  );
});

test("B7 whatever an agent tells of itself becomes facts that fit", () => {
  fc.assert(
    fc.property(fc.array(update, { maxLength: 6 }), (updates) => {
      const told: AgentFact[] = [];
      const context = { tell: (fact: AgentFact) => void told.push(fact) } as never;
      const conversation = new Conversation({ name: "any", context, limits, hide: hiding([]) });
      for (const one of updates) void conversation.notified("session/update", { sessionId: "s", update: JSON.parse(JSON.stringify(one)) as unknown });
      for (const fact of told) mustFit(fact);
    }),
    { numRuns: 400 },
  );
});

test("B25 whatever an agent asks becomes a question with answers of ours, or none", () => {
  const request = some({
    sessionId: fc.constant("s"),
    toolCall: some(call),
    options: many(some({ optionId: text, name: text, kind: word("allow_once", "allow_always", "reject_once", "reject_always") })),
  });
  fc.assert(
    fc.property(request, (params) => {
      const read = readAcp(permissionRequest, JSON.parse(JSON.stringify(params)));
      if (!read.ok) return;
      const events = new TurnEvents(turn_id, limits);
      for (const event of events.called(read.value.toolCall)) mustFit({ ...event, turn_id } as never);
      const known = events.calls.get(read.value.toolCall.toolCallId);
      const asked = known === undefined ? null : offered(known, read.value.options, "any");
      if (asked === null) return;
      const { options = [], toolCallId, tool, input, digest } = asked.question;
      expect(new Set(options.map(({ option_id }) => option_id)).size).toBe(options.length);
      for (const { option_id, kind } of options) expect(option_id.replace(/_\d+$/, "")).toBe(kind);
      const approval = { approval_id: "apr_0000000000000000000000", turn_id, tool_call_id: toolCallId, tool, input, preview: "", options, digest, asked_at: 0 };
      mustFit({ type: "approval_requested", approval } as never);
    }),
    { numRuns: 400 },
  );
});
