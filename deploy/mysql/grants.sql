-- The two accounts that Baton needs, with the least that they can do with. Run it on a new cluster's primary, or on
-- every node before replication is set up, after writing passwords in place of BATON-PASSWORD and REPLICATION-PASSWORD.

-- `mysql.user` in baton.yaml: what the prober looks with and the executor acts with.
CREATE USER 'baton'@'%' IDENTIFIED WITH caching_sha2_password BY 'BATON-PASSWORD';
-- GTID sets, receivers, appliers, sessions, semi-sync counters: all are read there.
GRANT SELECT ON performance_schema.* TO 'baton'@'%';
-- super_read_only, read_only and semi-sync on and off.
GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO 'baton'@'%';
-- START, STOP and CHANGE REPLICATION SOURCE; RELOAD is what RESET REPLICA ALL asks for.
GRANT REPLICATION_SLAVE_ADMIN, RELOAD ON *.* TO 'baton'@'%';
-- Ends the clients of a primary that is being fenced; and one connection is kept for it when there are too many.
-- SYSTEM_USER: also the sessions of accounts that have SYSTEM_USER themselves, as root. Without it one open
-- session of root may hold up a fence until its deadline.
GRANT CONNECTION_ADMIN, SYSTEM_USER ON *.* TO 'baton'@'%';
-- Rebuilding a node: the donor sends with BACKUP_ADMIN, the node receives with CLONE_ADMIN. What the node alone holds is read
-- out of its binlog first: REPLICATION CLIENT lists the files, REPLICATION SLAVE looks into them.
GRANT BACKUP_ADMIN, CLONE_ADMIN, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO 'baton'@'%';
-- The canary row that proves a new primary, and the row that says whose epoch the data are of.
GRANT CREATE, SELECT, INSERT, DELETE ON baton.* TO 'baton'@'%';

-- Only where a node or its donor has no clone plugin and `baton rebuild` is to use mysqldump instead: reading everything, and
-- writing everything anew.
-- GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES, TRIGGER, EVENT, PROCESS,
--   CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE ON *.* TO 'baton'@'%';
-- GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SESSION_VARIABLES_ADMIN ON *.* TO 'baton'@'%';

-- `mysql.replication` in baton.yaml: what a replica logs in to its primary with. At most 32 characters of password.
CREATE USER 'repl'@'%' IDENTIFIED WITH caching_sha2_password BY 'REPLICATION-PASSWORD';
GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';
