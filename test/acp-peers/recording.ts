import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { peersDir } from "./installed.ts";
import type { Conversation, Said } from "./conversation.ts";

const folder = resolve(import.meta.dirname, "../fixtures/acp");
const bytesMax = 60_000;

/**
 * With `SESSIOND_RECORD=1`: keeps all that was said as `test/fixtures/acp/<agent>-<case>.jsonl`, one `Said` a line,
 * as of a user whose home is `/home/me` and whose project is `/home/me/app`.
 */
export function keep(agent: string, name: string, { said, place, model }: Conversation): void {
  if (process.env["SESSIOND_RECORD"] !== "1") return;
  mkdirSync(folder, { recursive: true });
  const clean = (each: Said): string =>
    JSON.stringify(each)
      .replaceAll(place.homeDir, "/home/me")
      // Opencode names files by their way from the root.
      .replaceAll(place.homeDir.slice(1), "home/me")
      .replaceAll(peersDir, "/opt/peers")
      .replaceAll(model.url, "http://127.0.0.1:1");
  const text = said.map((each) => `${clean(each)}\n`).join("");
  if (Buffer.byteLength(text) > bytesMax) throw new Error(`${agent}-${name}: ${Buffer.byteLength(text)} bytes are too much for a fixture`);
  writeFileSync(join(folder, `${agent}-${name}.jsonl`), text);
}
