import type { EventOf, SessionEvent } from "@sessiond/shared";
import type { SessionLog } from "../../packages/daemon/src/session/session-log.ts";

/**
 * Makes a session's log long in no time: whole turns, each a prompt and an answer in chunks, applied to the log itself
 * and so written as any other. Nothing but turns that are over is left in the state.
 */
export interface TurnShape {
  /** Frames of text in an answer. */
  readonly chunks: number;
  readonly chunkChars: number;
}

/** Frames of a turn beside its chunks. */
const around = 4;
const by = { label: "filler" };
const id = (kind: string, name: string): string => `${kind}_${`fill${name}`.padStart(22, "0")}`;

/** @param n  no other turn's; frames are as long for one as for another */
export function turnEvents(n: number, { chunks, chunkChars }: TurnShape): SessionEvent[] {
  const name = String(n).padStart(9, "0");
  const [prompt_id, turn_id, message_id] = [id("prm", name), id("trn", name), `filler ${name}`];
  const chunk: EventOf<"agent_message_chunk"> = {
    type: "agent_message_chunk",
    turn_id,
    message_id,
    content: { type: "text", text: `answer ${name} `.padEnd(chunkChars, ".").slice(0, chunkChars) },
  };
  return [
    {
      type: "prompt_accepted",
      prompt_id,
      parts: [{ type: "text", text: `prompt ${name}` }],
      digest: "0".repeat(64),
      when_busy: "queue",
      became: "started",
      by,
    },
    { type: "turn_started", turn_id, prompt_ids: [prompt_id] },
    { type: "prompt_delivered", prompt_id, turn_id },
    ...Array.from({ length: chunks }, () => chunk),
    { type: "turn_ended", turn_id, stop_reason: "end_turn" },
  ];
}

/** Turns until the log has so many frames, to the last one; all of it shown and durable when this resolves. */
export async function fillTo(log: SessionLog, frames: number, shape: TurnShape = { chunks: 16, chunkChars: 40 }): Promise<void> {
  for (let left = frames - log.decided.state.seq; left > 0; left = frames - log.decided.state.seq) {
    // The last turn is as long as is missing; one chunk at least, so that no rest is too small for a turn.
    const chunks = left <= shape.chunks + 2 * around ? left - around : shape.chunks;
    for (const event of turnEvents(log.decided.state.seq, { ...shape, chunks })) log.apply(event);
    await log.drained();
  }
  await log.durable(log.decided.state.seq);
  await log.idle();
}
