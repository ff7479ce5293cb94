/** The wheel between terminals: asked for, given, taken, and what everyone is shown. Real terminals, the built command. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { CommandHouse } from "../support/command.ts";
import { hasTmux, Terminals } from "../support/terminals.ts";

const house = new CommandHouse();
const terminals = new Terminals(house.root, house.env);
// So short that a test can wait for it, and long enough to type before it.
mkdirSync(join(house.root, "config/sessiond"), { recursive: true });
writeFileSync(join(house.root, "config/sessiond/config.toml"), "[limits]\ndriver_request_ms = 6000\n");
afterAll(async () => {
  terminals.close();
  await house.close();
});

const open = (cwd: string, ...args: readonly string[]) => terminals.open(cwd, house.command(...args));

describe.skipIf(!hasTmux)("in terminals", () => {
  test("B16 a request is shown to the driver in the middle of a turn; /yield gives the wheel, and nothing of the turn is lost", async () => {
    const cwd = house.workdir("given");
    await house.run(cwd, "run", "say hello");
    const ada = open(cwd, "attach", "--label", "ada");
    await ada.shows(/^> $|^>$/m);
    ada.line("stream 400 every 10");
    await ada.shows("1 2 3 ");
    const bo = open(cwd, "take", "--ask", "--label", "bo");
    await bo.shows("— asking ada for the wheel; it lapses in 6 s");
    await ada.shows("! bo asks for the wheel: /yield gives it, it lapses in 6 s");
    ada.line("/yield bo");
    await ada.shows("— bo drives now: you watch, /take ask asks for the wheel");
    await bo.shows("— ada gave you the wheel: you drive");
    // What was typed stands in a line of its own, whole.
    expect(ada.screen()).toMatch(/^> \/yield bo$/m);
    ada.line("say not mine");
    await ada.shows("Only the driver may do that; the driver is bo. /take, /take ask or /take force gets the wheel.");
    await bo.shows(/ 400\s/);
    bo.line("say mine now");
    await ada.shows(/^> say mine now {2}\(bo\)$/m);
    const all = Array.from({ length: 400 }, (_, at) => at + 1).join("");
    expect(bo.screen().replaceAll(/\D/g, "")).toContain(all.slice(-500));
    ada.line("/detach");
    expect(await ada.ended()).toBe(0);
    bo.press("C-d");
    expect(await bo.ended()).toBe(0);
  });

  test("B16 a request that nobody answers lapses: the driver keeps the wheel, and the command ends with 5 and the next step", async () => {
    const cwd = house.workdir("lapsed");
    await house.run(cwd, "run", "say hello");
    const ada = open(cwd, "attach", "--label", "ada");
    await ada.shows(/^>$/m);
    const bo = open(cwd, "take", "--ask", "--label", "bo");
    await ada.shows("! bo asks for the wheel");
    expect(await bo.ended()).toBe(5);
    expect(bo.screen()).toContain("sessiond: ada did not give the wheel. Ask again, or take it with `sessiond take --force`.");
    await ada.shows("— nobody answered bo: the wheel stays where it is");
    ada.line("say still mine");
    await ada.shows(/^still mine\n>$/m);
    ada.press("C-d");
    expect(await ada.ended()).toBe(0);
  });

  test("B14 taken by force: who drove is told by whom, watches on, and can take it back", async () => {
    const cwd = house.workdir("forced");
    await house.run(cwd, "run", "say hello");
    const ada = open(cwd, "attach", "--label", "ada");
    await ada.shows(/^>$/m);
    ada.keys("half a prompt");
    const refused = await house.run(cwd, "take");
    expect([refused.code, refused.stderr]).toEqual([
      5,
      "sessiond: The driver's seat is taken by ada. `sessiond take --ask` asks for it; `sessiond attach --view` only looks.\n",
    ]);
    const bo = open(cwd, "take", "--force", "--label", "bo");
    await bo.shows("— you took the wheel from ada");
    await ada.shows("! bo took the wheel: you watch now, /take ask asks for the wheel");
    bo.line("say from bo");
    await ada.shows(/^from bo$/m);
    // What was half typed is still there, below everything that came meanwhile.
    await ada.shows(/^> half a prompt$(?![^]*\S)/m);
    ada.press("C-u");
    ada.line("/take");
    await ada.shows("sessiond: bo drives. /take ask asks for the wheel, /take force takes it.");
    ada.line("/take force");
    await bo.shows("! ada took the wheel");
    ada.line("say from ada");
    await bo.shows(/^from ada$/m);
    // Two who watch and drive end, each by its own leave.
    bo.press("C-c");
    expect(await bo.ended()).toBe(130);
    ada.press("C-d");
    expect(await ada.ended()).toBe(0);
  });
});

test("B16 `yield` frees the wheel from another terminal: it goes to who asked, and who drove stays as viewer", async () => {
  const cwd = house.workdir("yielded");
  const host = await house.host();
  const session = await host.sessionForWorkdir(cwd);
  const none = await house.run(cwd, "yield");
  expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/^sessiond: Nobody drives ses_\w+\. `sessiond take` takes the wheel\.\n$/) as string]);
  const ada = await session.attach({ as: "driver", label: "ada" });
  const wrong = await house.run(cwd, "yield", "--to", "bo");
  expect([wrong.code, wrong.stderr]).toEqual([2, "sessiond: bo does not ask for the wheel. Nobody does.\n"]);
  expect(ada.role).toBe("driver");
  expect(await house.run(cwd, "yield")).toEqual({ code: 0, stdout: "taken from ada, nobody drives now\n", stderr: "" });
  while (ada.role === "driver") await ada.changed();
  await ada.takeDriver({ how: "if_free" });
  const bo = await session.attach({ as: "viewer", label: "bo" });
  const taken = bo.takeDriver({ how: "ask" });
  while (ada.state.driver_requests.length === 0) await ada.changed();
  expect(await house.run(cwd, "yield", "--to", "bo")).toEqual({ code: 0, stdout: "taken from ada, given to bo\n", stderr: "" });
  expect((await taken).role).toBe("driver");
  expect(ada.connection).toBe("live");
  await host.close();
});

test("take: two ways at once are a mistake of usage", async () => {
  const { code, stderr } = await house.run(house.workdir("given"), "take", "--ask", "--force");
  expect([code, stderr]).toEqual([2, "sessiond: Choose --ask or --force, not both.\n"]);
});
