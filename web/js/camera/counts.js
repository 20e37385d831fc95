/**
 * How long a path is: latents, chunks, frames, seconds.
 */

/** Latents the network makes at a time. */
export const CHUNK_LATENTS = 4;
/** Video frames a latent decodes to; the first latent of a video is one frame. */
export const LATENT_FRAMES = 4;
export const FRAME_RATE = 16;
export const LATENT_RATE = FRAME_RATE / LATENT_FRAMES;

/**
 * @param {number} motions latents of motion; the path has one more, which stands still
 * @returns {{latents: number, chunks: number, frames: number, seconds: number, left: number, missing: number}}
 *   frames and seconds of the whole chunks; latents `left` over by them, and how many are `missing` for one more chunk
 */
export function countsOf(motions) {
  const latents = motions + 1;
  const chunks = Math.floor(latents / CHUNK_LATENTS);
  const left = latents % CHUNK_LATENTS;
  const frames = chunks && LATENT_FRAMES * (chunks * CHUNK_LATENTS - 1) + 1;
  return { latents, chunks, frames, seconds: frames / FRAME_RATE, left, missing: left && CHUNK_LATENTS - left };
}
