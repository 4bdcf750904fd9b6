import { defineConfig } from "vitest/config";

const outside = ["**/node_modules/**", ".build/**", ".tools/**", "target/**"];

/**
 * Four projects, from quick to slow:
 * - `unit`: beside the code, no VM;
 * - `checks`: what the repository promises about itself (`script/checks`);
 * - `integration`: beside the code, `*.vm.test.ts`: one part against real QEMU and the built image;
 * - `e2e`: a real server, driven from outside (`e2e/`).
 * VMs share two cores with their tests, so the last two run one file at a time: with two files of `e2e` at once a machine
 * that is busy besides is too slow for what keeps to time limits.
 */
export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          include: ["{packages,apps}/*/src/**/*.test.ts", "{sdk/typescript,bench,script}/src/**/*.test.ts"],
          exclude: [...outside, "**/*.vm.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: "checks",
          include: ["script/checks/**/*.test.ts"],
          exclude: outside,
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["{packages,apps}/*/src/**/*.vm.test.ts"],
          exclude: outside,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["e2e/**/*.test.ts"],
          exclude: outside,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
