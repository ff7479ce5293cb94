import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

test("each claim of docs/trust.md names a test that there is", () => {
  const text = readFileSync(join(import.meta.dirname, "../docs/trust.md"), "utf8");
  const named = [...text.matchAll(/`([a-z-]+\/[a-z-]+)(?:: "([^"]+)")?`/g)].map(([, file = "", words = ""]) => ({ file, words }));
  const isThere = ({ file, words }: { file: string; words: string }): boolean => {
    const path = join(import.meta.dirname, `${file}.test.ts`);
    return existsSync(path) && readFileSync(path, "utf8").includes(words);
  };
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter((each) => !isThere(each))).toEqual([]);
});
