/**
 * How long a path is: latents, chunks, frames, seconds.
 */

/** Latents WorldPlay makes at a time. */
export const CHUNK_LATENTS = 4;
/** Video frames a latent decodes to; the first latent of a video is one frame. */
export const LATENT_FRAMES = 4;
export const FRAME_RATE = 16;
export const LATENT_RATE = FRAME_RATE / LATENT_FRAMES;

/**
 * @typedef {object} Counts
 * @property {number} latents
 * @property {number} chunks  whole ones
 * @property {number} frames  of the whole chunks
 * @property {number} seconds of the whole chunks
 * @property {number} left    latents left over by whole chunks
 * @property {number} missing latents for one more chunk
 * @property {number} start   the pose of the first latent that counts
 * @property {number} chunkLatents  latents of a chunk
 *
 * @param {number} motions latents of motion; the path has one pose more, where it starts
 * @param {boolean} [continued] whether that pose falls on a latent there already is, so that it is not made again
 * @param {number} [chunkLatents] latents of a chunk
 * @returns {Counts}
 */
export function countsOf(motions, continued = false, chunkLatents = CHUNK_LATENTS) {
  const start = continued ? 1 : 0;
  const latents = motions + 1 - start;
  const chunks = Math.floor(latents / chunkLatents);
  const left = latents % chunkLatents;
  const whole = LATENT_FRAMES * chunkLatents * chunks;
  const frames = continued || !chunks ? whole : whole - LATENT_FRAMES + 1;
  const missing = left || !chunks ? chunkLatents - left : 0;
  return { latents, chunks, frames, seconds: frames / FRAME_RATE, left, missing, start, chunkLatents };
}

/** The pose a chunk begins with, of chunks counted from 0. */
export function chunkStart(chunk, { start, chunkLatents }) {
  return start + chunk * chunkLatents;
}

/**
 * Where a pose is, counted from 1 as people count.
 * @param {number} pose counted from 0
 * @returns {{latent: number, chunk: number, whole: boolean}} latent 0 lies before the first; `whole` is a full chunk
 */
export function placeOf(pose, { start, chunks, chunkLatents }) {
  const chunk = Math.floor((pose - start) / chunkLatents);
  return { latent: pose - start + 1, chunk: chunk + 1, whole: chunk < chunks };
}
