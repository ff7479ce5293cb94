/** The package ships no types; this is what is used of it. */
declare module "fs-native-extensions" {
  /** An exclusive lock of the open file, held until it is closed or the process ends. False when another holds it. */
  export function tryLock(fd: number): boolean;
}
