import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AgentDriver, refuse } from "../support/agent-driver.ts";

test("the practice model calls real tools for plain requests, one step after another, and says what came of it", async () => {
  const driver = new AgentDriver();
  const turn = driver.prompt(
    "write a.txt: one two then edit a.txt: two => three then read a.txt then list then search thr then run cat a.txt; if true; then echo; fi",
  );
  expect((await turn.ended).stop_reason).toBe("end_turn");
  expect(turn.results.map((update) => update.status)).toEqual(Array(6).fill("completed"));
  expect(readFileSync(join(driver.workdir, "a.txt"), "utf8")).toBe("one three");
  expect(turn.text()).toContain("read: one three");
  expect(turn.text()).toContain("search: a.txt:1: one three");
  expect(turn.questions.map((question) => question.tool)).toEqual(["write", "edit", "shell"]);
});

test("the practice model says a refusal", async () => {
  const turn = new AgentDriver({ judge: refuse("no") }).prompt("run ls");
  await turn.ended;
  expect(turn.text()).toContain("You refused it: no");
});

test("the practice model says, thinks, streams, and calls tools together", async () => {
  const driver = new AgentDriver();
  writeFileSync(join(driver.workdir, "a"), "x");
  const turn = driver.prompt(
    "think hard then say it is so then stream 100 then stream 3 every 1 then together: run echo & true & write F: T & read a then wait 1 then say bye",
  );
  expect((await turn.ended).usage?.output_tokens).toBeGreaterThan(100);
  expect(turn.text("agent_thought_chunk")).toBe("hard");
  expect(turn.text()).toMatch(/^it is so1 2 3 .* 100 1 2 3 /);
  expect(turn.text()).toMatch(/bye$/);
  expect(turn.events.filter((event) => event.type === "tool_call").map((event) => event.title)).toEqual(["echo & true", "write F", "read a"]);
});

test("the practice model fails on request, at once", async () => {
  expect(await new AgentDriver({ sleep: () => Promise.reject(new Error("no retry")) }).prompt("fail").ended).toMatchObject({
    stop_reason: "failed",
    error: { code: "model_unwell" },
  });
});

test("the practice model says plainly what it is when it does not understand", async () => {
  const turn = new AgentDriver().prompt("refactor the parser");
  await turn.ended;
  expect(turn.text()).toMatch(/^I am the practice model.*"read FILE"/);
});

test("a waiting or endless practice model is ended by an interrupt at once", async () => {
  for (const request of ["wait 600000", "say a then wait 600000", "stream 100000000", "stream 9 every 600000"]) {
    const turn = new AgentDriver().prompt(request);
    if (!request.startsWith("wait")) await turn.until(({ events }) => events.length > 0);
    turn.interrupt();
    expect((await turn.ended).stop_reason).toBe("cancelled");
  }
});
