import { operations } from "@instavm/contract";
import type { Keys } from "@instavm/core";
import { createdKeyAnswer, currentUserAnswer, keyAnswer, revokedAnswer } from "../answers/key-answers.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";

/** /v1/api-keys and /v1/users/me. */
export function keyRoutes(keys: Keys, authenticator: Pick<Authenticator, "forget">): readonly Route[] {
  return [
    keyRoute(operations.createKey, async ({ caller, body }) =>
      createdKeyAnswer(await keys.create({ label: body.description, role: body.role }), caller),
    ),
    keyRoute(operations.listKeys, async ({ caller, query }) => {
      const all = await keys.list(caller);
      const shown = all.filter((key) => key.revokedAtMs === undefined || query.include_revoked === "true");
      return shown.map((key) => keyAnswer(key, caller));
    }),
    keyRoute(operations.getKey, async ({ caller, params }) => keyAnswer(await keys.get(caller, params.key_id), caller)),
    keyRoute(operations.updateKey, async ({ caller, params, body }) => {
      const { description } = body;
      const key =
        description === undefined
          ? await keys.get(caller, params.key_id)
          : await keys.describe(caller, params.key_id, description);
      return keyAnswer(key, caller);
    }),
    keyRoute(operations.deleteKey, async ({ caller, params }) => {
      const revoked = await keys.revoke(caller, params.key_id);
      authenticator.forget(revoked.keyId);
      return revokedAnswer(revoked);
    }),
    // None can be added: POST and DELETE are answered with 501.
    keyRoute(operations.listSshKeys, async () => ({ keys: [] })),
    keyRoute(operations.getCurrentUser, async ({ caller }) => currentUserAnswer(await keys.get(caller, caller.keyId))),
  ];
}
