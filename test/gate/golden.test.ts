import { readFileSync } from "node:fs";
import { join } from "node:path";
import { verbs, type Row } from "@sessiond/shared";
import { expect, test } from "vitest";
import { z } from "zod";

/** Tests derived from the table prove that it is enforced; only a list kept by hand proves that it is right. */
function lineOf(name: string, row: Row): string {
  const gate =
    typeof row.gate === "string"
      ? row.gate
      : `${row.gate.by}:${Object.entries(row.gate.words)
          .map(([value, word]) => `${value}=${word}`)
          .join(",")},otherwise=${row.gate.otherwise}`;
  const draining =
    row.kind === "query" || row.draining === true
      ? "passes"
      : typeof row.draining === "object"
        ? `${row.draining.by}:${row.draining.passes.join(",")}`
        : "refused";
  return [name, gate, row.scope ?? "-", row.newest_secret === true ? "newest" : "any", row.retry, draining, row.past_life ?? "refuse"].join(" ");
}

test("B5 who may call what is as it was written down by hand, verb by verb", () => {
  const golden = readFileSync(join(import.meta.dirname, "../gates.golden.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.trim().replace(/ +/g, " "));
  expect(Object.entries<Row>(verbs).map(([name, row]) => lineOf(name, row))).toEqual(golden);
});

test("B5 a right to look opens nothing that changes a session, but one's own seat and one's own token", () => {
  const opened = Object.entries<Row>(verbs).filter(([, { gate }]) =>
    (typeof gate === "string" ? [gate] : Object.values(gate.words)).some(
      (word) => word === "view" || word === "host_or_view" || word === "seat" || word === "host_or_lineage",
    ),
  );
  expect(opened.filter(([, row]) => row.kind === "mutation").map(([name]) => name)).toEqual(["revoke_token", "detach"]);
});

/** Of everything that a shape can hold, at whatever depth. */
function fieldsOf(shape: unknown): string[] {
  if (typeof shape !== "object" || shape === null) return [];
  return Object.entries(shape).flatMap(([word, inner]) => [...(word === "properties" ? Object.keys(inner as object) : []), ...fieldsOf(inner)]);
}

test("B5 no scope shows what goes on in a session: what is said, asked, queued or handed to a tool; but a start, which gives the token that shows all of it", () => {
  const telling = new Set(["parts", "text", "input", "preview", "options", "digest", "queue", "rules", "calls", "files"]);
  const shown = Object.entries<Row>(verbs)
    .filter(([, { scope }]) => scope !== null)
    .map(([name, { output }]) => [name, fieldsOf(z.toJSONSchema(output, { unrepresentable: "any" })).filter((field) => telling.has(field))] as const);
  expect(shown.map(([name]) => name)).toEqual(expect.arrayContaining(["stop", "list_sessions", "watch_sessions"]));
  expect(shown.filter(([, fields]) => fields.length > 0).map(([name]) => name)).toEqual(["start_session", "start_or_get_for_workdir"]);
  // The test sees what there is to see.
  expect(shown.find(([name]) => name === "start_session")?.[1]).toEqual(expect.arrayContaining(["parts", "text", "input", "preview", "queue"]));
});
