export { downloadDirectory } from "./node-download.ts";
export { uploadDirectory } from "./node-upload.ts";
export type { DirectoryOptions } from "./node-upload.ts";
