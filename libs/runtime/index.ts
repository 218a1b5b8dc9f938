export { accessTo, loadConfig } from "./config.ts";
