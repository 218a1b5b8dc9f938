/**
 * The accounts of every lab server. The passwords are fixed: the servers listen on the loopback only and live
 * for minutes. `root` has none and is reached through the socket file.
 */
export const accounts = {
  baton: { user: "baton", password: "lab-baton" },
  repl: { user: "repl", password: "lab-repl" },
  app: { user: "app", password: "lab-app" },
} as const;

export type Accounts = typeof accounts;

/** Run once, without binary log, when the template data directory is made. One statement a line. */
export const templateSql = `
CREATE DATABASE app;
CREATE TABLE app.writes (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, server VARCHAR(64) NOT NULL, at_ms DOUBLE NOT NULL);
CREATE USER '${accounts.baton.user}'@'%' IDENTIFIED WITH caching_sha2_password BY '${accounts.baton.password}';
GRANT RELOAD, PROCESS, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO '${accounts.baton.user}'@'%';
GRANT SYSTEM_VARIABLES_ADMIN, SESSION_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, CONNECTION_ADMIN, BACKUP_ADMIN, CLONE_ADMIN, SYSTEM_USER ON *.* TO '${accounts.baton.user}'@'%';
GRANT SELECT ON performance_schema.* TO '${accounts.baton.user}'@'%';
GRANT CREATE, SELECT, INSERT, DELETE ON baton.* TO '${accounts.baton.user}'@'%';
CREATE USER '${accounts.repl.user}'@'%' IDENTIFIED WITH caching_sha2_password BY '${accounts.repl.password}';
GRANT REPLICATION SLAVE ON *.* TO '${accounts.repl.user}'@'%';
CREATE USER '${accounts.app.user}'@'%' IDENTIFIED WITH caching_sha2_password BY '${accounts.app.password}';
GRANT ALL ON app.* TO '${accounts.app.user}'@'%';
`.trimStart();
