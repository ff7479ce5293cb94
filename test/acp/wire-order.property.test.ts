/** Order on the ACP wire, whatever comes together, is cut apart, waits, or is late: B24's isolation rests on nobody overtaking. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { AcpError, type IncomingRequest } from "@sessiond/shared/acp";
import { amount } from "../support/amount.ts";
import { notification, request, turn, wireRig, type Said } from "../support/acp-wire-rig.ts";

/** How long a handler, or whoever awaits an answer, takes: so many microtasks, and so many turns of the event loop. */
interface Delay {
  readonly hops: number;
  readonly turns: number;
}
const delay = fc.record({ hops: fc.nat({ max: 6 }), turns: fc.constantFrom(0, 0, 0, 1, 2) });
async function passed({ hops, turns }: Delay): Promise<void> {
  for (let hop = 0; hop < hops; hop += 1) await Promise.resolve();
  for (let one = 0; one < turns; one += 1) await turn();
}

type Incoming =
  | { readonly is: "notification" | "slow notification" | "request" | "slow request"; readonly delay: Delay; readonly fails: boolean }
  | { readonly is: "answer"; readonly hops: number; readonly fails: boolean };
const incoming: fc.Arbitrary<Incoming> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ is: fc.constantFrom("notification", "slow notification", "request", "slow request"), delay, fails: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ is: fc.constant("answer" as const), hops: fc.nat({ max: 6 }), fails: fc.boolean() }) },
);
// Of one, two, three and four bytes each, and the line ends that only look like some.
const words = fc.string({ unit: fc.constantFrom("a", "é", "€", "🙂", "\u2028", "\u0085", "\\n", '"', "{", "]"), maxLength: 12 });

const plan = fc.record({
  messages: fc.array(incoming, { minLength: 1, maxLength: 24 }),
  text: words,
  lineEnd: fc.constantFrom("\n", "\r\n", "\n\n", "\n\uFEFF"),
  cuts: fc.array(fc.record({ length: fc.integer({ min: 1, max: 90 }), pause: fc.constantFrom(0, 0, 0, 1) }), { maxLength: 60 }),
  writes: delay,
});

test("B24: messages are handled in the order in which they came, cut anywhere, and answers with them", async () => {
  await fc.assert(
    fc.asyncProperty(plan, async ({ messages, text, lineEnd, cuts, writes }) => {
      const seen: string[] = [];
      const ours: string[] = [];
      const begun: string[] = [];
      const written: Said[] = [];
      let overlaps = 0;
      const say = (name: string) => {
        ours.push(name);
        rig.peer.notify(name, { text });
      };
      const step = (params: unknown) => (params as { at: number }).at;
      const doing = (at: number) => messages[at] as Exclude<Incoming, { is: "answer" }>;
      const rig = wireRig({
        write: async (line) => {
          begun.push(line);
          await passed(writes);
          written.push(JSON.parse(line) as Said);
          // One at a time: the next does not begin before this one is taken.
          if (begun.length !== written.length) overlaps += 1;
        },
        onNotification: async (_method, params) => {
          const at = step(params);
          expect((params as { text: string }).text).toBe(text);
          seen.push(`${at} begins`);
          if (doing(at).is === "slow notification") await passed(doing(at).delay);
          say(`said in ${at}`);
          seen.push(`${at} ends`);
          if (doing(at).fails) throw new AcpError(-1, "as planned");
        },
        onRequest: (_method, params, { afterResponse }: IncomingRequest) => {
          const at = step(params);
          seen.push(`${at} begins`);
          say(`said in ${at}`);
          afterResponse(() => say(`said after ${at}`));
          if (doing(at).is === "request") {
            if (doing(at).fails) throw new AcpError(-7, "as planned");
            return { at };
          }
          return passed(doing(at).delay).then(() => {
            if (doing(at).fails) throw new AcpError(-7, "as planned");
            return { at };
          });
        },
      });

      const expected: string[] = [];
      const lines: Said[] = [];
      const awaited: Promise<void>[] = [];
      let asked = 0;
      for (const [at, message] of messages.entries()) {
        if (message.is === "answer") {
          const answer = rig.peer.request("ask", { text });
          ours.push(`ask ${(asked += 1)}`);
          const taken = async () => {
            const outcome = await answer.then(
              (result) => `${at} is ${(result as { at: number }).at}`,
              (error: AcpError) => `${at} failed ${error.message}`,
            );
            await passed({ hops: message.hops, turns: 0 });
            seen.push(outcome);
          };
          awaited.push(taken());
          const envelope = { jsonrpc: "2.0", id: asked };
          lines.push(message.fails ? { ...envelope, error: { code: -9, message: text === "" ? "x" : text } } : { ...envelope, result: { at, text } });
          expected.push(message.fails ? `${at} failed ${text === "" ? "x" : text}` : `${at} is ${at}`);
        } else if (message.is.endsWith("request")) {
          lines.push(request(`r${at}`, "do", { at, text }));
          expected.push(`${at} begins`);
        } else {
          lines.push(notification("tell", { at, text }));
          expected.push(`${at} begins`, `${at} ends`);
        }
      }

      const bytes = Buffer.from(lines.map((line) => JSON.stringify(line) + lineEnd).join(""));
      let from = 0;
      for (const { length, pause } of cuts) {
        rig.peer.receive(bytes.subarray(from, (from += length)));
        if (pause > 0) await turn();
      }
      rig.peer.receive(bytes.subarray(from));
      await rig.peer.handled();
      await Promise.all(awaited);
      expect(seen).toEqual(expected);

      const requests = messages.flatMap((message, at) => (message.is.endsWith("request") ? [{ at, fails: (message as { fails: boolean }).fails }] : []));
      while ((rig.peer.flushed(), written.filter(({ method }) => method === undefined).length < requests.length)) await turn();
      await rig.peer.flushed();
      for (const { at, fails } of requests) {
        const answers = written.filter(({ method, id }) => method === undefined && id === `r${at}`);
        expect(answers).toEqual([
          fails ? { jsonrpc: "2.0", id: `r${at}`, error: { code: -7, message: "as planned" } } : { jsonrpc: "2.0", id: `r${at}`, result: { at } },
        ]);
        // What was to follow the answer stands right behind it.
        const behind = written[written.indexOf(answers[0] ?? {}) + 1];
        if (!fails) expect(behind?.["method"]).toBe(`said after ${at}`);
        else expect(written.some(({ method }) => method === `said after ${at}`)).toBe(false);
      }
      const saidByUs = written.flatMap(({ method, id }) => (method === undefined ? [] : [method === "ask" ? `ask ${String(id)}` : String(method)]));
      expect(saidByUs).toEqual(ours);
      expect(overlaps).toBe(0);
      // One message a line, also for readers that go by other ends of lines.
      expect(begun.filter((line) => line.indexOf("\n") !== line.length - 1 || /[\u0085\u2028\u2029]/.test(line))).toEqual([]);
      expect(rig.bugs.every((bug) => bug instanceof AcpError)).toBe(true);
    }),
    { numRuns: amount(150, 2_000) },
  );
});

test("B24: whoever awaits an answer has run on before what came behind it is handled", async () => {
  const seen: unknown[] = [];
  const known = new Set<string>();
  const rig = wireRig({ onNotification: (_method, params) => void seen.push([params, [...known]]) });
  const begun = (async () => {
    const { sessionId } = await (async () => (await rig.peer.request("session/new", {})) as { sessionId: string })();
    known.add(sessionId);
  })();
  rig.hear({ jsonrpc: "2.0", id: 1, result: { sessionId: "s" } }, notification("session/update", { sessionId: "s" }));
  await begun;
  await rig.peer.handled();
  expect(seen).toEqual([[{ sessionId: "s" }, ["s"]]]);
});

test("B24: a question that nobody answers holds up nothing that comes after it", async () => {
  const rig = wireRig({ onRequest: (method, params) => (method === "wait" ? new Promise(() => {}) : params) });
  rig.hear(request(1, "wait"), request(2), notification("on"), request(3));
  await rig.peer.handled();
  expect(rig.said.map(({ id }) => id)).toEqual([2, 3]);
});
