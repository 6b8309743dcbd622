/** What the script is given and what it replies; its first part. */
export const INPUT = `
-- Carries requests out on buckets, one after the other, at one instant.
-- KEYS     the buckets' keys, in the order in which the requests name them; of a replacement also the new one
-- ARGV[1]  numbers, as a JSON array:
--   now in ms (-1: the server's time), least TTL in ms, latest server time in ms (-1: any)
--   number of policies; of each: block in ms, number of limits; of each limit:
--     kind (0 bucket, 1 window), capacity, weight, refill, period, slot
--   then runs of requests that differ in nothing but their keys; of each: verb, number of requests, number of takes;
--     of each take: policy (from 1), amount, maxWait in ms (-1: any)
--     and how many more words, and these: cancel: actAt per take; block: duration;
--     replace: policy, strategy, for each new limit the old one that it takes over from (0: none)
-- Reply    the rows of all requests behind each other as doubles in one string (see answer.ts). The row of a request
--          whose buckets cannot be read is one -2; then there is a list of that string and of those that tell why. If
--          all came too late there is only -1 and the server's time: nothing was done
local TAKE, ESTIMATE, CHARGE, TAKE_UP_TO, PUT, CANCEL, RESET, BLOCK, UNBLOCK, REPLACE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local AMOUNT_PER_TOKEN, MAX_SAFE_INTEGER, MOST_EXACT, EXACT_WINDOW = 1000, 9007199254740991, 256, 128
local LONGEST_TOLD = 4503599627370496
local INFINITY, NEVER = math.huge, -1
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local KEYS, call, packs, unpacks = KEYS, redis.call, struct.pack, struct.unpack

local function whole(value)
  return type(value) == 'number' and value % 1 == 0 and value >= 0 and value <= MAX_SAFE_INTEGER
end

-- Numbers as doubles: quick to write, and quick to read in Node. Many are packed in parts, as Lua's stack has an end.
local pack
function pack(numbers, from, to)
  if to - from >= 400 then return pack(numbers, from, from + 399) .. pack(numbers, from + 400, to) end
  return packs('<' .. string.rep('d', to - from + 1), unpack(numbers, from, to))
end

local words = cjson.decode(ARGV[1])
local place = 0
local function word()
  place = place + 1
  return words[place]
end

local now, leastTtl, latest = word(), word(), word()
local serverTime = call('TIME')
local serverNow = serverTime[1] * 1000 + floor(serverTime[2] / 1000)
if latest >= 0 and serverNow > latest then return pack({ -1, serverNow }, 1, 2) end
if now < 0 then now = serverNow end

local policies = {}
for p = 1, word() do
  local policy = { block = word(), buckets = true }
  for i = 1, word() do
    local window = word() == 1
    local limit = { window = window, capacity = word(), weight = word(), refill = word(), period = word(), slot = word() }
    policy[i] = limit
    policy.buckets = policy.buckets and not window and limit.refill > 0
    -- The period that it is now, and how long ago it began.
    limit.tick = floor(now / limit.period)
    limit.past = now - limit.tick * limit.period
  end
  policy.buckets = policy.buckets and #policy <= 3
  policy.window = #policy == 1 and policy[1].window
  policy.size = 8 * (3 + #policy)
  policy.format = '<ddd' .. string.rep('d', #policy)
  policies[p] = policy
end

-- The requests that are still to be carried out: this run of them, how many are left of it, and the next one's key.

local opened, rows, size, problems = {}, {}, 0, {}
local run, left, nextKey = { verb = 0 }, 0, 1

-- Whether there is a request left; then \`run\` is what it asks for.
local function more()
  if left > 0 then return true end
  if place == #words then return false end
  run = { verb = word(), more = {} }
  left = word()
  for i = 1, word() do run[i] = { policy = policies[word()], amount = word(), maxWait = word() } end
  for i = 1, word() do run.more[i] = word() end
  return true
end
`;
