/**
 * How a node's data can be replaced: by the clone plugin where both servers have it, else by a dump, which needs two programs beside the
 * executor and more privileges. The second way is as sound and much slower.
 */
import { GtidSet, missingPrivileges, type Target } from "@baton/mysql";
import { beside } from "./beside.ts";
import { forgetChannel } from "./channel.ts";
import { findClient } from "./client-program.ts";
import { copyByDump, type Dumped, type DumpPrograms } from "./dump.ts";
import type { Hand } from "./hand.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";

const on = (...privileges: string[]) => [{ privileges, on: "*.*", why: "" }];
/** BACKUP_ADMIN sends the data, CLONE_ADMIN receives them. */
const CLONE_SEND = on("BACKUP_ADMIN");
const CLONE_RECEIVE = on("CLONE_ADMIN");
const DUMP_SEND = on("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES", "PROCESS", "RELOAD");
const DUMP_RECEIVE = on(
  ...["CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "INSERT", "UPDATE", "DELETE", "LOCK TABLES"],
  ...["TRIGGER", "EVENT", "CREATE VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "RELOAD"],
  ...["SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER", "SYSTEM_VARIABLES_ADMIN", "SESSION_VARIABLES_ADMIN"],
);

/** Null: by clone; else the programs for a dump. @throws Refusal cannot-clone */
export async function wayToCopy(op: Operation, hand: Hand, donor: string): Promise<DumpPrograms | null> {
  const { openMs } = op.declared.policy.deadlines;
  const without = (await hasClonePlugin(hand, openMs))
    ? (await beside(op, donor, (h) => hasClonePlugin(h, openMs)))
      ? null
      : `${donor}, the donor,`
    : `${hand.node}, the node,`;
  if (without === null) {
    await privileged(hand, "the node", CLONE_RECEIVE, openMs);
    await beside(op, donor, (h) => privileged(h, "the donor", CLONE_SEND, openMs));
    return null;
  }
  const why = `${without} has no active clone plugin: INSTALL PLUGIN clone SONAME 'mysql_clone.so' there`;
  try {
    const programs = programsFor(hand);
    await privileged(hand, "the node", DUMP_RECEIVE, openMs);
    await beside(op, donor, (h) => privileged(h, "the donor", DUMP_SEND, openMs));
    return programs;
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== "cannot-clone") throw error;
    throw new Refusal("cannot-clone", `${why}. Nor can a dump be made instead: ${error.message}`);
  }
}

export async function hasClonePlugin(hand: Hand, deadlineMs = 5_000): Promise<boolean> {
  const [plugin] = await hand.run(hand.dialect.clonePlugin, deadlineMs);
  return plugin?.[0]?.status === "ACTIVE";
}

function programsFor(hand: Hand): DumpPrograms {
  const mysqldump = findClient("mysqldump");
  const mysql = findClient("mysql");
  if (hand.dialect.dump !== undefined && mysqldump !== null && mysql !== null) return { mysqldump, mysql };
  const missing = [mysqldump === null ? "mysqldump" : "", mysql === null ? "mysql" : ""].filter(Boolean);
  throw new Refusal(
    "cannot-clone",
    hand.dialect.dump === undefined
      ? `Baton dumps no ${hand.dialect.flavour}`
      : `${missing.join(" and ")} must be on the executor's PATH, or named by ${missing.map((m) => `BATON_${m.toUpperCase()}`).join(" and ")}`,
  );
}

async function privileged(
  hand: Hand,
  role: string,
  needed: ReturnType<typeof on>,
  deadlineMs: number,
): Promise<void> {
  const [held] = await hand.run(hand.dialect.grants, deadlineMs);
  const [missing] = missingPrivileges(
    (held ?? []).map((row) => String(Object.values(row)[0])),
    needed,
  );
  if (missing !== undefined)
    throw new Refusal(
      "cannot-clone",
      `Baton's account lacks ${missing.privileges.join(", ")} on ${hand.node}, ${role}: GRANT it (deploy/mysql/grants.sql)`,
    );
}

/**
 * The node's data are replaced by a dump. `giveUpData` is called when the donor has begun to give; from then on a failure says that
 * the node is touched. @throws Refusal dump-failed, deadline-exceeded, node-lost
 */
export async function replaceByDump(
  op: Operation,
  hand: Hand,
  programs: DumpPrograms,
  donor: { name: string; target: Target },
  node: Target,
  untilMs: number,
  giveUpData: () => Promise<void>,
): Promise<Dumped> {
  const { openMs, rebuildMs } = op.declared.policy.deadlines;
  const d = hand.dialect.dump;
  if (d === undefined) throw new Refusal("cannot-clone", `Baton dumps no ${hand.dialect.flavour}`);
  const [size] = await beside(op, donor.name, (h) => h.run(d.dataSize, openMs));
  const [settings] = await hand.run(d.settings, openMs);
  const { trust, events } = settings?.[0] ?? {};
  const was = { trust: Number(trust) === 1, events: events == null ? null : Number(events) === 1 };
  let touched = false;
  const empty = async () => {
    await giveUpData();
    touched = true;
    await hand.run(
      [...d.allowLoad, ...d.loadSettings({ trust: true, events: was.events === null ? null : false })],
      openMs,
    );
    const [names] = await hand.run(d.databases, openMs);
    for (const { name } of names ?? []) await hand.run(d.dropDatabase(String(name)), rebuildMs);
    await forgetChannel(op, hand, true);
    await hand.run(d.forgetHistory, openMs);
  };
  const from = { ...donor, totalBytes: Number(size?.[0]?.bytes ?? 0) };
  try {
    const dumped = await copyByDump(op, hand, d, programs, from, node, untilMs, empty);
    const before = (await hand.status(openMs)).executed;
    if (before !== "")
      throw new Refusal("dump-failed", `${hand.node}: somebody wrote ${before} to it during the load`);
    // Read-only before its events may run again.
    await hand.run(
      [d.adoptHistory(dumped.executed), ...hand.dialect.isolate, ...d.loadSettings(was)],
      openMs,
    );
    const { executed } = await hand.status(openMs);
    if (!GtidSet.parse(executed).equals(GtidSet.parse(dumped.executed)))
      throw new Refusal("dump-failed", `${hand.node} holds ${executed}, the dump ${dumped.executed}`);
    return dumped;
  } catch (error) {
    if (touched)
      await hand.run([...hand.dialect.isolate, ...d.loadSettings(was)], openMs).catch(() => undefined);
    if (error instanceof Refusal) throw new Refusal(error.code, error.message, { ...error.detail, touched });
    throw error;
  }
}
