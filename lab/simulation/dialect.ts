/** The dialect whose statements the model server reads: the one that Baton takes for the version that the model gives. */
import { dialectFor } from "@baton/mysql";

export const VERSION = "9.7.4";
export const mysql84 = dialectFor(VERSION);
