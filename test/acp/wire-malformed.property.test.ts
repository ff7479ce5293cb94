/** Whatever comes over the ACP wire: nothing throws, nothing hangs, and each request has exactly one answer. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  acpErrors,
  initializeRequest,
  initializeResponse,
  newSessionResponse,
  permissionRequest,
  promptRequest,
  readAcp,
  sessionUpdate,
  setConfigOptionRequest,
} from "@sessiond/shared/acp";
import { amount } from "../support/amount.ts";
import { request, turn, wireRig, type Said } from "../support/acp-wire-rig.ts";

const recordings = join(import.meta.dirname, "../fixtures/acp");
/** Messages that real agents and a client sent each other. */
const recorded = readdirSync(recordings).flatMap((file) =>
  readFileSync(join(recordings, file), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { message: Said }).message),
);

const id = fc.oneof(fc.integer({ min: -3, max: 9 }), fc.constantFrom("a", "b", "", null), fc.constantFrom(1.5, {}, [], true, 1e300, "x".repeat(300)));
/** Members that belong into a message, right and wrong, in any order. */
const soup = fc
  .record(
    {
      jsonrpc: fc.constantFrom("2.0", "2.0", "2.0", "1.0", 2, null),
      id,
      method: fc.constantFrom("echo", "wait", "bug", "$/cancel_request", "session/update", "", 5, null),
      params: fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.record({ requestId: id })),
      result: fc.jsonValue({ maxDepth: 2 }),
      error: fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.record({ code: fc.integer(), message: fc.string() })),
    },
    { requiredKeys: [] },
  )
  .chain((members) => fc.shuffledSubarray(Object.entries(members), { minLength: Object.keys(members).length }))
  .map((entries) => JSON.stringify(Object.fromEntries(entries)));
const deep = fc.integer({ min: 60, max: 3_000 }).map((depth) => `${"[".repeat(depth)}${"]".repeat(depth)}`);
const long = fc.integer({ min: 4_000, max: 9_000 }).map((length) => "z".repeat(length));
const huge = fc
  .tuple(
    soup,
    fc.oneof(
      deep,
      long.map((text) => `"${text}"`),
    ),
  )
  .map(([line, value]) => line.replace(/\}$/, `,"more":${value}}`).replace("{,", "{"));

/** A message that was one, with something cut out, doubled, or put in. */
const spoiled = fc
  .tuple(fc.constantFrom(...recorded), fc.nat(), fc.nat({ max: 30 }), fc.string({ maxLength: 5 }), fc.boolean())
  .map(([message, at, length, put, doubled]) => {
    const text = JSON.stringify(message);
    const place = at % text.length;
    return `${text.slice(0, place)}${put}${doubled ? text.slice(place, place + length) : ""}${text.slice(place + (doubled ? 0 : length))}`;
  });
const lines = fc.oneof(soup, soup, huge, deep, long, spoiled, spoiled, fc.string(), fc.json(), fc.constantFrom("", "{", "[]", "null", "\uFEFF"));
const bytes = fc.oneof(
  { weight: 6, arbitrary: lines.map((line) => Buffer.from(`${line.replaceAll("\n", " ")}\n`)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.concat([raw, Buffer.from("\n")])) },
);

test("whatever comes, each request has exactly one answer, and the connection stands", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 30 }), async (chunks, cuts) => {
      const rig = wireRig({
        limits: { acp_message_bytes_max: 3_000, acp_requests_open_max: 4 },
        onRequest: async (method, params) => {
          if (method === "wait") await turn();
          if (method === "bug") throw new Error("a bug");
          return params;
        },
        onNotification: () => turn(),
      });
      const ours = Array.from({ length: 4 }, () => rig.peer.request("ask", {}).catch(() => null));
      // Ours in between, each with an id of its own.
      const all = Buffer.concat(chunks.flatMap((chunk, at) => [chunk, Buffer.from(`${JSON.stringify(request(`probe ${at}`))}\n`)]));
      let from = 0;
      for (const length of cuts) rig.peer.receive(all.subarray(from, (from += length)));
      rig.peer.receive(all.subarray(from));
      await rig.peer.handled();
      for (let one = 0; one < 3; one += 1) await turn();
      rig.peer.receive(Buffer.from(`${JSON.stringify(request("last"))}\n`));
      await turn();
      for (const probe of [...chunks.keys()].map((at) => `probe ${at}`)) expect(rig.answers(probe), probe).toHaveLength(1);
      expect(rig.answers("last")).toMatchObject([{ result: {} }]);
      const newlines = all.filter((byte) => byte === 0x0a).length;
      const answers = rig.said.filter(({ method }) => method === undefined);
      expect(answers.length).toBeLessThanOrEqual(newlines + 1);
      for (const answer of answers) {
        expect(Object.keys(answer).toSorted()).toEqual(["id", "error" in answer ? "error" : "result", "jsonrpc"].toSorted());
        if ("error" in answer) expect(answer["error"]).toMatchObject({ code: expect.toSatisfy(Number.isSafeInteger), message: expect.any(String) });
      }
      rig.peer.end();
      await rig.peer.closed;
      await Promise.all(ours);
    }),
    { numRuns: amount(150, 3_000) },
  );
});

test("reading never throws, and what it refuses is invalid_params with the field's name", () => {
  const schemas = [initializeRequest, initializeResponse, newSessionResponse, permissionRequest, promptRequest, sessionUpdate, setConfigOptionRequest] as const;
  const mutated = fc
    .tuple(fc.constantFrom(...recorded), fc.array(fc.tuple(fc.nat(), fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined))), { maxLength: 4 }))
    .map(([message, changes]) => changes.reduce((value, [at, put]) => changed(value, at, put), message["params"] ?? message["result"]));
  fc.assert(
    fc.property(fc.oneof(mutated, fc.jsonValue(), fc.anything()), (raw) => {
      for (const schema of schemas) {
        const read = readAcp(schema, raw);
        if (!read.ok) expect(read.error).toMatchObject({ code: acpErrors.invalid_params, data: { field: expect.any(String) } });
      }
    }),
    { numRuns: amount(400, 20_000) },
  );
});

/** A copy with another value in the place that is the `at`-th of all. */
function changed(value: unknown, at: number, put: unknown): unknown {
  const places: (readonly (string | number)[])[] = [[]];
  for (const place of places) {
    const inner = place.reduce<unknown>((one, key) => (one as Record<string | number, unknown>)[key], value);
    if (typeof inner === "object" && inner !== null) places.push(...Object.keys(inner).map((key) => [...place, key]));
  }
  const [key, ...above] = (places[at % places.length] ?? []).toReversed();
  if (key === undefined) return put;
  const copy = structuredClone(value);
  const holder = above.toReversed().reduce<unknown>((one, name) => (one as Record<string | number, unknown>)[name], copy);
  (holder as Record<string | number, unknown>)[key] = put;
  return copy;
}
