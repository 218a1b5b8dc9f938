/** The log: one JSON object a line on stdout. */
import type { BatonError } from "@baton/contracts";
import { destination, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";

export type { Logger } from "pino";

/** `onLost` is called once when nobody reads stdout any more. */
export function openLog(
  who: { service: string; instance: string; region: string },
  level: string,
  onLost: () => void,
): Logger {
  // Synchronous: the last line before an exit is the one that matters.
  const out = destination({ dest: 1, sync: true });
  let lost = false;
  out.on("error", () => {
    if (lost) return;
    lost = true;
    onLost();
  });
  return pino(
    {
      level,
      base: who,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err },
    },
    out,
  );
}

/** The one clear line of an error that is meant for a person. */
export function logBatonError(log: Logger, error: BatonError): void {
  log.fatal(
    {
      code: error.code,
      place: error.place,
      remedy: error.remedy,
      ...(error.cause ? { cause: String(error.cause) } : {}),
    },
    error.line(),
  );
}
