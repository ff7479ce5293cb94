import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { limits } from "@sessiond/shared";
import type { Disk } from "../disk.ts";
import { afterOf, isCompacted, segmentPath } from "../room/segment.ts";
import type { Situation, Trouble } from "./examination.ts";
import { count, sized } from "./finding.ts";

/**
 * What the sessions take. What is compacted is little more than the conversation itself; what is not
 * is what B47 bounds, and it is told by the heads of the segments alone, without reading them.
 */
export async function diskTroubles({ examination: { stateDir, disk, tell }, facts }: Situation): Promise<Trouble[]> {
  const ids = [...facts.folders];
  const used = await Promise.all(ids.map((id) => useOf(disk, join(stateDir, "sessions", id))));
  const total = used.reduce((sum, { bytes }) => sum + bytes, 0);
  const largest = used.toSorted((a, b) => b.bytes - a.bytes)[0];
  const most = ids.length < 2 || largest === undefined ? "" : `, the largest ${sized(largest.bytes)}`;
  tell({ type: "fact", name: "disk", value: `${count(ids.length, "session")}, ${sized(total)}${most}` });
  return used.flatMap(({ waiting, path }, place): Trouble[] => {
    if (waiting <= limits.session_disk_bytes_fixed) return [];
    const id = ids[place] ?? "";
    const what = `${sized(waiting)} of this session are not compacted, more than ${sized(limits.session_disk_bytes_fixed)}`;
    const mend = `compaction goes on while the session is used; where it does not, a part cannot be read: \`sessiond verify ${id}\` says which`;
    return [{ finding: { kind: "disk", weight: "wrong", session_id: id, path, what, mend } }];
  });
}

async function useOf(disk: Disk, path: string): Promise<{ path: string; bytes: number; waiting: number }> {
  let [bytes, waiting] = [0, 0];
  for (const name of await readdir(path).catch(() => [])) {
    const size = await lstat(join(path, name)).then(
      ({ size: of }) => of,
      () => 0,
    );
    bytes += size;
    const after = afterOf(name);
    if (after !== null && !(await isCompactedAt(disk, segmentPath(path, after)))) waiting += size;
  }
  return { path, bytes, waiting };
}

async function isCompactedAt(disk: Disk, path: string): Promise<boolean> {
  const file = await disk.open(path, "read").catch(() => null);
  if (file === null) return false;
  try {
    return await isCompacted(file);
  } finally {
    await file.close();
  }
}
