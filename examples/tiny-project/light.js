const order = ["red", "green", "yellow"];

/** The colour after this one. */
export const next = (colour) => order[(order.indexOf(colour) + 1) % order.length];
