/** What a service is told on its command line: `-c FILE`, `--instance NAME`. Pure, but for the random name. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { BatonError, Name, type ServiceName } from "@baton/contracts";

export interface ServiceArguments {
  file: string | undefined;
  instance: string;
}

const LETTERS = "bcdfghjklmnpqrstvwxz0123456789";

/** Throws BatonError E_USAGE. */
export function parseArguments(service: ServiceName, argv: readonly string[]): ServiceArguments {
  let values: { config?: string | undefined; instance?: string | undefined };
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: { config: { type: "string", short: "c" }, instance: { type: "string" } },
    }));
  } catch (cause) {
    throw usage(cause instanceof Error ? cause.message.split(". ")[0] : String(cause));
  }
  const instance = values.instance ?? `${service}-${randomName(6)}`;
  const checked = Name.safeParse(instance);
  if (!checked.success) {
    throw usage(`--instance ${JSON.stringify(instance)} ${checked.error.issues[0]?.message}`);
  }
  return { file: values.config, instance };

  function usage(message: string | undefined): BatonError {
    return new BatonError("E_USAGE", {
      place: "command line",
      message: `${message}.`,
      remedy: `Usage: ${service} [-c FILE] [--instance NAME]`,
    });
  }
}

function randomName(length: number): string {
  return Array.from({ length }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}
