/** From the configuration to the channels that it names. */
import { BatonError, type Config } from "@baton/contracts";
import type { Channel } from "../channel.ts";
import { type AlertLog, logChannel } from "./log.ts";
import { webhookChannel } from "./webhook.ts";

/** Throws E_CONFIG_INVALID when two channels have one name: what one has taken, the other would never get. */
export function openChannels(
  configured: Config["notifier"]["channels"],
  o: { log: AlertLog; version: string },
): Channel[] {
  const names = new Set<string>();
  for (const [i, { name }] of configured.entries()) {
    if (names.has(name)) {
      throw new BatonError("E_CONFIG_INVALID", {
        place: `notifier.channels.${i}.name`,
        message: `Two channels are called ${name}.`,
        remedy: "Give each channel a name of its own.",
      });
    }
    names.add(name);
  }
  return configured.map((c) =>
    c.type === "log" ? logChannel({ ...c, log: o.log }) : webhookChannel({ ...c, version: o.version }),
  );
}
