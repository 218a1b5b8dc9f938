import { z } from "zod";

/**
 * An object that services read, change and write back: what a later version of Baton has put into it stays in it, though this version
 * does not know what that is. (`z.object` would drop it.) Its type is closed all the same.
 */
export function kept<S extends z.ZodRawShape>(shape: S): z.ZodObject<S> {
  return z.looseObject(shape) as unknown as z.ZodObject<S>;
}
