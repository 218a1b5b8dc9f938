/** Where a server of the lab runs: its address there, and what its command is run through to get there. */
export interface Place {
  host: string;
  /** `["nsenter", "--net=…"]`; empty: this machine as it is. It must exec, so that its pid is the server's. */
  enter: readonly string[];
}

export const here: Place = { host: "127.0.0.1", enter: [] };
