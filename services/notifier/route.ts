/** Which channels an alert goes to. Pure. */
import type { Alert, Severity } from "@baton/contracts";
import { Severity as Severities } from "@baton/contracts";

/** From the least to the most urgent, as the contract lists them. */
const rank = (severity: Severity): number => Severities.options.indexOf(severity);

/** The channels that want the alert: its severity is theirs or above, and they have not taken it yet. */
export function route<C extends { readonly name: string; readonly minSeverity: Severity }>(
  alert: Pick<Alert, "id" | "severity">,
  channels: readonly C[],
  taken: (channel: string, alertId: string) => boolean,
): C[] {
  return channels.filter((c) => rank(alert.severity) >= rank(c.minSeverity) && !taken(c.name, alert.id));
}
