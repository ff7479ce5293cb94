import type { Limits, Sandbox } from "@sessiond/shared";
import type { MarkedChild } from "../children.ts";
import type { AgentEvent, AgentTurn, Answer } from "../agent.ts";
import { bindingDigest } from "../agent.ts";
import type { TranscriptCall } from "../transcript.ts";
import type { Paths } from "./paths.ts";
import type { ReadyTool, ToolContext, ToolResult } from "./tools/tool.ts";
import { failureText } from "./tools/tool.ts";
import { toolNamed } from "./tools/toolbox.ts";

/**
 * Runs the calls of one step: all questions are raised first, in the order of the calls, then
 * the calls run one after another as their answers come. Every call gets exactly one final
 * update with a result, whatever becomes of it: a model that misses one answers nothing more.
 */
export interface CallWorld {
  readonly paths: Paths;
  readonly limits: Limits;
  readonly sandbox: Sandbox;
  readonly turn: Pick<AgentTurn, "turnId" | "signal" | "ask">;
  spawn(callId: string, command: string): Promise<MarkedChild>;
}

type Plan = { readonly call: TranscriptCall } & ({ readonly refused: string } | { readonly ready: ReadyTool; readonly answer: Promise<Answer> | null });

export async function* runCalls(calls: readonly TranscriptCall[], world: CallWorld): AsyncGenerator<AgentEvent, void, void> {
  const plans: Plan[] = [];
  for (const call of calls) {
    const asked = plans.filter((plan) => "answer" in plan && plan.answer !== null).length;
    plans.push(await planOf(call, { world, mayAsk: asked < world.limits.approvals_pending_max }));
  }
  for (const plan of plans) yield* runPlan(plan, world);
}

async function planOf(call: TranscriptCall, { world, mayAsk }: { world: CallWorld; mayAsk: boolean }): Promise<Plan> {
  if (call.status === "in_progress") return { call, refused: "Interrupted by restart; whether it had an effect is not known." };
  if (call.rawInput !== undefined) {
    return {
      call,
      refused: `The arguments were not a JSON object, or larger than ${world.limits.tool_input_bytes_max} bytes, or nested deeper than ${world.limits.tool_input_depth_max}, so nothing was run. They began: ${call.rawInput.slice(0, 200)}`,
    };
  }
  const tool = toolNamed(call.tool);
  if (tool === undefined) return { call, refused: `There is no tool ${call.tool}.` };
  const ready = tool.ready(call.input);
  if (typeof ready === "string") return { call, refused: ready };
  if (ready.preview === null) return { call, ready, answer: null };
  if (world.turn.signal.aborted) return { call, refused: interrupted };
  if (!mayAsk)
    return { call, refused: `More than ${world.limits.approvals_pending_max} questions at once; this call was not run. Make fewer calls in one step.` };
  try {
    const { text, fileDigest, pattern } = await ready.preview(contextOf(call, { world, shown: "" }));
    const digest = bindingDigest(call.tool, call.input, fileDigest);
    return { call, ready, answer: world.turn.ask({ toolCallId: call.id, tool: call.tool, input: call.input, preview: text, digest, pattern }) };
  } catch (error) {
    return { call, refused: failureText(error) };
  }
}

const interrupted = "Interrupted before it was run.";

async function* runPlan(plan: Plan, world: CallWorld): AsyncGenerator<AgentEvent, void, void> {
  const { call } = plan;
  const { signal } = world.turn;
  const ended = (ok: boolean, result: string): AgentEvent => ({ type: "tool_call_update", tool_call_id: call.id, status: ok ? "completed" : "failed", result });
  if ("refused" in plan) return yield ended(false, plan.refused);
  const answer = signal.aborted ? null : await plan.answer;
  if (signal.aborted) return yield ended(false, interrupted);
  if (answer?.allowed === false) return yield ended(false, refusedBy(answer.reason));
  // The consumer goes on only when this is on disk: after a crash it is known that the tool may have run.
  yield { type: "tool_call_update", tool_call_id: call.id, status: "in_progress" };
  if (signal.aborted) return yield ended(false, interrupted);
  const { ok, text } = yield* runTool(plan.call, plan.ready, contextOf(call, { world, shown: answer?.digest ?? "" }));
  yield ended(ok, text || "(no output)");
}

const refusedBy = (reason: string): string => `The user refused this call: ${reason || "no reason was given"}`;

async function* runTool(call: TranscriptCall, ready: ReadyTool, context: ToolContext): AsyncGenerator<AgentEvent, ToolResult, void> {
  const run = ready.run(context);
  try {
    for (;;) {
      const next = await run.next();
      if (next.done === true) return next.value;
      yield { type: "tool_call_chunk", tool_call_id: call.id, content: { type: "text", text: next.value } };
    }
  } catch (error) {
    return { ok: false, text: failureText(error) };
  } finally {
    // Ends what the tool started when the consumer left in the middle.
    await run.return({ ok: false, text: "" });
  }
}

function contextOf(call: TranscriptCall, { world, shown }: { world: CallWorld; shown: string }): ToolContext {
  return {
    paths: world.paths,
    limits: world.limits,
    sandbox: world.sandbox,
    signal: world.turn.signal,
    isAsShown: (fileDigest) => bindingDigest(call.tool, call.input, fileDigest) === shown,
    spawn: (command) => world.spawn(call.id, command),
  };
}
