/** What it means when a port cannot be listened on. */
import { BatonError } from "@baton/contracts";

export function portError(cause: unknown, o: { host: string; port: number; key: string }): unknown {
  const text = String((cause as NodeJS.ErrnoException).code ?? cause);
  if (text.includes("EADDRINUSE")) {
    return new BatonError("E_PORT_IN_USE", {
      place: `${o.host}:${o.port} (${o.key})`,
      message: "another process listens there.",
      remedy: `Stop it, or set ${o.key} to a free port, or to 0 for any.`,
      cause,
    });
  }
  if (/EADDRNOTAVAIL|ENOTFOUND|EACCES|EAI_AGAIN/.test(text)) {
    return new BatonError("E_CONFIG_INVALID", {
      place: `${o.host}:${o.port} (${o.key})`,
      message: `this machine cannot listen there (${text}).`,
      remedy: `Set ${o.key.split(".")[0]}.host to an address of this machine.`,
      cause,
      exitCode: 1,
    });
  }
  return cause;
}
