import type { Counters } from "./counters.ts";
import type { Disk, DiskFile } from "./disk.ts";

/** A disk that counts what is read, written and synced. Files that are opened are journals; all others are replaced whole. */
export function countedDisk(disk: Disk, counters: Counters): Disk {
  return {
    readText: (path) => disk.readText(path),
    async replace(path, text) {
      await disk.replace(path, text);
      counters.filesReplaced += 1;
    },
    makeDirectory: (path) => disk.makeDirectory(path),
    list: (path) => disk.list(path),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    syncDirectory: (path) => disk.syncDirectory(path),
    open: async (path, mode) => countedFile(await disk.open(path, mode), counters),
  };
}

function countedFile(file: DiskFile, counters: Counters): DiskFile {
  return {
    size: () => file.size(),
    async read(position, length) {
      const bytes = await file.read(position, length);
      counters.journalReadBytes += bytes.length;
      return bytes;
    },
    async write(position, bytes) {
      await file.write(position, bytes);
      counters.journalWrites += 1;
      counters.journalWrittenBytes += bytes.length;
    },
    async datasync() {
      await file.datasync();
      counters.journalSyncs += 1;
    },
    truncate: (length) => file.truncate(length),
    close: () => file.close(),
  };
}
