import type { Approval, ApprovalOption, SessionState } from "@sessiond/client";
import type { AcpPermissionOption, AcpToolCallUpdate } from "@sessiond/shared/acp";
import { callIdOf, type ToolCalls } from "./tool-calls.ts";
import { verbatim } from "./verbatim.ts";

/** Answers that every driver may give; others only one whose token the owner minted (the gate of `approve`). */
const everybodys: ReadonlySet<string> = new Set(["allow_once", "allow_turn", "allow_session", "reject_once"]);

/**
 * The answers that an editor is offered: one of each of ACP's kinds, because it may show no more, and programs choose by
 * kind. What is remembered for the session counts as its "always"; for more than that there is the terminal. Kinds that
 * nobody knows are left out: a program would have to guess what they allow.
 *
 * @param owner  the owner minted this connection's token
 * @returns none where there is nothing that an editor could choose rightly
 */
export function offered({ options }: Approval, owner: boolean): AcpPermissionOption[] {
  const may = options.filter(({ option_id }) => owner || everybodys.has(option_id));
  const first = (...kinds: readonly ApprovalOption["kind"][]): ApprovalOption | undefined =>
    kinds.map((kind) => may.find((option) => option.kind === kind)).find((option) => option !== undefined);
  const chosen = {
    allow_once: first("allow_once"),
    allow_always: first("allow_session", "allow_always"),
    reject_once: first("reject_once"),
    reject_always: first("reject_always"),
  };
  return Object.entries(chosen).flatMap(([kind, option]) =>
    option === undefined ? [] : [{ optionId: option.option_id, name: option.label, kind: kind as keyof typeof chosen }],
  );
}

/** The whole call: a client may show nothing but this. */
export function askedCall({ turn_id, tool_call_id, tool, input, preview }: Approval, state: SessionState, calls: ToolCalls): AcpToolCallUpdate {
  const open = state.calls.find((call) => call.tool_call_id === tool_call_id);
  const diffs = calls.diffsOf(turn_id, tool_call_id);
  return {
    toolCallId: callIdOf(turn_id, tool_call_id),
    title: open?.title || tool,
    name: tool,
    status: "pending",
    rawInput: input,
    content: diffs.length > 0 ? diffs : [{ type: "content", content: { type: "text", text: verbatim(preview) } }],
    ...(open && { kind: open.kind, ...calls.locations(open.locations) }),
  };
}
