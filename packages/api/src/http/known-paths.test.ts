import { describe, expect, it } from "vitest";
import { KnownPaths } from "./known-paths.ts";

describe("known paths", () => {
  const paths = new KnownPaths();
  paths.add("/v1/vms", ["POST"]);
  paths.add("/v1/vms/", ["GET", "HEAD"]);
  paths.add("/v1/vms/:vm", ["DELETE"]);
  paths.add("/v1/vaults/:id/services::from_template", ["POST"]);
  paths.add("/v1/computeruse/:sid/*", ["PUT"]);

  it.each([
    ["/v1/vms", ["GET", "HEAD", "POST"]],
    ["//v1//vms//", ["GET", "HEAD", "POST"]],
    ["/v1/vms/abc", ["DELETE"]],
    ["/v1/vaults/a/services:from_template", ["POST"]],
    ["/v1/computeruse/a/mouse/click", ["PUT"]],
    ["/v1/vms/abc/more", []],
    ["/v1", []],
    ["/", []],
    ["/V1/vms", []],
  ])("%s has %j", (path, methods) => {
    expect(paths.methodsOf(path)).toEqual(methods);
  });
});
