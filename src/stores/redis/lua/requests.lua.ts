import { calendarQuota } from '../../../core/algorithms/calendar.js';
import { concurrency } from '../../../core/algorithms/concurrency.js';
import { slidingWindow } from '../../../core/algorithms/sliding-window.js';
import { MAX_TIME, tokenBucket } from '../../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../../core/amount.js';
import { NEVER } from '../../../core/answer.js';
import {
  ABSENT,
  CHECKED,
  declareConstants,
  HELD,
  MARKED,
  PER_LIMIT,
  RESOLVED,
  VERB_CODES,
} from '../script-protocol.js';

/** The first part of the general path: constants, helpers, and the input as tables. */
export const REQUESTS = `
${declareConstants(VERB_CODES)}
local TOKEN_BUCKET, SLIDING_WINDOW = ${tokenBucket.id}, ${slidingWindow.id}
local CONCURRENCY, CALENDAR = ${concurrency.id}, ${calendarQuota.id}
local AMOUNT_PER_TOKEN, MAX_SAFE_INTEGER, MAX_TIME = ${AMOUNT_PER_TOKEN}, ${Number.MAX_SAFE_INTEGER}, ${MAX_TIME}
local INFINITY, NEVER = math.huge, ${NEVER}
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local KEYS, call, packs, unpacks = KEYS, redis.call, struct.pack, struct.unpack

local function isWhole(value)
  return type(value) == 'number' and value % 1 == 0 and value >= 0 and value <= MAX_SAFE_INTEGER
end

-- All numbers in one format. Many are packed in pieces, as Lua's stack is limited.
local pack
function pack(format, numbers, from, to)
  if to - from >= 400 then
    return pack(format, numbers, from, from + 399) .. pack(format, numbers, from + 400, to)
  end
  return packs('<' .. string.rep(format, to - from + 1), unpack(numbers, from, to))
end

local readAt = 5
local function read()
  readAt = readAt + 1
  return input[readAt - 1]
end

local policies = {}
for p = 1, input[4] do
  local policy = { block = read() }
  for i = 1, read() do
    policy[i] = { kind = read(), capacity = read(), weight = read(), refill = read(), period = read(), slot = read() }
    if policy[i].kind == CONCURRENCY then policy.slotIndex = i end
  end
  policies[p] = policy
end

local function present(number)
  if number ~= ${ABSENT} then return number end
end

local function readTake()
  local take = { policy = policies[read()], amount = read() }
  if take.amount == ${RESOLVED} then take.policy.isResolved, take.amount = true, read() end
  if take.amount == ${HELD} then
    take.holder = { id = read(), waited = present(read()), nextWaited = present(read()) }
    take.holder.count, take.holder.sequence = present(read()), present(read())
    take.amount = read()
  end
  if take.amount == ${MARKED} then take.mark, take.amount = read(), read() end
  if take.amount == ${PER_LIMIT} then
    take.amount, take.amounts, take.checks = 0, {}, {}
    for i = 1, #take.policy do
      take.amounts[i] = read()
      if take.amounts[i] == ${CHECKED} then take.amounts[i], take.checks[i] = 0, true end
      take.amount = max(take.amount, take.amounts[i])
    end
  end
  take.maxWait = read()
  return take
end

local function readRun(start)
  readAt = start
  local run = { start = start, verb = read(), count = read(), arguments = {} }
  for i = 1, read() do run[i] = readTake() end
  for i = 1, read() do run.arguments[i] = read() end
  if run.verb == HOLD then
    local id, count, sequence, waited = unpack(run.arguments)
    run[1].holder = { id = id, count = present(count), sequence = present(sequence), waited = present(waited) }
  end
  run.stop = readAt
  return run
end
`;
