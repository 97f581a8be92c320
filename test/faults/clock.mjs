// Preloaded into a process whose clock is wrong: everything in it that asks for the time of day gets another one.
const shiftMs = Number(process.env.CLOCK_SHIFT_MS);
const { now } = Date;

globalThis.Date = new Proxy(Date, {
  construct: (target, given, self) => Reflect.construct(target, given.length === 0 ? [now() + shiftMs] : given, self),
  apply: () => new Date().toString(),
  get: (target, name) => (name === 'now' ? () => now() + shiftMs : Reflect.get(target, name)),
});
