// Preloaded into a daemon (`node --import`): at each SIGUSR2 it collects all that can be collected, gives free pages back to
// the system, and writes what is left to the next file MEASURE_INTO-1, -2, … Less than test/fixtures/measured.mjs, which
// counts objects and takes megabytes for that.
import { renameSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector";

const into = process.env["MEASURE_INTO"];
const session = new Session();
let measured = 0;

/** Unlike `gc()`, this is what V8 does when the system has said that it is short of memory. */
const collect = () => new Promise((resolve) => session.post("HeapProfiler.collectGarbage", resolve));

async function measure() {
  session.connect();
  // Finalizers run between collections, and let go of more.
  for (let round = 0; round < 2; round++) await collect();
  session.disconnect();
  const { heapUsed: heap, arrayBuffers: buffers, rss: resident } = process.memoryUsage();
  measured += 1;
  writeFileSync(`${into}.new`, JSON.stringify({ heap, buffers, resident }));
  renameSync(`${into}.new`, `${into}-${measured}`);
}

process.on("SIGUSR2", () => void measure());
