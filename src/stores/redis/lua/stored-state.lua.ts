/** The storage format of a bucket. It has no counterpart in TypeScript. */
export const STORED_STATE = `
-- A stored state is a list of numbers: at, and for each limit what its algorithm stores: a bucket its debt; a window its
-- sum, and time and amount of each admission. Nearly all states are that alone. These are compact: integers of
-- COMPACT bytes, which a bucket of one limit needs so that Redis keeps it in 32 bytes.
-- Other states are extended: doubles, and a last byte with the flags of the sections that follow the limits. So their
-- length is odd, and that of compact states is even. A new section gets the next flag and is appended; a flag of a later
-- version makes the state unreadable. Sections, in this order:
--   BLOCKED  blockedUntil
--   MARKED   the number of marks, and for each its id and a number for each limit
--   QUEUED   for each limit its debt without the queue; the number of reservations, and for each its actAt and an amount
--            for each limit
local COMPACT, COMPACT_END = 6, 2 ^ 48
local BLOCKED, MARKED, QUEUED, END_OF_FLAGS = 1, 2, 4, 8

local NO_BUCKET = 'its value is not a bucket'
local emptied = {}
opened = {}
local reading

local function has(flags, flag) return flags % (2 * flag) >= flag end

-- The numbers of a string, all of the same format of \`size\` bytes.
local function unpackAll(format, size, stored)
  if #stored % size ~= 0 then error(NO_BUCKET, 0) end
  local numbers = {}
  for start = 1, #stored, size * 200 do
    local part = string.sub(stored, start, start + size * 200 - 1)
    local values = { unpacks('<' .. string.rep(format, #part / size), part) }
    for i = 1, #values - 1 do numbers[#numbers + 1] = values[i] end
  end
  return numbers
end

-- Returns a function that returns the stored numbers one by one, one that returns whether all are read, and the flags.
local function reader(stored)
  local numbers, flags, place = nil, 0, 0
  if #stored % 2 == 0 then
    numbers = unpackAll('I' .. COMPACT, COMPACT, stored)
  else
    flags = string.byte(stored, -1)
    if flags >= END_OF_FLAGS then error('it may have been written by a later version', 0) end
    numbers = unpackAll('d', 8, string.sub(stored, 1, -2))
  end
  local function readNumber()
    place = place + 1
    if isWhole(numbers[place]) then return numbers[place] end
    error(NO_BUCKET, 0)
  end
  return readNumber, function() return place == #numbers end, flags
end

local function readQueue(policy, readNumber)
  local queue = { debts = {} }
  for i = 1, #policy do queue.debts[i] = readNumber() end
  for r = 1, readNumber() do
    queue[r] = { actAt = readNumber() }
    for i = 1, #policy do queue[r][i] = readNumber() end
  end
  if #queue == 0 then error(NO_BUCKET, 0) end
  return queue
end

local function load(policy, state, stored)
  local readNumber, isEnd, flags = reader(stored)
  state.stored, state.at = stored, readNumber()
  for i, limit in ipairs(policy) do
    if algorithms[limit.kind].load(state, i, readNumber) == false then error(NO_BUCKET, 0) end
  end
  if has(flags, BLOCKED) then state.blockedUntil = readNumber() end
  for m = 1, has(flags, MARKED) and readNumber() or 0 do
    local mark = { id = readNumber() }
    for i = 1, #policy do mark[i] = readNumber() end
    state.marks[m] = mark
  end
  if has(flags, QUEUED) then
    state.queue = readQueue(policy, readNumber)
    state.queueEnd = state.queue[#state.queue].actAt
  end
  if not isEnd() then error(NO_BUCKET, 0) end
end

local function open(policy, key)
  local state = opened[key]
  if not state then
    state = { at = 0, policy = policy, key = key }
    reading = key
    local stored = call('GET', key)
    clear(policy, state)
    if stored then load(policy, state, stored) end
    opened[key] = state
  end
  advance(policy, state, now)
  return state
end

local function encode(policy, state)
  local numbers, largest, flags = {}, 0, 0
  local function write(number)
    numbers[#numbers + 1] = number
    largest = max(largest, number)
  end
  write(state.at)
  for i, limit in ipairs(policy) do algorithms[limit.kind].store(state, i, write) end
  if state.blockedUntil > 0 then
    flags = flags + BLOCKED
    write(state.blockedUntil)
  end
  if #state.marks > 0 then
    flags = flags + MARKED
    write(#state.marks)
    for _, mark in ipairs(state.marks) do
      write(mark.id)
      for i = 1, #policy do write(mark[i]) end
    end
  end
  if state.queue then
    flags = flags + QUEUED
    for i = 1, #policy do write(state.queue.debts[i]) end
    write(#state.queue)
    for _, reservation in ipairs(state.queue) do
      write(reservation.actAt)
      for i = 1, #policy do write(reservation[i]) end
    end
  end
  if flags == 0 and largest < COMPACT_END then return pack('I' .. COMPACT, numbers, 1, #numbers) end
  return pack('d', numbers, 1, #numbers) .. string.char(flags)
end

local function save(state)
  local policy = state.policy
  local ttl = lifetime(policy, state, now)
  if ttl == 0 then
    if state.stored then emptied[#emptied + 1] = state.key end
    return
  end
  local value = encode(policy, state)
  if ttl == INFINITY then
    call('SET', state.key, value)
  else
    call('SET', state.key, value, 'PX', max(ttl, leastTtl))
  end
end
`;
