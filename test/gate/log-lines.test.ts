/** What the daemon's log makes of whatever it is given. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatApiKey, formatHostKey, formatToken, limits, SessiondError, withoutSecrets } from "@sessiond/shared";
import { openLog } from "../../packages/daemon/src/log.ts";
import { idOf } from "../support/gate-world.ts";
import { leaksIn } from "../support/secret-search.ts";

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "ssd-log-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const secrets = [
  { name: "token", text: formatToken("control", idOf("ses", "S"), "0123456789abcdefghijABCDEFGHIJ12") },
  { name: "API key", text: formatApiKey(idOf("key", "K"), "abcdefghij0123456789ABCDEFGHIJ12") },
  { name: "host key", text: formatHostKey("ABCDEFGHIJ0123456789abcdefghij0123456789abc") },
  { name: "model key", text: 'sk-"quoted"\\and+so/on=0123456789' },
];
const modelKey = secrets[3]?.text ?? "";

test("B2 whatever an error or a fact says, no secret of ours and no model key stands in the log", () => {
  const path = join(dir, "log");
  const log = openLog(path, 1_000_000, [modelKey]);
  for (const { text } of secrets) {
    const cause = new Error(`upstream said ${text}`);
    log.error("unexpected", new Error(`Request failed: {"authorization":"Bearer ${text}"}`, { cause }));
    log.error(`while ${text}`, new SessiondError("bad_request", { reason: `${text} is no name`, [text]: text }));
    log.info(text, { socket: text, nested: { deep: [text] } });
    log.error("thrown", text);
  }
  const text = readFileSync(path, "utf8");
  const lines = text.trimEnd().split("\n");
  expect(lines).toHaveLength(16);
  for (const line of lines) JSON.parse(line);
  expect(text).toContain("Request failed");
  expect(leaksIn(secrets, { log: text })).toEqual([]);
});

test("B2 B41 a key that is empty or of a few letters hides nothing, and whatever a key looks like each line stays one that says the same", () => {
  for (const key of ["", "0", "none", ":", '":"', '","msg":', '"level":30', "\\u001b[0m\\n", "listening\n"]) {
    const path = join(dir, `log ${Buffer.from(key).toString("hex")}`);
    const log = openLog(path, 1_000_000, [key]);
    log.info("listening", { port: 700, none: null });
    log.error("could not", new Error(`it said ${key} twice: ${key}`));
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    const [first, second] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(first).toMatchObject({ level: 30, port: 700, none: null, msg: "listening" });
    expect(second?.["stack"]).toContain(key.length < limits.secret_chars_min ? `it said ${key} twice` : "it said … twice: …");
  }
});

test("B2 where a secret was, the text around it stays as it was", () => {
  for (const { text } of secrets.slice(0, 3)) expect(withoutSecrets(`a ${text}, b`)).toMatch(/^a ssd\w*_…, b$/);
  expect(withoutSecrets("ses_abc, key_abc, ssd and ssdk are no secrets")).toBe("ses_abc, key_abc, ssd and ssdk are no secrets");
});

test("B25 a line of the log gives no orders to who looks at it, and says the same to who parses it", () => {
  const path = join(dir, "log");
  const hostile = "\u001b[2J\u009b2J\u007f\u202e\u2066\u200b\ufeff\u{e0041}\u{e0101}\u061c\r";
  openLog(path, 1_000_000).info(hostile, { said: hostile });
  const line = readFileSync(path, "utf8");
  expect(line).toMatch(/^[\x20-\x7e]*\n$/);
  expect(JSON.parse(line)).toMatchObject({ msg: hostile, said: hostile });
});
