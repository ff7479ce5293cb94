/** A secret with another last letter: always another, as a fixed one would not be. */
export const spoiled = (secret: string): string => `${secret.slice(0, -1)}${secret.endsWith("x") ? "y" : "x"}`;
