/** How a mariadbd of the lab is made and boots: the lossless configuration as far as MariaDB has one (docs/operate/mariadb.md). */
import { execFile, spawn } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { accounts } from "./accounts.ts";
import type { LabFlavour } from "./flavour.ts";
import { type BootOptions, rootOption } from "./mysqld-options.ts";

const run = promisify(execFile);
const makeTimeoutMs = 120_000;

const storageOptions = ["--innodb-log-file-size=16M", "--innodb-buffer-pool-size=16M"];

/** The tables of the `mysql` database, as the server's own scripts make them, in their order. */
const systemTables = [
  "mysql_system_tables.sql",
  "mysql_performance_tables.sql",
  "mysql_system_tables_data.sql",
  "maria_add_gis_sp_bootstrap.sql",
];

/** One statement a line. `root` has no password and is reached through the socket file. */
const templateSql = `
FLUSH PRIVILEGES;
CREATE DATABASE app;
CREATE TABLE app.writes (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, server VARCHAR(64) NOT NULL, at_ms DOUBLE NOT NULL);
CREATE USER '${accounts.baton.user}'@'%' IDENTIFIED BY '${accounts.baton.password}';
GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION SLAVE ON *.* TO '${accounts.baton.user}'@'%';
GRANT REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, CONNECTION ADMIN, READ_ONLY ADMIN ON *.* TO '${accounts.baton.user}'@'%';
GRANT ALL ON baton.* TO '${accounts.baton.user}'@'%';
CREATE USER '${accounts.repl.user}'@'%' IDENTIFIED BY '${accounts.repl.password}';
GRANT REPLICATION SLAVE ON *.* TO '${accounts.repl.user}'@'%';
CREATE USER '${accounts.app.user}'@'%' IDENTIFIED BY '${accounts.app.password}';
GRANT ALL ON app.* TO '${accounts.app.user}'@'%';
`.trimStart();

export const mariadbFlavour: LabFlavour = {
  flavour: "mariadb",
  binary: "mariadbd",
  bootOptions,
  recipe: JSON.stringify([templateSql, storageOptions, systemTables, initialise.toString()]),
  initialise,
  openPrimary:
    "SET GLOBAL rpl_semi_sync_slave_enabled=OFF; SET GLOBAL rpl_semi_sync_master_enabled=ON; SET GLOBAL read_only=OFF",
  open: "SET GLOBAL read_only=OFF",
  follow: (source) =>
    "SET GLOBAL rpl_semi_sync_master_enabled=OFF; SET GLOBAL rpl_semi_sync_slave_enabled=ON; " +
    `CHANGE MASTER TO MASTER_HOST='${source.host}', MASTER_PORT=${source.port}, ` +
    `MASTER_USER='${accounts.repl.user}', MASTER_PASSWORD='${accounts.repl.password}', ` +
    "MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=0.2, MASTER_CONNECT_RETRY=1; START SLAVE",
  attached: "Rpl_semi_sync_master_clients",
  identity: "CONCAT('server-id-', @@server_id)",
};

function bootOptions(boot: BootOptions): string[] {
  return [
    ...["--no-defaults", ...rootOption(), `--datadir=${boot.dataDir}`, `--socket=${boot.socket}`],
    ...[`--pid-file=${boot.pidFile}`, `--tmpdir=${boot.tmpDir}`],
    ...[`--bind-address=${boot.host}`, `--port=${boot.port}`, "--skip-name-resolve"],
    ...["--max-connections=200", "--back-log=200"],
    ...[`--server-id=${boot.serverId}`, `--report-host=${boot.host}`, `--report-port=${boot.port}`],
    ...["--log-bin=binlog", "--binlog-format=ROW", "--log-slave-updates", "--gtid-strict-mode=ON"],
    ...["--relay-log=relay", "--skip-slave-start", "--slave-net-timeout=4"],
    // One applier alone, the default, syncs each transaction by itself and falls behind.
    ...["--slave-parallel-threads=4", "--slave-parallel-mode=optimistic"],
    // Both roles off at boot, as on MySQL.
    ...["--rpl-semi-sync-master-enabled=OFF", "--rpl-semi-sync-slave-enabled=OFF"],
    ...["--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-timeout=4294967295"],
    ...["--rpl-semi-sync-master-wait-no-slave=ON", "--rpl-semi-sync-slave-kill-conn-timeout=1"],
    ...["--read-only=ON", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"],
    ...storageOptions,
    // As on MySQL: what a killed server takes long to tear down.
    ...["--innodb-use-native-aio=OFF", "--performance-schema=OFF", "--table-open-cache=256"],
    ...boot.extra,
  ];
}

/** What mariadb-install-db does, without its demands on the file system: the server runs the statements itself and ends. */
async function initialise(mariadbd: string, workplace: string, data: string): Promise<void> {
  const { stdout } = await run(mariadbd, ["--no-defaults", "--verbose", "--help"], {
    timeout: makeTimeoutMs,
    maxBuffer: 16 * 1024 * 1024,
  });
  const scripts = /^lc-messages-dir\s+(\S+)/m.exec(stdout)?.[1] ?? "/usr/share/mysql";
  const tables = await Promise.all(systemTables.map((file) => readFile(join(scripts, file), "utf8")));
  await mkdir(data);
  const options = [
    ...["--no-defaults", ...rootOption(), "--bootstrap", `--datadir=${data}`, `--tmpdir=${workplace}`],
    ...["--skip-log-bin", "--log-warnings=0", `--log-error=${join(workplace, "log")}`, ...storageOptions],
  ];
  const child = spawn(mariadbd, options, { stdio: ["pipe", "ignore", "ignore"], timeout: makeTimeoutMs });
  const ended = new Promise<void>((done, fail) => {
    child.once("error", fail);
    child.once("exit", (code) => (code === 0 ? done() : fail(new Error(`mariadbd --bootstrap: ${code}`))));
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(["CREATE DATABASE mysql;", "USE mysql;", ...tables, templateSql].join("\n"));
  await ended;
}
