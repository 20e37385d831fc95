/** Time that passes when told to. */
export class Clock {
  now = 0;
  timers = new Map();
  performance = { timeOrigin: 1000, now: () => this.now };

  setTimeout = (action, ms) => {
    const id = Symbol("timer");
    this.timers.set(id, { at: this.now + ms, action });
    return id;
  };

  clearTimeout = (id) => void this.timers.delete(id);

  wait(ms) {
    const end = this.now + ms;
    for (;;) {
      const [id, next] = [...this.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!next || next.at > end) break;
      this.timers.delete(id);
      this.now = next.at;
      next.action();
    }
    this.now = end;
  }
}
