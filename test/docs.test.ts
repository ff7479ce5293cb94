import * as shared from "@sessiond/shared";
import { expect, test } from "vitest";

interface Page {
  readonly path: string;
  readonly text: string;
}
interface Docs {
  pages(of: typeof shared): Page[];
  stale(wanted: readonly Page[]): string[];
}
const docs = (await import(new URL("../scripts/docs.mjs", import.meta.url).href)) as Docs;

test("docs/verbs.md and the README's verb table say what the tables say", () => {
  expect(docs.stale(docs.pages(shared)), "run npm run docs").toEqual([]);
});

test("every verb, event, error and limit stands in docs/verbs.md", () => {
  const page = docs.pages(shared).find(({ path }) => path === "docs/verbs.md")?.text ?? "";
  const names = [shared.verbs, shared.eventTable, shared.errorTable, shared.limitTable].flatMap((table) => Object.keys(table));
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});
