/** One end of an ACP connection: answers, cancelling, ends, and what is no message. */
import { expect, test } from "vitest";
import { AcpError, acpErrors, type IncomingRequest } from "@sessiond/shared/acp";
import { bytesOf, notification, request, turn, wireRig } from "../support/acp-wire-rig.ts";

const methodNotFound = new AcpError(acpErrors.method_not_found, "There is no such method.", { method: "x" });

test("each request has one response: the result, an AcpError as it is, or a bug without its words", async () => {
  const handlers: Record<string, (params: unknown) => unknown> = {
    echo: (params) => params,
    nothing: () => {},
    null: () => null,
    later: async (params) => params,
    refused: () => Promise.reject(methodNotFound),
    thrown: () => {
      throw methodNotFound;
    },
    bug: () => {
      throw new Error("secret words");
    },
    laterBug: async () => Promise.reject(new TypeError("secret words")),
    notJson: () => ({ count: 1n }),
    dataNotJson: () => {
      throw new AcpError(-5, "told", { count: 1n });
    },
    closedElsewhere: () => {
      throw new AcpError(acpErrors.connection_closed, "the agent ended");
    },
  };
  const rig = wireRig({ onRequest: (method, params) => handlers[method]?.(params) });
  rig.hear(...Object.keys(handlers).map((method) => request(method, method, { p: 1 })));
  await turn();
  const answers = Object.fromEntries(Object.keys(handlers).map((method) => [method, rig.answers(method).map(({ result, error }) => error ?? { result })]));
  const bug = { code: acpErrors.internal_error, message: "A bug in sessiond; its log has the details." };
  expect(answers).toEqual({
    echo: [{ result: { p: 1 } }],
    nothing: [{ result: {} }],
    null: [{ result: null }],
    later: [{ result: { p: 1 } }],
    refused: [methodNotFound.toWire()],
    thrown: [methodNotFound.toWire()],
    bug: [bug],
    laterBug: [bug],
    notJson: [bug],
    dataNotJson: [{ code: -5, message: "told" }],
    // Numbers above zero are ours alone.
    closedElsewhere: [{ code: acpErrors.internal_error, message: "the agent ended" }],
  });
  expect(rig.bugs).toHaveLength(4);
  expect(JSON.stringify(rig.said)).not.toContain("secret");
});

test("what stands in afterResponse follows the response and precedes all that is said later; after an error it is left out", async () => {
  const rig = wireRig({
    onRequest: async (method, _params, { afterResponse }: IncomingRequest) => {
      rig.peer.notify("before", {});
      afterResponse(() => rig.peer.notify("first", {}));
      afterResponse(() => {
        throw new Error("a bug that stops nobody");
      });
      afterResponse(() => rig.peer.notify("second", {}));
      await turn();
      if (method === "fails") throw methodNotFound;
      setImmediate(() => rig.peer.notify("later", {}));
      return {};
    },
  });
  rig.hear(request(1));
  await turn();
  await turn();
  expect(rig.said.map(({ method, id }) => method ?? id)).toEqual(["before", 1, "first", "second", "later"]);
  expect(rig.bugs).toHaveLength(1);
  rig.said.length = 0;
  rig.hear(request(2, "fails"));
  await turn();
  await turn();
  expect(rig.said.map(({ method, id }) => method ?? id)).toEqual(["before", 2]);
});

test("a request of theirs that they cancel is told so by its signal, and is answered all the same", async () => {
  const signals: AbortSignal[] = [];
  const rig = wireRig({
    onRequest: (method, _params, { signal }: IncomingRequest) => {
      signals.push(signal);
      return new Promise((resolve, reject) => {
        const ends = {
          reason: () => reject(signal.reason as Error),
          abort: () => reject(new DOMException("stopped", "AbortError")),
          result: () => resolve({ done: true }),
        };
        signal.addEventListener("abort", ends[method as keyof typeof ends]);
      });
    },
  });
  rig.hear(request(1, "reason"), request("1", "abort"), request(3, "result"), request(4, "result"));
  for (const requestId of [1, "1", 3, 99, null, {}]) rig.hear(notification("$/cancel_request", { requestId }));
  rig.hear(notification("$/cancel_request", null), notification("$/other", {}));
  await turn();
  const cancelled = { code: acpErrors.request_cancelled, message: "The request was cancelled." };
  expect(rig.answers(1)).toEqual([{ jsonrpc: "2.0", id: 1, error: cancelled }]);
  expect(rig.answers("1")).toEqual([{ jsonrpc: "2.0", id: "1", error: cancelled }]);
  expect(rig.answers(3)).toEqual([{ jsonrpc: "2.0", id: 3, result: { done: true } }]);
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true, false]);
  expect(rig.bugs).toEqual([]);
});

test("a request of ours that is cancelled ends at once, tells them, and their late answer is nobody's", async () => {
  const rig = wireRig();
  const stop = new AbortController();
  const [first, second] = [rig.peer.request("slow", {}, { signal: stop.signal }), rig.peer.request("other", {}, { signal: new AbortController().signal })];
  stop.abort();
  await expect(first).rejects.toMatchObject({ code: acpErrors.request_cancelled, theirs: false });
  expect(rig.said.at(-1)).toEqual(notification("$/cancel_request", { requestId: 1 }));
  rig.hear({ jsonrpc: "2.0", id: 1, result: "late" }, { jsonrpc: "2.0", id: 2, result: "in time" }, { jsonrpc: "2.0", id: 2, result: "again" });
  expect(await second).toBe("in time");
  await expect(rig.peer.request("x", {}, { signal: stop.signal })).rejects.toMatchObject({ code: acpErrors.request_cancelled });
  expect(rig.said).toHaveLength(3); // the last one was never sent
});

test("a request of ours without an answer in time ends so, and they are told", async () => {
  const rig = wireRig();
  await expect(rig.peer.request("slow", {}, { timeoutMs: 1 })).rejects.toMatchObject({ code: acpErrors.timed_out, theirs: false });
  expect(rig.said.at(-1)).toEqual(notification("$/cancel_request", { requestId: 1 }));
});

test("their errors come as AcpError, as they are, and those in other shapes too", async () => {
  const rig = wireRig();
  const asked = Array.from({ length: 7 }, () => rig.peer.request("ask", {}));
  rig.hear(
    { jsonrpc: "2.0", id: 1, error: { code: -32000, message: "Authentication required", data: { url: "u" } } },
    { jsonrpc: "2.0", id: 2, error: "plain words" },
    { jsonrpc: "2.0", id: 3, error: { code: "no number" } },
    { id: 4, error: null, result: { ok: true } },
    { jsonrpc: "2.0", id: 5 },
    { jsonrpc: "2.0", id: "6", result: 6 },
    { jsonrpc: "2.0", id: 7, error: { code: 3, message: "m" }, result: {} },
  );
  await expect(asked[0]).rejects.toMatchObject({ code: -32000, message: "Authentication required", data: { url: "u" }, theirs: true });
  await expect(asked[1]).rejects.toMatchObject({ code: acpErrors.internal_error, message: "plain words", theirs: true });
  await expect(asked[2]).rejects.toMatchObject({ code: acpErrors.internal_error, message: "The other side gave no reason." });
  expect(await asked[3]).toEqual({ ok: true });
  expect(await asked[4]).toBeNull();
  expect(await asked[5]).toBe(6);
  await expect(asked[6]).rejects.toMatchObject({ code: 3, message: "m", theirs: true });
});

test("at their end of file what came before it is handled first; then requests of both sides end", async () => {
  const seen: string[] = [];
  let release = () => {};
  let theirs: AbortSignal | undefined;
  const rig = wireRig({
    onNotification: () => new Promise((resolve) => (release = resolve)),
    onRequest: (_method, _params, { signal }: IncomingRequest) => {
      theirs = signal;
      return new Promise(() => {});
    },
  });
  const [answered, open] = [rig.peer.request("a", {}), rig.peer.request("b", {})];
  answered.then(
    () => seen.push("answered"),
    () => seen.push("lost"),
  );
  rig.hear(notification("slow"), request(1), { jsonrpc: "2.0", id: 1, result: {} });
  // The last line has no end.
  rig.peer.receive(bytesOf(request(2, "last")).subarray(0, -1));
  rig.peer.end("the process ended");
  await turn();
  expect(seen).toEqual([]);
  release();
  await answered;
  expect(await rig.peer.closed).toBe("the process ended");
  await expect(open).rejects.toMatchObject({ code: acpErrors.connection_closed, message: expect.stringContaining("the process ended") });
  expect(theirs?.aborted).toBe(true);
  expect(theirs?.reason).toMatchObject({ code: acpErrors.connection_closed });
});

test("after close nothing is heard and nothing more is said, but what was said goes out", async () => {
  const written: string[] = [];
  let take = () => {};
  const heard: string[] = [];
  const rig = wireRig({
    write: (line) => {
      written.push(line);
      return new Promise((resolve) => (take = resolve));
    },
    onNotification: (method) => void heard.push(method),
    onRequest: () => turn(),
  });
  rig.hear(request(1));
  for (const name of ["one", "two"]) rig.peer.notify(name, {});
  rig.peer.close("enough");
  rig.peer.close("again");
  rig.peer.notify("three", {});
  rig.hear(notification("late"));
  rig.peer.end();
  await expect(rig.peer.request("late", {})).rejects.toMatchObject({ code: acpErrors.connection_closed });
  const flushed = rig.peer.flushed();
  for (let round = 0; round < 4; round += 1) {
    take();
    await turn();
  }
  await flushed;
  expect(written.map((line) => (JSON.parse(line) as { method: string }).method)).toEqual(["one", "two"]);
  expect(heard).toEqual([]);
  expect(await rig.peer.closed).toBe("enough");
});

test("a line that cannot be written ends the connection, and says why", async () => {
  for (const write of [
    () => Promise.reject(new Error("EPIPE")),
    () => {
      throw new Error("EPIPE");
    },
  ]) {
    const rig = wireRig({ write });
    const asked = rig.peer.request("a", {});
    await expect(asked).rejects.toMatchObject({ code: acpErrors.connection_closed });
    expect(await rig.peer.closed).toContain("EPIPE");
    expect(rig.bugs).toEqual([]);
  }
});

test("a handler that throws, or reports that throw, hold up nobody", async () => {
  const rig = wireRig({
    onNotification: () => {
      throw new Error("a bug");
    },
    report: () => {
      throw new Error("and a bug in telling it");
    },
  });
  rig.hear(notification("a"), notification("b"), request(1));
  await rig.peer.handled();
  await turn();
  expect(rig.answers(1)).toHaveLength(1);
});

test("ids are told apart by type, and one that is open is not taken twice", async () => {
  const done: (() => void)[] = [];
  const rig = wireRig({ onRequest: (_method, params) => new Promise((resolve) => done.push(() => resolve(params))) });
  rig.hear(request(1, "a", { n: 1 }), request("1", "a", { n: 2 }), request(1, "a", { n: 3 }), request(null, "a", { n: 4 }));
  expect(rig.said).toMatchObject([{ id: 1, error: { code: acpErrors.invalid_request } }]);
  for (const one of done) one();
  await turn();
  expect(rig.said.slice(1)).toEqual([
    { jsonrpc: "2.0", id: 1, result: { n: 1 } },
    { jsonrpc: "2.0", id: "1", result: { n: 2 } },
    { jsonrpc: "2.0", id: null, result: { n: 4 } },
  ]);
});

test("what is no message is refused or passed over, one by one", async () => {
  const cases: readonly (readonly [line: string, answer: null | readonly [id: unknown, code: number]])[] = [
    ["", null],
    ["   \t", null],
    ["\uFEFF", null],
    ["Loading plugins…", null],
    ["42", null],
    ['"text"', null],
    ["{", [null, acpErrors.parse_error]],
    ['{"jsonrpc":"2.0","id":1,"method":"a"', [null, acpErrors.parse_error]],
    ["[]", [null, acpErrors.invalid_request]],
    [`[${JSON.stringify(request(1))}]`, [null, acpErrors.invalid_request]],
    ["{}", [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0"}', [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":77}', null],
    ['{"jsonrpc":"2.0","id":77,"result":{}}', null],
    ['{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}', null],
    ['{"jsonrpc":"1.0","id":2,"method":"a"}', [2, acpErrors.invalid_request]],
    ['{"id":2,"method":"a"}', [2, acpErrors.invalid_request]],
    ['{"method":"a"}', null],
    ['{"jsonrpc":"2.0","id":3,"method":5}', [3, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":1.5,"method":"a"}', [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":9007199254740993,"method":"a"}', [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":{},"method":"a"}', [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":[1],"method":"a"}', [null, acpErrors.invalid_request]],
    ['{"jsonrpc":"2.0","id":true,"method":"a"}', [null, acpErrors.invalid_request]],
  ];
  for (const [line, answer] of cases) {
    const rig = wireRig();
    rig.hear(line, request("next"));
    await rig.peer.handled();
    const [first, ...rest] = rig.said;
    if (answer === null) expect([first, rest], line).toMatchObject([{ id: "next", result: {} }, []]);
    else expect([first, rest], line).toMatchObject([{ id: answer[0], error: { code: answer[1] } }, [{ id: "next", result: {} }]]);
    expect(rig.bugs, line).toEqual([]);
  }
});

test("bytes that are no UTF-8 cost only the characters they stood for", () => {
  const rig = wireRig();
  const bytes = bytesOf(request(1, "echo", { text: "a?b" }));
  bytes[bytes.indexOf(0x3f)] = 0xff;
  rig.peer.receive(bytes);
  expect(rig.answers(1)).toMatchObject([{ result: { text: "a\uFFFDb" } }]);
});
