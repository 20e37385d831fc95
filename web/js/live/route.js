/**
 * The poses walked so far, as the map draws them.
 */

import { CHUNK_LATENTS, LATENT_FRAMES, countsOf } from "../camera/counts.js";

/** @typedef {[number, number, number, number, number]} Place x, y, z, and yaw to the right and pitch up in radians */

export class Route {
  /** Latents of a chunk. */
  chunkLatents = CHUNK_LATENTS;
  #places = [];

  /** The whole route, one place per latent. @param {Place[]} places */
  set(places) {
    this.#places = places;
  }

  /** A chunk was walked; what followed it is another way. @param {Place[]} places */
  add(chunk, places) {
    this.#places = [...this.#places.slice(0, chunk * this.chunkLatents), ...places];
  }

  /** The place of the last latent of a world with so many chunks. */
  endOf(chunks) {
    return chunks * this.chunkLatents - 1;
  }

  /**
   * Where a frame was taken, in latents: the last frame of four is the latent's own place.
   * @param {{chunk: number, at: number, of: number}} frame
   */
  placeOf({ chunk, at, of }) {
    return this.endOf(chunk + 1) - (of - 1 - at) / LATENT_FRAMES;
  }

  /** What `PathMap` shows; undefined before the first place. */
  get walk() {
    const places = this.#places;
    if (!places.length) return undefined;
    const poses = places.map(poseOf);
    const last = poses.length - 1;
    const poseAt = (at) => {
      const i = Math.min(Math.max(at, 0), last);
      const [from, to] = [places[Math.floor(i)], places[Math.ceil(i)]];
      return poseOf(between(from, to, i % 1));
    };
    return { poses, counts: countsOf(last, false, this.chunkLatents), poseAt };
  }
}

function between(from, to, share) {
  return from.map((value, i) => value + share * (i === 3 ? turnTo(value, to[i]) : to[i] - value));
}

/** The shorter way from one yaw to another. */
function turnTo(from, to) {
  const turn = (to - from) % (2 * Math.PI);
  return turn - 2 * Math.PI * Math.round(turn / (2 * Math.PI));
}

/** The map needs the position and the third column of the rotation, where the camera looks. */
function poseOf([x, y, z, yaw, pitch]) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return { position: [x, y, z], rotation: [cy, sy * sp, sy * cp, 0, cp, -sp, -sy, cy * sp, cy * cp] };
}
