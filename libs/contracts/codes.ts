/**
 * Every code that Baton can say. A code is stable for ever: people script against it.
 * Each has what it means and what Baton does, in words for a person at 3 a.m.
 */
import { z } from "zod";

export const Severity = z.enum(["info", "warning", "critical"]);
export type Severity = z.infer<typeof Severity>;

/**
 * What one attempt to reach a node found. Only `refused`, `unreachable`, `timeout-connect` and
 * `timeout-query` speak of death (DETECTION.md, Witnesses); `closed` is a held connection that ended and
 * has not been tried again yet: a reason to look, not a finding. A host's name that cannot be resolved is an `error` without an
 * errno: no word about the server.
 */
export const Outcome = z.enum([
  "ok",
  "closed",
  "refused",
  "unreachable",
  "timeout-connect",
  "timeout-query",
  "auth",
  "too-many-connections",
  "tls",
  "shutting-down",
  "error",
]);
export type Outcome = z.infer<typeof Outcome>;

export const OUTCOMES_OF_DEATH: ReadonlySet<Outcome> = new Set<Outcome>([
  "refused",
  "unreachable",
  "timeout-connect",
  "timeout-query",
]);

export interface CodeEntry {
  severity: Severity;
  meaning: string;
  action: string;
}

/** Diagnoses of a cluster. `healthy` and `warming-up` are the two that name no fault. */
export const DIAGNOSES = {
  healthy: {
    severity: "info",
    meaning: "The primary answers and its replicas follow it.",
    action: "Nothing.",
  },
  "warming-up": {
    severity: "info",
    meaning: "No healthy baseline of this cluster has been seen yet, so nothing is concluded.",
    action: "Baton waits until it has seen the primary answer and a replica follow it.",
  },
  "primary-dead": {
    severity: "critical",
    meaning: "Most probers in most regions find the primary dead and no reachable replica still hears it.",
    action: "Baton fails over.",
  },
  "primary-dead-with-some-replicas": {
    severity: "critical",
    meaning: "The primary is dead and so are some of the replicas.",
    action: "Baton fails over when the replicas left are enough to prove that nothing is lost, else refuses.",
  },
  "primary-gone-other-server": {
    severity: "critical",
    meaning:
      "At the primary's address most probers reach another server (another server_uuid), and no reachable replica hears the primary any more: the primary is gone.",
    action:
      "Baton fails over. What answers there now is not the primary: an empty server or a copy of the old one joins as a replica, a foreign one is left alone.",
  },
  "topology-mismatch": {
    severity: "critical",
    meaning:
      "The declared names and the servers do not fit: the primary answers under another name or is not declared any more, or one server answers under two names.",
    action:
      "Nothing is shut and no operation runs: none would know whom it touches. Mend the addresses in baton.yaml, then `baton apply`.",
  },
  "foreign-server": {
    severity: "warning",
    meaning:
      "At a declared node's address runs a server with data of its own that shares nothing with this cluster's history: it looks like somebody else's.",
    action:
      "It is left alone: not shut, not rebuilt, not promoted. Mend its address in baton.yaml and `baton apply`. If it is to lose its data and join: `baton apply --force-join <node>`.",
  },
  "primary-and-all-replicas-unreachable": {
    severity: "critical",
    meaning: "Neither the primary nor any replica can be reached.",
    action: "Nothing can be done from here: check the network and the hosts.",
  },
  "primary-unreachable-replicas-fine": {
    severity: "warning",
    meaning: "Probers cannot reach the primary, but its replicas still receive from it.",
    action: "Baton does not fail over: the primary is alive. Check the network between probers and primary.",
  },
  "primary-overloaded": {
    severity: "warning",
    meaning: "The primary refuses connections because it has too many (error 1040).",
    action: "Baton does not fail over: the primary is alive. Raise max_connections or find who opens them.",
  },
  "primary-read-only": {
    severity: "critical",
    meaning: "The primary answers but is read-only, and no operation made it so.",
    action:
      "After a restart of its server Baton gives it its pen back. If a person set read_only, it stays so: find out who.",
  },
  "no-primary": {
    severity: "critical",
    meaning: "No node of the cluster is known or seen to be the primary.",
    action: "Make exactly one node writable with the others replicating from it; Baton then adopts it.",
  },
  "credentials-failing": {
    severity: "warning",
    meaning: "A node refuses Baton's own account.",
    action: "Nothing is concluded from it. Mend the account or the password that Baton was given.",
  },
  "replica-dead": {
    severity: "warning",
    meaning: "A replica cannot be reached.",
    action: "None by itself; a failover may have to be refused while it is away.",
  },
  "replica-not-connected": {
    severity: "warning",
    meaning:
      "A replica's receiver has not been connected to the primary for more than a second: it tries again and again, and the probers reach the primary.",
    action:
      "None by itself: the server's own error says why (account, password, TLS, network). It acknowledges nothing meanwhile; a failover may have to be refused.",
  },
  "replication-stopped": {
    severity: "warning",
    meaning: "A replica's receiver or applier is stopped.",
    action:
      "Baton starts what stands still since a restart. What somebody stopped (STOP REPLICA, or a killed receiver) stays so: `baton repair <cluster> <node>` starts it.",
  },
  "replication-error": {
    severity: "warning",
    meaning: "A replica's receiver or applier stopped with an error.",
    action:
      "Baton starts an applier again after an error that passes (a killed thread, a lock wait, a full disk). After any other the data differ: `baton rebuild <cluster> <node>`.",
  },
  "replica-wrong-source": {
    severity: "warning",
    meaning: "A replica follows a server that is not the primary.",
    action: "A former primary or a clean replica is repointed; an errant one is quarantined.",
  },
  "replica-writable": {
    severity: "critical",
    meaning: "A node that is not the primary accepts writes.",
    action: "Baton shuts it, compares it, and leads it home or quarantines it.",
  },
  "replica-hollow": {
    severity: "critical",
    meaning:
      "A replica follows the primary and lacks transactions that following does not bring: its data were emptied or lost under its old server id, and a receiver leaves out events of its own id.",
    action:
      "Baton lets it acknowledge nothing and quarantines it. `baton rebuild <cluster> <node>`; with policy.rebuild: auto Baton does it by itself.",
  },
  "errant-gtid": {
    severity: "warning",
    meaning: "A node that is out of its place holds transactions that the primary's history has not.",
    action: "The node is quarantined: it must not become primary. Rebuild it.",
  },
  "gtid-drift": {
    severity: "warning",
    meaning:
      "A replica follows the primary and holds transactions of its own: somebody wrote on it, and its data may differ.",
    action:
      "It will not be promoted. `baton repair <cluster> <node> --dry-run` lists the transactions and both ways out: a rebuild, or empty transactions in their place.",
  },
  "split-brain": {
    severity: "critical",
    meaning: "Two nodes accept writes and each has a history of its own.",
    action:
      "Baton shuts all but the lawful primary, records what each holds, and quarantines the others. Only where both histories hold writes that replicas acknowledged, a person chooses.",
  },
  "primary-lost-history": {
    severity: "critical",
    meaning:
      "The primary has not what it was seen to hold, or what replicas have of its own: an older disk, a snapshot, or a lost tail.",
    action:
      "It is not opened; Baton fails over to a replica that holds all. Where none can be promoted: bring them back, or `baton failover <cluster> --accept-loss <gtids>`.",
  },
  "undeclared-acker": {
    severity: "critical",
    meaning:
      "More semi-sync replicas are attached to the primary than declared ones can be: a server that Baton does not know acknowledges writes.",
    action:
      "A failover is refused (durability-unproven), since the last writes may be on that server alone. Declare it (`baton apply`), or stop its semi-sync: SHOW REPLICAS on the primary names it.",
  },
  "semi-sync-too-few-ackers": {
    severity: "warning",
    meaning: "Fewer ackers are attached to the primary than a write needs.",
    action:
      "Bring replicas back. In lossless durability writes wait, by design; with policy.onAckLoss: degrade Baton lets them go on without.",
  },
  "durability-degraded": {
    severity: "critical",
    meaning:
      "Baton lets the primary answer writes without acks, as policy.onAckLoss: degrade says: its death may lose them.",
    action:
      "Bring replicas back; Baton restores the durability by itself once they hold all that was written.",
  },
  "semi-sync-off": {
    severity: "critical",
    meaning: "The primary answers writes without waiting for a replica's acknowledgement.",
    action:
      "Baton switches it on again as soon as enough ackers follow. Until then the primary's death may lose what it has answered. Who wants it off pauses the cluster first.",
  },
  "semi-sync-broken": {
    severity: "warning",
    meaning: "A node's semi-sync settings are not those that lossless durability needs.",
    action: "Baton sets them again.",
  },
  "semi-sync-waiting": {
    severity: "critical",
    meaning:
      "Commits wait on the primary for acks of what enough replicas hold already: the acks were lost with their connections, and clients stall.",
    action: "Baton writes one row of its own: its ack releases those who wait.",
  },
  "epoch-unmarked": {
    severity: "warning",
    meaning:
      "The data do not say whose epoch they are of: an older version of Baton led the cluster, or somebody removed the row (baton.epoch).",
    action:
      "Baton writes the row. Until then a state that NATS loses, and another installation, would not be noticed.",
  },
  "prober-blind": {
    severity: "warning",
    meaning:
      "A prober reaches no node while others do: it is the one that is cut off, or that cannot resolve their names.",
    action: "Its vote does not count. Check that prober's network and its resolver.",
  },
  "state-went-back": {
    severity: "critical",
    meaning:
      "The data of the cluster are of a later epoch than the state in NATS, or of another primary: NATS has lost its state or was set back.",
    action:
      "Nothing is opened, shut or repointed. A decider that remembers the state puts it back by itself; else `baton recover <cluster>` asks the nodes and proposes it.",
  },
  "foreign-installation": {
    severity: "critical",
    meaning:
      "The data carry the mark of a Baton installation that this one is not, or does not remember to be: two would fight over the servers.",
    action:
      "Nothing is opened, shut or repointed. Stop this Baton if another leads the cluster; `baton recover <cluster>` if it is this one's own, `baton recover <cluster> --take-over` if it shall be.",
  },
  "failover-not-possible": {
    severity: "critical",
    meaning:
      "The primary is dead and a failover would not be safe, or the cooldown or the flap limit forbids it.",
    action: "Nothing is touched. The refusal's code says what to bring back or decide.",
  },
} as const satisfies Record<string, CodeEntry>;

export type DiagnosisCode = keyof typeof DIAGNOSES;
export const DiagnosisCode = z.enum(Object.keys(DIAGNOSES) as [DiagnosisCode, ...DiagnosisCode[]]);

/** The diagnoses that Baton can mend, each by a policy of its own. */
export const RepairCode = z.enum([
  "split-brain",
  "replica-writable",
  "semi-sync-waiting",
  "semi-sync-off",
  "semi-sync-broken",
  "replica-wrong-source",
  "replication-error",
  "replication-stopped",
  "replica-hollow",
  "gtid-drift",
  "epoch-unmarked",
]) satisfies z.ZodType<DiagnosisCode>;
export type RepairCode = z.infer<typeof RepairCode>;

/** Why an operation was refused, rolled back or blocked. */
export const REFUSALS = {
  "ackers-unreachable": {
    severity: "critical",
    meaning:
      "The old primary could not be fenced and fewer than N-k+1 ackers could be stopped, so an acknowledged write may exist that no reachable node has.",
    action:
      "Bring back a replica or the old primary; Baton tries again by itself. When they are gone for good: `baton failover <cluster> --accept-unproven`.",
  },
  "durability-unproven": {
    severity: "critical",
    meaning:
      "It is not proven that each acknowledged write is held by k replicas: writes were seen not to wait for acks, an undeclared server acknowledges, or no evidence has been seen yet.",
    action:
      "Bring the old primary back: Baton opens it again. Then mend semi-sync: baton check. When it is gone for good: `baton failover <cluster> --accept-unproven`.",
  },
  "mark-missed": {
    severity: "critical",
    meaning:
      "The node that would be opened lacks writes that the primary was seen to have executed: they would be lost. The message names them, and who holds them.",
    action:
      "Bring back a node that holds them; Baton goes on by itself. When they are gone for good: `baton failover <cluster> --accept-loss <gtids>`.",
  },
  "loss-above-limit": {
    severity: "critical",
    meaning: "The failover may lose more transactions than policy.loss.maxTransactions allows.",
    action:
      "Bring back the old primary, or a replica that holds more; or accept the loss: raise policy.loss.maxTransactions, and Baton fails over by itself.",
  },
  "loss-unknown": {
    severity: "critical",
    meaning:
      "Writes did not have to wait for acks, and no decider has seen how fast the primary wrote, so nobody can say what a failover would lose.",
    action: "Bring the old primary back.",
  },
  diverged: {
    severity: "critical",
    meaning: "No replica holds everything that the others hold: there are two histories.",
    action: "A person must choose which history to keep; the GTID sets are in the audit record.",
  },
  "acker-cannot-vouch": {
    severity: "critical",
    meaning:
      "A replica restarted without relay logs it had acknowledged, and what is missing is found nowhere.",
    action:
      "Bring back the old primary, or another replica that holds the missing transactions. When they are gone for good: `baton failover <cluster> --accept-unproven`.",
  },
  "no-candidate": {
    severity: "critical",
    meaning: "No replica may be promoted; the record names the reason for each.",
    action: "Remove the reason for one of them (promotion rule, errant transactions, replication error).",
  },
  "too-few-ackers-left": {
    severity: "critical",
    meaning: "After promotion fewer than k ackers would be left, so no write could be acknowledged.",
    action:
      "Bring back a replica, or lower policy.acks. To promote all the same: `baton failover <cluster> --accept-unproven`; writes wait there until a replica acknowledges.",
  },
  "catch-up-timeout": {
    severity: "critical",
    meaning: "The candidate did not apply in time all that it had received.",
    action: "Wait for its applier or find what blocks it; Baton tries again by itself.",
  },
  "node-lost": {
    severity: "critical",
    meaning: "A node's session was lost in the middle of the operation.",
    action: "Baton tries again by itself with what is reachable.",
  },
  "mixed-flavours": {
    severity: "critical",
    meaning: "Some nodes run MySQL and others MariaDB: their GTIDs cannot be compared.",
    action: "Declare servers of one flavour only; one of the other is another cluster.",
  },
  "flavour-cannot": {
    severity: "critical",
    meaning: "The servers' flavour cannot do what the policy or the order asks; the message says what.",
    action:
      "On MariaDB: policy.acks 1, durability lossless, and nodes rebuilt by hand (docs/operate/mariadb.md).",
  },
  "topology-mismatch": {
    severity: "critical",
    meaning:
      "The declared names and the servers do not fit, so that no operation would know whom it touches; the message says which.",
    action: "Nothing was touched. Mend the addresses in baton.yaml, then `baton apply`.",
  },
  "foreign-server": {
    severity: "warning",
    meaning: "The node's server has data of its own that share nothing with this cluster's history.",
    action:
      "It was not touched. Mend its address in baton.yaml and `baton apply`; if it is to lose its data and join: `baton apply --force-join <node>`.",
  },
  "not-ready": {
    severity: "warning",
    meaning: "A check before a switchover failed.",
    action:
      "Nothing was touched. Remove what the check names; --force overrides those that are not about safety.",
  },
  "executor-lost": {
    severity: "warning",
    meaning: "The executor of a switchover died before the point of no return.",
    action: "Its successor gave the primary its pen back. Order the switchover again.",
  },
  "state-changed": {
    severity: "info",
    meaning: "The cluster's state is no longer the one that the intent started from.",
    action: "Nothing: another operation came first.",
  },
  "lock-lost": {
    severity: "warning",
    meaning: "The cluster's lock passed to another operation.",
    action: "Nothing: the other operation goes on.",
  },
  "not-clean": {
    severity: "warning",
    meaning: "The node holds transactions that the primary's history has not.",
    action: "It is quarantined. Rebuild it from the primary.",
  },
  "cannot-follow": {
    severity: "warning",
    meaning: "The node could not be made to receive from the primary; the record names the server's error.",
    action: "Baton tries again by itself. When the primary has purged what it lacks, rebuild the node.",
  },
  "relay-log-unapplied": {
    severity: "critical",
    meaning:
      "A node has received transactions that it does not apply, and too few other members hold them: pointing it at another source would delete what may be the only copy of an acknowledged write.",
    action:
      "Nothing was changed. Mend its applier (the record has its error and the GTIDs), or start the members that hold them; Baton tries again by itself.",
  },
  "handover-unproven": {
    severity: "critical",
    meaning:
      "A node is to be quarantined or rebuilt, and too few other members were read to hold what it may have acknowledged: without it acknowledged writes might be found nowhere.",
    action:
      "It goes on counting as a member. Start the members that the record names, or let them catch up; Baton tries again by itself.",
  },
  "errant-unsaved": {
    severity: "warning",
    meaning:
      "What a quarantined node alone holds could not be kept elsewhere as a whole, so its data are not replaced unasked.",
    action:
      "Remove the reason (mysqlbinlog beside the executor, its account, more room), or keep it by hand: mysqlbinlog on the node. Then `baton rebuild <cluster> <node>`, which goes on without.",
  },
  "not-whole": {
    severity: "critical",
    meaning:
      "A node follows the primary and lacks a part of the history that its receiver does not bring: its data were lost or emptied under its old server id, whose events a receiver leaves out.",
    action:
      "It acknowledges nothing and is not promoted. `baton rebuild <cluster> <node>`; with policy.rebuild: auto Baton does it by itself.",
  },
  "no-donor": {
    severity: "warning",
    meaning:
      "No node can be copied from without leaving a write with too few ackers, or the named one is unfit.",
    action: "Bring back a replica or the primary, or name another donor with --from.",
  },
  "cannot-clone": {
    severity: "warning",
    meaning:
      "The clone plugin or a privilege for it is missing on the node or the donor, and no dump can be made instead: mysqldump, the mysql client or a privilege for it is missing.",
    action: "The message names what mends it; then `baton rebuild` again.",
  },
  "clone-failed": {
    severity: "critical",
    meaning: "The server gave the copy up; its own error is in the record.",
    action: "The node stays quarantined; Baton begins the copy again after a minute.",
  },
  "dump-failed": {
    severity: "critical",
    meaning: "mysqldump or the mysql client gave the copy up; what it said is in the record.",
    action: "A node whose data are gone stays quarantined; Baton begins the copy again after a minute.",
  },
  "deadline-exceeded": {
    severity: "critical",
    meaning: "A step did not end before its deadline.",
    action: "The step's record says which and what it waited for.",
  },
  paused: {
    severity: "warning",
    meaning:
      "A person has paused this cluster, it is in maintenance, its node is in downtime, or its mode is not `auto`: Baton does nothing by itself.",
    action:
      "`baton resume <cluster>` (or `--all`), `baton maintenance <cluster> --end` or `baton downtime <cluster> <node> --end` when the work is done; `baton status` says who holds it and why.",
  },
  "state-went-back": {
    severity: "critical",
    meaning:
      "The data that a node carries are of a later epoch than the state in NATS, or of another primary.",
    action:
      "Nothing was opened. `baton status` says what the nodes carry; `baton recover <cluster>` proposes the state that fits them.",
  },
  "foreign-installation": {
    severity: "critical",
    meaning: "A node carries the mark of another Baton installation.",
    action:
      "Nothing was opened. Stop the Baton that shall not lead the cluster; `baton recover <cluster> --take-over` makes it this one's.",
  },
  cooldown: {
    severity: "critical",
    meaning: "The last failover ended less than policy.cooldownMs ago.",
    action: "Baton fails over by itself when the cooldown ends; `baton ack <cluster>` ends it now.",
  },
  flapping: {
    severity: "critical",
    meaning:
      "There have been as many failovers as policy.flapLimit allows in its time: something keeps killing primaries.",
    action: "Find out what; then `baton ack <cluster>`, and Baton fails over again by itself.",
  },
  "repair-limit": {
    severity: "warning",
    meaning:
      "Baton has made the same repair on the same node policy.repairs.perHour times within an hour, and it does not last.",
    action: "Find out who undoes it. `baton repair <cluster> <node>` makes it once more.",
  },
  aborted: {
    severity: "warning",
    meaning: "A person has ended the operation (`baton abort`).",
    action:
      "What it had changed was put back as far as its phase allowed. Baton orders it again when it is still needed: `baton pause <cluster>` first, if it shall not.",
  },
  internal: {
    severity: "critical",
    meaning: "An error that the protocol has no name for.",
    action: "Read the message; it is a bug worth reporting.",
  },
} as const satisfies Record<string, CodeEntry>;

export type RefusalCode = keyof typeof REFUSALS;
export const RefusalCode = z.enum(Object.keys(REFUSALS) as [RefusalCode, ...RefusalCode[]]);

/** Errors of configuration, set-up and commands: `[code, exit code]` is printed with the place and the remedy. */
export const ErrorCode = z.enum([
  "E_USAGE",
  "E_CONFIG_NOT_FOUND",
  "E_CONFIG_SYNTAX",
  "E_CONFIG_INVALID",
  "E_CONFIG_UNKNOWN_KEY",
  "E_CONFIG_DUPLICATE_NODE",
  "E_CONFIG_SHARED_NODE",
  "E_CONFIG_NO_REPLICA",
  "E_CONFIG_SECRET",
  "E_NODE_UNREACHABLE",
  "E_NODE_AUTH",
  "E_NODE_NO_GTID",
  "E_NODE_SETTING",
  "E_NODE_FOREIGN",
  "E_NODE_SWAPPED",
  "E_NODE_LAST_ACKER",
  "E_PRIMARY_DROPPED",
  "E_PRIMARY_MOVED",
  "E_PRIMARY_RENAMED",
  "E_NATS_UNREACHABLE",
  "E_NATS_TOO_OLD",
  "E_NATS_NO_JETSTREAM",
  "E_NATS_NOT_SYNCED",
  "E_PORT_IN_USE",
  "E_DISK_FULL",
  "E_STORE",
  "E_NOT_FOUND",
  "E_NO_ANSWER",
  "E_CONFLICT",
  "E_LOCKED",
  "E_INTERNAL",
]);
export type ErrorCode = z.infer<typeof ErrorCode>;

/** An error meant for a person: what was found, where, and what to do. Exit code 2 is usage, 1 is failure. */
export class BatonError extends Error {
  readonly code: ErrorCode;
  readonly place: string;
  readonly remedy: string;
  readonly exitCode: 1 | 2;

  constructor(
    code: ErrorCode,
    o: { place: string; message: string; remedy: string; exitCode?: 1 | 2; cause?: unknown },
  ) {
    super(o.message, o.cause === undefined ? undefined : { cause: o.cause });
    this.name = "BatonError";
    this.code = code;
    this.place = o.place;
    this.remedy = o.remedy;
    this.exitCode = o.exitCode ?? (code.startsWith("E_CONFIG") || code === "E_USAGE" ? 2 : 1);
  }

  /** `E_CODE at PLACE: MESSAGE. REMEDY` on one line. */
  line(): string {
    return `${this.code} at ${this.place}: ${this.message} ${this.remedy}`.replace(/\s+/g, " ").trim();
  }
}
