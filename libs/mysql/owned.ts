/**
 * `@@GLOBAL.gtid_owned`: what sessions are about to commit, as a GTID set. The server writes each owner's thread after its number
 * and nothing between one UUID and the next (measured on 9.7.4): `uuid:5#16uuid:7#12:5#11uuid:tag:9#17`. So a thread's
 * digits run into the UUID behind them; only a UUID's fixed length and its dashes say where it begins.
 */
const UUID_BEGINS = /(?=[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:)/i;

export function ownedSet(text: string): string {
  return text
    .split(UUID_BEGINS)
    .map((item) => item.replaceAll(/#\d+/g, "").replaceAll(/[\s,]/g, ""))
    .filter((item) => item !== "")
    .join(",");
}
