/** Chance that can be repeated (mulberry32). */
export interface Chance {
  /** From 0 up to, and without, `below`. */
  upTo(below: number): number;
}

export function seededChance(seed: number): Chance {
  let state = seed >>> 0;
  return {
    upTo(below) {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return (((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below;
    },
  };
}
