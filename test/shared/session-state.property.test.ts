import fc from "fast-check";
import { expect, test } from "vitest";
import { emptyState, limits, reduce, reduceRun, schemas } from "@sessiond/shared";
import type { Frame, SessionEvent, SessionState } from "@sessiond/shared";
import { legalFrames } from "../support/legal-frames.ts";

/** The law of the state's fold. fast-check prints seed and path where it fails; to see a smaller case, run that seed without `endOnFailure` (minutes). */
const empty = emptyState(`ses_${"0".repeat(22)}`);
const fold = (state: SessionState, frames: readonly Frame[]): SessionState => frames.reduce(reduce, state);
/** As a snapshot travels. */
const sent = (state: SessionState): SessionState => JSON.parse(JSON.stringify(state)) as SessionState;

test("B31 the snapshot at n, with the frames after n folded in, is the snapshot at m", () => {
  fc.assert(
    fc.property(legalFrames(300), fc.nat(), fc.nat(), (frames, a, b) => {
      const [n, m] = [a % (frames.length + 1), b % (frames.length + 1)].sort((x, y) => x - y) as [number, number];
      const atN = sent(fold(empty, frames.slice(0, n)));
      const atM = sent(fold(empty, frames.slice(0, m)));
      expect(sent(fold(atN, frames.slice(n, m)))).toEqual(atM);
    }),
    { numRuns: 150, endOnFailure: true },
  );
});

/** Told run by run: the states between them, and how many frames each took. */
function foldRuns(state: SessionState, frames: readonly Frame[]): { readonly after: number; readonly state: SessionState }[] {
  const steps = [];
  for (let at = 0; at < frames.length;) {
    const run = reduceRun(state, frames, at);
    expect(run.next).toBeGreaterThan(at);
    ({ state, next: at } = run);
    steps.push({ after: at, state });
  }
  return steps;
}

test("B31 a run of chunks folded at once gives the state that they give one by one, wherever it begins", () => {
  fc.assert(
    fc.property(legalFrames(200), fc.nat(), (frames, begin) => {
      const from = begin % frames.length;
      for (const { after, state } of foldRuns(fold(empty, frames.slice(0, from)), frames.slice(from)))
        expect(state).toEqual(fold(empty, frames.slice(0, from + after)));
    }),
    { numRuns: 60, endOnFailure: true },
  );
});

const chunkSizes = [0, 1, 1, 7, 1_000, limits.message_chars_max / 2, limits.message_chars_max / 2 + 1, limits.message_chars_max, limits.message_chars_max + 1];

test("B31 so it does at the bounds of a message and of all of them, where text is cut and messages are dropped", () => {
  let [runs, cut, dropped] = [0, 0, 0];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(chunkSizes.length - 1), fc.nat(7)), { minLength: 1, maxLength: 120, size: "max" }), (dice) => {
      let message = 0;
      // Most belong to the message before them; an id may come again, and thought and answer share it.
      const frames = dice.map(([size, what], index): Frame => {
        message += what === 0 ? 1 : 0;
        const type: SessionEvent["type"] = what === 1 ? "agent_thought_chunk" : "agent_message_chunk";
        const content = { type: "text" as const, text: String(index % 10).repeat(chunkSizes[size] ?? 0) };
        return { seq: index + 1, at: 1_000 + index, event: { type, turn_id: `t${Math.floor(index / 50)}`, message_id: `m${message % 3}`, content } };
      });
      let single = empty;
      let before = 0;
      for (const { after, state } of foldRuns(empty, frames)) {
        single = fold(single, frames.slice(before, after));
        expect(state).toEqual(single);
        if (after - before > 1) runs += 1;
        before = after;
      }
      if (single.messages.some(({ cut_chars: chars }) => chars > 0)) cut += 1;
      if (single.older_before !== null) dropped += 1;
    }),
    { numRuns: 60, endOnFailure: true },
  );
  expect(Math.min(runs, cut, dropped)).toBeGreaterThan(0);
});

test("B30 chunks of one message that come together are folded by one step", () => {
  const frames = Array.from({ length: 64 }, (_, index): Frame => {
    const content = { type: "text" as const, text: `${index} ` };
    return { seq: index + 1, at: 1_000, event: { type: "agent_message_chunk", turn_id: "t", message_id: "m", content } };
  });
  expect(foldRuns(empty, frames).map(({ after }) => after)).toEqual([64]);
});

test("B31 a state is never changed by folding another frame into it", () => {
  fc.assert(
    fc.property(legalFrames(80), (frames) => {
      let state = empty;
      for (const frame of frames) {
        const before = JSON.stringify(state);
        const next = reduce(state, frame);
        expect(JSON.stringify(state)).toBe(before);
        state = next;
      }
    }),
    { numRuns: 30, endOnFailure: true },
  );
});

test("B31 the state is bounded, whatever came: messages, characters and bytes; and it passes its schema", () => {
  let most = { messages: 0, chars: 0, bytes: 0 };
  fc.assert(
    fc.property(legalFrames(1_200), (frames) => {
      const state = fold(empty, frames);
      const counted = state.messages.reduce(
        (sum, message) => sum + message.text.length + (message.type === "tool" && message.input ? JSON.stringify(message.input).length : 0),
        0,
      );
      expect(state.messages_chars).toBe(counted);
      expect(state.messages.length).toBeLessThanOrEqual(limits.state_messages_max);
      expect(counted).toBeLessThanOrEqual(limits.state_messages_chars_max);
      for (const message of state.messages) expect(message.text.length).toBeLessThanOrEqual(limits.message_chars_max);
      const bytes = JSON.stringify(state.messages).length;
      // A character is at most six in JSON; ids, titles and labels come on top.
      expect(bytes).toBeLessThanOrEqual(6 * limits.state_messages_chars_max + limits.state_messages_max * 1_024);
      schemas.sessionState.parse(state);
      most = { messages: Math.max(most.messages, state.messages.length), chars: Math.max(most.chars, counted), bytes: Math.max(most.bytes, bytes) };
    }),
    { numRuns: 40, endOnFailure: true },
  );
  console.log(`largest state met: ${most.messages} messages, ${most.chars} characters, ${most.bytes} bytes of JSON`);
  expect(most.messages).toBeGreaterThan(20);
});

test("B31 what is dropped from the front is told: older_before names the oldest message kept, and no text vanishes uncounted", () => {
  fc.assert(
    fc.property(legalFrames(600), (frames) => {
      const state = fold(empty, frames);
      if (state.older_before !== null) expect(state.messages[0]?.seq).toBe(state.older_before);
      const seqs = state.messages.map((message) => message.seq);
      expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    }),
    { numRuns: 40, endOnFailure: true },
  );
});

test("B28 a question has a deadline exactly while a policy refuses and no driver is seated and connected; its time never grows", () => {
  let ran = 0;
  fc.assert(
    fc.property(legalFrames(400), (frames) => {
      let state = empty;
      for (const frame of frames) {
        const before = state;
        state = reduce(state, frame);
        const attended = state.seats.some((seat) => seat.role === "driver" && seat.connected);
        for (const { approval_id, deadline, remaining_ms } of state.approvals) {
          expect(deadline !== undefined).toBe(state.policy.type === "reject_after" && !attended);
          expect(remaining_ms !== undefined).toBe(state.policy.type === "reject_after");
          if (deadline !== undefined) ran += 1;
          const left = before.approvals.find((open) => open.approval_id === approval_id)?.remaining_ms;
          if (remaining_ms === undefined || left === undefined || state.policy !== before.policy) continue;
          expect(remaining_ms).toBeLessThanOrEqual(left);
        }
      }
    }),
    { numRuns: 60, endOnFailure: true },
  );
  expect(ran).toBeGreaterThan(0);
});

test("B31 of more messages than are kept the newest 200 stay", () => {
  const at = 1_000;
  const notices = Array.from({ length: 260 }, (_, index): Frame => ({
    seq: index + 1,
    at,
    event: { type: "notice", code: "journal_cut", text: `notice ${index + 1}` },
  }));
  const state = fold(empty, notices);
  expect(state.messages).toHaveLength(limits.state_messages_max);
  expect([state.older_before, state.messages.at(-1)?.text]).toEqual([61, "notice 260"]);
});
