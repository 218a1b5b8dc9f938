/** What differs between a lab of MySQL and one of MariaDB; everything else of the lab asks this. */
import type { Flavour } from "@baton/contracts";
import { templateSql } from "./accounts.ts";
import type { Binary } from "./binaries.ts";
import { mariadbFlavour } from "./mariadbd.ts";
import { type BootOptions, bootOptions, storageOptions } from "./mysqld-options.ts";
import { followSql } from "./replication.ts";
import { initialise } from "./template.ts";

export interface LabFlavour {
  readonly flavour: Flavour;
  readonly binary: Binary;
  bootOptions(boot: BootOptions): string[];
  /** Changes whenever a data directory made before would not be the same. */
  readonly recipe: string;
  /** Makes a data directory with all accounts and an empty history; `workplace` is for whatever else it needs. */
  initialise(binary: string, workplace: string, data: string): Promise<void>;
  /** Gives an empty node the primary's role; statements joined by `;`. */
  readonly openPrimary: string;
  /** Lets a node be written to, without semi-sync. */
  readonly open: string;
  /** Makes a node that holds no history of its own a semi-sync replica of `source`. */
  follow(source: { host: string; port: number }): string;
  /** A status variable: how many semi-sync replicas are attached. */
  readonly attached: string;
  /** An expression that tells servers apart, also one that was given new data. */
  readonly identity: string;
}

const mysqlFlavour: LabFlavour = {
  flavour: "mysql",
  binary: "mysqld",
  bootOptions,
  recipe: JSON.stringify([templateSql, storageOptions, initialise.toString()]),
  initialise,
  openPrimary:
    "SET GLOBAL rpl_semi_sync_replica_enabled=OFF; SET GLOBAL rpl_semi_sync_source_enabled=ON; " +
    "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF",
  open: "SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF",
  follow: followSql,
  attached: "Rpl_semi_sync_source_clients",
  identity: "@@server_uuid",
};

export function labFlavour(flavour: Flavour): LabFlavour {
  return flavour === "mariadb" ? mariadbFlavour : mysqlFlavour;
}
