/** Who gives an order, for those who find it later. */
import { hostname, userInfo } from "node:os";

/** `ann@ops1`: whom to ask when a cluster is found paused, or a switchover planned. */
export function me(): string {
  let user = process.env.USER ?? "somebody";
  try {
    user = userInfo().username;
  } catch {
    // A container's user id may have no name.
  }
  return `${user}@${hostname().split(".")[0]}`.slice(0, 200);
}
