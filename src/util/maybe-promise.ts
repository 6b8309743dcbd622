/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/**
 * Calls `next` with the value, synchronously unless it is a promise. A thenable whose `then` returns nothing is converted
 * to a promise; otherwise its result would be lost.
 */
export function chain<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return isPromise(value) ? Promise.resolve(value).then(next) : next(value);
}

/** Resolves one value for each item. If one throws, promises of others do not become unhandled rejections. */
export function resolveEach<T, R>(
  items: readonly T[],
  resolve: (item: T, i: number) => MaybePromise<R>,
): MaybePromise<R[]> {
  const values: MaybePromise<R>[] = [];
  try {
    for (let i = 0; i < items.length; i++) values.push(resolve(items[i], i));
  } catch (error) {
    for (const value of values) if (isPromise(value)) Promise.resolve(value).catch(() => {});
    throw error;
  }
  return values.some(isPromise) ? Promise.all(values) : (values as R[]);
}
