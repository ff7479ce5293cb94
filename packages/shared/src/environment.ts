/**
 * Which variables of a caller's environment may go with a start, for the tools of that life.
 * What a program needs to be found and to find its own; never a credential. A daemon's
 * configuration may name more; a name that looks like a secret's is refused whatever it says.
 */
const allowed: ReadonlySet<string> = new Set([
  "PATH",
  "LANG",
  "LC_ALL",
  "TZ",
  "EDITOR",
  "VIRTUAL_ENV",
  "CONDA_PREFIX",
  "CONDA_DEFAULT_ENV",
  "PYENV_ROOT",
  "PYENV_VERSION",
  "PYTHONPATH",
  "NVM_BIN",
  "NVM_DIR",
  "NODE_ENV",
  "NODE_OPTIONS",
  "RBENV_ROOT",
  "RBENV_VERSION",
  "GEM_HOME",
  "GOPATH",
  "GOROOT",
  "CARGO_HOME",
  "RUSTUP_HOME",
  "JAVA_HOME",
  "DOTNET_ROOT",
  "ASDF_DIR",
  "SDKMAN_DIR",
  "PNPM_HOME",
  "BUN_INSTALL",
  "DENO_DIR",
]);

/** Names that say that there is a secret in them, and our own. */
const forbidden = /KEY|TOKEN|SECRET|PASSW|CREDENTIAL|^SESSIOND_/i;

/** Why a variable may not go with a start, or null when it may. `more`: names that the daemon's configuration adds. */
export function envRefusal(name: string, more: readonly string[] = []): string | null {
  if (forbidden.test(name)) return "its name is a secret's, or sessiond's own";
  return allowed.has(name) || more.includes(name) ? null : "it is not on the allow-list; `[environment] allow` in config.toml adds names";
}

/** Of an environment, what may go with a start. */
export const allowedEnv = (env: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && envRefusal(entry[0]) === null));
