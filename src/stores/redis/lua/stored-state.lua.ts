/** The storage format of a bucket. It has no counterpart in TypeScript. */
export const STORED_STATE = `
-- A stored state is a string of doubles: at, blockedUntil, queueEnd, and for each limit what its algorithm stores: a
-- bucket its debt; a window its sum, the number of its admissions, and time and amount of each. Then, if it has marks or
-- a queue: the number of marks, and for each its id and a number for each limit. Then, if it has a queue: for each limit
-- its debt without the queue, and for each reservation its actAt and an amount for each limit.

local NO_BUCKET = 'its value is not a bucket'
local emptied = {}
opened = {}
local reading

-- Returns a function that returns the stored numbers one by one, and one that returns whether there are more.
local function reader(stored)
  if #stored % 8 ~= 0 then error(NO_BUCKET, 0) end
  local numbers, place = {}, 0
  for start = 1, #stored, 8 * 200 do
    local part = string.sub(stored, start, start + 8 * 200 - 1)
    local values = { unpacks('<' .. string.rep('d', #part / 8), part) }
    for i = 1, #values - 1 do numbers[#numbers + 1] = values[i] end
  end
  local function readNumber()
    place = place + 1
    if isWhole(numbers[place]) then return numbers[place] end
    error(NO_BUCKET, 0)
  end
  return readNumber, function() return place < #numbers end
end

local function open(policy, key)
  local state = opened[key]
  if not state then
    state = { at = 0, policy = policy, key = key }
    reading = key
    local stored = call('GET', key)
    clear(policy, state)
    if stored then
      local readNumber, hasMore = reader(stored)
      state.stored, state.at = stored, readNumber()
      state.blockedUntil, state.queueEnd = readNumber(), readNumber()
      for i, limit in ipairs(policy) do
        if algorithms[limit.kind].load(state, i, readNumber) == false then error(NO_BUCKET, 0) end
      end
      for m = 1, hasMore() and readNumber() or 0 do
        local mark = { id = readNumber() }
        for i = 1, #policy do mark[i] = readNumber() end
        state.marks[m] = mark
      end
      if hasMore() then
        state.queue = { debts = {} }
        for i = 1, #policy do state.queue.debts[i] = readNumber() end
      end
      while hasMore() do
        local reservation = { actAt = readNumber() }
        for i = 1, #policy do reservation[i] = readNumber() end
        table.insert(state.queue, reservation)
      end
      if state.queue and (#state.queue == 0 or state.queue[#state.queue].actAt ~= state.queueEnd) then
        error(NO_BUCKET, 0)
      end
    end
    opened[key] = state
  end
  advance(policy, state, now)
  return state
end

local function save(state)
  local policy = state.policy
  local ttl = lifetime(policy, state, now)
  if ttl == 0 then
    if state.stored then emptied[#emptied + 1] = state.key end
    return
  end
  local numbers = { state.at, state.blockedUntil, state.queueEnd }
  local function write(number) numbers[#numbers + 1] = number end
  for i, limit in ipairs(policy) do algorithms[limit.kind].store(state, i, write) end
  if #state.marks > 0 or state.queue then write(#state.marks) end
  for _, mark in ipairs(state.marks) do
    write(mark.id)
    for i = 1, #policy do write(mark[i]) end
  end
  if state.queue then
    for i = 1, #policy do write(state.queue.debts[i]) end
    for _, reservation in ipairs(state.queue) do
      write(reservation.actAt)
      for i = 1, #policy do write(reservation[i]) end
    end
  end
  local value = pack(numbers, 1, #numbers)
  if ttl == INFINITY then
    call('SET', state.key, value)
  else
    call('SET', state.key, value, 'PX', max(ttl, leastTtl))
  end
end
`;
