/**
 * How much of a long suite runs: `npm test` takes a sample, `.ci/run` (SESSIOND_WHOLE=1) all of it.
 * A variable of the suite's own, where it names one, outranks both.
 */
export const whole = process.env["SESSIOND_WHOLE"] === "1";
/** Whether a failure found by chance is made small; the mutants need only the failure. */
export const shrinks = process.env["SESSIOND_SHRINK"] !== "0";

export function amount(sample: number, all: number, variable?: string): number {
  const told = variable === undefined ? undefined : process.env[variable];
  return told === undefined ? (whole ? all : sample) : Number(told);
}
