/** Version of this build; the packages are released together. */
export const version = "0.1.0";

/** Protocol versions that this build speaks, both ends included. */
export const protocol = { min: 1, max: 1 } as const;

/**
 * The form of the state directory. Raised with whatever an older daemon would misread: another form of a file, or an
 * event that changes what is decided. It then refuses to start there, and says why; see daemon/src/host/state-format.ts.
 */
export const stateFormat = 3;

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

/**
 * The one compatibility rule: two sides speak the highest version that both know.
 *
 * @returns that version, or null when the ranges do not meet
 */
export function negotiate(ours: ProtocolRange, theirs: ProtocolRange): number | null {
  const highest = Math.min(ours.max, theirs.max);
  return highest >= Math.max(ours.min, theirs.min) ? highest : null;
}

export const rangeText = (range: ProtocolRange): string => (range.min === range.max ? String(range.min) : `${range.min}-${range.max}`);
