import { isSessiondError, type Auth } from "@sessiond/shared";

/**
 * The host key as a handle shows it: one object, shared by everything that the handle gives out. It stands in a
 * call as its `auth`, and is read when the call is sent. One that is refused may have been rotated meanwhile: it
 * is looked up again, and what is found there counts from then on, for all who hold this object.
 */
export class HeldHostKey implements Auth {
  host_key: string;
  readonly #lookUp: () => string;

  /** @param lookUp  where it came from; may throw */
  constructor(lookUp: () => string) {
    this.#lookUp = lookUp;
    this.host_key = lookUp();
  }

  /** @returns true when there is another one now than the one that was refused: it is worth another try */
  replaced(refused: string): boolean {
    if (this.host_key !== refused) return true;
    try {
      this.host_key = this.#lookUp();
    } catch {
      // It was good once; that nothing can be read now says less than the refusal does.
    }
    return this.host_key !== refused;
  }
}

/** @param shown  what stood in the call that failed so */
export const isWorthRepeating = (error: unknown, auth: Auth | undefined, shown: string | undefined): boolean =>
  // The second is what a stream is told that was open when the key ended.
  (isSessiondError(error, "unauthenticated") || isSessiondError(error, "token_ended")) &&
  auth instanceof HeldHostKey &&
  shown !== undefined &&
  auth.replaced(shown);
