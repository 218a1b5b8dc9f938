export type { Bucket, BucketValue, WatchOptions } from "./bucket.ts";
export { type Bus, connectBus } from "./bus.ts";
export {
  type ConsumeHandler,
  type ConsumeOptions,
  type Consumer,
  type Control,
  LeftForLater,
  LeftToAnother,
} from "./consume.ts";
export { type Loss, lossInWords } from "./guard-streams.ts";
export { type BusCount, type BusMetrics, type BusOptions, type Log, MAX_PAYLOAD_BYTES } from "./options.ts";
export { type Appended, type AppendOptions, BusConflict, type PublishOptions } from "./publish.ts";
export type { RequestOptions } from "./request.ts";
export type { Handler, Meta } from "./subscribe.ts";
