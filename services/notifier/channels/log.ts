/** The channel that cannot fail: one readable line with all fields, through the service's own log. */
import type { Severity } from "@baton/contracts";
import type { Channel } from "../channel.ts";

export interface AlertLog {
  info(fields: object, line: string): void;
  warn(fields: object, line: string): void;
  error(fields: object, line: string): void;
}

const LEVEL = { info: "info", warning: "warn", critical: "error" } as const satisfies Record<
  Severity,
  keyof AlertLog
>;

export function logChannel(o: { name: string; minSeverity: Severity; log: AlertLog }): Channel {
  return {
    name: o.name,
    minSeverity: o.minSeverity,
    timeoutMs: null,
    target: "this log",
    async send({ alert, traceparent }) {
      const line = `ALERT ${alert.severity} ${alert.cluster}: ${alert.title}. ${alert.action}`;
      o.log[LEVEL[alert.severity]]({ channel: o.name, alert, traceparent }, line);
    },
  };
}
