import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Acpx, messagesOf } from "./acpx.ts";
import { opencode } from "./agents/opencode.ts";
import { newPlace } from "./conversation.ts";
import { peersDir } from "./installed.ts";
import { startMockModel } from "./mock-model.ts";

/** Without sessiond in between: how this client behaves, so that it can be told from what sessiond does. */
async function rig(): Promise<{ acpx: Acpx; workdir: string } & AsyncDisposable> {
  const [place, model] = [newPlace(), await startMockModel()];
  opencode.prepare(place.homeDir, model.url);
  const command = [opencode.command(peersDir), ...opencode.args(peersDir)].join(" ");
  const acpx = new Acpx(command, { peersDir, cwd: place.workdir, env: opencode.env(model.url, place.homeDir, peersDir) });
  return {
    acpx,
    workdir: place.workdir,
    async [Symbol.asyncDispose]() {
      await acpx[Symbol.asyncDispose]();
      await model.close();
      place[Symbol.dispose]();
    },
  };
}

describe("acpx in front of opencode", () => {
  it("asks one question with exec, and prints the answer", async () => {
    await using at = await rig();
    const { code, stdout } = await at.acpx.run("--format", "quiet", "exec", "say: hello");
    expect(stdout.trim()).toBe("Answer to: say: hello");
    expect(code).toBe(0);
  });

  it("allows once what is asked with --approve-all, and refuses it with --deny-all or without a terminal", async () => {
    await using at = await rig();
    const allowed = await at.acpx.run("--approve-all", "--format", "json", "--json-strict", "exec", "run: echo one > one.txt");
    expect(allowed.code).toBe(0);
    expect(readFileSync(join(at.workdir, "one.txt"), "utf8")).toBe("one\n");
    const answers = messagesOf(allowed).flatMap(({ result }) => (result as { outcome?: unknown } | undefined)?.outcome ?? []);
    expect(answers).toEqual([{ outcome: "selected", optionId: "once" }]);
    for (const words of [["--deny-all"], []]) {
      const refused = await at.acpx.run(...words, "exec", "run: echo two > two.txt");
      expect(refused.code).toBe(5);
      expect(existsSync(join(at.workdir, "two.txt"))).toBe(false);
    }
  });

  it("keeps a session over commands, and cancels its turn from beside it", async () => {
    await using at = await rig();
    expect((await at.acpx.run("say: too early")).code).toBe(4);
    expect((await at.acpx.run("sessions", "new")).code).toBe(0);
    expect((await at.acpx.run("say: one")).stdout).toContain("Answer to: say: one");
    const slow = at.acpx.begin("slow please");
    await slow.printed("word3");
    expect((await at.acpx.run("cancel")).stdout).toContain("cancel requested");
    const { code, stdout } = await slow.outcome;
    expect(stdout).toContain("[done] cancelled");
    expect(code).toBe(0);
    const { stdout: history } = await at.acpx.run("sessions", "history");
    expect(history).toContain("Answer to: say: one");
  });
});
