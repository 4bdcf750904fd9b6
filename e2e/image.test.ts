import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

let server: RealServer;
let session: TestSession;

beforeAll(async () => {
  server = await RealServer.start();
  session = await TestSession.open(server);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Under emulation, beside other work, a compiler or pip takes its time. */
const slow = { timeoutS: 170, timeoutMs: 175_000 };

/** What Bash prints; its exit code must be 0. */
async function bash(code: string): Promise<string> {
  const result = await session.bash(code, slow);
  expect(result, `${code}\n${result.stderr}`).toMatchObject({ exitCode: 0 });
  return result.stdout;
}

test.each([
  ["python3 --version", /^Python 3\.11\./],
  ["python --version", /^Python 3\.11\./],
  ["pip --version", /python 3\.11/],
  ["node --version", /^v(1[89]|[2-9]\d)\./],
  ["npm --version", /^\d+\./],
  ["npx --version", /^\d+\./],
  ["curl --version", /^curl /],
  ["wget --version", /^GNU Wget/],
  ["git --version", /^git version/],
  ["gcc --version", /^gcc /],
  ["g++ --version", /^g\+\+ /],
  ["make --version", /^GNU Make/],
  ["ffmpeg -version", /^ffmpeg version/],
  ["convert -version", /ImageMagick/],
  ["sudo --version", /^Sudo version/],
  ["vim --version", /^VIM/],
  ["vi --version", /^VIM/],
  ["ps --version", /procps/],
  ["ip -V", /iproute2/],
  ["jq --version", /^jq-/],
  ["rg --version", /^ripgrep/],
  ["tmux -V", /^tmux /],
  ["openssl version", /^OpenSSL/],
  [". /etc/os-release; echo $VERSION_CODENAME", /^bookworm$/m],
])("%s runs", async (code, expected) => {
  expect(await bash(code)).toMatch(expected);
});

test("a C program and a C++ program compile and run", async () => {
  expect(
    await bash(`cd "$(mktemp -d)"
cat > a.c <<'EOC'
#include <stdio.h>
int main(void) { printf("%d\\n", 6 * 7); return 0; }
EOC
cat > b.cc <<'EOC'
#include <iostream>
int main() { std::cout << 6 * 7 << std::endl; }
EOC
gcc -o a a.c && ./a && g++ -o b b.cc && ./b`),
  ).toBe("42\n42\n");
});

test("Node.js runs a program, also from a file and with a promise", async () => {
  expect(await bash(`echo 'await Promise.resolve(); console.log(6 * 7)' > /tmp/a.mjs; node /tmp/a.mjs`)).toBe("42\n");
});

test("a repository is made, committed to and cloned", async () => {
  const log = await bash(`cd "$(mktemp -d)"
git init -q a && cd a && git config user.name A && git config user.email a@example.org
echo text > file && git add file && git commit -qm first && cd .. && git clone -q a b && git -C b log --format=%s`);
  expect(log).toBe("first\n");
});

test("pictures and sound are converted", async () => {
  expect(
    await bash(`cd "$(mktemp -d)" && convert -size 20x10 xc:red a.png && identify -format '%wx%h\\n' a.png
ffmpeg -v error -f lavfi -i sine=duration=0.1 a.wav && file -b a.wav`),
  ).toMatch(/^20x10\nRIFF .*WAVE audio/);
});

const pythonPackage = `rm -rf /tmp/package && mkdir -p /tmp/package && cd /tmp/package
echo 'def answer(): return 42' > instavm_sample.py
cat > setup.py <<'EOC'
from setuptools import setup
setup(name="instavm-sample", version="1.0", py_modules=["instavm_sample"],
      entry_points={"console_scripts": ["instavm-sample = instavm_sample:main"]})
EOC
echo 'def main(): print(answer())' >> instavm_sample.py
`;

test("pip installs a package as root with no flag; Python sees it at once, and its command is in the PATH", async () => {
  await bash(`${pythonPackage} pip install --no-index --no-build-isolation . 2>/tmp/pip.log >&2`);
  expect(await session.python("import instavm_sample; instavm_sample.answer()")).toMatchObject({ stdout: "42\n" });
  expect(await bash("instavm-sample; cd /tmp; pip uninstall -qy instavm-sample")).toBe("42\n");
});

test("a virtual environment is made, and pip installs into it", { timeout: 700_000 }, async () => {
  const verySlow = { timeoutS: 300, timeoutMs: 305_000 };
  expect(await session.bash("python3 -m venv /tmp/environment", verySlow)).toMatchObject({ exitCode: 0 });
  const install = "/tmp/environment/bin/pip install -q --no-index --no-build-isolation . >&2";
  const installed = await session.bash(`${pythonPackage} ${install} && /tmp/environment/bin/instavm-sample`, verySlow);
  expect(installed).toMatchObject({ exitCode: 0, stdout: "42\n" });
});

test("npm installs a package for everybody as root with no flag; its command is in the PATH, and require finds it", async () => {
  const made = await bash(`rm -rf /tmp/node-package && mkdir -p /tmp/node-package && cd /tmp/node-package
echo '{"name": "instavm-sample", "version": "1.0.0", "main": "a.js", "bin": {"instavm-node-sample": "a.js"}}' > package.json
printf '#!/usr/bin/env node\\nconsole.log(42)\\n' > a.js && chmod +x a.js
npm pack --silent >/dev/null && npm install --offline -g ./instavm-sample-1.0.0.tgz >&2
cd / && instavm-node-sample && node -e 'require("instavm-sample")'`);
  expect(made).toBe("42\n42\n");
});

test.each(["IPython", "traitlets", "typing_extensions", "pygments", "decorator"])(
  "a broken package named %s that a user installed does not break the interpreter",
  async (name) => {
    await using own = await TestSession.open(server);
    await own.bash(
      `directory=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && mkdir -p "$directory/${name}" &&
echo 'raise RuntimeError("broken")' > "$directory/${name}/__init__.py"`,
    );
    await own.python("exit()");
    expect(await own.python("print('ok')\n!echo shell\n6 * 7", slow)).toMatchObject({
      exitCode: 0,
      stdout: "ok\nshell\n42\n",
      stderr: "",
    });
    expect(await own.python("%pwd", slow)).toMatchObject({ exitCode: 0, stdout: "'/app'\n" });
  },
);

test("root is who runs code; beside it there is `user`, who may become root without a password", async () => {
  expect(await bash("id -un; echo $HOME; sudo -n -u user -i -- bash -c 'id -un; echo $HOME; sudo -n id -un'")).toBe(
    "root\n/root\nuser\n/home/user\nroot\n",
  );
  expect(await bash("sudo -n -u user -- touch /app/by-user && stat -c %U /app/by-user")).toBe("user\n");
});

test("text is UTF-8 everywhere", async () => {
  expect(await bash("locale charmap; echo 'ü' | wc -m; printf 'b\\nä\\na\\n' | sort | tr -d '\\n'; echo")).toBe(
    "UTF-8\n2\nabä\n",
  );
  expect(await session.python("print('ü €', len('ü'))\n!echo ü")).toMatchObject({ stdout: "ü € 1\nü\n" });
  expect(await bash(`python3 -c 'import sys; print("ü", sys.stdout.encoding, sys.getfilesystemencoding())'`)).toBe(
    "ü utf-8 utf-8\n",
  );
  expect(await bash("touch /tmp/ü && ls /tmp/ü && node -p '\"ü\".length'")).toBe("/tmp/ü\n1\n");
});

test("code starts in /app, in Bash, in Python and in what they start", async () => {
  expect(await bash("pwd")).toBe("/app\n");
  expect(await session.python("import os; print(os.getcwd())\n!pwd")).toMatchObject({ stdout: "/app\n/app\n" });
});

test("a login shell starts no program of its own", async () => {
  // Process ids are given out in order: between two of them lies only what the shell started.
  const started = await bash(
    "first=$(bash -c 'echo $BASHPID'); bash -lc true; last=$(bash -c 'echo $BASHPID'); echo $((last - first))",
  );
  expect(Number(started)).toBeLessThanOrEqual(4);
});

test("a script in /etc/profile.d is read by a login shell", async () => {
  expect(await bash("echo 'export FROM_PROFILE=1' > /etc/profile.d/own.sh; bash -lc 'echo $FROM_PROFILE'")).toBe("1\n");
});

test("loopback works; there is no other network device", async () => {
  expect(await bash("ls /sys/class/net")).toBe("lo\n");
  expect(await bash("ip -brief address show dev lo")).toMatch(/127\.0\.0\.1\/8/);
  const served = `cd /tmp && echo served > served.txt
python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 & server=$!
curl -s --retry 20 --retry-connrefused --retry-delay 1 http://localhost:8000/served.txt; kill $server`;
  expect(await bash(served)).toBe("served\n");
  expect(await session.bash("curl -sS --max-time 5 http://192.0.2.1/")).toMatchObject({ exitCode: expect.any(Number) });
  expect((await session.bash("curl -sS --max-time 5 http://192.0.2.1/")).exitCode).not.toBe(0);
});

test("the shape is the one that was asked for", async () => {
  expect(await bash("nproc")).toBe("2\n");
  const { stdout } = await session.bash("awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo");
  expect(Number(stdout)).toBeGreaterThan(420);
  expect(Number(stdout)).toBeLessThanOrEqual(512);
});

test("there is room on the disk, and everything can be written", async () => {
  const free = Number(await bash("df --output=avail -BM / | tail -1 | tr -dc 0-9"));
  expect(free).toBeGreaterThan(1000);
  expect(await bash("echo x > /usr/bin/own && rm /usr/bin/perl && echo y >> /etc/hosts && ls /usr/bin/own")).toBe(
    "/usr/bin/own\n",
  );
  expect(await bash("head -c 100M /dev/urandom > /app/big && sync && stat -c %s /app/big && rm /app/big")).toBe(
    "104857600\n",
  );
});

test("time goes on as on the host, and sleeping is exact", async () => {
  expect(await bash("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")).toMatch(
    /^(tsc|kvm-clock)\n$/,
  );
  const code = "import time\nstart = time.monotonic()\nfor _ in range(20): time.sleep(0.01)\ntime.monotonic() - start";
  const { stdout } = await session.python(code);
  expect(Number(stdout)).toBeGreaterThan(0.2);
  expect(Number(stdout)).toBeLessThan(2);
});
