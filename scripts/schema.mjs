// Writes policies.schema.json, a JSON Schema of the `policies` of `RateLimitModule.forRoot`: what JSON can express of
// `RateLimitOptions`. Names, types and descriptions are those of the sources; `test/scripts/schema.spec.ts` compares
// ranges, defaults and combinations, which types do not state, with what the library accepts.
// With --check, changes nothing and exits with 1 if the file is out of date.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const FILE = fileURLToPath(new URL('../policies.schema.json', import.meta.url));
const OPTIONS = fileURLToPath(new URL('../src/policy/rate-limit.options.ts', import.meta.url));
const LIMIT = fileURLToPath(new URL('../src/core/limit.ts', import.meta.url));

const NAME = { pattern: '^[ -~]{1,128}$' };
const COUNT = { type: 'integer', minimum: 1, maximum: 9_007_199_254 };
const MOST_TOKENS = Number.MAX_SAFE_INTEGER / 1000;
/** Ten years, in milliseconds. */
const MAX_DURATION = 315_360_000_000;

const LIMIT_RULES = {
  duration: { exclusiveMinimum: 0, maximum: MAX_DURATION, default: 1 },
  unit: { default: 'seconds' },
  maxRequest: COUNT,
  capacity: { exclusiveMinimum: 0, maximum: MOST_TOKENS },
  refill: { minimum: 0, maximum: MOST_TOKENS },
  refillMode: { default: 'greedy' },
  timeZone: { default: 'UTC' },
  concurrency: COUNT,
  slotTtl: { minimum: 1000, maximum: 3_600_000, default: '30s' },
  name: NAME,
  cost: { minimum: 0, maximum: MOST_TOKENS },
};
const RULES = {
  RequestLimit: LIMIT_RULES,
  RateLimitOptions: {
    ...LIMIT_RULES,
    limits: { minItems: 1 },
    lease: { type: 'integer', minimum: 1 },
    key: { minLength: 1 },
    cost: { ...LIMIT_RULES.cost, default: 1 },
    dryRun: { default: false },
    perHandler: { default: false },
  },
};

const program = ts.createProgram([OPTIONS, LIMIT], {
  lib: ['lib.es2023.d.ts'],
  module: ts.ModuleKind.NodeNext,
  strict: true,
});
const checker = program.getTypeChecker();
const limitOptions = membersOf(LIMIT, 'LimitNumbers').map(({ name }) => name);

const schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Policies of nest-rate-limit',
  description: 'Policies by name, for the option `policies` of `RateLimitModule.forRoot`.',
  type: 'object',
  propertyNames: NAME,
  additionalProperties: { $ref: '#/definitions/RateLimitOptions' },
  definitions: {
    RateLimitOptions: definitionOf('RateLimitOptions', combinations(['limits'])),
    RequestLimit: definitionOf('RequestLimit', combinations([])),
  },
};
const json = `${JSON.stringify(schema, null, 2)}\n`;
if (!process.argv.includes('--check')) writeFileSync(FILE, json);
else if (readFileSync(FILE, 'utf8') !== json) {
  console.error('policies.schema.json is out of date: run `npm run schema` and review the difference');
  process.exitCode = 1;
}

/** Which options of a limit go together. `lists` are the options that contain limits instead. */
function combinations(lists) {
  const without = (names) => Object.fromEntries(names.map((name) => [name, false]));
  const anyOf = (...names) => ({ anyOf: names.map((name) => ({ required: [name] })) });
  const ofSlots = ['concurrency', 'slotTtl', 'soft'];
  const othersThanSlots = limitOptions.filter((name) => !ofSlots.includes(name));
  return {
    ...anyOf('maxRequest', 'capacity', 'concurrency', ...lists),
    dependencies: {
      refill: ['capacity'],
      refillMode: ['capacity'],
      timeZone: ['calendar'],
      slotTtl: ['concurrency'],
      capacity: anyOf('refill', 'maxRequest', 'calendar'),
      calendar: {
        properties: without(['duration', 'unit', 'refill', 'refillMode']),
        dependencies: { capacity: { properties: without(['maxRequest']) } },
      },
      concurrency: { properties: { ...without(othersThanSlots), soft: { const: false } } },
      ...Object.fromEntries(lists.map((name) => [name, { properties: without(limitOptions) }])),
    },
  };
}

/** The schema of an interface, without the options that must be functions. */
function definitionOf(name, combined) {
  const properties = {};
  for (const member of membersOf(OPTIONS, name)) {
    const found = schemaOf(checker.getTypeOfSymbol(member));
    if (found) properties[member.name] = { description: descriptionOf(member), ...found, ...RULES[name][member.name] };
  }
  const unknown = Object.keys(RULES[name]).find((option) => !(option in properties));
  if (unknown) throw new Error(`RULES has \`${unknown}\`, which is no option of ${name}`);
  return { type: 'object', properties, additionalProperties: false, ...combined };
}

/** The values of a type that JSON can express; `undefined` if there are none. */
function schemaOf(type) {
  const parts = (type.isUnion() ? type.types : [type]).filter((part) => {
    const isFunction = part.getCallSignatures().length > 0 || part.getConstructSignatures().length > 0;
    return !isFunction && !(part.flags & ts.TypeFlags.Undefined);
  });
  if (parts.length === 0) return undefined;
  if (parts.some(({ flags }) => flags & ts.TypeFlags.TemplateLiteral)) return durationOf(parts);
  if (parts.every((part) => part.isStringLiteral())) return { enum: parts.map(({ value }) => value) };
  if (parts.length === 1 && checker.isArrayType(parts[0])) return listOf(checker.getTypeArguments(parts[0])[0]);
  const names = [...new Set(parts.flatMap(typeNames))];
  return { type: names.length === 1 ? names[0] : names };
}

function typeNames(type) {
  if (type.flags & ts.TypeFlags.BooleanLike) return ['boolean'];
  if (type.flags & ts.TypeFlags.Number) return ['number'];
  if (type.flags & ts.TypeFlags.String) return ['string'];
  if (type.flags & ts.TypeFlags.NonPrimitive) return ['object', 'array'];
  throw new Error(`no schema for the type ${checker.typeToString(type)}`);
}

/** A `Duration`: whole milliseconds, or a number with one of the suffixes in its type. */
function durationOf(parts) {
  const suffixes = parts.flatMap(({ texts }) => texts?.[1] ?? []);
  return {
    type: ['integer', 'string'],
    minimum: 1,
    maximum: MAX_DURATION,
    pattern: `^\\d+(\\.\\d+)?(${suffixes.join('|')})$`,
  };
}

function listOf(element) {
  return { type: 'array', items: { $ref: `#/definitions/${element.symbol.name}` } };
}

/** The properties of an interface that a file exports, with those that it inherits. */
function membersOf(file, name) {
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)));
  const symbol = exported.find((one) => one.name === name);
  return checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol));
}

function descriptionOf(member) {
  return ts.displayPartsToString(member.getDocumentationComment(checker)).replace(/\s+/g, ' ');
}
