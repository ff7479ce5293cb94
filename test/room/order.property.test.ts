import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import type { SessiondError } from "@sessiond/shared";
import { endRigs, Rig, type TestSeat } from "../support/session-rig.ts";

/** The law of the room's order. fast-check prints seed and path where it fails. */
afterEach(endRigs);

type Step =
  | { do: "say"; count: number }
  | { do: "attach"; cursor: number | null }
  | { do: "drop"; which: number }
  | { do: "resume"; which: number }
  | { do: "wait" }
  | { do: "restart" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("say" as const), count: fc.integer({ min: 1, max: 90 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("attach" as const), cursor: fc.option(fc.nat({ max: 400 })) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("drop" as const), which: fc.nat({ max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("resume" as const), which: fc.nat({ max: 9 }) }) },
  { weight: 2, arbitrary: fc.constant({ do: "wait" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "restart" as const }) },
);

interface Reader {
  /** Seq after which it began. */
  readonly from: number;
  readonly label: string;
  readonly secret: string;
  seats: TestSeat[];
}

/** What a client has seen: of a connection that it left for another, what it had when it left. */
const seen = (reader: Reader): number[] =>
  reader.seats.flatMap((seat, index) => {
    const next = reader.seats[index + 1]?.first?.cursor.split(":")[1];
    return seat.frames.map((frame) => frame.seq).filter((seq) => next === undefined || seq <= Number(next));
  });

test("B31 every reader sees every frame once and in order, under any interleaving of appends, attaches, drops and restarts", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      let rig = await Rig.start({ script: { auto: (turn) => turn.end() } });
      const secret = "driver".padEnd(24, "_");
      let driver = await rig.driver("driver", { secret });
      const readers: Reader[] = [];
      let turn: Promise<unknown> = Promise.resolve();
      for (const [index, each] of steps.entries()) {
        const reader = "which" in each ? readers[each.which % Math.max(1, readers.length)] : undefined;
        const last = reader?.seats.at(-1);
        if (each.do === "say") turn = Promise.all(Array.from({ length: Math.ceil(each.count / 20) }, (_, n) => driver.prompt(`${index} ${n}`).catch(refusal)));
        else if (each.do === "attach") {
          const cursor = each.cursor === null ? undefined : `1:${each.cursor}`;
          const label = `reader ${index}`;
          const seat = await rig.attach(label, { secret: label.padEnd(24, "_").replaceAll(" ", "-"), ...(cursor !== undefined && { cursor }) });
          readers.push({
            from: seat.first?.type === "resumed" ? (each.cursor ?? 0) : (seat.first as { snapshot: { seq: number } }).snapshot.seq,
            label,
            secret: label.padEnd(24, "_").replaceAll(" ", "-"),
            seats: [seat],
          });
        } else if (each.do === "drop") await last?.drop();
        else if (each.do === "resume" && reader !== undefined && last !== undefined) reader.seats.push(await resume(rig, reader, last));
        else if (each.do === "wait") await turn;
        else if (each.do === "restart") {
          const before = rig;
          rig = await before.crash();
          driver = await rig.driver("driver", { secret });
          // The old daemon is dead to its readers: what they saw must be in the copy, or they are reset.
          for (const each of [...readers]) {
            const seat = each.seats.at(-1) as TestSeat;
            await seat.drop();
            const again = await resume(rig, each, seat);
            if (again.first?.type === "snapshot") readers.splice(readers.indexOf(each), 1);
            else each.seats.push(again);
          }
        }
      }
      await turn;
      for (const reader of readers) {
        const last = reader.seats.at(-1) as TestSeat;
        if (last.end !== undefined) reader.seats.push(await resume(rig, reader, last));
      }
      const end = (await driver.prompt("the end")).seq;
      for (const reader of readers) {
        const last = reader.seats.at(-1) as TestSeat;
        await last.until(() => last.state.seq >= end || last.cursor.split(":")[1] === String(end) || last.frames.some((frame) => frame.seq >= end));
        const seqs = seen(reader);
        expect(seqs).toEqual(seqs.map((_, index) => reader.from + 1 + index));
      }
      expect(rig.daemon.bugs).toEqual([]);
      await endRigs();
    }),
    { numRuns: 25, endOnFailure: true, interruptAfterTimeLimit: 24_000 },
  );
}, 60_000);

const resume = (rig: Rig, reader: Reader, last: TestSeat): Promise<TestSeat> => rig.attach(reader.label, { secret: reader.secret, cursor: last.cursor });

/** A full queue is no loss: the prompt was never accepted. */
function refusal(error: SessiondError): void {
  if (error.code !== "queue_full") throw error;
}
