import type { CommandContext } from "../command-context.ts";
import { withExamples, withServerOptions } from "../command-options.ts";
import type { CommandOptions } from "../connection.ts";

/** `auth …`, `login` and `whoami`. */
export function addAuth({ program, signal }: CommandContext): void {
  const auth = program.command("auth").description("the API key that this program uses");
  const set = withServerOptions(auth.command("set-key"))
    .description("keep a key in ~/.instavm/config.json, when the server accepts it; --base-url is kept with it")
    .argument("[key]", "without it, read from the terminal or from standard input")
    .action(async (key: string | undefined, flags: CommandOptions) => {
      const { setKey } = await import("../auth-commands.ts");
      await setKey(key, flags, signal);
    });
  withExamples(set, ["instavm auth set-key", "instavm auth set-key --base-url http://10.0.0.5:8222 < key-file"]);
  const status = withServerOptions(auth.command("status"))
    .description("show which server and key are used, and whether the server accepts the key")
    .action(async (flags: CommandOptions) => {
      const { showStatus } = await import("../auth-commands.ts");
      await showStatus(flags, signal);
    });
  withExamples(status, ["instavm auth status"]);
  const logout = withServerOptions(auth.command("logout"))
    .description("take the key out of ~/.instavm/config.json")
    .action(async (flags: CommandOptions) => {
      const { logOut } = await import("../auth-commands.ts");
      await logOut(flags);
    });
  withExamples(logout, ["instavm auth logout"]);
  addIdentity({ program, signal });
}

function addIdentity({ program, signal }: Pick<CommandContext, "program" | "signal">): void {
  const login = program
    .command("login")
    .description("say how this program gets its key: no login is needed")
    .option("--base-url <url>", "the server")
    .action(async (flags: CommandOptions) => {
      const { explainLogin } = await import("../auth-commands.ts");
      await explainLogin(flags);
    });
  withExamples(login, ["instavm login"]);
  const whoami = withServerOptions(program.command("whoami"))
    .description("show whose key is used")
    .action(async (flags: CommandOptions) => {
      const { whoAmI } = await import("../auth-commands.ts");
      await whoAmI(flags, signal);
    });
  withExamples(whoami, ["instavm whoami", "instavm whoami --json"]);
}
