/**
 * Every command with its options and its help. This file is what `baton --help` says; the commands
 * themselves are loaded when they are called.
 */
import { Argument, Command, type CommanderError, InvalidArgumentError, Option } from "commander";
import { batonVersion } from "./version.ts";
import { parseDuration, parseMoment } from "./when.ts";

const EXIT_CODES = `
Exit codes:
  0    done, or: nothing is wrong
  1    it failed, or: something is wrong; one line on stderr says what, where and what to do
  2    wrong usage or configuration; nothing was started
  130  interrupted (Ctrl-C), where that is not the usual end; nothing is left behind`;

const ENVIRONMENT = `
Environment:
  BATON_CONFIG       configuration file, when -c is not given (default: baton.yaml, if there is one)
  BATON_NATS_URL     where NATS is, before the configuration's nats.url
  BATON__A__B        any setting of the configuration: BATON__PROBER__CALMMS=500 is prober.calmMs: 500
  BATON_NATS_SERVER  nats-server to run (default: from PATH, then .toolchain/mysql/bin)
  BATON_MYSQLD       mysqld for lab, demo, bench and test (default: the same way)
  BATON_MARIADBD     mariadbd for labs of MariaDB (default: from PATH, then .toolchain/mariadb/bin)
  BATON_MYSQLBINLOG  mysqlbinlog for the executor, to archive what a rebuild erases (default: beside BATON_MYSQLD, PATH)
  BATON_MYSQLDUMP    mysqldump and mysql for the executor, for a rebuild where the clone plugin is missing (default: the
  BATON_MYSQL        same way)
  BATON_DEBUG        not empty: errors print their stack
  NO_COLOR           not empty: no colours
  FORCE_COLOR        not empty: colours even when the output is not a terminal`;

const examples = (...lines: string[]) => `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;

const wholeNumber = (least: number, most: number) => (text: string) => {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < least || n > most) {
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  }
  return n;
};

const config = () => new Option("-c, --config <file>", "configuration file").env("BATON_CONFIG");
const nats = () => new Option("--nats <url>", "NATS server, instead of the configuration's");
const json = (what: string) => new Option("--json", what);

export function commandLine(): Command {
  const baton = new Command("baton")
    .description("Automatic failover for plain MySQL replication, over NATS.")
    .configureOutput({ outputError: () => undefined })
    .configureHelp({ helpWidth: 100, showGlobalOptions: false })
    .helpCommand("help [command]", "what a command does, with its options and examples")
    .helpOption("-h, --help", "this help")
    .version(batonVersion(), "--version", "print the version");

  baton
    .command("up")
    .description("Run NATS (unless the configuration gives a URL) and all services on this machine.")
    .addOption(config())
    .addOption(json("log lines as JSON, even on a terminal"))
    .addHelpText(
      "after",
      `
Everything is checked before anything is started: the configuration, the ports, the folders. A service
that dies is started again, at first at once, then after longer and longer waits. Ctrl-C or SIGTERM ends
the services, then NATS. When all is ready one line for each cluster says who is primary, who follows it,
and whether a failover would succeed now.
${examples("baton up -c baton.yaml", "baton up -c baton.yaml --json | jq .msg")}`,
    )
    .action(async (o) => (await import("./commands/up.ts")).up(o));

  baton
    .command("apply")
    .description("Put the configuration's clusters into NATS, from where the running services take them.")
    .addOption(config())
    .addOption(nats())
    .option("--prune", "also take out clusters that the configuration does not name")
    .option("--dry-run", "write nothing: show what would change, and what would be refused")
    .option(
      "--force",
      "take new nodes that cannot be asked who they are, and take out the last that acknowledges",
    )
    .option("--force-join <node>", "take in a server that holds other data: it will lose them")
    .option(
      "--confirm-size <transactions>",
      "with --force-join: how many transactions the server holds",
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    )
    .addOption(json("print what changed as JSON"))
    .addHelpText(
      "after",
      `
Each new or moved node is asked who it is first. Refused is whatever would make Baton lead the wrong server: the primary
taken out, moved or renamed; a server of another cluster, or under two names; one whose data are somebody else's.
${examples("baton apply -c baton.yaml --dry-run", "baton apply --force-join n3 --confirm-size 1284")}`,
    )
    .action(async (o) => (await import("./commands/apply.ts")).apply(o));

  baton
    .command("status")
    .description(
      "Every cluster: nodes, roles, lag, diagnosis, epoch, and whether a failover would succeed now.",
    )
    .argument("[cluster]", "only this one")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the decider's answer as JSON"))
    .option("-w, --watch", "again every second, until Ctrl-C")
    .addHelpText(
      "after",
      `
NATS is looked for at --nats, else where -c says, else at BATON_NATS_URL, else where baton.yaml says, else at
nats://127.0.0.1:4222. The exit code is 0 whatever the diagnosis: the answer is on stdout.
${examples("baton status", "baton status shop --watch", "baton status --json | jq '.clusters[].failover'")}`,
    )
    .action(async (cluster, o) => (await import("./commands/status.ts")).status(cluster, o));

  baton
    .command("history")
    .description("What was done: the list of operations, or one operation's timeline with its evidence.")
    .argument("[operation]", "its id from the list; `last` is the newest")
    .option("--cluster <name>", "only this cluster's")
    .option("--limit <n>", "at most so many operations", wholeNumber(1, 1000), 20)
    .option("--salvaged", "print all that a rebuild kept of the node's own rows (mysqlbinlog's text)")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the auditor's answer as JSON"))
    .addHelpText(
      "after",
      examples(
        "baton history",
        "baton history last",
        "baton history --cluster shop --limit 100 --json",
        "baton history rebuild-shop-n1-12 --cluster shop --salvaged > rows.sql",
      ),
    )
    .action(async (operation, o) => (await import("./commands/history.ts")).history(operation, o));

  const brakes = () => import("./commands/brakes.ts");
  baton
    .command("pause")
    .description("Keep Baton from doing anything by itself, to one cluster or to all, until it is resumed.")
    .argument("[cluster]", "only this one")
    .option("--all", "every cluster, also those declared later")
    .option("--reason <text>", "why: `baton status` shows it with your name", "no reason was given")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the answer as JSON"))
    .addHelpText(
      "after",
      `
Diagnoses, status and alerts go on; no failover, rejoin, reopening or repair is begun. What runs already is never
interrupted, and what a person orders is still done.
${examples('baton pause shop --reason "moving the rack"', 'baton pause --all --reason "network maintenance"')}`,
    )
    .action(async (cluster, o) => (await brakes()).pause(cluster, o));

  baton
    .command("resume")
    .description("Release the brake that `baton pause` put on.")
    .argument("[cluster]", "only this one's")
    .option("--all", "the brake on every cluster; one that was paused by its name stays so")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the answer as JSON"))
    .addHelpText("after", examples("baton resume shop", "baton resume --all"))
    .action(async (cluster, o) => (await brakes()).resume(cluster, o));

  baton
    .command("ack")
    .description("Acknowledge a cluster's failovers: none so far counts for the cooldown or the flap limit.")
    .argument("<cluster>", "its name")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the answer as JSON"))
    .addHelpText("after", examples("baton ack shop"))
    .action(async (cluster, o) => (await brakes()).ack(cluster, o));

  const moment = (text: string) => parseMoment(text, Date.now());
  // Only looked at here: HH:MM is the next such moment after the beginning, which another option may name.
  const until = () =>
    new Option("--until <time>", "when it ends: HH:MM, or a date like 2026-11-24T22:30+01:00").argParser(
      (text: string) => {
        moment(text);
        return text;
      },
    );
  const lasting = () =>
    new Option("--for <time>", "how long it lasts: 90s, 30m, 2h, 1h30m, 1d").argParser(parseDuration);
  const reason = () =>
    new Option("--reason <text>", "why: `baton status` shows it with your name").default(
      "no reason was given",
    );
  baton
    .command("maintenance")
    .description("Set a time aside in which Baton does nothing to a cluster by itself. It ends by itself.")
    .argument("<cluster>", "its name")
    .addOption(new Option("--from <time>", "when it begins (default: now)").argParser(moment))
    .addOption(until())
    .addOption(lasting())
    .option("--end", "end the window that is on; when none is on, take the next one back")
    .addOption(reason())
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the answer as JSON"))
    .addHelpText(
      "after",
      `
As \`baton pause\`, with an end. Of what is found meanwhile only this is told: at once a second writable node and writes
without acks, which may cost data; after a minute what is critical and stays, a dead primary above all, which is not
replaced. The rest is told when the window ends, if it still stands. A time without a zone is of this machine's zone.
${examples('baton maintenance shop --for 2h --reason "new disks"', "baton maintenance shop --from 22:00 --until 23:30", "baton maintenance shop --end")}`,
    )
    .action(async (cluster, o) => (await brakes()).maintenance(cluster, o));

  baton
    .command("downtime")
    .description("Take a replica in hand for a while: Baton leaves it alone and tells nothing of its outage.")
    .argument("<cluster>", "its cluster")
    .argument("<node>", "a replica")
    .addOption(until())
    .addOption(lasting())
    .option("--end", "give it back now")
    .addOption(reason())
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the answer as JSON"))
    .addHelpText(
      "after",
      `
It is not promoted, led home, rebuilt or copied from by itself. What a person orders is done. It still counts among those
whose acks a failover must prove, so the answer says whether one would be refused without it. The primary is refused (409):
pass the baton on first. Should the node become primary, its downtime does not hold: a dead primary is replaced and told.
${examples('baton downtime shop db3 --for 30m --reason "kernel update"', "baton downtime shop db3 --end")}`,
    )
    .action(async (cluster, node, o) => (await brakes()).downtime(cluster, node, o));

  baton
    .command("switchover")
    .description("Make another node the primary while the present one lives: clients see a pause.")
    .argument("<cluster>", "its name")
    .option("--to <node>", "who shall be primary; without it Baton chooses, and says why")
    .option("--dry-run", "only the plan: checks, ranking and the expected pause; nothing is touched")
    .option("--force", "go on although one of the four checks below fails")
    .addOption(
      new Option("--at <time>", "do it then: HH:MM, or a date like 2026-11-24T22:30+01:00").argParser(moment),
    )
    .option("--cancel", "take back the one that is planned")
    .addOption(config())
    .addOption(nats())
    .addOption(json("one object at the end, nothing else on stdout"))
    .addHelpText(
      "after",
      `
Prints the plan, then each step as it ends, then what it took. Whatever fails before the commit gives the
old primary its pen back; the exit code is then 1. A transaction that is open across the change gets an
error at its commit and was not written; a statement under way is given time and its answer.

--force overrides these, and nothing that is about safety: a transaction open for more than 10 s (it is cut off);
somebody's global read lock, as of a backup (writes wait up to 1 s for it, then all is as before); the named node's
lag of more than 10 s (it is waited for, writes go on); the named node's downtime.

--at: one for each cluster, kept in NATS, shown by \`baton status\`. A time without a zone is of this machine's zone;
the answer says which moment was understood. Then the deciders do it once, in a maintenance too, at most 3 minutes
late. It is skipped, with a reason as an alert, when the cluster is paused or not fit, or Baton did not run then.
${examples("baton switchover shop --dry-run", "baton switchover shop --to db2", "baton switchover shop --to db2 --at 22:30", "baton switchover shop --json | jq .closed_ms")}`,
    )
    .action(async (cluster, o) => (await import("./commands/switchover.ts")).switchover(cluster, o));

  baton
    .command("failover")
    .description(
      "Replace a lost primary by a person's order, and say what is given up for it where something must be.",
    )
    .argument("<cluster>", "the cluster")
    .option("--to <node>", "promote this node; the primary's own name opens it again as it is")
    .option("--dry-run", "say who would be promoted, or why nobody can be; touch nothing")
    .option("--accept-loss <gtids>", "give these transactions up: the set that a refusal (mark-missed) names")
    .option(
      "--accept-unproven",
      "go on although writes may be lost that nobody has seen (durability-unproven, ackers-unreachable, acker-cannot-vouch), or nobody is left to acknowledge (too-few-ackers-left)",
    )
    .addOption(config())
    .addOption(nats())
    .addOption(json("one object at the end, nothing else on stdout"))
    .addHelpText(
      "after",
      `
Baton fails over by itself. This is for what it leaves to a person: mode advise or observe, a pause, a cooldown, the
flap limit, and a failover that was refused because acknowledged writes would be lost. What is given up is named,
kept in the cluster's state and in the archive. A primary that answers is not failed over from: that is a switchover.
${examples("baton failover shop --dry-run", "baton failover shop --to db2", "baton failover shop --accept-loss '3e11fa47-71ca-11e1-9e33-c80aa9429562:41-42'")}`,
    )
    .action(async (cluster, o) => (await import("./commands/failover.ts")).failover(cluster, o));

  baton
    .command("rebuild")
    .description("Replace a node's data by a copy of the cluster's, and lead it home as a replica.")
    .argument("<cluster>", "its cluster")
    .argument("<node>", "a quarantined, broken or empty node; never the primary")
    .option("--from <donor>", "copy from this node; without it a replica that can be spared, or the primary")
    .addOption(config())
    .addOption(nats())
    .addOption(json("one object at the end, nothing else on stdout"))
    .addHelpText(
      "after",
      `
What the node alone holds is archived first (\`baton history\`). Shows the copy as it goes: bytes, rate, estimate.
Ctrl-C ends only the showing. With the clone plugin on node and donor mysqld stops at the end of the copy and must
be started again by its supervisor (systemd, mysqld_safe, a restart policy) or by you. Without it the node is loaded
from a mysqldump of the donor, which takes longer, keeps mysqld running and needs the privileges at the end of
deploy/mysql/grants.sql, and mysqldump and mysql beside the executor.
${examples("baton rebuild shop db1", "baton rebuild shop db1 --from db3")}`,
    )
    .action(async (cluster, node, o) => (await import("./commands/rebuild.ts")).rebuild(cluster, node, o));

  baton
    .command("repair")
    .description("Mend what is broken in a cluster, or show what that would be.")
    .argument("<cluster>", "the cluster")
    .argument("[node]", "only this node; without it the gravest fault of the cluster")
    .option("--dry-run", "list the faults and the ways out, touch nothing")
    .option("--inject-empty", "for gtid-drift: empty transactions on the primary in place of the node's own")
    .option("--keep", "for a split brain with two acknowledged histories: keep this node's")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the plan and the outcome as JSON"))
    .addHelpText(
      "after",
      `
Baton mends by itself what policy.repairs sets to auto; this is for what is set to ask, for what somebody stopped
on purpose, and for more than its limit an hour. One fault is mended at a time, the gravest first. The exit
code is 1 when it could not be mended.
${examples("baton repair shop --dry-run", "baton repair shop db3", "baton repair shop db3 --inject-empty")}`,
    )
    .action(async (cluster, node, o) => (await import("./commands/repair.ts")).repair(cluster, node, o));

  baton
    .command("abort")
    .description("End the operation that runs in a cluster, as far as its phase allows.")
    .argument("<cluster>", "its name")
    .addOption(reason())
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the outcome as JSON"))
    .addHelpText(
      "after",
      `
Before its commit point a failover or a switchover is rolled back: what it had stopped or shut is as it was before.
After it there is no way back: the operation ends, and Baton opens the new primary as soon as it answers. A repair, a
rejoin or a rebuild ends where it stands. Baton orders again what is still needed: pause the cluster first, if it shall not.
${examples('baton abort shop --reason "the copy would take all day"')}`,
    )
    .action(async (cluster, o) => (await import("./commands/abort.ts")).abort(cluster, o));

  baton
    .command("members")
    .description("Show who counts when the primary is lost, and why.")
    .argument("<cluster>", "its name")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print it as JSON"))
    .addHelpText(
      "after",
      `
A failover stops and reads N - k + 1 of the N members beside the primary, where a write waits for k acks: then at least
one of them has each write that was acknowledged. A member whose server is gone is parked by itself where it boots with
skip_replica_start=ON: it cannot acknowledge before Baton leads it home.
${examples("baton members shop")}`,
    )
    .action(async (cluster, o) => (await import("./commands/members.ts")).members(cluster, o));

  baton
    .command("forget")
    .description("Wait no more for a member that cannot be reached and will not come back by itself.")
    .argument("<cluster>", "its name")
    .argument("<node>", "a replica that cannot be reached")
    .addOption(reason())
    .addOption(new Option("--dry-run", "say who would count then, and change nothing"))
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the outcome as JSON"))
    .addHelpText(
      "after",
      `
It is your word that this server acknowledges nothing any more: it is switched off, or cut off from the primary for good.
Nothing is forgotten that it alone may hold: k others must be read to hold all that the primary has. It counts again when
it is led home, which happens by itself when it comes back.
${examples('baton forget shop db4 --reason "its disk is gone"', "baton forget shop db4 --dry-run")}`,
    )
    .action(async (cluster, node, o) => (await import("./commands/members.ts")).forget(cluster, node, o));

  baton
    .command("recover")
    .description("Write a cluster's state anew when NATS has lost it, was set back, or another Baton led it.")
    .argument("<cluster>", "its name, as the configuration declares it")
    .option("--yes", "write what is proposed; without it nothing is changed")
    .option("--take-over", "the data carry another installation's mark: this Baton shall lead the cluster")
    .option("--primary <node>", "you know who holds all that was acknowledged, and the nodes cannot tell")
    .addOption(config())
    .addOption(nats())
    .addOption(json("print the proposal as JSON"))
    .addHelpText(
      "after",
      `
Asks every node of the configuration for the epoch that its data carry, whether it accepts writes and what it has executed,
and the auditor for what it has archived; proposes the state that fits, and says why. No node is opened, shut or repointed
by it. With --take-over the other Baton must be stopped first. The exit code is 1 when it cannot tell.
${examples("baton recover shop -c baton.yaml", "baton recover shop --yes", "baton recover shop --take-over --yes")}`,
    )
    .action(async (cluster, o) => (await import("./commands/recover.ts")).recover(cluster, o));

  baton
    .command("check")
    .description("Preflight: every setting that a safe failover needs, on every node, with what mends it.")
    .addOption(config())
    .addOption(json("print the findings as JSON"))
    .addHelpText(
      "after",
      `
Asks every node of the configuration at once, and NATS where a URL is given. Changes nothing. The exit code
is 1 when a failover would not be safe; advice alone leaves it 0.
${examples("baton check -c baton.yaml")}`,
    )
    .action(async (o) => (await import("./commands/check.ts")).check(o));

  baton
    .command("demo")
    .description("Watch a takeover: a real cluster of its own, a real kill, nothing left behind.")
    .addOption(
      new Option("--fault <fault>", "kill: kill -9 of the primary; hang: SIGSTOP")
        .choices(["kill", "hang"])
        .default("kill"),
    )
    .option("--rounds <n>", "so many takeovers, one after another", wholeNumber(1, 1000), 1)
    .option("--nodes <n>", "nodes of the cluster", wholeNumber(3, 9), 3)
    .addOption(json("one object a round, nothing else on stdout"))
    .option("-v, --verbose", "the services' logs on stderr")
    .addHelpText(
      "after",
      `
The JSON of a round: fault, downtime_ms (fault to the first write that the new primary acknowledged),
detect_ms (fault to the diagnosis), decide_ms (diagnosis to the intent), execute_ms (intent to the open
primary), acknowledged (writes), lost (acknowledged writes that the final primary has not), split (writes
acknowledged by two servers), epoch, rejoined_ms (the old primary's restart to its following the new one).
All times are from one monotonic clock. The exit code is 1 when a write was lost or split, or the cluster
did not recover.
${examples("baton demo", "baton demo --fault hang", "baton demo --rounds 10 --json")}`,
    )
    .action(async (o) => (await import("./commands/demo.ts")).demo(o));

  lab(baton);

  const bench = baton.command("bench").description("Measure this machine's Baton against its limits.");
  bench.helpCommand(false);
  bench
    .command("failover")
    .description("Downtime after kill -9 and SIGSTOP beside a bare script's, and what watching costs.")
    .option("--rounds <n>", "so many rounds of each", wholeNumber(1, 100), 10)
    .addOption(json("print the figures as JSON"))
    .addHelpText("after", examples("baton bench failover", "baton bench failover --rounds 3 --json"))
    .action(async (o) => (await import("./commands/bench.ts")).benchFailover(o));

  baton
    .command("test")
    .description("Type check, lint, unit, property and integration tests on real servers.")
    .argument("[filter...]", "only test files whose path contains one of these; then no type check or lint")
    .option("--unit", "only what needs no servers")
    .option("--strict", "a flaky file fails the run, too")
    .addHelpText(
      "after",
      `
The last line is \`N passed, N failed\`. A type check or lint that fails counts as one failed.
A file that starts servers and fails is run once more, alone, at the end. If it passes then, it is printed as flaky, its
two outputs are kept in .test-flakes/, and its tests count as passed; with --strict they count as they ended the first time.
${examples("baton test", "baton test gtid", "baton test --strict test/failover")}`,
    )
    .action(async (filters, o) => (await import("./commands/test.ts")).test(filters, o));

  baton
    .command("version")
    .description("Print the versions of Baton and of Node.")
    .action(() => console.log(`baton ${batonVersion()} (node ${process.version})`));

  baton.addHelpText("after", () => `${EXIT_CODES}\n${ENVIRONMENT}`);
  baton.addHelpText(
    "after",
    `${examples(
      "baton demo                     see a takeover on this machine",
      "baton check -c baton.yaml      is my cluster fit for it?",
      "baton up -c baton.yaml         watch over it",
      "baton status                   how is it?",
      "baton history last             what happened?",
    )}`,
  );
  strict(baton);
  return baton;
}

function lab(baton: Command): void {
  const lab = baton
    .command("lab")
    .description("A real MySQL cluster with NATS on this machine, to try things on.");
  lab.helpCommand(false);
  const load = () => import("./commands/lab.ts");
  const name = () => new Option("--name <name>", "the lab's name, when there are several").default("lab");

  lab
    .command("up")
    .description("Start one, in the background, and print where its servers are.")
    .addOption(name())
    .addOption(new Option("--flavour <name>", "its servers").choices(["mysql", "mariadb"]).default("mysql"))
    .option("--nodes <n>", "nodes", wholeNumber(1, 9), 3)
    .addOption(new Option("--nats <n>", "NATS servers").choices(["0", "1", "3"]).default("1"))
    .option("--acks <n>", "acknowledgements that a write waits for", wholeNumber(0, 8), 1)
    .option("-o, --output <file>", "write a configuration for it, for baton up")
    .addOption(json("print it as JSON"))
    .addHelpText(
      "after",
      examples(
        "baton lab up",
        "baton lab up --name big --nodes 5 --nats 3 --acks 2",
        "baton lab up --flavour mariadb",
      ),
    )
    .action(async (o) => (await load()).up(o));
  lab
    .command("down")
    .description("End it: its processes and its directory.")
    .addOption(name())
    .action(async (o) => (await load()).down(o));
  for (const [verb, what] of [
    ["kill", "kill -9 a node"],
    ["hang", "SIGSTOP a node"],
    ["resume", "SIGCONT a node that hangs"],
    ["start", "start a node that was killed"],
  ] as const) {
    lab
      .command(verb)
      .description(`${what[0]!.toUpperCase()}${what.slice(1)}.`)
      .addArgument(new Argument("<node>", "its name, e.g. n1; primary is whichever node it is now"))
      .addOption(name())
      .addHelpText("after", examples(`baton lab ${verb} n1`))
      .action(async (node, o) => (await load()).command(verb, node, o));
  }
  lab
    .command("status")
    .description("The labs that run, with their servers.")
    .option("--name <name>", "only this one")
    .addOption(json("print it as JSON"))
    .action(async (o) => (await load()).status(o));
  lab
    .command("chaos")
    .description("Break everything there is, as a seed says, under writers, and prove what was promised.")
    .option("--seed <n>", "what is done: the same seed does the same", wholeNumber(0, 2 ** 32 - 1), 1)
    .option("--rounds <n>", "so many rounds; 10, or with --each one of each", wholeNumber(1, 10_000))
    .option(
      "--from <n>",
      "begin with this round: its faults do not depend on those before it",
      wholeNumber(1, 1e6),
      1,
    )
    .option("--faults <names>", "only these, separated by commas; docs/chaos.md says what they are")
    .option("--each", "these, or all, one after the other, instead of drawing; a+b: b on top of a")
    .option("--nodes <n>", "so many; without it 3 to 5, as the seed says", wholeNumber(3, 5))
    .option("--acks <k>", "acks that a write waits for; 2 with 4 or 5 nodes only", wholeNumber(1, 2))
    .addOption(new Option("--regions <how>", "of the nodes").choices(["apart", "shared"]))
    .addOption(
      new Option("--durability <mode>", "degrade: lossless with onAckLoss: degrade").choices([
        "lossless",
        "available",
        "degrade",
      ]),
    )
    .option("--logs <folder>", "write the story of each failed round into a file there, not on stderr")
    .addOption(
      new Option("--plant <bug>", "put a bug in, to see it found").choices([
        "fence-too-few",
        "skip-apply-wait",
        "no-node-lock",
        "stop-too-few",
        "open-before-commit",
      ]),
    )
    .option(
      "--table <files...>",
      "play nothing: sum up what --json printed into these, as docs/chaos.md has it",
    )
    .addOption(json("one object a round, nothing else on stdout"))
    .addHelpText(
      "after",
      `
Three to five mysqld, three NATS servers and three sites of Baton in a network of their own, which nobody
outside sees; the seed says what cluster it is, for the whole run. Each round draws one fault or two from
the seed, heals them, and asks: is an acknowledged write lost, were there two pens, did every operation end,
was a refusal right, is anything left stopped? The exit code is 1 when a round failed; it prints how to run
that round again. Needs ip, tc, unshare and nsenter, and root or user namespaces. Several can run side by
side.

A fault whose name ends in -at-step draws the step, unless it is said: executor-dies-at-step=before:open.
${examples("baton lab chaos", "baton lab chaos --seed 7 --rounds 200 --json", "baton lab chaos --faults kill,hang,nats-kill --rounds 20", "baton lab chaos --each --faults probers-cut,switchover+executor-dies-at-step=after:commit", "baton lab chaos --table seed7.jsonl seed8.jsonl")}`,
    )
    .action(async (o) => (await import("./commands/chaos.ts")).chaos(o));
  lab
    .command("simulate")
    .description("The same promises on models and a virtual clock, many thousand incidents a minute.")
    .option("--seed <n>", "what is drawn: the same seed does the same", wholeNumber(0, 2 ** 32 - 1), 1)
    .option("--incidents <n>", "so many", wholeNumber(1, 10_000_000), 10_000)
    .option("--from <n>", "begin with this incident: none depends on those before it", wholeNumber(0, 1e9), 0)
    .option("--incident <n>", "only this one, with its trace", wholeNumber(0, 1e9))
    .option("--workers <n>", "threads; without it one a core", wholeNumber(1, 64))
    .addOption(
      new Option("--plant <bug>", "put a bug in, to see it found").choices([
        "skip-apply-wait",
        "no-node-lock",
        "stop-too-few",
        "open-before-commit",
      ]),
    )
    .addOption(json("print the report as JSON"))
    .addHelpText(
      "after",
      `
The real deciders and executors, against model servers, a model NATS, model probers and clients. Each incident draws its
cluster and its faults from the seed: servers killed, stopped and cut off, processes killed and stopped before or after
any of their effects, NATS away, clocks wrong, switchovers in between. Then all is healed, and asked: one pen? nothing
acknowledged lost? did everything end? is nothing left stopped? was no healthy primary replaced? The exit code is 1 when
a promise was broken; it prints how to run exactly that incident again. It stops after ten.
${examples("baton lab simulate", "baton lab simulate --seed 7 --incidents 100000", "baton lab simulate --seed 7 --incident 4711", "baton lab simulate --plant no-node-lock")}`,
    )
    .action(async (o) => (await import("./commands/simulate.ts")).simulate(o));
}

/** A usage error, with the command that it was found in. */
export class UsageError extends Error {
  readonly command: string;
  override readonly cause: CommanderError;
  constructor(command: string, cause: CommanderError) {
    super(cause.message);
    this.command = command;
    this.cause = cause;
  }
}

/** The same rules for every command: unknown options and surplus arguments are errors, with the nearest name. */
function strict(command: Command): void {
  command.copyInheritedSettings(command.parent ?? command);
  command.allowExcessArguments(false).showSuggestionAfterError(true);
  command.exitOverride((error) => {
    throw new UsageError(pathOf(command), error);
  });
  command.helpOption("-h, --help", "this help");
  if (command.parent) {
    command.addHelpText("after", () => (command.commands.length > 0 ? "" : EXIT_CODES));
  }
  for (const child of command.commands) strict(child);
}

function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}
