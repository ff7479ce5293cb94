import type { Host, Session } from "@sessiond/client";
import { CountedHome, type Counted, type Spent } from "./counted-home.ts";
import type { ModelReady } from "./model.ts";
import { median } from "./pairs.ts";
import { inShort, type Bench, type Row } from "./row.ts";
import { SideProcess } from "./side-process.ts";

/**
 * What a session's length does to the work on it: the same things done at 1,000, 10,000 and 100,000 events in a real
 * daemon. The counters must not grow; the first size is the limit of the last. Times are printed and not judged.
 * A segment that has become full is compacted afterwards, which reads and writes in proportion to what was appended, however
 * long the session: what filling it left of that is waited for, so that it is not counted to whoever comes next.
 */
export const growth: Bench = {
  name: "growth",
  about: "append, attach, snapshot and prompt in a session of 1k, 10k and 100k events; limit: the same at 1k",
  async run({ short, dir, tell }) {
    const sizes = short ? [1_000, 10_000] : [1_000, 10_000, 100_000];
    const model = await SideProcess.start<ModelReady>(dir, "model");
    const home = new CountedHome(`[model]\nname = "m"\nbase_url = "${model.ready.baseURL}"\napi_key = "k"\n`);
    try {
      const host = await home.begin();
      const measured: Worked[] = [];
      for (const size of sizes) {
        measured.push(await worked(home, host, size, short ? 5 : 15));
        tell(`${inShort(size)} events: done`);
      }
      return works.map((work) => rowOf(work, sizes, measured));
    } finally {
      await home.close();
      await model.end();
    }
  },
};

const works = ["append", "attach", "snapshot", "prompt"] as const;
type Worked = Readonly<Record<(typeof works)[number], Spent>>;

/** Frames that one `append` makes, beside those of its turn. */
const appended = 1_000;
/** One of these turns is as long as any prompt makes it; several, so that the state is full of messages at every size. */
const turns = 8;

async function worked(home: CountedHome, host: Host, size: number, times: number): Promise<Worked> {
  const session = await host.startSession({ workdir: home.workdir });
  const driver = await session.attach({ as: "driver" });
  for (let turn = 0; turn < turns; turn++) await driver.prompt(`stream ${Math.ceil(size / turns) - 4}`);
  await home.atRest();
  const each = {
    append: () => driver.prompt(`stream ${appended}`),
    attach: async () => (await session.attach({ as: "viewer" })).detach(),
    snapshot: () => snapshot(session),
    prompt: () => driver.prompt("hello"),
  };
  const spent = {} as Record<keyof Worked, Spent>;
  for (const work of works) {
    const taken: Spent[] = [];
    for (let time = 0; time < (work === "append" ? Math.ceil(times / 3) : times); time++) taken.push(await home.spent(each[work]));
    spent[work] = medianOf(taken);
  }
  await driver.detach();
  await session.stop();
  return spent;
}

/** What a client's first look needs. */
async function snapshot(session: Session): Promise<void> {
  await session.info();
}

const medianOf = (taken: readonly Spent[]): Spent =>
  Object.fromEntries(
    (["read", "written", "encoded", "decoded", "sent", "ms"] as const).map((name) => [name, median(taken.map((one) => one[name]))]),
  ) as unknown as Spent;

/** Not what was sent: how many batches a reader gets is between him and the disk. */
const judged = ["read", "written", "encoded", "decoded"] as const satisfies (keyof Counted)[];

function rowOf(work: keyof Worked, sizes: readonly number[], measured: readonly Worked[]): Row {
  const at = measured.map((each) => each[work]);
  const [first, last] = [at[0] as Spent, at.at(-1) as Spent];
  const ratios = judged.map((name) => (last[name] === first[name] ? 1 : last[name] / first[name]));
  const line = (index: number): string => {
    const { read, written, encoded, decoded, ms } = at[index] as Spent;
    return `${inShort(sizes[index] ?? 0)}: ${encoded} + ${decoded} frames, ${inShort(written)}B + ${inShort(read)}B, ${ms.toFixed(1)} ms`;
  };
  return {
    what: `growth, ${work}`,
    sessiond: line(at.length - 1),
    limit: line(0),
    ratio: Math.max(...ratios),
    spread: null,
    // A seq of six digits is longer than one of four.
    bar: { atMost: 1.05 },
  };
}
