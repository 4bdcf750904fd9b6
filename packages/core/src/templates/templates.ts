import { InstaVmError, type Shape } from "@instavm/contract";
import type { Image, ImageStore, Template, TemplateKey } from "../ports/files.ts";
import { untilAborted } from "../waiting/deadline.ts";
import { Turnstile } from "../waiting/turnstile.ts";
import { buildTemplate, type TemplateParts } from "./template-builder.ts";
import { warmthOf } from "./warm-up-steps.ts";

/** The templates of a host: each is made on first use and then found on disk. */
export class Templates {
  readonly #images: ImageStore;
  readonly #parts: TemplateParts;
  readonly #closing = new AbortController();
  /** A boot fills the cores: two at once would both take twice as long. */
  readonly #builds = new Turnstile(1);
  readonly #known = new Map<string, Promise<Template>>();

  constructor(images: ImageStore, parts: TemplateParts) {
    this.#images = images;
    this.#parts = parts;
  }

  /**
   * The template of a shape. Whoever asks while it is being made shares the making, and the signal ends only the
   * caller's wait: the template is finished for the next one. A failed making is forgotten.
   */
  async get(shape: Shape, signal?: AbortSignal): Promise<Template> {
    signal?.throwIfAborted();
    const image = await this.#images.base({ ...(signal && { signal }) });
    const { fingerprint } = await this.#parts.engine.facts({ ...(signal && { signal }) });
    const key: TemplateKey = {
      imageDigest: image.digest,
      engineFingerprint: fingerprint,
      shape: { vcpuCount: shape.vcpuCount, memoryMib: shape.memoryMib },
      warmth: warmthOf(this.#parts.settings.warmUp),
    };
    const name = JSON.stringify(key);
    const known = this.#known.get(name) ?? this.#make(name, key, image);
    return untilAborted(known, signal);
  }

  /** After a clone of it failed: the next caller looks on the disk again. */
  forget(template: Template): void {
    this.#known.delete(JSON.stringify(template.key));
  }

  /** Ends what is being made and leaves nothing of it. */
  async close(): Promise<void> {
    this.#closing.abort(new InstaVmError("unavailable", "the server stops; the template is not finished"));
    await Promise.allSettled(this.#known.values());
  }

  #make(name: string, key: TemplateKey, image: Image): Promise<Template> {
    const making = this.#findOrBuild(key, image);
    this.#known.set(name, making);
    making.catch(() => {
      if (this.#known.get(name) === making) this.#known.delete(name);
    });
    return making;
  }

  async #findOrBuild(key: TemplateKey, image: Image): Promise<Template> {
    const found = await this.#parts.templates.find(key, image.boot.rootfsPath);
    if (found !== undefined) return found;
    const signal = this.#closing.signal;
    using _turn = await this.#builds.enter(signal);
    return await buildTemplate(key, image, { parts: this.#parts, signal });
  }
}
