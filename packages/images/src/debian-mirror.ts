import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** One line of apt's sources: where, which suite, which components. */
interface Source {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
}

/**
 * The sources for a suite of Debian, as lines of a sources.list, from the mirrors that this host uses itself. Empty when
 * the host is not Debian or its sources cannot be told: then mmdebstrap's own default applies.
 */
export async function mirrorLines(suite: string, components: readonly string[], etc = "/etc"): Promise<string[]> {
  const release = await readFile(join(etc, "os-release"), "utf8").catch(() => "");
  const hostSuite = /^VERSION_CODENAME=["']?([a-z]+)/m.exec(release)?.[1];
  if (!/^ID=["']?debian["']?$/m.test(release) || hostSuite === undefined) return [];
  const sources = (await readSources(etc)).filter((source) => source.components.includes("main"));
  const main = sources.find((source) => source.suite === hostSuite && endsWith(source.uri, "debian"));
  const security = sources.find(
    (source) => source.suite === `${hostSuite}-security` && endsWith(source.uri, "debian-security"),
  );
  if (main === undefined || security === undefined) return [];
  const names = components.join(" ");
  return [
    `deb ${main.uri} ${suite} ${names}`,
    `deb ${main.uri} ${suite}-updates ${names}`,
    `deb ${security.uri} ${suite}-security ${names}`,
  ];
}

function endsWith(uri: string, directory: string): boolean {
  return uri.replace(/\/+$/, "").endsWith(`/${directory}`);
}

async function readSources(etc: string): Promise<Source[]> {
  const directory = join(etc, "apt/sources.list.d");
  const names = await readdir(directory).catch(() => []);
  const paths = [
    join(etc, "apt/sources.list"),
    ...names.toSorted((a, b) => a.localeCompare(b)).map((name) => join(directory, name)),
  ];
  const sources: Source[] = [];
  for (const path of paths) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (path.endsWith(".list")) sources.push(...parseOneLineStyle(text));
    else if (path.endsWith(".sources")) sources.push(...parseDeb822Style(text));
  }
  return sources.filter((source) => /^https?:\/\/[\w.:/@~%+-]+$/.test(source.uri));
}

function parseOneLineStyle(text: string): Source[] {
  const sources: Source[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)/.exec(line);
    const [, uri, suite, components] = match ?? [];
    if (uri === undefined || suite === undefined || components === undefined) continue;
    sources.push({ uri, suite, components: components.trim().split(/\s+/) });
  }
  return sources;
}

function parseDeb822Style(text: string): Source[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string[] => {
      const value = new RegExp(`^${name}:((?:.*\\n?)(?:[ \\t]+.*\\n?)*)`, "im").exec(stanza)?.[1] ?? "";
      return value.split(/\s+/).filter((word) => word !== "" && !word.startsWith("#"));
    };
    if (!field("Types").includes("deb") || field("Enabled")[0] === "no") return [];
    const components = field("Components");
    return field("URIs").flatMap((uri) => field("Suites").map((suite) => ({ uri, suite, components })));
  });
}
