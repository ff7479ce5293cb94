/** Whether a value has no more levels than that: what walks it goes down by calls, as this does, and no further than that. */
export const nestsAtMost = (levels: number, value: unknown): boolean =>
  typeof value !== "object" || value === null || (levels > 0 && Object.values(value).every((inner) => nestsAtMost(levels - 1, inner)));
