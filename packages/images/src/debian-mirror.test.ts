import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mirrorLines } from "./debian-mirror.ts";
import { scratch } from "./testing/scratch.ts";

const wanted = [
  "deb http://mirror.example/debian bookworm main",
  "deb http://mirror.example/debian bookworm-updates main",
  "deb http://mirror.example/debian-security/ bookworm-security main",
];

async function host(etc: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(join(etc, "apt/sources.list.d"), { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(etc, name), text);
}

test("the mirrors of a Debian host serve another suite, from a list in one-line style", async () => {
  await using place = await scratch();
  await host(place.path, {
    "os-release": "ID=debian\nVERSION_CODENAME=trixie\n",
    "apt/sources.list": [
      "# deb http://commented.example/debian trixie main",
      "deb [arch=amd64] https://vendor.example/linux/debian trixie stable",
      "deb cdrom:[disc]/debian trixie main",
      "deb http://mirror.example/debian trixie main contrib # here",
      "deb-src http://source.example/debian trixie main",
      "deb http://mirror.example/debian-security/ trixie-security main",
    ].join("\n"),
  });
  expect(await mirrorLines("bookworm", ["main"], place.path)).toEqual(wanted);
});

test("the mirrors of a Debian host are found in deb822 style", async () => {
  await using place = await scratch();
  await host(place.path, {
    "os-release": 'ID="debian"\nVERSION_CODENAME=bookworm\n',
    "apt/sources.list.d/a-vendor.sources":
      "Types: deb\nURIs: https://vendor.example/debian\nSuites: nodistro\nComponents: main\n",
    "apt/sources.list.d/b-off.sources":
      "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
    "apt/sources.list.d/debian.sources": [
      "Types: deb deb-src",
      "# a remark",
      "URIs: http://mirror.example/debian",
      "Suites: bookworm",
      " bookworm-updates",
      "Components: main",
      "",
      "Types: deb",
      "URIs: http://mirror.example/debian-security/",
      "Suites: bookworm-security",
      "Components: main",
    ].join("\n"),
  });
  expect(await mirrorLines("bookworm", ["main"], place.path)).toEqual(wanted);
});

test("on another distribution, or with sources that say nothing, the tool's default applies", async () => {
  await using place = await scratch();
  await host(place.path, {
    "os-release": "ID=ubuntu\nVERSION_CODENAME=noble\n",
    "apt/sources.list": "deb http://mirror.example/ubuntu noble main\n",
  });
  expect(await mirrorLines("bookworm", ["main"], place.path)).toEqual([]);
  await host(place.path, { "os-release": "ID=debian\nVERSION_CODENAME=bookworm\n", "apt/sources.list": "" });
  expect(await mirrorLines("bookworm", ["main"], place.path)).toEqual([]);
  expect(await mirrorLines("bookworm", ["main"], join(place.path, "absent"))).toEqual([]);
});
