import { slidingWindow } from '../../../core/algorithms/sliding-window.js';
import { MAX_TIME, tokenBucket } from '../../../core/algorithms/token-bucket.js';
import { AMOUNT_PER_TOKEN } from '../../../core/amount.js';
import { NEVER } from '../../../core/answer.js';
import { declareConstants, LATE, MARKED, PER_LIMIT, UNREADABLE, VERB_CODES } from '../script-protocol.js';

/** The arguments and the reply of the script; its first part. */
export const INPUT = `
-- Executes requests on buckets, one after the other, at one instant.
-- KEYS     the buckets' keys, in the order in which the requests name them; a replacement also names its new bucket
-- ARGV[1]  numbers, as a JSON array:
--   now in ms (-1: the server's time), least TTL in ms, latest server time in ms (-1: no limit)
--   number of policies; of each: block in ms, number of limits; of each limit:
--     kind (the id of its algorithm), capacity, weight, refill, period, slot
--   then runs of requests that differ only in their keys; of each: verb, number of requests, number of takes;
--     of each take: policy (from 1), ${MARKED} and its mark if it has one, amount (${PER_LIMIT}: an amount for each limit
--     follows), maxWait in ms (-1: no limit)
--     then the number of arguments of the verb, and these: cancel, put: actAt per take; block: duration;
--     replace: policy, strategy, for each new limit the old one that it takes over from (0: none)
-- Reply    the rows of all requests one after the other as doubles in one string (see answer.ts). The row of a request
--          with an unreadable bucket is one ${UNREADABLE}; then the reply is a list of that string and of a message for
--          each such request. If the command arrived too late, the reply is ${LATE} and the server's time, and nothing
--          was changed
${declareConstants(VERB_CODES)}
local TOKEN_BUCKET, SLIDING_WINDOW = ${tokenBucket.id}, ${slidingWindow.id}
local AMOUNT_PER_TOKEN, MAX_SAFE_INTEGER, MAX_TIME = ${AMOUNT_PER_TOKEN}, ${Number.MAX_SAFE_INTEGER}, ${MAX_TIME}
local INFINITY, NEVER = math.huge, ${NEVER}
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local KEYS, call, packs, unpacks = KEYS, redis.call, struct.pack, struct.unpack

local function isWhole(value)
  return type(value) == 'number' and value % 1 == 0 and value >= 0 and value <= MAX_SAFE_INTEGER
end

-- Numbers as doubles: fast to write, and fast to read in Node. Many are packed in pieces, as Lua's stack is limited.
local pack
function pack(numbers, from, to)
  if to - from >= 400 then return pack(numbers, from, from + 399) .. pack(numbers, from + 400, to) end
  return packs('<' .. string.rep('d', to - from + 1), unpack(numbers, from, to))
end

local input = cjson.decode(ARGV[1])
local place = 0
local function read()
  place = place + 1
  return input[place]
end

local now, leastTtl, latest = read(), read(), read()
local serverTime = call('TIME')
local serverNow = serverTime[1] * 1000 + floor(serverTime[2] / 1000)
if latest >= 0 and serverNow > latest then return pack({ ${LATE}, serverNow }, 1, 2) end
if now < 0 then now = serverNow end

local policies = {}
for p = 1, read() do
  local policy = { block = read(), buckets = true }
  for i = 1, read() do
    local kind = read()
    local limit = { kind = kind, capacity = read(), weight = read(), refill = read(), period = read(), slot = read() }
    policy[i] = limit
    policy.buckets = policy.buckets and kind == TOKEN_BUCKET and limit.refill > 0
    -- The current period, and how long ago it began.
    limit.tick = floor(now / limit.period)
    limit.past = now - limit.tick * limit.period
  end
  policy.buckets = policy.buckets and #policy <= 3
  policy.window = #policy == 1 and policy[1].kind == SLIDING_WINDOW
  policy.size = 8 * (3 + #policy)
  policy.format = '<ddd' .. string.rep('d', #policy)
  policies[p] = policy
end

local function readTake()
  local take = { policy = policies[read()], amount = read() }
  if take.amount == ${MARKED} then take.mark, take.amount = read(), read() end
  if take.amount == ${PER_LIMIT} then
    take.amount, take.amounts = 0, {}
    for i = 1, #take.policy do
      take.amounts[i] = read()
      take.amount = max(take.amount, take.amounts[i])
    end
  end
  take.maxWait = read()
  return take
end

-- The requests that are still to be executed: the current run, how many of it are left, and the key of the next one.
local opened, rows, size, problems = {}, {}, 0, {}
local run, left, nextKey = { verb = 0 }, 0, 1

-- Whether there is a request left; then \`run\` describes it.
local function more()
  if left > 0 then return true end
  if place == #input then return false end
  run = { verb = read(), arguments = {} }
  left = read()
  for i = 1, read() do run[i] = readTake() end
  for i = 1, read() do run.arguments[i] = read() end
  return true
end
`;
