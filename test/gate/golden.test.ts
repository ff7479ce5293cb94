import { readFileSync } from "node:fs";
import { join } from "node:path";
import { verbs, type Row } from "@sessiond/shared";
import { expect, test } from "vitest";

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
  return [name, gate, row.retry, draining, row.past_life ?? "refuse"].join(" ");
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
