import type { DriverSeat, Session } from "@sessiond/client";

/**
 * A long conversation, made and read through the door like any other. Notes of the driver are as long as they may be, are
 * kept by compaction as they are, and no model has to be asked for them.
 */
const words = "the quick brown fox jumps over the lazy dog and then it goes home ";
const underWay = 32;

/** @returns how many notes came to so many bytes */
export async function writeNotes(driver: DriverSeat, bytes: number, chars = 16_000): Promise<number> {
  const text = words.repeat(Math.ceil(chars / words.length)).slice(0, chars);
  const count = Math.ceil(bytes / Buffer.byteLength(text));
  let begun = 0;
  const lane = async (): Promise<void> => {
    for (; begun < count;) {
      const number = String(begun++);
      await driver.addSystemMessage(number + text.slice(number.length));
    }
  };
  await Promise.all(Array.from({ length: underWay }, lane));
  return count;
}

/** Pages from the newest frame to the first. @throws when less came than there is */
export async function readThrough(session: Session, bytesLeast: number): Promise<void> {
  let read = 0;
  for (let before = (await session.info()).seq + 1; ;) {
    const page = await session.data({ before });
    for (const { event } of page.frames) if (event.type === "system_message") read += event.text.length;
    const first = page.frames[0]?.seq ?? 1;
    if (first <= 1) break;
    before = first;
  }
  if (read < bytesLeast) throw new Error(`${read} of ${bytesLeast} bytes could be read`);
}
