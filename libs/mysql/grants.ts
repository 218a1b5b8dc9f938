/** What Baton's account must be allowed, and what `SHOW GRANTS` says of it. Pure. */

export interface Needed {
  privileges: string[];
  on: string;
  why: string;
  /** Default `error`. `advice`: a failover works without it. */
  level?: "advice";
}

/** deploy/ and the lab grant these; each names the first thing that fails without it. */
export const NEEDED: readonly Needed[] = [
  {
    privileges: ["RELOAD"],
    on: "*.*",
    why: "RESET REPLICA ALL needs it.",
  },
  {
    privileges: ["REPLICATION SLAVE"],
    on: "*.*",
    why: "Without a replication account of its own in the configuration, replicas log in with this one.",
  },
  {
    privileges: ["REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"],
    on: "*.*",
    why: "Receivers are stopped and pointed elsewhere, read-only and semi-sync switched, client sessions ended.",
  },
  {
    privileges: ["BACKUP_ADMIN", "CLONE_ADMIN", "REPLICATION CLIENT"],
    on: "*.*",
    why: "baton rebuild copies a node from another with them, and reads what it alone held out of its binlog.",
    level: "advice",
  },
  {
    privileges: ["SELECT"],
    on: "`performance_schema`.*",
    why: "The status is read there.",
  },
  {
    privileges: ["CREATE", "SELECT", "INSERT", "DELETE"],
    on: "`baton`.*",
    why: "After a failover a canary is written there, to prove that writes are replicated.",
  },
];

const GRANT = /^GRANT (.+?) ON (\S+) TO /;

/** The lines of `SHOW GRANTS` in, what is missing out. Roles count where they are active, as the server prints them. */
export function missingPrivileges(grants: readonly string[], needed: readonly Needed[] = NEEDED): Needed[] {
  const held = new Map<string, Set<string>>();
  for (const line of grants) {
    const match = GRANT.exec(line);
    if (!match) continue;
    const [, privileges = "", on = ""] = match;
    const set = held.get(on) ?? new Set();
    // Column lists, `SELECT (a, b)`, are no privilege on the whole.
    for (const p of privileges.replace(/\([^)]*\)/g, "()").split(",")) set.add(p.trim().toUpperCase());
    held.set(on, set);
  }
  const has = (privilege: string, on: string) =>
    [held.get(on), held.get("*.*")].some(
      (set) => set?.has(privilege) || set?.has("ALL PRIVILEGES") || set?.has("ALL"),
    );
  return needed.flatMap((n) => {
    const privileges = n.privileges.filter((p) => !has(p, n.on));
    return privileges.length === 0 ? [] : [{ ...n, privileges }];
  });
}
