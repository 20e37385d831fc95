/**
 * The words of the live view, in the languages of the pack; the keys' names are the editor's.
 */

import { textsFor } from "../editor/texts.js";

const ENGLISH = {
  live: "Live walk",
  picture: "The world",
  screen:
    "Walk. Hold W A S D to move, the arrow keys or I J K L to turn, Q or E to orbit. Space lets time go on or stand still, Backspace goes one chunk back, F fills the screen, Escape leaves.",
  screenStill:
    "The world. Space lets time go on or stand still, Backspace goes one chunk back, F fills the screen, Escape leaves.",
  hint: "Click here, then hold W A S D or the arrow keys",
  hintTouch: "Left half: move. Right half: turn.",
  full: "Full screen (F)",
  run: "Press Run, then walk here.",
  connecting: "Connecting…",
  lost: "The connection is lost: trying again. The walk is kept.",
  watches: "You watch; you walk when the other leaves.",
  start: "Start",
  place: "chunk {chunk} of {chunks}",
  working: "chunk {chunk}: step {step} of {of}",
  standing: "time stands still",
  waiting: "hold a key to walk",
  waitingStill: "press Space to let time go on",
  stopped: "the walk has ended",
  strip: "Chunks",
  backTo: "Go to the end of chunk {chunk}, and take another way from there",
  backToStart: "Go back to the start, and take another way",
  goesOn: "Time goes on",
  goesOnTip: "Time goes on with no key held (Space); off: it stands still",
  words: "Words for what comes next",
  say: "Say",
  sayTip: "Tell the world these words; they hold from the next chunk",
  deaf: "This world heeds no words.",
  stop: "Stop",
  stopTip: "End the walk and keep what was walked",
  ended: "The walk has ended.",
  rate: "{rate} frames/s",
  frames: "{frames} frames",
  stalls: "stalls: {stalls}",
  late: "shown late: {late}",
  skipped: "left out: {skipped}",
  seconds: "a chunk is made in {seconds} s",
  delay: "key to picture {median} s (median of {count}; 95 %: {most} s)",
};

const CHINESE = {
  live: "实时行走",
  picture: "世界",
  screen:
    "行走。按住 W A S D 移动，方向键或 I J K L 转向，Q 或 E 环绕。空格让时间继续或静止，退格键退回一块，F 全屏，Esc 离开。",
  screenStill: "世界。空格让时间继续或静止，退格键退回一块，F 全屏，Esc 离开。",
  hint: "点击此处，然后按住 W A S D 或方向键",
  hintTouch: "左半边移动，右半边转向。",
  full: "全屏 (F)",
  run: "点击“运行”，然后在此行走。",
  connecting: "正在连接…",
  lost: "连接中断，正在重试。行走仍在。",
  watches: "您在观看；对方离开后由您行走。",
  start: "起点",
  place: "第 {chunk} / {chunks} 块",
  working: "第 {chunk} 块：第 {step} / {of} 步",
  standing: "时间静止",
  waiting: "按住按键即可行走",
  waitingStill: "按空格让时间继续",
  stopped: "行走已结束",
  strip: "块",
  backTo: "回到第 {chunk} 块的末尾，从那里另走一条路",
  backToStart: "回到起点，另走一条路",
  goesOn: "时间继续",
  goesOnTip: "不按键时时间也继续（空格）；关闭则静止",
  words: "接下来的提示词",
  say: "发送",
  sayTip: "把这些词告诉世界；从下一块起生效",
  deaf: "这个世界不听提示词。",
  stop: "停止",
  stopTip: "结束行走并保留已走的部分",
  ended: "行走已结束。",
  rate: "{rate} 帧/秒",
  frames: "{frames} 帧",
  stalls: "停顿：{stalls}",
  late: "延迟显示：{late}",
  skipped: "略过：{skipped}",
  seconds: "每块用时 {seconds} 秒",
  delay: "按键到画面 {median} 秒（{count} 次的中位数；95 %：{most} 秒）",
};

export const LANGUAGES = { en: ENGLISH, zh: CHINESE };

/** @returns {(key: keyof typeof ENGLISH, values?: object) => string} */
export const liveTextsFor = (locale) => textsFor(locale, LANGUAGES);
