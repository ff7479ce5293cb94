/** Limits of the ACP wire: what is beyond one is refused by name, what is kept of it is bounded, and the connection goes on. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test, vi } from "vitest";
import { limits } from "@sessiond/shared";
import { acpErrors, type AcpError } from "@sessiond/shared/acp";
import { bytesOf, notification, request, turn, wireRig } from "../support/acp-wire-rig.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const long = "x".repeat(4_000);
const small = { limits: { acp_message_bytes_max: 2_000 } };
const tooLong = /acp_message_bytes_max/;

test("B7: a message beyond acp_message_bytes_max is answered by its id, and the next one is heard", () => {
  const rig = wireRig(small);
  rig.hear(request("long", "echo", { long }), request("next"));
  expect(rig.said).toMatchObject([
    { id: "long", error: { code: acpErrors.parse_error, message: expect.stringMatching(tooLong) } },
    { id: "next", result: {} },
  ]);
});

test("B7: the limit is in bytes, exact, and the same however the message is cut", () => {
  for (const excess of [0, 1]) {
    for (const cut of [1, 7, 1_000, 10_000]) {
      const rig = wireRig(small);
      const line = JSON.stringify(request(5, "echo", { text: "€" }));
      const bytes = bytesOf(line.replace("€", `€${"y".repeat(2_000 + excess - Buffer.byteLength(line))}`));
      expect(bytes.length).toBe(2_000 + excess + 1);
      for (let from = 0; from < bytes.length; from += cut) rig.peer.receive(bytes.subarray(from, from + cut));
      rig.hear(request(6));
      expect(rig.said).toMatchObject([
        { id: 5, [excess === 0 ? "result" : "error"]: {} },
        { id: 6, result: {} },
      ]);
    }
  }
});

test("B7: of a long message the id is also found behind its params; where none is found, the answer has none", () => {
  const rig = wireRig(small);
  rig.hear(
    `{"jsonrpc":"2.0","method":"echo","params":{"long":"${long}"},"id":"last"}`,
    `{"jsonrpc":"2.0","method":"echo","params":{"long":"${long}","id":7}, "id" : 8 }`,
    `{"long":"${long}"}`,
    `["${long}"]`,
    long,
    // Not its own id, but one of what it carries.
    `{"long":{"id":3,"x":"${long}","id":4}}`,
  );
  expect(rig.said.map(({ id }) => id)).toEqual(["last", 8, null, null, null, null]);
});

test("B7: a long notification is passed over without an answer, and not in silence", async () => {
  const heard: string[] = [];
  const dropped: string[] = [];
  const rig = wireRig({ ...small, onNotification: (method) => void heard.push(method), onDropped: (why) => void dropped.push(why) });
  rig.hear(notification("long", { long, id: 4 }), notification("short"));
  await rig.peer.handled();
  expect(heard).toEqual(["short"]);
  expect(rig.said).toEqual([]);
  expect(dropped).toEqual([expect.stringMatching(/is longer than 2000 \(limit acp_message_bytes_max\), and was not read/)]);
});

test("B7: an answer of theirs that is beyond a limit ends the wait for it", async () => {
  const rig = wireRig(small);
  const asked = [rig.peer.request("a", {}), rig.peer.request("b", {}), rig.peer.request("c", {})];
  rig.hear(
    { jsonrpc: "2.0", id: 1, result: { long } },
    `{"jsonrpc":"2.0","result":{"long":"${long}"},"id":2}`,
    `{"jsonrpc":"2.0","id":3,"result":${"[".repeat(80)}${"]".repeat(80)}}`,
  );
  for (const [at, limit] of ["acp_message_bytes_max", "acp_message_bytes_max", "acp_depth_max"].entries()) {
    await expect(asked[at]).rejects.toMatchObject({ code: acpErrors.internal_error, theirs: false, data: { limit } });
  }
});

test("B7: of a line that does not end, no more is kept than acp_message_bytes_max", async () => {
  const rig = wireRig({ limits: { acp_message_bytes_max: 1_048_576 } });
  const chunk = new Uint8Array(65_536).fill(0x78);
  const held = async () => {
    // What finalizers let go of is gone a little later.
    for (let times = 0; times < 3; times += 1) {
      collect();
      await turn();
    }
    return process.memoryUsage().arrayBuffers;
  };
  const before = await held();
  for (let sent = 0; sent < 512; sent += 1) rig.peer.receive(chunk.slice());
  // 32 MB were sent.
  expect((await held()) - before).toBeLessThan(2_097_152);
  rig.hear("", request(1));
  expect(rig.answers(1)).toHaveLength(1);
});

test("B7: what is nested deeper than acp_depth_max is refused, and never parsed", () => {
  const rig = wireRig();
  const nested = (depth: number) => `${'{"a":['.repeat(depth / 2)}${"]}".repeat(depth / 2)}`;
  const asked = (id: string, depth: number) => `{"jsonrpc":"2.0","id":"${id}","method":"echo","params":${nested(depth)}}`;
  // The message itself is the first.
  rig.hear(asked("fits", limits.acp_depth_max - 2), asked("too deep", limits.acp_depth_max), request("after"));
  rig.hear(`{"jsonrpc":"2.0","id":"very","method":"echo","params":${"[".repeat(4_000_000)}`);
  rig.hear(request("brackets in words", "echo", { text: '[[\\"{{'.repeat(200) }));
  expect(rig.said.map(({ id, error }) => [id, (error as { code: number } | undefined)?.code])).toEqual([
    ["fits", undefined],
    ["too deep", acpErrors.invalid_request],
    ["after", undefined],
    ["very", acpErrors.invalid_request],
    ["brackets in words", undefined],
  ]);
});

test("B7 B24: what has more values than acp_values_max is refused, and never parsed, however short it is; text with as many commas is not", () => {
  const rig = wireRig();
  const parse = vi.spyOn(JSON, "parse");
  const asked = (id: string, params: string) => `{"jsonrpc":"2.0","id":"${id}","method":"echo","params":${params}}`;
  // The message has three more commas of its own.
  const zeros = (values: number) => `[${"0,".repeat(values - 4)}0]`;
  rig.hear(asked("fits", zeros(limits.acp_values_max)), asked("too many", zeros(limits.acp_values_max + 1)));
  rig.hear(asked("empty lists", `[${"[],".repeat(100_000)}[]]`), asked("words", JSON.stringify({ text: '",\\"'.repeat(100_000) })));
  rig.hear(`{"jsonrpc":"2.0","id":1,"result":${zeros(limits.acp_values_max + 2)}}`);
  const parsed = parse.mock.calls.map(([line]) => line).filter((line) => line.length > 10_000 && !/"id":"[^"]*","result"/.test(line));
  parse.mockRestore();
  expect(parsed.map((line) => /"id":"([^"]*)","method"/.exec(line)?.[1])).toEqual(["fits", "words"]);
  expect(rig.said.map(({ id, error }) => [id, (error as { code: number; message: string } | undefined)?.message])).toEqual([
    ["fits", undefined],
    ["too many", expect.stringMatching(/has more values than 65536 \(limit acp_values_max\)/)],
    ["empty lists", expect.stringMatching(/acp_values_max/)],
    ["words", undefined],
  ]);
});

test("B7: beyond acp_requests_open_max requests of theirs are refused until one has its answer", async () => {
  const waiting: ((value: unknown) => void)[] = [];
  const rig = wireRig({ limits: { acp_requests_open_max: 3 }, onRequest: () => new Promise((resolve) => waiting.push(resolve)) });
  rig.hear(request(1), request(2), request(3), request(4));
  expect(waiting).toHaveLength(3);
  expect(rig.said).toMatchObject([{ id: 4, error: { code: acpErrors.internal_error, data: { limit: "acp_requests_open_max", value: 3 } } }]);
  waiting[0]?.({});
  await turn();
  rig.hear(request(5));
  expect(waiting).toHaveLength(4);
});

test("B7: no more than acp_requests_open_max of ours wait for an answer", async () => {
  const rig = wireRig({ limits: { acp_requests_open_max: 2 } });
  const asked = [rig.peer.request("a", {}), rig.peer.request("b", {})];
  await expect(rig.peer.request("c", {})).rejects.toMatchObject({ code: acpErrors.internal_error, message: expect.stringMatching(/acp_requests_open_max/) });
  expect(rig.said).toHaveLength(2);
  rig.hear({ jsonrpc: "2.0", id: 1, result: {} }, { jsonrpc: "2.0", id: 2, result: {} });
  await Promise.all(asked);
});

test("B7: an id longer than acp_id_chars_max is not kept, and is answered without it", () => {
  const rig = wireRig();
  rig.hear(request("i".repeat(limits.acp_id_chars_max)), request("i".repeat(limits.acp_id_chars_max + 1)));
  expect(rig.said).toMatchObject([
    { id: "i".repeat(limits.acp_id_chars_max), result: {} },
    { id: null, error: { code: acpErrors.invalid_request } },
  ]);
});

test("B7: when more than acp_unwritten_bytes_max wait for the other side, the connection ends and says why", async () => {
  const rig = wireRig({ limits: { acp_unwritten_bytes_max: 10_000 }, write: () => new Promise(() => {}) });
  const asked = rig.peer.request("ask", {});
  for (let said = 0; said < 20; said += 1) rig.peer.notify("more", { text: "€".repeat(300) });
  expect(await rig.peer.closed).toMatch(/acp_unwritten_bytes_max/);
  await expect(asked).rejects.toMatchObject({ code: acpErrors.connection_closed });
  await rig.peer.flushed();
});

test("B7: short messages that are not taken count for more than their text", async () => {
  const rig = wireRig({ limits: { acp_unwritten_bytes_max: 10_000 }, write: () => new Promise(() => {}) });
  for (let said = 0; said < 100; said += 1) rig.peer.notify("", undefined);
  expect(await rig.peer.closed).toMatch(/acp_unwritten_bytes_max/);
});

test("B7: when more than acp_unhandled_bytes_max wait to be handled, the connection ends; a reader that waits never comes to that", async () => {
  let held: (() => void) | undefined;
  const rig = () => wireRig({ limits: { acp_unhandled_bytes_max: 10_000 }, onNotification: () => new Promise((resolve) => (held = resolve)) });
  const greedy = rig();
  for (let heard = 0; heard < 20; heard += 1) greedy.hear(notification("n", { text: "y".repeat(1_000) }));
  expect(await greedy.peer.closed).toMatch(/acp_unhandled_bytes_max/);
  await greedy.peer.handled();

  const patient = rig();
  for (let heard = 0; heard < 20; heard += 1) {
    patient.hear(notification("n", { text: "y".repeat(1_000) }));
    const done = patient.peer.handled();
    held?.();
    await done;
  }
  patient.hear(request(1));
  expect(patient.answers(1)).toHaveLength(1);
});

test("B7: an error says which limit it was, in words", () => {
  const rig = wireRig(small);
  rig.hear(request(1, "echo", { long }));
  const [said] = rig.said;
  expect((said?.["error"] as AcpError | undefined)?.message).toBe(
    `A message of ${Buffer.byteLength(JSON.stringify(request(1, "echo", { long })))} bytes is longer than 2000 (limit acp_message_bytes_max), and was not read.`,
  );
});
