/** From the configuration to the channels that it names. */
import type { Config } from "@baton/contracts";
import type { Channel } from "../channel.ts";
import { type AlertLog, logChannel } from "./log.ts";
import { webhookChannel } from "./webhook.ts";

/** Names are unique: the configuration was checked when it was read. */
export function openChannels(
  configured: Config["notifier"]["channels"],
  o: { log: AlertLog; version: string },
): Channel[] {
  return configured.map((c) =>
    c.type === "log" ? logChannel({ ...c, log: o.log }) : webhookChannel({ ...c, version: o.version }),
  );
}
