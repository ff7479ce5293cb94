// Waiting for what is told: events of a seat, the end of a process. Nothing here sleeps and hopes.
const patienceMs = 15_000;

/** @throws Error when it takes longer than anything here should */
export async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`${what}: not within ${patienceMs / 1000} s`)), patienceMs)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Until `holds` gives something for the seat's state; @returns that */
export async function until(what, seat, holds) {
  const look = async () => {
    for (;;) {
      const found = holds(seat.state);
      if (found) return found;
      if (seat.connection === "ended") throw new Error(`${what}: the seat ended (${String(await seat.ended)})`);
      await seat.changed();
    }
  };
  return within(what, look());
}

/** Until the seat has lost its daemon and found another. Begin before the loss. */
export function lostAndBack(seat) {
  const wait = async () => {
    for (const connection of ["live", "reconnecting"]) while (seat.connection === connection) await seat.changed();
    if (seat.connection === "ended") throw new Error(`the seat ended: ${String(await seat.ended)}`);
  };
  return within("the client finds the daemon again", wait());
}
