/** Something that must hold does not; `promise` says which of BEHAVIOUR.md. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly promise: string;

  constructor(promise: string, what: string) {
    super(`${promise}: ${what}`);
    this.promise = promise;
  }
}

export function holds(condition: boolean, promise: string, what: () => string): asserts condition {
  if (!condition) throw new Violation(promise, what());
}
