/** A module of these parts, without decorators. */
export function moduleOf({ imports = [], controllers = [], providers = [] }) {
  return { module: class {}, imports, controllers, providers };
}
