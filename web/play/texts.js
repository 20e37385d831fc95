/**
 * The words of the page; those of the view are its own.
 */

import { textsFor } from "../js/editor/texts.js";

const ENGLISH = {
  title: "Begin another walk",
  scenes: "First picture",
  scene: "Picture {number}",
  own: "Your own picture…",
  ownTip: "Choose a picture, paste one, or drop one here",
  ownShown: "Your own picture",
  words: "Words",
  seed: "Seed",
  begin: "Begin",
  beginning: "Beginning…",
  notWalker: "Only who walks can begin another walk.",
  load: "Load a world…",
  loading: "Loading the world…",
  saveVideo: "Save video",
  saveWorld: "Save world",
  saving: "Saving…",
  failed: "That did not work: {reason}",
};

const CHINESE = {
  title: "开始新的行走",
  scenes: "首帧图片",
  scene: "图片 {number}",
  own: "自己的图片…",
  ownTip: "选择、粘贴或拖入一张图片",
  ownShown: "自己的图片",
  words: "提示词",
  seed: "种子",
  begin: "开始",
  beginning: "正在开始…",
  notWalker: "只有行走者可以开始新的行走。",
  load: "载入世界…",
  loading: "正在载入世界…",
  saveVideo: "保存视频",
  saveWorld: "保存世界",
  saving: "正在保存…",
  failed: "未成功：{reason}",
};

export const LANGUAGES = { en: ENGLISH, zh: CHINESE };

/** @returns {(key: keyof typeof ENGLISH, values?: object) => string} */
export const pageTextsFor = (locale) => textsFor(locale, LANGUAGES);
