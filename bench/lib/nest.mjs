/** Returns a dynamic module, so that no decorators are needed. */
export function moduleOf({ imports = [], controllers = [], providers = [] }) {
  return { module: class {}, imports, controllers, providers };
}
